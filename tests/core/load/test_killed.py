"""A stream whose process is killed at random moments gives the same batches as one that never was.

As a program (`python test_killed.py FILE STEPS WORKERS`) it is the process that is killed: told "go", it forks a child
that streams on from the state in FILE and renames a new one into place after every step.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


CYCLE = 0.004  # seconds that a step lasts at most in the slow-motion of the child, so that kills fall everywhere


@dataclass(frozen=True)
class Made:
    """Documents by number: `longest` says how skewed their lengths are."""

    mark: int
    count: int
    longest: int

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        from lwm_core.data import Document, Span

        random_ = np.random.default_rng([self.mark, index])
        size = int(random_.integers(0, self.longest)) if index else self.longest
        return Document((Span("text", random_.integers(0, 256, size, np.int32)),), f"{self.mark}:{index}")


def make_stream(workers):
    """Three sources by tokens, two of them sharing rows, best-fit buffers, several epochs, empty documents."""
    from lwm_core.data import ApartPacker, BestFitPacker, Renderer
    from lwm_core.load import Stream
    from lwm_core.text import ByteTokenizer
    from lwm_core.vocab import Modality, Vocabulary

    render = Renderer(Vocabulary((Modality("text", 258, ByteTokenizer().markers),)), ByteTokenizer(), empty="skip")
    sources = {"chat": Made(1, 40, 30), "qa": Made(2, 7, 900), "book": Made(3, 3, 5000)}
    packer = ApartPacker(256, BestFitPacker(256, 4), {"talk": ("chat", "qa")})
    shares = {"chat": 0.5, "qa": 0.2, "book": 0.3}
    return Stream(sources, shares, render, packer, 4, seed=3, workers=workers)


def go_on(path, steps, workers, slowly=True):
    """Streams from the state in the file, or the beginning, up to `steps` steps."""
    kept = json.loads(path.read_text()) if path.exists() else {"digests": [], "state": None}
    with make_stream(workers) as stream:
        state = kept["state"] or stream.init()
        while len(kept["digests"]) < steps:
            state, rows = stream.next(state)
            digest = hashlib.sha256()
            for row in rows:
                digest.update(b"".join(x.tobytes() for x in (row.tokens, row.segment, row.position, row.loss)))
            kept = {"digests": [*kept["digests"], digest.hexdigest()[:16]], "state": state}
            new = path.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(kept))
            os.replace(new, path)
            print(len(kept["digests"]), flush=True)
            if slowly:
                time.sleep(random.random() * CYCLE)
    return kept


def killed(tmp_path, steps, kills, workers, seed):
    """What is in the file after `kills` kills at random moments and a last run to the end."""
    moments = random.Random(seed)
    path = tmp_path / "stream.json"
    command = [sys.executable, __file__, str(path), str(steps), str(workers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as zygote:
        assert zygote.stdin and zygote.stdout
        for kill in range(kills):
            zygote.stdin.write("go\n")
            zygote.stdin.flush()
            child = int(zygote.stdout.readline())
            done = len(json.loads(path.read_text())["digests"]) if path.exists() else 0
            wanted = moments.randrange(max(1, 2 * (steps - done) // (kills - kill + 1)))
            for _ in range(wanted):
                assert int(zygote.stdout.readline()) < steps, "The stream ended before its last kill: give more steps."
            time.sleep(moments.random() * 2 * CYCLE)
            os.kill(child, signal.SIGKILL)
            while (line := zygote.stdout.readline()) != "gone\n":
                assert line, "The process that forks the children has ended."
        zygote.stdin.write("go\n")
        zygote.stdin.close()
        assert zygote.stdout.read().endswith("gone\n") and zygote.wait() == 0
    return json.loads(path.read_text())


def check(tmp_path, steps, kills, workers, seed):
    expected = go_on(tmp_path / "never.json", steps, 0, slowly=False)
    found = killed(tmp_path, steps, kills, workers, seed)
    assert found["digests"] == expected["digests"] and len(set(found["digests"])) == steps
    assert found["state"] == expected["state"]
    drawn = found["state"]["lanes"]["talk"]["sources"]["qa"]["drawn"]
    assert drawn > 2 * 7, "fewer than two epochs"


def test_three_kills_change_nothing(tmp_path):
    check(tmp_path, steps=60, kills=3, workers=0, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_fifty_kills_change_nothing(tmp_path, workers):
    check(tmp_path, steps=400, kills=50, workers=workers, seed=1)


def serve(path, steps, workers):
    """Forks a streaming child for every line of the input; says its process id, its steps, and that it is gone."""
    make_stream(workers)  # imports what the children need, once
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            print(os.getpid(), flush=True)
            go_on(path, steps, workers)
            os._exit(0)
        os.waitpid(child, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
