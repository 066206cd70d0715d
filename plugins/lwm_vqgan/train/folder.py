"""The folder of a tokenizer's run: what lies in it, each file whole or not there, and how a run comes back.

Owns names and bytes. What is written when is `trainer`'s.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
from safetensors.numpy import save_file

from lwm_vqgan.formats.readers import tensors_of
from lwm_vqgan.train.score import Score
from lwm_vqgan.train.step import TokenizerState
from lwm_vqgan.weights import fill, named_leaves


@dataclass(frozen=True)
class RunFolder:
    """A run in `out`. `metrics.jsonl` never holds a step that the saved state has not, once a run goes on."""

    out: Path

    @property
    def weights(self) -> Path:
        return self.out / "tokenizer.safetensors"

    @property
    def state(self) -> Path:
        return self.out / "state.safetensors"

    @property
    def metrics(self) -> Path:
        return self.out / "metrics.jsonl"

    def sample(self, step: int) -> Path:
        return self.out / "samples" / f"step-{step:08d}.png"

    def must_be_new(self) -> None:
        """Raises `FileExistsError` where a run has begun."""
        for path in (self.state, self.weights, self.metrics):
            if path.exists():
                raise FileExistsError(
                    f"{self.out} already holds a run ({path.name}): resume it, or give another folder."
                )
        self.out.mkdir(parents=True, exist_ok=True)

    def keep(self, state: TokenizerState, step: int, losses: Mapping[str, float]) -> None:
        """Adds a line of losses, then saves the state, which makes the line count."""
        self._add({"event": "steps", "step": step, **losses})
        partial = self.state.with_name(f"{self.state.name}.partial")
        arrays = named_leaves(eqx.filter(state, eqx.is_array))
        save_file({name: np.ascontiguousarray(leaf).reshape(leaf.shape) for name, leaf in arrays}, partial)
        partial.replace(self.state)

    def scored(self, step: int, found: Score) -> None:
        self._add({"event": "score", "step": step, **dataclasses.asdict(found)})

    def finish(self, scores: Mapping[str, Score]) -> None:
        """Writes `score.json`."""
        text = json.dumps({name: dataclasses.asdict(found) for name, found in scores.items()}, indent=1)
        partial = self.out / "score.json.partial"
        partial.write_text(text + "\n", "utf-8")
        partial.replace(self.out / "score.json")

    def restored(self, like: TokenizerState) -> TokenizerState:
        """The saved state, or `like` where none is; raises `ValueError` for one of another tokenizer."""
        if not self.state.exists():
            return like
        arrays, rest = eqx.partition(like, eqx.is_array)
        return eqx.combine(fill(arrays, tensors_of(self.state), self.state), rest)

    def cut_back(self, step: int) -> None:
        """Takes out of `metrics.jsonl` what came after the saved state, and a line that a kill cut off."""
        if not self.metrics.exists():
            return
        kept = [line for line in self.metrics.read_text("utf-8").splitlines() if _step(line) <= step]
        partial = self.metrics.with_name("metrics.jsonl.partial")
        partial.write_text("".join(f"{line}\n" for line in kept), "utf-8")
        partial.replace(self.metrics)

    def _add(self, record: dict[str, Any]) -> None:
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        with open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(plain) + "\n")


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf
