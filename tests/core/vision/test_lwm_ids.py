"""LWM's ids, written out by hand from its released code and compared number by number."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from lwm_core.data import Renderer
from lwm_core.vision.lwm_ids import CLOSE_IDS, OPEN_IDS, LwmProcessor, joined, lwm_vocabulary, of_lwm, to_lwm
from lwm_core.vision.lwm_source import LwmRecords


@dataclass(frozen=True)
class Table:
    """A tokenizer of a few sentences, with the ids that LLaMA's gives the tags."""

    words: dict = field(default_factory=lambda: {
        "<vision>": OPEN_IDS, "</vision>": CLOSE_IDS, "a cat": (263, 6635), "a cat and more": (263, 6635, 322, 901),
        "What?": (1724, 29973), "It is a cat": (739, 338, 263, 6635),
    })  # fmt: skip

    @property
    def size(self):
        return 32000

    @property
    def markers(self):
        return {"bos": 1, "eos": 2}

    def encode(self, text):
        return list(self.words[text])

    def decode(self, ids):
        return " ".join(map(str, ids))


FRAMES = np.arange(3 * 256).reshape(3, 256) % 8192
RECORD = {"vision": FRAMES[:2].reshape(-1).tolist(), "caption": "a cat", "rest": "and more", "question": "What?",
          "answer": "It is a cat"}  # fmt: skip


def test_a_clip_and_its_question_are_lwms_tokens_masks_and_losses():
    """`[question],vision,answer` of two frames: bos, question, <vision>, 256 codes, 8192, 256 codes, 8193, ..."""
    made = LwmProcessor(Table(), ("[question],[vision],answer",)).tokens(RECORD)
    first, second = FRAMES[0].tolist(), FRAMES[1].tolist()
    text = [1, 1724, 29973, 529, 4924, 29958]
    vision = [*first, 8192, *second, 8193]
    after = [1533, 4924, 29958, 739, 338, 263, 6635, 2]
    assert made.tokens.tolist() == [*text, *vision, *after]
    assert made.vision.tolist() == [False] * 6 + [True] * 514 + [False] * 8
    assert made.loss.tolist() == [0.0] * (6 + 514 + 3) + [1.0] * 5
    assert made.plain() == {"tokens": made.tokens.tolist(), "vision_mask": made.vision.tolist(),
                            "loss_mask": made.loss.tolist()}  # fmt: skip


def test_subfields_are_joined_before_they_are_encoded_and_markers_may_be_fields():
    made = LwmProcessor(Table(), ("caption+rest,<|eos|>,[<|bos|>]",)).tokens(RECORD, bos=False, eos=False)
    assert made.tokens.tolist() == [263, 6635, 322, 901, 2, 1] and made.loss.tolist() == [1.0] * 5 + [0.0]


def test_one_space_and_two_tables_are_the_same_ids():
    vocabulary = lwm_vocabulary()
    made = LwmProcessor(Table(), ("vision,caption",)).tokens(RECORD)
    ids = of_lwm(made.tokens, made.vision, vocabulary)
    assert vocabulary.size == 32000 + 8448
    assert ids[made.vision].tolist() == [32000 + i for i in [*FRAMES[0], 8192, *FRAMES[1], 8193]]
    back = to_lwm(ids, made.loss, vocabulary)
    assert all(np.array_equal(a, b) for a, b in zip(back, made, strict=True))
    with pytest.raises(ValueError, match="text id lies outside"):
        of_lwm(np.array([32000]), np.array([False]), vocabulary)


def test_long_clips_are_sampled_as_lwm_samples_them():
    record = {"vision": FRAMES.reshape(-1).tolist()}
    made = LwmProcessor(Table(), ("vision",), most_frames=2).tokens(record)
    assert made.tokens[made.vision].reshape(2, 257)[:, 0].tolist() == [FRAMES[0, 0], FRAMES[2, 0]]
    assert made.tokens[made.vision].reshape(2, 257)[:, -1].tolist() == [8192, 8193]


def test_batches_are_one_token_ahead_and_several_examples_run_on():
    processor = LwmProcessor(Table(), ("caption",))
    both = joined([processor.tokens(RECORD), processor.tokens(RECORD)])
    batch = both.rows(3)
    assert batch["input_tokens"].tolist() == [[1, 263, 6635], [2, 1, 263]]
    assert batch["target_tokens"].tolist() == [[263, 6635, 2], [1, 263, 6635]]
    assert batch["loss_masks"].tolist() == [[1, 1, 1], [0, 1, 1]]
    assert not batch["input_vision_masks"].any() and batch["target_vision_masks"].shape == (2, 3)


def test_files_of_lwm_train_here_with_the_same_ids(tmp_path):
    path = tmp_path / "train.jsonl"
    own = RECORD | {"fields": ["vision,caption", "caption,vision"]}
    path.write_text("\n\n".join(json.dumps(own) for _ in range(6)))
    source = LwmRecords((path,), Table(), fields_from="fields")
    render = Renderer(lwm_vocabulary(), Table(), begin="text.bos", end="text.eos")
    orders = set()
    for index in range(len(source)):
        sample = render(source[index])
        wanted = source.processor.tokens(source.record(index), index)
        assert sample is not None
        assert all(
            np.array_equal(a, b)
            for a, b in zip(to_lwm(sample.tokens, sample.loss, lwm_vocabulary()), wanted, strict=True)
        )
        orders.add(bool(wanted.vision[4]))
    assert len(source) == 6 and orders == {True, False}, "the order of text and vision is drawn for each record"


@pytest.mark.parametrize("record, said", [
    ({"vision": [1] * 255}, "holds 255 codes"),
    ({"vision": [8192] * 256}, "out of range"),
    ({"vision": []}, "holds 0 codes"),
    ({"text": "a cat"}, "'vision' is missing"),
    ({"vision": "a.png"}, "one flat list of codes"),
])  # fmt: skip
def test_bad_records_are_named(tmp_path, record, said):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=said) as error:
        LwmRecords((path,), Table(), fields=("vision",))[0]
    assert "bad.jsonl:1" in str(error.value)


def test_options_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="either fields or fields_from"):
        LwmProcessor(Table())
