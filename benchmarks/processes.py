"""One training run by 1, 2 and 4 processes on several meshes, and its checkpoints continued on others: losses compared.

Owns the runs and the table. Every process is a real one, over loopback, with as many CPU devices as its share of the
mesh. Prints a table and writes JSON: `python benchmarks/processes.py --out benchmarks/results/processes.json`.
"""

import argparse
import datetime
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


STEPS, HALF = 20, 10
MESHES = [(1, 1, 1, 1), (1, 2, 1, 2), (1, 1, 2, 2), (2, 1, 1, 2)]
# (mesh, processes) of a run of HALF steps → (mesh, processes) that goes on with it
MOVES = [
    (((1, 2, 1, 2), 4), ((1, 1, 2, 2), 2)),
    (((1, 1, 2, 2), 2), ((1, 1, 1, 1), 1)),
    (((1, 1, 1, 1), 1), ((2, 1, 1, 2), 4)),
]
TOLERANCE = 1e-5
FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # most of a run is compiling
BOOK = Path(__file__).parents[1] / "assets" / "book"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", type=Path, help="Where the JSON goes; what is in it is not measured again.")
    asked.add_argument("--worker", nargs=3, metavar=("INDEX", "COUNT", "ADDRESS"), help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.worker:
        index, count, address = given.worker
        read(int(index), int(count), address)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), given.out)
    print(table(found))
    if not found["equal"]:
        sys.exit(1)


def measured(folder: Path, kept: Path | None) -> dict:
    """Every run's losses against those of one process on one device. What `kept` has already is not measured again."""
    found = json.loads(kept.read_text("utf-8")) if kept and kept.exists() else {"runs": [], "moves": [], "reading": []}

    def keep(kind: str, record: dict) -> None:
        found[kind].append(record)
        print(record, file=sys.stderr, flush=True)
        concluded(found)
        if kept:
            kept.write_text(json.dumps(found, indent=1) + "\n", "utf-8")

    if "losses" not in found:
        found["losses"] = trained(folder / "lone", (1, 1, 1, 1), 1)
    for mesh in MESHES[1:]:
        for count in (1, 2, 4):
            record = {"mesh": list(mesh), "processes": count}
            if not any(record.items() <= run.items() for run in found["runs"]):
                losses = trained(folder / f"{'x'.join(map(str, mesh))}-{count}", mesh, count)
                keep("runs", {**record, "largest_difference": apart(losses, found["losses"])})
    for (mesh, count), (then, its) in MOVES:
        record = {"from": list(mesh), "processes": count, "to": list(then), "by": its}
        if not any(record.items() <= move.items() for move in found["moves"]):
            name = f"move-{'x'.join(map(str, mesh))}-{count}"
            first = trained(folder / name, mesh, count, until="first")
            rest = trained(folder / name, then, its, resume=True)
            keep("moves", {**record, "largest_difference": apart(first + rest, found["losses"])})
    for count in (1, 2, 4):
        if not any(reading["processes"] == count for reading in found["reading"]):
            keep("reading", shares(count))
    return found


def concluded(found: dict) -> None:
    """Adds what the records come to, and where they were made."""
    import jax

    differences = [each["largest_difference"] for each in found["runs"] + found["moves"]]
    same = len({each["rows"] for each in found["reading"]}) <= 1
    found |= {
        "what": f"losses of {STEPS} steps against one process on one device",
        "tolerance": TOLERANCE,
        "largest_difference": max(differences, default=0.0),
        "whole": len(differences) == 3 * (len(MESHES) - 1) + len(MOVES) and len(found["reading"]) == 3,
        "equal": bool(max(differences, default=0.0) <= TOLERANCE and same),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "jax": jax.__version__,
        "xla_flags": FLAGS,
        "date": datetime.date.today().isoformat(),
    }


def apart(losses: list[float], others: list[float]) -> float:
    assert len(losses) == len(others) == STEPS, (len(losses), len(others))
    return max(abs(a - b) for a, b in zip(losses, others, strict=True))


def trained(out: Path, mesh: tuple[int, ...], count: int, *, until: str = "", resume: bool = False) -> list[float]:
    """The losses that this start of the run has logged, by `lwm train` or `lwm resume` in `count` processes."""
    log = out / "metrics.jsonl"
    done = len(losses_of(log))
    lwm = [str(Path(sys.executable).with_name("lwm"))]
    if resume:
        command = [*lwm, "resume", str(out), *(f"curriculum.stages.{i}.mesh={list(mesh)}" for i in range(2))]
    else:
        command = [
            *lwm,
            "train",
            "tiny-text",
            "--out",
            str(out),
            *options(mesh),
            *(["--until", until] if until else []),
        ]
    devices = mesh[0] * mesh[1] * mesh[2] * mesh[3] // count
    together([[*command, "--cpu-devices", str(devices), *place] for place in places(count)])
    return losses_of(log)[done:]


