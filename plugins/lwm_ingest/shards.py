"""The shard format, version 1: Parquet files of records (docs/shards.md), a header in each, an index beside them.

Owns the table's columns, the header and the hash of a record; writing and reading one record either way. Parquet
was chosen over array_record because its readers are everywhere, and its footer carries the header.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32

from lwm_core.data.problems import BadRecord
from lwm_core.vision.captions import Cue


FORMAT, VERSION = "lwm-shards", 1
ENDING, INDEX, STARTED, HEADER = ".shard.parquet", "shards.json", "ingest.json", b"lwm-shards"


@dataclass(frozen=True, eq=False)
class Entry:
    """One record: the codes of a picture, or of a stretch of a video, and what is known of it.

    - `name`: the file; `content`: its SHA-256; `part`: which stretch of it; - `seconds`: when each frame is shown;
    - `cues`: captions, in seconds of the file; - `meta`: JSON data from a manifest.
    """

    kind: str
    name: str
    content: str
    part: int
    codes: Int32[np.ndarray, "N P"]
    seconds: Float64[np.ndarray, " M"]  # as many as frames, unless the file was tampered with
    cues: tuple[Cue, ...] = ()
    meta: str = "{}"

    @property
    def text(self) -> str:
        """The captions that touch this stretch, in order, each once."""
        first, last = float(self.seconds[0]), float(self.seconds[-1])
        touching = [cue.text for cue in self.cues if self.kind == "image" or (cue.start <= last and cue.stop > first)]
        return " ".join(dict.fromkeys(touching))

    @property
    def hash(self) -> str:
        """SHA-256 of all of it."""
        cues = [[cue.start, _time(cue.stop), cue.text] for cue in self.cues]
        facts = [self.kind, self.name, self.content, self.part, self.seconds.tolist(), cues, self.meta, self.text]
        digest = hashlib.sha256(json.dumps([facts, list(self.codes.shape)], sort_keys=True).encode())
        digest.update(np.ascontiguousarray(self.codes, "<i4").tobytes())
        return digest.hexdigest()


def _time(stop: float) -> float | None:
    return None if stop == float("inf") else stop


@cache
def arrow() -> Any:
    """pyarrow with its Parquet module; `ImportError` that says what to install."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Shards are Parquet files, which need pyarrow: pip install 'lwm-jax[data]'.") from error
    return pyarrow


def schema_of(header: Mapping[str, Any]) -> Any:
    """The columns, with the header in the file's metadata."""
    pa = arrow()
    codes = pa.list_(pa.list_(pa.int32()))
    cue = pa.struct([("start", pa.float64()), ("stop", pa.float64()), ("text", pa.string())])
    meta = pa.struct(
        [
            ("file", pa.string()),
            ("sha256", pa.string()),
            ("part", pa.int32()),
            ("frames", pa.int32()),
            ("seconds", pa.list_(pa.float64())),
            ("cues", pa.list_(cue)),
            ("more", pa.string()),
            ("hash", pa.string()),
        ]
    )
    columns = [("image", codes), ("video", codes), ("text", pa.string()), ("meta", meta)]
    return pa.schema(columns, metadata={HEADER: json.dumps(header, sort_keys=True)})


def table_of(entries: Sequence[Entry], schema: Any) -> Any:
    """Records as a table; codes go there as arrays, never as Python numbers."""
    pa = arrow()
    columns = [
        _codes(entries, "image"),
        _codes(entries, "video"),
        pa.array([entry.text or None for entry in entries], pa.string()),
        pa.array([_meta(entry) for entry in entries], schema.field("meta").type),
    ]
    return pa.table(columns, schema=schema)


def entry_of(row: Mapping[str, Any], codes: np.ndarray, kind: str) -> Entry:
    """The inverse, of a row without its codes; `BadRecord` for one that was never written so."""
    try:
        meta = row["meta"]
        cues = tuple(Cue(c["start"], float("inf") if c["stop"] is None else c["stop"], c["text"]) for c in meta["cues"])
        seconds = np.array(meta["seconds"], np.float64)
        return Entry(kind, meta["file"], meta["sha256"], meta["part"], codes, seconds, cues, meta["more"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecord("meta", f"is not as `lwm ingest` writes it ({error})", "ingest the file again") from error


def header_in(path: Path) -> dict[str, Any]:
    """The header of one shard; `BadRecord` where the file is damaged or none of ours."""
    pa = arrow()
    try:
        metadata = pa.parquet.read_schema(path).metadata or {}
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0][:120]
        raise BadRecord("", f"is damaged, cut off, or no Parquet file ({said})", _AGAIN, str(path)) from error
    if HEADER not in metadata:
        raise BadRecord("", "is Parquet, but no shard: it has no header", "read it with the source parquet", str(path))
    header = json.loads(metadata[HEADER])
    if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        what = f"{header.get('format')} {header.get('version')}"
        raise BadRecord(
            "", f"is of another version ({what})", f"this program reads {FORMAT} {VERSION}; ingest again", str(path)
        )
    return header


_AGAIN = "run `lwm ingest` again; what was encoded is not encoded twice"


def index_in(folder: Path) -> dict[str, Any]:
    """The index of a finished folder; `BadRecord` where there is none, or another version's."""
    path = folder / INDEX
    if not path.is_file():
        why = "was not finished" if (folder / STARTED).is_file() else f"holds no {INDEX}"
        raise BadRecord("", f"{why}, so it is no whole set of shards", f"run the same {_AGAIN[4:]}", str(folder))
    try:
        index = json.loads(path.read_text())
        known = (index["header"]["format"], index["header"]["version"]) == (FORMAT, VERSION)
        names = [shard["file"] for shard in index["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecord("", f"is not an index of shards ({error})", _AGAIN, str(path)) from error
    if not known or any(not name.endswith(ENDING) or "/" in name for name in names):
        raise BadRecord("", "is an index of another version", f"this program reads {FORMAT} {VERSION}", str(path))
    return index


def _codes(entries: Sequence[Entry], kind: str) -> Any:
    pa = arrow()
    mine = [entry.codes if entry.kind == kind else None for entry in entries]
    frames = np.cumsum([0, *(0 if codes is None else len(codes) for codes in mine)]).astype(np.int32)
    width = entries[0].codes.shape[1]
    present = [codes for codes in mine if codes is not None]
    values = np.concatenate(present).reshape(-1) if present else np.zeros(0, np.int32)
    inner = pa.ListArray.from_arrays(np.arange(frames[-1] + 1, dtype=np.int32) * width, pa.array(values, pa.int32()))
    missing = pa.array([codes is None for codes in mine], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(frames, pa.int32()), inner, mask=missing)


def _meta(entry: Entry) -> dict[str, Any]:
    return {
        "file": entry.name,
        "sha256": entry.content,
        "part": entry.part,
        "frames": len(entry.codes),
        "seconds": entry.seconds.tolist(),
        "cues": [{"start": cue.start, "stop": _time(cue.stop), "text": cue.text} for cue in entry.cues],
        "more": entry.meta,
        "hash": entry.hash,
    }
