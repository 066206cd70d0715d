"""Joining: this process finds its place among the others, by what started it or by what it is told, and meets them.

Owns the start. Slurm, Open MPI, Kubernetes and cloud TPUs are recognised by JAX's own detection, and JAX does the rest;
before it does, the roll call makes sure that all are there.
"""

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from lwm_core.processes.base import ProcessesError, listening
from lwm_core.processes.parcels import Parcels
from lwm_core.processes.roll import call
from lwm_core.processes.star import Star


TIMEOUT = 300.0


@dataclass(frozen=True)
class Manual:
    """A process's place, told by hand: where process 0 listens (HOST:PORT), of how many, and which this one is."""

    coordinator: str
    processes: int
    process: int


@dataclass(frozen=True)
class Joined:
    """The place of this process in a run of several."""

    index: int
    count: int
    found: str
    star: Star
    parcels: Parcels

    def agree(self, topic: str, facts: Mapping[str, Any]) -> None:
        """Raises `ProcessesError`, on all processes, when these facts are not the same on all; names what differs."""
        said = self.star.gather(topic, json.dumps(facts, sort_keys=True).encode())
        first = json.loads(said[0])
        for number, other in enumerate(said):
            if other != said[0]:
                differs = "; ".join(_differences(first, json.loads(other)))
                raise ProcessesError(
                    f"Process {number} is not as process 0: {differs}. All processes of a run need the same."
                )

    def wait(self, topic: str) -> None:
        """Waits until all have come here."""
        self.star.gather(topic, b"")


_JOINED: list[Joined] = []


def joined() -> Joined | None:
    """What `join` found; None where this process is alone."""
    return _JOINED[0] if _JOINED else None


def evident(environment: Mapping[str, str] | None = None) -> str | None:
    """What started this process as one of several, such as "Slurm (4 processes)"; None where nothing says so.

    By the environment alone, so that a laptop is never asked for what it is not. Kubernetes and TPU machines that do
    not say how many they are have to be asked for with `--distributed`.
    """
    have = os.environ if environment is None else environment
    tasks = int(have.get("SLURM_STEP_NUM_TASKS") or 1)
    if tasks > 1 and "SLURM_PROCID" in have:
        return f"Slurm ({tasks} processes)"
    ranks = int(have.get("OMPI_COMM_WORLD_SIZE") or 1)
    if ranks > 1:
        return f"Open MPI ({ranks} processes)"
    hosts = have.get("TPU_WORKER_HOSTNAMES", "").split(",")
    return f"cloud TPU ({len(hosts)} hosts)" if len(hosts) > 1 else None


def join(manual: Manual | None = None, timeout: float = TIMEOUT) -> Joined:
    """Meets the other processes and starts `jax.distributed`; before anything touches a device.

    - `manual`: this process's place; None takes it from what started it;
    - `timeout`: seconds to wait for the others.

    Raises `ProcessesError` saying who is missing, came twice, or was told otherwise.
    """
    if _JOINED:
        raise ProcessesError("This process has joined already: join once.")
    coordinator, count, index, devices, found = _told(manual) if manual else _detected(timeout)
    server = listening(0)
    roll = call(coordinator, count, index, server.getsockname()[1], timeout)
    if roll.count > 1:
        jax.distributed.initialize(
            coordinator, count, index, local_device_ids=devices, cluster_detection_method="deactivate",
            initialization_timeout=int(timeout) + 1,
        )  # fmt: skip
    star = Star(roll)
    parcels = Parcels(index, roll.addresses, roll.token, server)
    _JOINED.append(Joined(index, count, found, star, parcels))
    return _JOINED[0]


def leave() -> None:
    """Takes leave of the others; what remains of JAX's own it does at exit."""
    if _JOINED:
        _JOINED[0].star.leave()


def _told(manual: Manual) -> tuple[str, int, int, Sequence[int] | None, str]:
    found = f"told by hand ({manual.processes} processes)"
    return manual.coordinator, manual.processes, manual.process, None, found


def _detected(timeout: float) -> tuple[str, int, int, Sequence[int] | None, str]:
    """Where JAX's own detection puts this process."""
    # JAX has no public way to ask without starting, and starting without all there ends the process.
    from jax._src.clusters import ClusterEnv

    ranks = int(os.environ.get("OMPI_COMM_WORLD_SIZE") or 1)
    if ranks > 1 and "OMPI_MCA_orte_hnp_uri" not in os.environ:
        raise ProcessesError(
            f"Open MPI started {ranks} processes and does not say where (JAX knows Open MPI up to version 4): give "
            "--coordinator HOST:PORT --processes $OMPI_COMM_WORLD_SIZE --process $OMPI_COMM_WORLD_RANK."
        )
    address, count, index, devices = ClusterEnv.auto_detect_unset_distributed_params(
        os.environ.get("JAX_COORDINATOR_ADDRESS"), None, None, None, None, int(timeout)
    )
    if address is None or count is None or index is None:
        raise ProcessesError(
            "JAX recognises neither Slurm (start with srun), Open MPI (mpirun), Kubernetes (a Job with completionMode: "
            "Indexed, and `pip install jax[k8s]`) nor a cloud TPU here: give --coordinator HOST:PORT --processes N "
            "--process I to each process."
        )
    name = next((kind.name for kind in ClusterEnv._cluster_types if not kind.opt_in_only_method and _is(kind)), "JAX")
    return address, count, index, devices, f"{_NAMES.get(name, name)} ({count} processes)"


_NAMES = {
    "slurm": "Slurm", "ompi": "Open MPI", "k8s": "Kubernetes", "gketpu": "cloud TPU", "gcetpu": "cloud TPU",
}  # fmt: skip


@functools.cache
def _is(kind: Any) -> bool:
    return bool(kind.is_env_present())


def _differences(first: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(first, dict) and isinstance(other, dict):
        keys = sorted(set(first) | set(other))
        found = [_differences(first.get(k), other.get(k), f"{path}.{k}" if path else k) for k in keys]
        return [line for lines in found for line in lines][:5]
    return [] if first == other else [f"{path} is {json.dumps(other)}, there {json.dumps(first)}"]
