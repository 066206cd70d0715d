"""Examples to a file of records, a line each, in order; stopped anywhere, it goes on with nothing lost or doubled.

Owns the file, the notes of pairs beside it, and the progress. Line i is example i, so the file itself says where it
stands. What an example is, is `source`'s.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from lwm_synthesis.base import Chunk, Pair
from lwm_synthesis.source import TRIES, Draft, Example, Synthesis


AT_ONCE = 8  # examples in hand; more, where a costly writer wants more chunks at once
EVERY = 10.0  # seconds between two lines of progress


@dataclass
class Written:
    """What is in the file: examples, their tokens and those that are learnt, tasks, and what was left out and why."""

    examples: int = 0
    resumed: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    tasks: Counter = field(default_factory=Counter)
    left_out: Counter = field(default_factory=Counter)

    def add(self, meta: Mapping[str, Any]) -> None:
        self.examples += 1
        self.tokens += meta["tokens"]
        self.answer_tokens += meta["answer_tokens"]
        self.tasks[meta["task"]] += 1
        self.left_out.update(reason.partition(":")[0] for reason in meta.get("left_out", ()))

    def plain(self) -> dict[str, Any]:
        return {**vars(self), "tasks": dict(self.tasks), "left_out": dict(self.left_out)}


def write_records(source: Synthesis, out: Path, made_by: str) -> Written:
    """Writes every example of `source` into `out`, going on where the file stops.

    - `made_by`: a stamp of the options, so that a file is only continued by those that began it.

    Raises `ValueError` for a file that was made by other options, or by another program.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    written = _begun(out, made_by, len(source))
    notes = _Notes(out.with_name(f"{out.name}.pairs"), made_by) if source.writer.costly else None
    progress = _Progress(len(source), written.examples)
    with open(out, "a", encoding="utf-8") as file:
        for first in range(written.examples, len(source), _at_once(source)):
            indices = range(first, min(first + _at_once(source), len(source)))
            for index, (example, refused) in zip(indices, _made(source, indices, notes), strict=True):
                meta = {**source.facts(example, index, refused), "made_by": made_by}
                _append(file, {"messages": _plain(example), "meta": meta})
                written.add(meta)
            progress.show(written.examples)
    if notes is not None:
        notes.path.unlink(missing_ok=True)
    return written


def _at_once(source: Synthesis) -> int:
    return max(AT_ONCE, source.writer.batch) if source.writer.costly else AT_ONCE


def _made(source: Synthesis, indices: range, notes: "_Notes | None") -> Iterator[tuple[Example, list[str]]]:
    """Each example, and why the tries before it were left out. All chunks that need a pair are asked about together."""
    made: dict[int, Example] = {}
    refused: dict[int, list[str]] = {index: [] for index in indices}
    for attempt in range(TRIES):
        drafts = [source.draft(index, attempt) for index in indices if index not in made]
        for draft, pairs in zip(drafts, _pairs(source, drafts, notes), strict=True):
            result = source.finish(draft, pairs)
            index = draft.place[0]
            if isinstance(result, Example):
                made[index] = result
            else:
                refused[index].append(result)
        if len(made) == len(indices):
            break
    for index in indices:
        if index not in made:
            raise source.exhausted(index, refused[index])
        yield made[index], refused[index]


def _pairs(source: Synthesis, drafts: list[Draft], notes: "_Notes | None") -> Iterator[list[Pair | None]]:
    """What is written for the chunks that each draft wants; a chunk that is wanted twice is asked about once."""
    wanted = list(dict.fromkeys(chunk for draft in drafts for chunk in draft.wanted))
    known = {} if notes is None else {chunk: notes.of(chunk) for chunk in wanted if notes.has(chunk)}
    asked = [chunk for chunk in wanted if chunk not in known]
    size = source.writer.batch
    for start in range(0, len(asked), size):
        now = asked[start : start + size]
        told = source.writer.write(now)
        for chunk, pair in zip(now, told, strict=True):
            known[chunk] = pair
            if notes is not None:
                notes.add(chunk, pair)
    for draft in drafts:
        yield [known[chunk] for chunk in draft.wanted]


def _plain(example: Example) -> list[dict[str, str]]:
    return [{"role": m.role, "content": "".join(str(part.content) for part in m.parts)} for m in example.messages]


def _begun(out: Path, made_by: str, most: int) -> Written:
    """What the file holds; a last line that was cut off is taken away."""
    written = Written()
    if not out.exists():
        return written
    end = 0
    with open(out, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            written.add(_meta(line, f"{out}:{number}", made_by, number - 1))
            end += len(line)
    if written.examples > most:
        raise ValueError(f"{out} holds {written.examples} examples and {most} are asked for: give another file.")
    with open(out, "r+b") as file:
        file.truncate(end)
    written.resumed = written.examples
    return written


def _meta(line: bytes, place: str, made_by: str, index: int) -> Mapping[str, Any]:
    try:
        meta = json.loads(line)["meta"]
        its, number = meta["made_by"], meta["index"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{place}: this line was not written by `lwm synthesise`: give another file.") from error
    if (its, number) != (made_by, index):
        raise ValueError(f"{place}: made with other options ({its}, now {made_by}): give another file.")
    return meta


def _append(file: IO[str], record: Mapping[str, Any]) -> None:
    file.write(json.dumps(record, ensure_ascii=False) + "\n")
    file.flush()


class _Notes:
    """Pairs that a costly writer has written, kept line by line while the file is not finished."""

    def __init__(self, path: Path, made_by: str):
        self.path, self._made_by, self._pairs = path, made_by, {}
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        for line in whole.splitlines():
            note = json.loads(line)
            if note["made_by"] == made_by:
                self._pairs[note["chunk"]] = None if note["pair"] is None else Pair(*note["pair"])
        path.write_bytes(whole + b"\n" if whole else b"")

    def has(self, chunk: Chunk) -> bool:
        return _key(chunk) in self._pairs

    def of(self, chunk: Chunk) -> Pair | None:
        return self._pairs[_key(chunk)]

    def add(self, chunk: Chunk, pair: Pair | None) -> None:
        self._pairs[_key(chunk)] = pair
        with open(self.path, "a", encoding="utf-8") as file:
            _append(file, {"chunk": _key(chunk), "pair": pair, "made_by": self._made_by})


def _key(chunk: Chunk) -> str:
    return blake2b(chunk.text.encode(), digest_size=16).hexdigest()


class _Progress:
    """A line on standard error now and then: how many, how fast, time left."""

    def __init__(self, total: int, done: int):
        self._total, self._done = total, done
        self._start = self._last = time.monotonic()

    def show(self, now: int) -> None:
        moment = time.monotonic()
        if moment - self._last < EVERY and now < self._total:
            return
        self._last = moment
        rate = (now - self._done) / max(moment - self._start, 1e-9)
        left = (self._total - now) / max(rate, 1e-9)
        print(f"{now}/{self._total} examples, {rate:.1f} a second, {left:.0f} s left", file=sys.stderr, flush=True)
