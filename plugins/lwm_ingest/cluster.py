"""A connection to Ray: to a cluster that is there, or to one of this machine alone, made for the run and gone with it.

Owns starting, joining and leaving a cluster. What runs on it is `spread`'s. The local cluster lives in a process of its
own, since Ray forks, which a process that runs JAX must not; it ends with its standard input, so with its program,
however that ends. Nothing is reported to anybody (Ray's usage statistics are off).
"""

import logging
import os
import secrets
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import cache
from typing import Any


QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_LOG_LEVEL": "ERROR"}  # progress is told by the run itself
PATIENCE = 10.0  # seconds for the head of a cluster to answer
ALONE = {"RAY_worker_niceness": "0"}  # on a machine of its own, Ray's workers stand back behind everything else


def need() -> Any:
    """Ray with its data part; `ImportError` that says what to install."""
    try:
        with _unwarned():
            import ray
            import ray.data
    except ImportError as error:
        raise ImportError("The engine ray needs Ray: pip install 'lwm-jax[ray]'.") from error
    return ray


@contextmanager
def joined(address: str | None, workers: int | None) -> Iterator[Any]:
    """Ray, connected: to `address`; else as this program already is; else to a cluster of this machine, of so many
    workers, one for each of its cores by default. What Ray prints goes to standard error, as results are on the other.

    Raises `ValueError` where no cluster answers.
    """
    known = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    local = address is None and not known
    with (
        _environment({**QUIET, **(_key() if local else {})}),
        _unwarned(),
        redirect_stdout(sys.stderr),
        ExitStack() as stack,
    ):
        ray = need()
        if local:
            ray._raylet.Config.initialize("")  # as Ray itself does: it read how to prove itself when it was imported
            address = stack.enter_context(_local(workers or len(os.sched_getaffinity(0))))
        if address is not None:
            stack.enter_context(_connected(ray, address))
        yield ray


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    if ray.is_initialized():
        raise ValueError(f"This program is connected to Ray already: leave out the address {address!r}.")
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, namespace="lwm-ingest")
    except (OSError, ray.exceptions.RayError, RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0][:200]
        raise ValueError(f"No Ray cluster answers at {address!r} ({said}): give the HOST:PORT of its head.") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises `OSError` or `ValueError` where nobody listens, at once; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("that is no HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()


@contextmanager
def _local(workers: int) -> Iterator[str]:
    """The address of a cluster of this machine alone."""
    command = [sys.executable, "-m", "lwm_ingest.cluster", str(workers)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **ALONE}
    )
    assert process.stdin is not None and process.stdout is not None
    with process:  # which closes its input, and waits for it
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError("Ray did not start on this machine; the lines above say why.")
        yield address


@cache
def _key() -> Mapping[str, str]:
    """What only this program and the clusters it makes know; Ray reads it once in a process."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _unwarned() -> Iterator[None]:
    """Ray's own options warn of each other when Ray fills in their defaults; nobody here gave them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"ray\.data\.context")
        yield


def main() -> None:
    """Holds a cluster of so many workers until standard input ends; says its address first."""
    import ray

    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(num_cpus=int(sys.argv[1]), **options)
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main()
