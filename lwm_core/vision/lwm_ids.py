"""Tokens as LWM's released code has them: two tables of ids and a mask that says which; out of the one id space and in.

Owns the numbers of arXiv 2402.08268's release and `VisionTextProcessor`'s way from a record to tokens. Reading files is
`lwm_source`'s. It does not import JAX.
Source: LWM `lwm/data.py` and `lwm/vision_llama.py` at f45d2b7. There a marker of text may precede every field, a slip
of its last commits; here none does, as its weights were trained.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lwm_core.data.base import Span
from lwm_core.data.problems import BadRecord
from lwm_core.data.values import described
from lwm_core.data.values import ids as ids_of
from lwm_core.data.values import text as text_of
from lwm_core.data.wording import CLOSE, OPEN, VISION
from lwm_core.text import TextTokenizer
from lwm_core.vision.tokens import EOF, EOV, frames_to_ids
from lwm_core.vocab import Modality, Vocabulary


TEXT_IDS = 32000
VISION_IDS = 8448  # 8192 codes, end-of-frame, end-of-vision, and room
BOS, EOS = 1, 2
OPEN_IDS, CLOSE_IDS = (529, 4924, 29958), (1533, 4924, 29958)  # of "<vision>" and "</vision>" in LLaMA's tokenizer


class LwmTokens(NamedTuple):
    """One example as LWM's dataset yields it; a code of vision counts from 0 in a table of its own.

    `tokens` int32 [n], `vision` bool [n] (true for codes and their markers), `loss` float32 [n] of each token as a
    target.
    """

    tokens: np.ndarray
    vision: np.ndarray
    loss: np.ndarray

    def plain(self) -> dict[str, list]:
        """As JSON data, under the names of LWM's buffers."""
        return {
            "tokens": self.tokens.tolist(),
            "vision_mask": self.vision.tolist(),
            "loss_mask": self.loss.tolist(),
        }

    def rows(self, length: int) -> dict[str, np.ndarray]:
        """The batch that LWM's `JsonVisionDataset` makes of one long buffer without padding: arrays [rows, length].

        Targets are one token ahead; what does not fill a row is left. Rows of several examples are those of their
        tokens put together (`joined`).
        """
        whole = (len(self.tokens) - 1) // length * length
        if length < 1 or not whole:
            raise ValueError(f"{len(self.tokens)} tokens do not fill a row of {length} and the target after it.")
        cut = lambda array, first: array[first : first + whole].reshape(-1, length)  # noqa: E731
        return {
            "input_tokens": cut(self.tokens, 0),
            "target_tokens": cut(self.tokens, 1),
            "loss_masks": cut(self.loss, 1),
            "input_vision_masks": cut(self.vision, 0),
            "target_vision_masks": cut(self.vision, 1),
        }


def lwm_vocabulary() -> Vocabulary:
    """The id space of LWM's weights laid side by side: text at 0, the code c at 32000 + c."""
    text = Modality("text", TEXT_IDS, {"bos": BOS, "eos": EOS})
    return Vocabulary((text, Modality(VISION, VISION_IDS, {EOF: 8192, EOV: 8193})))


def joined(examples: list[LwmTokens]) -> LwmTokens:
    """Several examples in one buffer."""
    return LwmTokens(*(np.concatenate(parts) for parts in zip(*examples, strict=True)))


def to_lwm(ids: np.ndarray, loss: np.ndarray, vocabulary: Vocabulary) -> LwmTokens:
    """A sample's ids of the one space as LWM's; raises `ValueError` for a modality that LWM does not have."""
    ids = np.asarray(ids)
    index = vocabulary.modality_index(ids)
    for other in sorted({vocabulary.names[i] for i in np.unique(index)} - {"text", VISION}):
        raise ValueError(f"LWM has text and vision alone, and these ids hold {other}: leave it out.")
    seen = np.asarray([name == VISION for name in vocabulary.names])[index]
    starts = np.asarray([vocabulary.range(name).start for name in vocabulary.names])
    return LwmTokens((ids - starts[index]).astype(np.int32), seen, np.asarray(loss, np.float32))