def options(mesh: tuple[int, ...]) -> list[str]:
    stage = 'name="{}", sequence_length=32, rope_theta=1e4, rows=4, steps={}, learning_rate=3e-3, mixture={{book=1.0}}'
    stages = ", ".join(f"{{{stage.format(name, HALF)}, mesh={list(mesh)}}}" for name in ("first", "second"))
    small = ["model.width=32", "model.ffn=48", "packer.buffer=4"]
    ring = ["attention.use=ring", "attention.layout.use=zigzag"]
    return [f"curriculum.stages=[{stages}]", "checkpoint.use=orbax", *ring, *small]


def losses_of(log: Path) -> list[float]:
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []
    return [line["loss"] for line in lines if line["event"] == "StepFinished"]


def places(count: int) -> list[list[str]]:
    if count == 1:
        return [[]]
    address = f"127.0.0.1:{free_port()}"
    return [["--coordinator", address, "--processes", str(count), "--process", str(i)] for i in range(count)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def together(commands: list[list[str]]) -> list[str]:
    """What these processes print, started together; raises when one fails."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = FLAGS
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "lwm-processes-cache"))
    pipe = subprocess.PIPE
    started = [subprocess.Popen(c, stdout=pipe, stderr=pipe, text=True, env=environment) for c in commands]
    said = [process.communicate(timeout=900) for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("\n".join(err[-2000:] for _, err in said))
    return [out for out, _ in said]


def shares(count: int) -> dict:
    """What each of `count` processes reads for the same rows of the book, paragraph by paragraph."""
    address = f"127.0.0.1:{free_port()}"
    this = [sys.executable, __file__, "--worker"]
    each = [json.loads(out) for out in together([[*this, str(i), str(count), address] for i in range(count)])]
    rows = {one.pop("rows") for one in each}
    assert len(rows) == 1, "the processes packed different rows"
    return {"processes": count, "rows": rows.pop(), "each": each}


def read(index: int, count: int, address: str) -> None:
    """One process's part of `shares`: prints what it read itself, and a hash of all rows."""
    import hashlib

    from lwm_core.data import BestFitPacker, Renderer
    from lwm_core.data.text_files import TextFiles
    from lwm_core.load import Stream
    from lwm_core.processes.base import listening
    from lwm_core.processes.parcels import Parcels
    from lwm_core.processes.roll import call
    from lwm_core.processes.star import Star
    from lwm_core.text import ByteTokenizer
    from lwm_core.vocab import Modality, Vocabulary

    server = listening(0)
    roll = call(address, count, index, server.getsockname()[1], 120.0)
    star, parcels = Star(roll), Parcels(index, roll.addresses, roll.token, server)
    tokens = ByteTokenizer()
    vocabulary = Vocabulary((Modality("text", tokens.size, tokens.markers),))
    files = tuple(sorted(BOOK.glob("*.txt")))
    source = Counting(TextFiles(files, split="paragraphs"))
    session = []

    def share():
        session.append(parcels.open())
        return session[-1]

    render = Renderer(vocabulary, tokens, "text.bos", "text.eos")
    mixture, packer = {"book": 1.0}, BestFitPacker(1024)
    seen, start = hashlib.sha256(), time.monotonic()
    with Stream({"book": source}, mixture, render, packer, 8, share=share if count > 1 else None) as stream:
        state = stream.init()
        for _ in range(400):
            state, rows = stream.next(state)
            for row in rows:
                seen.update(row.tokens.tobytes() + row.segment.tobytes())
        star.gather("done", b"")
    star.leave()
    sent, fetched = (session[0].sent, session[0].fetched) if session else (0, 0)
    facts = {"documents": source.documents, "bytes_of_text": source.letters, "bytes_sent": sent, "bytes_got": fetched}
    print(json.dumps({**facts, "seconds": round(time.monotonic() - start, 2), "rows": seen.hexdigest()}))


class Counting:
    """A source that counts what is read of it."""

    def __init__(self, inner):
        self.inner, self.documents, self.letters = inner, 0, 0

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        document = self.inner[index]
        self.documents += 1
        self.letters += sum(len(span.content.encode()) for span in document.spans)
        return document


def table(found: dict) -> str:
    lines = ["| mesh dp × fsdp × tp × sp | processes | largest difference of a loss |", "|---|---|---|"]
    for run in found["runs"]:
        lines.append(f"| {' × '.join(map(str, run['mesh']))} | {run['processes']} | {run['largest_difference']:.1e} |")
    for move in found["moves"]:
        there = f"{' × '.join(map(str, move['from']))} → {' × '.join(map(str, move['to']))}"
        lines.append(f"| {there} | {move['processes']} → {move['by']} | {move['largest_difference']:.1e} |")
    lines += ["", "| processes | documents that each read | bytes that each sent on |", "|---|---|---|"]
    for reading in found["reading"]:
        documents = ", ".join(f"{one['documents']:,}" for one in reading["each"])
        sent = ", ".join(f"{one['bytes_sent']:,}" for one in reading["each"])
        lines.append(f"| {reading['processes']} | {documents} | {sent} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
