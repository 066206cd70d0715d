"""The same encoding on many machines, over Ray Data: workers fill the cache, and the run then writes from it.

Owns how files are dealt out to workers and what comes back: faults and counts, never codes, which lie in the cache, a
folder that all machines see. Connecting is `cluster`'s; order and shards are the run's, the same as on one machine.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lwm_ingest.find import Item
from lwm_ingest.problems import Fault
from lwm_ingest.store import CHUNK


BLOCKS = 1000  # at most so many parts in which the work travels
POLL = 0.3  # seconds between two looks at how far workers are
SHOWN = 3


@dataclass(frozen=True)
class Done:
    """What became of some files: the faults of those that give no frames, and how many frames were encoded."""

    faults: tuple[Fault, ...]
    encoded: int


Said = tuple[str, int, int]  # a file, and frames of it that were kept, and encoded
Tell = Callable[[str, int, int], None]
Work = Callable[[Sequence[Item], Tell], Done]


def spread(
    ray: Any, items: Sequence[Item], work: Work, workers: int | None, told: Callable[[Said], None]
) -> Iterator[Done]:
    """What `work` does of all items, by workers of the cluster that `ray` is connected to, as they come.

    - `workers`: how many; by default one for each GPU of the cluster, or for each core where it has none.

    Raises `RuntimeError` that names the files at which a worker failed.
    """
    tasks = dealt(items)
    if not tasks:
        return
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    count = max(1, min(workers or gpus or int(resources.get("CPU", 1)), len(tasks)))
    board = ray.remote(num_cpus=0)(_Board).remote()
    shipped = ray.put((tasks, work))  # not an argument itself: an actor that starts anew fetches it again
    ray.data.DataContext.get_current().enable_progress_bars = False  # the run has its own
    rows = ray.data.from_items([{"task": at} for at in range(len(tasks))], override_num_blocks=min(len(tasks), BLOCKS))
    done = rows.map_batches(
        _Worker,
        fn_constructor_args=([shipped], [board]),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=1,
        num_gpus=1 if gpus else None,
    )
    left = dict(enumerate(tasks))
    try:
        with _listening(ray, board, told):
            for row in done.iter_rows():
                names = _names(left.pop(int(row["task"])))
                said = json.loads(row["said"])
                if said["crash"]:
                    raise RuntimeError(f"{names}: the worker failed at it: {said['crash']}")
                yield Done(tuple(Fault(*fault) for fault in said["faults"]), said["encoded"])
    except ray.exceptions.RayError as error:
        waiting = "; ".join(_names(task) for task in list(left.values())[:SHOWN])
        said = str(error).strip().splitlines()[-1][:200]
        raise RuntimeError(
            f"Ray gave up ({said}) with {len(left)} parts of the work left, of which the first are {waiting}: what is "
            "encoded is kept, and the same command goes on."
        ) from error


def dealt(items: Sequence[Item]) -> list[tuple[Item, ...]]:
    """The parts in which work is dealt out: a video by itself, pictures as many as are encoded together."""
    pictures = [item for item in items if item.kind == "image"]
    together = [tuple(pictures[start : start + CHUNK]) for start in range(0, len(pictures), CHUNK)]
    return [*((item,) for item in items if item.kind == "video"), *together]


def _names(task: Sequence[Item]) -> str:
    return task[0].name if len(task) == 1 else f"{task[0].name} and {len(task) - 1} more up to {task[-1].name}"


class _Worker:
    """Takes parts of the work, in a process of the cluster."""

    def __init__(self, shipped: list[Any], board: list[Any]):
        import ray

        self._tasks, self._work = ray.get(shipped[0])
        self._board = board[0]

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        at, crash = int(batch["task"][0]), ""
        try:
            done = self._work(self._tasks[at], lambda *said: self._board.say.remote(said))
        except Exception as error:  # it is told with the names of the files, where Ray would tell of its own parts
            done, crash = Done((), 0), f"{type(error).__name__}: {error}"
        faults = [[fault.file, fault.kind, fault.problem] for fault in done.faults]
        return {"task": [at], "said": [json.dumps({"encoded": done.encoded, "crash": crash, "faults": faults})]}


class _Board:
    """Where workers say how far they are."""

    def __init__(self):
        self._said: list[Said] = []

    def say(self, said: Said) -> None:
        self._said.append(said)

    def heard(self) -> list[Said]:
        said, self._said = self._said, []
        return said


@contextmanager
def _listening(ray: Any, board: Any, told: Callable[[Said], None]) -> Iterator[None]:
    """Passes on what workers say on the board, while they work and once more at the end."""
    ended = threading.Event()

    def listen() -> None:
        last = False
        while not last:
            last = ended.wait(POLL)
            for said in ray.get(board.heard.remote()):
                told(said)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
