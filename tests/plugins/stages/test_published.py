"""Every confirmed figure of the published schedules, written down a second time; and what their options refuse."""

import pytest

from lwm_core.testing.curriculum import check_curriculum
from lwm_stages.extension import LAWS, Extension
from lwm_stages.schedules import Gradient, LWMText, LWMTextChat, LWMVision, ProLong


K, M, B = 1000, 1_000_000, 1_000_000_000
FIGURES = (
    "sequence_length", "rope_theta", "tokens_per_batch", "total_tokens", "steps", "warmup_steps", "learning_rate",
    "mesh",
)  # fmt: skip

# arXiv 2402.08268 v4, table 11.
TEXT = {
    "lwm-text-32k": (2**15, 1e6, 4 * M, 4.8 * B, 1200, 100, 4e-5, (1, -1, 4, 1)),
    "lwm-text-128k": (2**17, 1e7, 4 * M, 12 * B, 3000, 200, 4e-5, (1, -1, 8, 1)),
    "lwm-text-256k": (2**18, 1e7, 4 * M, 12 * B, 3000, 200, 4e-5, (1, -1, 16, 1)),
    "lwm-text-512k": (2**19, 2.5e7, 4 * M, 3 * B, 720, 50, 4e-5, (1, -1, 16, 2)),
    "lwm-text-1m": (2**20, 5e7, 4 * M, 1.8 * B, 450, 25, 4e-5, (1, -1, 16, 4)),
}
# The rest of table 11, and the model cards: init from, documents' tokens, how many documents.
TEXT_DATA = {
    "lwm-text-32k": ("LLaMA-2 7B", (10 * K, 100 * K), 78_000),
    "lwm-text-128k": ("lwm-text-32k", (100 * K, 200 * K), 92_000),
    "lwm-text-256k": ("lwm-text-128k", (200 * K, 500 * K), 37_000),
    "lwm-text-512k": ("lwm-text-256k", (500 * K, M), 3500),
    "lwm-text-1m": ("lwm-text-512k", (M, None), 800),
}
# Table 13; the last column is the lowest learning rate.
VISION = {
    "lwm-1k": (2**10, 5e7, 8 * M, 363 * B, 45_000, 1000, 6e-4, (1, -1, 1, 1), 6e-5),
    "lwm-8k": (2**13, 5e7, 8 * M, 107 * B, 14_000, 500, 6e-4, (1, -1, 1, 1), 6e-5),
    "lwm-chat-32k": (2**15, 5e7, 8 * M, 10 * B, 1200, 100, 8e-5, (1, -1, 4, 1), 8e-5),
    "lwm-chat-128k": (2**17, 5e7, 8 * M, 3.5 * B, 450, 50, 8e-5, (1, -1, 8, 1), 8e-5),
    "lwm-chat-1m": (2**20, 5e7, 8 * M, 0.4 * B, 50, 5, 8e-5, (1, -1, 16, 4), 8e-5),
}
# The model card of Llama-3-8B-Instruct-Gradient-4194k: length, theta, total tokens, steps, learning rate.
GRADIENT = {
    "gradient-65k": (2**16, 15.3e6, 62_914_560, 30, 2e-5),
    "gradient-262k": (2**18, 207.1e6, 100_663_296, 24, 2e-5),
    "gradient-524k": (2**19, 1.06e9, 419_430_400, 50, 2e-5),
    "gradient-1048k": (2**20, 2.80e9, 838_860_800, 50, 2e-5),
    "gradient-4194k": (2**22, 45.2e9, 201_326_592, 12, 2e-5),
}
# princeton-nlp/ProLong, train_64K.sh and train_512K.sh: length, theta, rows, steps, warm-up, highest and lowest rate.
PROLONG = {
    "prolong-64k": (65_536, 8e6, 64, 5000, 500, 1e-5, 1e-6),
    "prolong-512k": (524_288, 1.28e8, 16, 2500, 250, 5e-6, 5e-7),
}


def read(curriculum, *names):
    """What the stages hold and what is published of them, by stage name; every figure is said to be confirmed."""
    stages = {stage.name: stage for stage in curriculum.stages}
    for name in stages:
        for figure in names:
            assert curriculum.figures[name][figure].trust == "confirmed", (name, figure)
    return stages, curriculum.figures


def check_paper(curriculum, table):
    stages, figures = read(curriculum, *FIGURES)
    assert list(stages) == list(table)
    for name, (length, theta, batch, total, steps, warmup, rate, mesh, *_) in table.items():
        stage = stages[name]
        assert (stage.sequence_length, stage.rope_theta) == (length, theta)
        assert (stage.steps, stage.warmup_steps, stage.learning_rate, stage.mesh) == (steps, warmup, rate, mesh)
        # "4M" and "8M" are read as powers of two, and the paper rounds its totals: up to a tenth apart.
        assert stage.tokens_per_batch == batch // M * 2**20 and figures[name]["total_tokens"].value == total
        assert total == pytest.approx(stage.total_tokens, rel=0.1)
        assert figures[name]["precision"].value == "float32" and figures[name]["precision"].trust == "confirmed"


def test_lwm_text_is_table_11():
    check_paper(LWMText(), TEXT)
    stages, figures = read(LWMText(), "init_from", "documents", "document_count")
    for name, (init_from, documents, count) in TEXT_DATA.items():
        said = figures[name]
        assert (said["init_from"].value, said["documents"].value) == (init_from, documents)
        assert said["document_count"].value == count
        assert stages[name].schedule == "constant" and stages[name].modalities == ("text",)


