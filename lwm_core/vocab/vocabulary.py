"""One id space: a disjoint range of ids per modality, with named markers.

Owns the translation between a modality's own ids and the model's ids. Modality is where an id lies, never a
parallel mask. It knows no tokenizer and no model, and does not import JAX.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Modality:
    """One modality's share of the id space.

    - `name`: "text", "vision", ...;
    - `size`: how many ids it holds, markers included;
    - `markers`: name → local id, such as `{"eof": 8192, "eov": 8193}` for vision.
    """

    name: str
    size: int
    markers: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"Modality {self.name!r} of {self.size} ids: give it at least 1.")
        for marker, local in self.markers.items():
            if not 0 <= local < self.size:
                raise ValueError(f"Marker {self.name}.{marker} has id {local}: give one from 0 to {self.size - 1}.")


@dataclass(frozen=True)
class Vocabulary:
    """Modalities laid side by side; the first starts at id 0."""

    modalities: tuple[Modality, ...]

    def __post_init__(self):
        names = [m.name for m in self.modalities]
        if len(set(names)) != len(names):
            raise ValueError(f"Modalities {names}: give each name once.")

    @property
    def size(self) -> int:
        """How many ids there are in all."""
        return sum(m.size for m in self.modalities)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.modalities)

    def with_modality(self, modality: Modality) -> "Vocabulary":
        """This vocabulary with one more range at its end; ids already given keep their meaning."""
        return Vocabulary((*self.modalities, modality))

    def continues(self, earlier: "Vocabulary") -> bool:
        """Whether every id and marker of `earlier` means the same here; its last range may have grown."""
        pairs = list(zip(earlier.modalities, self.modalities, strict=False))
        kept = all(old.name == new.name and old.markers.items() <= new.markers.items() for old, new in pairs)
        still = all(old.size == new.size for old, new in pairs[:-1]) and pairs[-1][0].size <= pairs[-1][1].size
        return len(pairs) == len(earlier.modalities) and kept and still

    def modality(self, name: str) -> Modality:
        for candidate in self.modalities:
            if candidate.name == name:
                return candidate
        raise KeyError(f"No modality {name!r} in this vocabulary: it has {', '.join(self.names)}.")

    def range(self, name: str) -> range:
        """The ids of one modality."""
        start = 0
        for candidate in self.modalities:
            if candidate.name == name:
                return range(start, start + candidate.size)
            start += candidate.size
        raise KeyError(f"No modality {name!r} in this vocabulary: it has {', '.join(self.names)}.")

    def marker(self, name: str) -> int:
        """The id of `"modality.marker"`, such as `"vision.eov"`."""
        modality, _, marker = name.partition(".")
        markers = self.modality(modality).markers
        if marker not in markers:
            raise KeyError(f"No marker {name!r}: {modality} has {', '.join(sorted(markers)) or 'none'}.")
        return self.range(modality).start + markers[marker]

    def to_global(self, name: str, local: np.ndarray) -> np.ndarray:
        """Ids of the model from a modality's own ids; raises `ValueError` naming an id out of range."""
        span = self.range(name)
        local = np.asarray(local)
        if local.size and (local.min() < 0 or local.max() >= len(span)):
            raise ValueError(
                f"A {name} id lies outside 0..{len(span) - 1} (found {local.min()}..{local.max()}): "
                "the tokenizer and the vocabulary do not belong together."
            )
        return (local + span.start).astype(np.int32)

    def to_local(self, name: str, ids: np.ndarray) -> np.ndarray:
        """A modality's own ids from ids of the model; raises `ValueError` when one is of another modality."""
        span = self.range(name)
        ids = np.asarray(ids)
        if ids.size and (ids.min() < span.start or ids.max() >= span.stop):
            raise ValueError(f"Ids {ids.min()}..{ids.max()} are not all {name} ({span.start}..{span.stop - 1}).")
        return (ids - span.start).astype(np.int32)

    def modality_index(self, ids: np.ndarray) -> np.ndarray:
        """For every id, the index of its modality in `modalities`."""
        stops = np.cumsum([m.size for m in self.modalities])
        return np.searchsorted(stops, np.asarray(ids), side="right").astype(np.int32)

    def data(self) -> tuple[dict, ...]:
        """This vocabulary as plain JSON data; `of_data` reads it back."""
        return tuple({"name": m.name, "size": m.size, "markers": dict(m.markers)} for m in self.modalities)

    @staticmethod
    def of_data(data) -> "Vocabulary":
        return Vocabulary(tuple(Modality(**modality) for modality in data))