def of_lwm(tokens: np.ndarray, vision: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """The ids of the one space, int32 [n], from LWM's and their mask; raises `ValueError` for an id out of range."""
    tokens, seen = np.asarray(tokens), np.asarray(vision, bool)
    if tokens.shape != seen.shape or tokens.ndim != 1:
        raise ValueError(f"Tokens of shape {tokens.shape} with a mask of shape {seen.shape}: give two lists, as long.")
    ids = np.empty(len(tokens), np.int32)
    ids[seen] = vocabulary.to_global(VISION, tokens[seen])
    ids[~seen] = vocabulary.to_global("text", tokens[~seen])
    return ids


class _Sizes(NamedTuple):
    codebook_size: int
    codes_per_frame: int


@dataclass(frozen=True)
class LwmProcessor:
    """A record to spans, as `VisionTextProcessor` does it.

    - `tokenizer`: LLaMA's for parity; it must add no marker of its own, as no `TextTokenizer` does;
    - `fields`: such as `[question],vision,answer`: fields in order, in brackets without loss, `a+b` joined by
      `separator`, `<|bos|>` and `<|eos|>` markers; a name with "vision" in it holds flat codes, 256 a frame.
      Several of them: one is drawn by the record's number, by Python's `random.Random(number).choice`;
    - `fields_from`: the field of the record that holds `fields`, instead;
    - `prepend`: before the first text field; - `most_frames`: more are sampled evenly; 0 for all;
    - `codes_per_frame`, `codebook_size`: LWM's 256 and 8192.
    """

    tokenizer: TextTokenizer
    fields: tuple[str, ...] = ()
    fields_from: str = ""
    separator: str = " "
    prepend: str = ""
    most_frames: int = 0
    codes_per_frame: int = 256
    codebook_size: int = 8192

    def __post_init__(self):
        if bool(self.fields) == bool(self.fields_from):
            raise ValueError("Give either fields or fields_from: what of a record is used must be said in one place.")
        for name, least in (("most_frames", 0), ("codes_per_frame", 1), ("codebook_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: give at least {least}.")

    def spans(self, record: Mapping[str, Any], number: int) -> tuple[Span, ...]:
        """The spans of one record; `number` counts records from 0. Raises `BadRecord`, which says no place."""
        if not isinstance(record, Mapping):
            raise BadRecord("", f"not an object but {described(record)}", 'write {"vision": [...], "text": "..."}')
        found: list[Span] = []
        for at, field in enumerate(self._chosen(record, number)):
            bracketed = field.startswith("[") and field.endswith("]")
            name, loss = (field[1:-1], 0.0) if bracketed else (field, 1.0)
            if name in ("<|bos|>", "<|eos|>"):
                marker = self.tokenizer.markers[name[2:-2]]
                found.append(Span("text", np.asarray([marker], np.int32), loss))
            elif VISION in name:
                codes = self._vision(record, name)
                found += [self._text(OPEN, loss), Span(VISION, codes, loss), self._text(CLOSE, loss)]
            else:
                words = self.separator.join(text_of(_value(record, part), part) for part in name.split("+"))
                found.append(self._text(self.prepend + words if at == 0 else words, loss))
        return tuple(found)

    def tokens(self, record: Mapping[str, Any], number: int = 0, *, bos: bool = True, eos: bool = True) -> LwmTokens:
        """The example as LWM's dataset yields it: bos without loss, the fields, eos with loss."""
        markers = self.tokenizer.markers
        spans = list(self.spans(record, number))
        spans[:0] = [Span("text", np.asarray([markers["bos"]], np.int32), 0.0)] if bos else []
        spans += [Span("text", np.asarray([markers["eos"]], np.int32))] if eos else []
        sizes = [len(span.content) for span in spans]
        return LwmTokens(
            np.concatenate([np.asarray(span.content, np.int32) for span in spans]),
            np.repeat([span.modality == VISION for span in spans], sizes),
            np.repeat(np.asarray([span.loss for span in spans], np.float32), sizes),
        )

    def _chosen(self, record: Mapping[str, Any], number: int) -> list[str]:
        given = _value(record, self.fields_from) if self.fields_from else list(self.fields)
        if isinstance(given, list | tuple) and given:
            given = random.Random(number).choice(list(given))
        if not isinstance(given, str) or not given:
            raise BadRecord(self.fields_from, "names no fields", 'write them, as "[question],vision,answer"')
        return given.split(",")

    def _vision(self, record: Mapping[str, Any], name: str) -> np.ndarray:
        value, width = _value(record, name), self.codes_per_frame
        if not isinstance(value, list | np.ndarray):
            raise BadRecord(name, f"is {described(value)}", f"write one flat list of codes, {width} a frame")
        codes = ids_of(value, name)
        if not len(codes) or len(codes) % width:
            raise BadRecord(name, f"holds {len(codes)} codes", f"write whole frames of {width}, without markers")
        if codes.max() >= self.codebook_size:
            raise BadRecord(name, f"is out of range ({codes.max()})", f"write codes below {self.codebook_size}")
        frames = codes.reshape(-1, width)
        if 0 < self.most_frames < len(frames):
            frames = frames[np.linspace(0, len(frames) - 1, self.most_frames).astype(int)]
        return frames_to_ids(frames, _Sizes(self.codebook_size, width))

    def _text(self, words: str, loss: float) -> Span:
        return Span("text", np.asarray(self.tokenizer.encode(words), np.int32), loss)


def _value(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        have = ", ".join(list(record)[:12]) or "nothing"
        raise BadRecord(name, "is missing", f"this record has {have}")
    return record[name]