def test_lwm_vision_is_table_13():
    check_paper(LWMVision(), VISION)
    stages, figures = read(LWMVision(), "init_from", "min_learning_rate", "schedule")
    started = [figures[name]["init_from"].value for name in stages]
    assert started == ["lwm-text-1m", *VISION][:5]
    for name, row in VISION.items():
        stage = stages[name]
        assert (stage.schedule, stage.min_learning_rate) == ("cosine", row[-1])
        assert stage.modalities == ("text", "vision")
    assert stages["lwm-1k"].mixture["openllama"] == stages["lwm-8k"].mixture["openllama"] == 0.16
    for name in ("lwm-chat-32k", "lwm-chat-128k", "lwm-chat-1m"):
        assert sorted(stages[name].mixture.values()) == [0.25] * 4


@pytest.mark.parametrize(
    "length, tokens, theta", [("128k", 2**17, 1e7), ("256k", 2**18, 1e7), ("512k", 2**19, 2.5e7), ("1m", 2**20, 5e7)]
)
def test_a_chat_model_continues_the_text_model_of_its_length(length, tokens, theta):
    curriculum = LWMTextChat(length)
    stages, figures = read(curriculum, "sequence_length", "rope_theta", "mixture")
    (stage,) = stages.values()
    assert (stage.sequence_length, stage.rope_theta, sorted(stage.mixture.values())) == (tokens, theta, [0.3, 0.7])
    assert stage.mixture["ultrachat"] == 0.7
    said = figures[stage.name]
    assert said["init_from"].value == f"lwm-text-{length}"
    assert {said[name].trust for name in ("init_from", "steps", "learning_rate", "mesh")} == {"recalled"}


def test_gradient_is_its_model_card():
    stages, figures = read(Gradient(), "sequence_length", "rope_theta", "total_tokens", "steps", "learning_rate")
    assert list(stages) == list(GRADIENT)
    for name, (length, theta, total, steps, rate) in GRADIENT.items():
        stage = stages[name]
        assert (stage.sequence_length, stage.rope_theta, stage.steps) == (length, theta, steps)
        assert stage.total_tokens == figures[name]["total_tokens"].value == total
        assert stage.learning_rate == rate and figures[name]["schedule"].trust == "chosen"


def test_prolong_is_its_scripts():
    stages, _ = read(ProLong(), "sequence_length", "rope_theta", "steps", "warmup_steps", "mixture", "schedule")
    assert list(stages) == list(PROLONG)
    for name, row in PROLONG.items():
        stage = stages[name]
        said = (stage.sequence_length, stage.rope_theta, stage.rows, stage.steps, stage.warmup_steps)
        assert said == row[:5] and stage.schedule == "cosine"
        assert (stage.learning_rate, stage.min_learning_rate) == pytest.approx(row[5:])
        assert stage.total_tokens == pytest.approx(20 * B, rel=0.05)
        assert sum(share for source, share in stage.mixture.items() if source.startswith("books")) == pytest.approx(0.3)
        assert sum(share for source, share in stage.mixture.items() if source.startswith("code")) == pytest.approx(0.3)


@pytest.mark.parametrize("curriculum", [LWMText(), LWMTextChat(), LWMVision(), Gradient(), ProLong()])
def test_a_published_schedule_conforms_and_says_which_figures_it_has(curriculum):
    check_curriculum(curriculum)
    assert list(curriculum.figures) == [stage.name for stage in curriculum.stages]
    for figures in curriculum.figures.values():
        assert set(FIGURES) | {"init_from", "mixture"} <= figures.keys()
        assert all(figure.note for figure in figures.values() if figure.trust != "confirmed")


def test_stages_can_be_cut_and_laid_on_another_mesh():
    names = [stage.name for stage in LWMText(first="128k", last="512k").stages]
    assert names == ["lwm-text-128k", "lwm-text-256k", "lwm-text-512k"]
    assert {stage.mesh for stage in Gradient(mesh=(1, 1, 1, 4)).stages} == {(1, 1, 1, 4)}
    with pytest.raises(ValueError, match="first='1m' comes after last='32k'"):
        LWMText(first="1m", last="32k")


def test_the_laws_are_those_that_were_trained_with():
    assert LAWS["lwm"].exponent == pytest.approx(1.1, abs=0.05)
    assert LAWS["gradient"].exponent == pytest.approx(1.9, abs=0.05)


def test_an_extension_works_out_theta_and_keeps_one_that_is_given():
    given = {"base_length": 4096, "base_theta": 1e4, "lengths": (8192, 65_536), "rows": (8, 1), "steps": (30, 10)}
    auto = Extension(**given, mixture={"book": 1.0}, law="gradient")
    check_curriculum(auto)
    assert [stage.rope_theta for stage in auto.stages] == pytest.approx(
        [max(1e4 * (n / 4096) ** (128 / 126), LAWS["gradient"](n)) for n in (8192, 65_536)]
    )
    fixed = Extension(**given, mixture={"book": 1.0}, thetas=(5e4, 5e5))
    assert [stage.rope_theta for stage in fixed.stages] == [5e4, 5e5]
    with pytest.raises(ValueError, match="lengths has 2, rows has 2, steps has 2, thetas has 1"):
        Extension(**given, mixture={"book": 1.0}, thetas=(5e4,))
