"""Conformance kit for vocabularies: `check_vocabulary(vocabulary)`. Owns no test runner and needs none."""

import numpy as np

from lwm_core.vocab import Modality, Vocabulary


def check_vocabulary(vocabulary: Vocabulary) -> None:
    """Raises `AssertionError` unless the ranges tile 0..size-1 in order and ids translate both ways."""
    stop = 0
    for index, modality in enumerate(vocabulary.modalities):
        span = vocabulary.range(modality.name)
        assert span.start == stop, f"{modality.name} starts at {span.start}, not where the one before ends, {stop}."
        stop = span.stop
        _check_modality(vocabulary, modality, index)
    assert vocabulary.size == stop, f"The size is {vocabulary.size} and the ranges end at {stop}."
    grown = vocabulary.with_modality(Modality("kit-extra", 3, {"end": 2}))
    for name in vocabulary.names:
        assert grown.range(name) == vocabulary.range(name), f"A new modality moved {name}."
    assert grown.marker("kit-extra.end") == stop + 2, "A marker is not where its range says."


def _check_modality(vocabulary: Vocabulary, modality: Modality, index: int) -> None:
    name, span = modality.name, vocabulary.range(modality.name)
    local = np.arange(modality.size, dtype=np.int32)
    ids = vocabulary.to_global(name, local)
    assert np.array_equal(ids, np.arange(span.start, span.stop)), f"{name}: ids do not fill the range in order."
    assert np.array_equal(vocabulary.to_local(name, ids), local), f"{name}: ids do not come back."
    assert (vocabulary.modality_index(ids) == index).all(), f"{name}: its ids are taken for another modality's."
    for marker, at in modality.markers.items():
        assert vocabulary.marker(f"{name}.{marker}") == span.start + at, f"{name}.{marker} is elsewhere."
    for wrong in (np.asarray([modality.size]), np.asarray([-1])):
        try:
            vocabulary.to_global(name, wrong)
        except ValueError as error:
            assert name in str(error), f"An id out of range is refused without naming {name}: {error}"
        else:
            raise AssertionError(f"{name} takes the id {wrong[0]}, which lies outside it.")
