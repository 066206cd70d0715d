"""Shares of tokens in the rows themselves: met within 1%, whatever the lengths, by every packer, in every process."""

from dataclasses import dataclass

import numpy as np
import pytest

from lwm_core.data import BestFitPacker, Document, PaddingPacker, Renderer, SequentialPacker, Span
from lwm_core.data.apart import ApartPacker
from lwm_core.load import Stream
from lwm_core.text import ByteTokenizer
from lwm_core.vocab import Modality, Vocabulary


BYTES = ByteTokenizer()
VOCABULARY = Vocabulary((Modality("text", 258, BYTES.markers), Modality("vision", 100)))
RENDER = Renderer(VOCABULARY, BYTES, end=None, empty="skip")
LENGTH = 512


@dataclass(frozen=True)
class Marked:
    """Documents of the given sizes, every token of which is `mark`."""

    mark: int
    sizes: tuple[int, ...]

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        return Document((Span("vision", np.full(self.sizes[index], self.mark)),), f"{self.mark}:{index}")


SKEWED = {"long": Marked(0, (100_000,)), "short": Marked(1, (50,) * 40), "mid": Marked(2, (700, 30, 0, 0, 2000))}
PACKERS = [
    SequentialPacker(LENGTH),
    SequentialPacker(LENGTH, "long"),
    BestFitPacker(LENGTH, 4),
    PaddingPacker(LENGTH),
    ApartPacker(LENGTH, BestFitPacker(LENGTH, 4)),
    ApartPacker(LENGTH, SequentialPacker(LENGTH), {"chat": ("short", "mid")}),
]


def rows_of(mixture, packer, steps, rows=8, **options):
    """Steps of rows, each row as how many tokens it has of each mark."""
    with Stream(SKEWED, mixture, RENDER, packer, rows, **options) as stream:
        state, found = stream.init(), []
        for _ in range(steps):
            state, step = stream.next(state)
            marks = [row.tokens[row.segment > 0] - VOCABULARY.range("vision").start for row in step]
            found.append(np.asarray([np.bincount(m, minlength=3) for m in marks]))
    return np.stack(found), state


@pytest.mark.parametrize("packer", PACKERS, ids=lambda p: f"{type(p).__name__}")
@pytest.mark.parametrize("mixture", [{"long": 0.7, "short": 0.3}, {"long": 0.16, "short": 0.34, "mid": 0.5}])
def test_shares_of_tokens_are_met_whatever_the_lengths(packer, mixture):
    rows, _ = rows_of(mixture, packer, 100)
    tokens = rows.sum((0, 1))
    for name, share in mixture.items():
        assert tokens[list(SKEWED).index(name)] / tokens.sum() == pytest.approx(share, abs=0.01), name


def test_sources_kept_apart_have_their_share_of_every_step_and_no_row_holds_two():
    rows, _ = rows_of({"long": 0.5, "short": 0.25, "mid": 0.25}, ApartPacker(LENGTH, BestFitPacker(LENGTH)), 20)
    assert ((rows > 0).sum(-1) == 1).all()
    each = (rows > 0).sum(1)
    assert np.abs(each - [4, 2, 2]).max() <= 1 and np.abs(each.mean(0) - [4, 2, 2]).max() < 0.5


def test_sources_of_one_group_share_rows_and_others_do_not():
    packer = ApartPacker(LENGTH, SequentialPacker(LENGTH), {"chat": ("short", "mid")})
    rows, _ = rows_of({"long": 0.5, "short": 0.25, "mid": 0.25}, packer, 20)
    has = rows.reshape(-1, 3) > 0
    assert (has[:, 1] & has[:, 2]).any() and not (has[:, 0] & (has[:, 1] | has[:, 2])).any()


def test_every_process_keeps_the_shares():
    for process in range(2):
        rows, _ = rows_of({"long": 0.3, "short": 0.7}, SequentialPacker(LENGTH), 60, shard=(process, 2))
        assert rows.sum((0, 1))[0] / rows.sum() == pytest.approx(0.3, abs=0.01)


def test_documents_left_out_cost_their_source_nothing():
    rows, state = rows_of({"short": 0.5, "mid": 0.5}, SequentialPacker(LENGTH), 40)
    assert state["lanes"]["all"]["sources"]["mid"]["skipped"] > 10
    assert rows.sum((0, 1))[1] / rows.sum() == pytest.approx(0.5, abs=0.01)


def test_by_documents_lengths_do_not_count():
    _, state = rows_of({"long": 0.2, "short": 0.8}, SequentialPacker(LENGTH), 100, mixture_by="documents")
    drawn = {name: source["drawn"] for name, source in state["lanes"]["all"]["sources"].items()}
    assert abs(drawn["short"] - 4 * drawn["long"]) <= 4


def test_a_document_that_may_not_be_cut_is_refused_by_name():
    packer = BestFitPacker(LENGTH, cut="error")
    with pytest.raises(ValueError, match="0:0 has 100000 tokens.*cut='error'"):
        rows_of({"long": 0.5, "short": 0.5}, packer, 2)
