"""The passport of a vision tokenizer, which data carries so that no model reads codes that mean something else.

Owns the record, its hash and the check. How a tokenizer measures its own is the tokenizer's. It does not import JAX.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


_MEANING = ("tokenizer", "frame", "grid", "codebook_size", "pixel_range", "codebook_sha256", "encoder_sha256")


class PassportMismatch(ValueError):
    """Data of one tokenizer, and a model built for another."""


@dataclass(frozen=True)
class Passport:
    """What codes mean, and what the tokenizer was seen to do.

    - `tokenizer`: the component's name; `frame`, `grid`: pixels and codes of a frame, rows by columns;
    - `pixel_range`: black and white inside the network; `codebook_sha256`, `encoder_sha256`: of the weights that
      make codes (those that only decode may change without changing what data means);
    - `range_from`: how the range is known; `pictures`: the set that `psnr` (dB) and `golden` are measured on;
    - `golden`: codes of its first picture, in raster order.
    """

    tokenizer: str
    frame: tuple[int, int]
    grid: tuple[int, int]
    codebook_size: int
    pixel_range: tuple[float, float]
    codebook_sha256: str
    encoder_sha256: str
    range_from: str = ""
    pictures: str = ""
    psnr: float | None = None
    golden: tuple[int, ...] = ()

    @property
    def hash(self) -> str:
        """16 hex digits of what codes mean; what was measured does not count, for it may differ by machine."""
        meaning = {name: getattr(self, name) for name in _MEANING}
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]

    def meaning(self) -> dict[str, Any]:
        """As JSON data, with the hash, what codes mean and nothing that was measured: what data carries."""
        return {name: value for name, value in self.plain().items() if name in ("hash", *_MEANING)}

    def plain(self) -> dict[str, Any]:
        """As JSON data, with the hash."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
        return {"hash": self.hash, **values}

    @staticmethod
    def of_plain(record: Mapping[str, Any]) -> "Passport":
        """The inverse of `plain`; raises `ValueError` naming what is missing, or if the hash is not its own."""
        names = {field.name for field in dataclasses.fields(Passport)}
        missing = sorted(set(_MEANING) - set(record))
        if missing:
            raise ValueError(f"No passport: {', '.join(missing)} missing. Write it with Passport.plain().")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k in names}
        made = Passport(**values)
        if record.get("hash", made.hash) != made.hash:
            raise ValueError(f"A passport that says hash {record['hash']} has {made.hash}: it was changed by hand.")
        return made


def check(data: Passport | Mapping[str, Any], model: Passport | Mapping[str, Any]) -> None:
    """Raises `PassportMismatch` unless codes that carry `data` mean the same to a model built for `model`."""
    here, there = (each if isinstance(each, Passport) else Passport.of_plain(each) for each in (data, model))
    if here.hash == there.hash:
        return
    differing = [name for name in _MEANING if getattr(here, name) != getattr(there, name)]
    told = "; ".join(
        f"{name} {_brief(here, name)} in the data, {_brief(there, name)} in the model" for name in differing
    )
    raise PassportMismatch(
        f"The data was tokenised with passport {here.hash}, the model is built for {there.hash} ({told}): the same "
        f"codes mean other pictures. Tokenise the data again with the tokenizer of {there.hash}, or use a model "
        f"built for {here.hash}."
    )


def _brief(passport: Passport, name: str) -> str:
    value = str(getattr(passport, name))
    return f"{value[:12]}…" if name.endswith("sha256") else value
