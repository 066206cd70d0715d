"""One id space: ranges, markers and messages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm_core.testing.vocabulary import check_vocabulary
from lwm_core.vocab import Modality, Vocabulary


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_any_vocabulary_conforms(sizes):
    check_vocabulary(Vocabulary(tuple(Modality(f"m{i}", n, {"end": n - 1}) for i, n in enumerate(sizes))))


def test_errors_name_what_there_is():
    vocabulary = Vocabulary((Modality("text", 4, {"eos": 3}), Modality("vision", 8)))
    with pytest.raises(KeyError, match="text, vision"):
        vocabulary.range("audio")
    with pytest.raises(KeyError, match="vision has none"):
        vocabulary.marker("vision.eov")
    with pytest.raises(ValueError, match="do not belong together"):
        vocabulary.to_global("vision", np.array([8]))
    with pytest.raises(ValueError, match="not all vision"):
        vocabulary.to_local("vision", np.array([3, 4]))
    with pytest.raises(ValueError, match="id 4"):
        Modality("text", 4, {"eos": 4})
    with pytest.raises(ValueError, match="'audio' of 0 ids"):
        Modality("audio", 0)


def test_a_vocabulary_continues_those_whose_ids_keep_their_meaning():
    text, vision = Modality("text", 4, {"eos": 3}), Modality("vision", 8)
    small, both = Vocabulary((text,)), Vocabulary((text, vision))
    assert both.continues(small) and both.continues(both) and not small.continues(both)
    assert both.continues(Vocabulary((text, Modality("vision", 6)))), "the last range may grow"
    assert not both.continues(Vocabulary((Modality("text", 3), vision))), "vision would move"
    assert not both.continues(Vocabulary((text, Modality("audio", 8)))), "audio would turn into vision"
    assert not both.continues(Vocabulary((Modality("text", 4, {"bos": 3}),))), "a marker would change"
