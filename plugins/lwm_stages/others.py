"""What others published: GradientAI's Llama-3 to 4M tokens, and ProLong to 512K.

Data only. GradientAI: the model card of gradientai/Llama-3-8B-Instruct-Gradient-4194k. ProLong: Gao et al. 2024
(arXiv 2410.02660) and its scripts princeton-nlp/ProLong `train_64K.sh`, `train_512K.sh`.
"""

from lwm_stages.published import MI, PublishedStage, chosen, confirmed, derived


def _gradient(label, power, theta, rows, steps, total, at_once, gpus, minutes, init_from) -> PublishedStage:
    return PublishedStage(
        name=f"gradient-{label}",
        init_from=confirmed(init_from),
        sequence_length=confirmed(2**power),
        rope_theta=confirmed(theta, "rounded on the card"),
        tokens_per_batch=derived(rows * 2**power, "total tokens over steps"),
        total_tokens=confirmed(total),
        steps=confirmed(steps, "stopped early" if label == "4194k" else ""),
        schedule=chosen("constant", "the card gives one learning rate and no schedule"),
        warmup_steps=chosen(0, "not given"),
        learning_rate=confirmed(2e-5),
        min_learning_rate=chosen(2e-5, "constant"),
        mesh=derived((1, at_once, 1, -1), "batch size rows at once, the ring over all other GPUs"),
        devices=confirmed(gpus, "L40S"),
        mixture=confirmed({"slimpajama-long": 1.0}, "long contexts made of SlimPajama; the name is ours"),
        hours=confirmed(minutes / 60),
    )


GRADIENT = (
    _gradient("65k", 16, 15.3e6, 32, 30, 62_914_560, 1, 8, 202, "Llama-3 8B Instruct"),
    _gradient("262k", 18, 207.1e6, 16, 24, 100_663_296, 1, 32, 555, "gradient-65k"),
    _gradient("524k", 19, 1.06e9, 16, 50, 419_430_400, 16, 512, 61, "gradient-262k"),
    # Later cards say batch size 8, which would be half of the total tokens that they state.
    _gradient("1048k", 20, 2.80e9, 16, 50, 838_860_800, 16, 512, 87, "gradient-524k"),
    _gradient("4194k", 22, 45.2e9, 4, 12, 201_326_592, 2, 512, 433, "gradient-1048k"),
)

_SHORT = {
    "fineweb-edu": 0.1,
    "fineweb": 0.1,
    "stackexchange": 0.04,
    "wikipedia": 0.04,
    "tulu-v2": 0.03,
    "arxiv": 0.03,
    "openwebmath": 0.03,
    "textbooks": 0.03,
}


def _prolong(label, power, theta, tokens, steps, rate, low, ring, mixture, init_from) -> PublishedStage:
    return PublishedStage(
        name=f"prolong-{label}",
        init_from=confirmed(init_from),
        precision=confirmed("bfloat16", "mixed"),
        sequence_length=confirmed(2**power),
        rope_theta=confirmed(theta),
        tokens_per_batch=confirmed(tokens),
        total_tokens=confirmed(20_000_000_000, "rounded"),
        steps=confirmed(steps),
        schedule=confirmed("cosine"),
        warmup_steps=confirmed(steps // 10, "a tenth of the steps"),
        learning_rate=confirmed(rate),
        min_learning_rate=confirmed(low, "a tenth of the highest"),
        mesh=confirmed((1, -1, 1, ring), "full sharding, and sequence parallelism of this size"),
        mixture=confirmed({**mixture, **_SHORT}, "names are ours; shares are of tokens"),
    )


PROLONG = (
    _prolong(
        "64k", 16, 8e6, 4 * MI, 5000, 1e-5, 1e-6, 1, {"code-repos-64k": 0.3, "books-64k": 0.3}, "Llama-3 8B Instruct"
    ),
    _prolong(
        "512k", 19, 1.28e8, 8 * MI, 2500, 5e-6, 5e-7, 8,
        {"code-repos-512k": 0.15, "code-repos-64k": 0.15, "books-512k": 0.05, "books-64k": 0.25},
        "prolong-64k, its optimiser's moments too",
    ),
)  # fmt: skip
