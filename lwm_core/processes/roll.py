"""The roll call: process 0 waits at the coordinator's address until every other process has said who it is.

Owns that meeting, which comes before JAX's own: JAX ends a process that waits in vain with a stack trace, and this says
which process is missing, came twice, or was told of another number. The links stay open: see `star`.
"""

import secrets
import socket
import time
from dataclasses import dataclass

from lwm_core.processes.base import ProcessesError, end, listening, receive, send, split


@dataclass(frozen=True)
class Roll:
    """Who is there.

    - `links`: of process 0, a connection to every other; of another, the one to process 0;
    - `addresses`: host and port at which each process hands on its parcels; `token`: what lets one in there.
    """

    index: int
    count: int
    links: dict[int, socket.socket]
    addresses: list[tuple[str, int]]
    token: str


def call(coordinator: str, count: int, index: int, port: int, timeout: float) -> Roll:
    """Meets the other processes, or raises `ProcessesError` after `timeout` seconds.

    - `port`: at which this process hands on parcels.
    """
    if not 0 <= index < count:
        raise ProcessesError(f"Process {index} of {count}: processes count from 0, so give 0 to {count - 1}.")
    host, at = split(coordinator)
    if index == 0:
        return _host(host, at, count, port, time.monotonic() + timeout, timeout)
    return _guest(host, at, count, index, port, time.monotonic() + timeout, timeout)


def _host(host: str, at: int, count: int, port: int, until: float, timeout: float) -> Roll:
    try:
        server = listening(at)
    except OSError as error:
        raise ProcessesError(
            f"Process 0 cannot listen on port {at} ({error.strerror}): another process 0, or another program, has it. "
            "Start one process 0 only, or give another port."
        ) from error
    links: dict[int, socket.socket] = {}
    places: dict[int, tuple[str, int]] = {0: ("", port)}
    with server:
        try:
            while len(places) < count:
                _admit(server, count, links, places, until)
        except (ProcessesError, TimeoutError) as error:
            wrong = str(error) if isinstance(error, ProcessesError) else _missing(count, places, timeout)
            for link in links.values():
                _tell(link, wrong)
            raise ProcessesError(wrong) from None
    token = secrets.token_hex()
    table = [places[number] for number in range(count)]
    for link in links.values():
        send(link, {"table": table, "token": token})
    return Roll(0, count, links, [(place or host, its) for place, its in table], token)


def _admit(server: socket.socket, count: int, links: dict, places: dict, until: float) -> None:
    server.settimeout(max(0.01, until - time.monotonic()))
    link, _ = server.accept()
    link.settimeout(5.0)
    try:
        heard = receive(link)
    except TimeoutError:
        heard = None
    if heard is None or heard[0].get("lwm") != 1:
        link.close()  # somebody else knocked
        return
    hello = heard[0]
    number, believed = int(hello["process"]), int(hello["processes"])
    wrong = None
    if believed != count:
        wrong = (
            f"Process {number} was told of {believed} processes, and process 0 of {count}: start all with the same "
            "number."
        )
    elif number in places:
        wrong = f"Process {number} came twice: give each process its own number, 0 to {count - 1}."
    if wrong is not None:
        _tell(link, wrong)
        raise ProcessesError(wrong)
    link.settimeout(None)
    _keep_alive(link)
    links[number], places[number] = link, (_seen_from_elsewhere(link), int(hello["port"]))


def _keep_alive(link: socket.socket) -> None:
    """Has the system ask after the other side, so that a machine without power is noticed within a minute."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def _seen_from_elsewhere(link: socket.socket) -> str:
    """The host of the other side; empty where it is on this machine, which others know by the coordinator's name."""
    host = link.getpeername()[0].removeprefix("::ffff:")
    here = link.getsockname()[0].removeprefix("::ffff:")
    return "" if host == here or host.startswith("127.") or host == "::1" else host


def _missing(count: int, places: dict, timeout: float) -> str:
    lost = [str(number) for number in range(count) if number not in places]
    return (
        f"{len(places)} of {count} processes came within {timeout:g} s; missing: {', '.join(lost)}. "
        "Start every process, each with its own number, or wait longer with --timeout."
    )


def _tell(link: socket.socket, wrong: str) -> None:
    try:
        send(link, {"wrong": wrong})
    except OSError:
        pass  # it is gone already, and what is wrong is said here too
    finally:
        end(link)


def _guest(host: str, at: int, count: int, index: int, port: int, until: float, timeout: float) -> Roll:
    link = _reached(host, at, index, until, timeout)
    link.settimeout(max(1.0, until - time.monotonic()) + 10.0)
    try:
        send(link, {"lwm": 1, "process": index, "processes": count, "port": port})
        heard = receive(link)
    except OSError:
        heard = None
    if heard is None or "wrong" in heard[0]:
        end(link)
    if heard is None:
        raise ProcessesError(
            f"Process {index} reached {host}:{at}, and what is there is no process 0 that waits for it: it has gone, "
            "or begun without this one, or the port is another program's."
        )
    if "wrong" in heard[0]:
        raise ProcessesError(heard[0]["wrong"])
    link.settimeout(None)
    _keep_alive(link)
    table = [(place or host, its) for place, its in heard[0]["table"]]
    return Roll(index, count, {0: link}, table, heard[0]["token"])


def _reached(host: str, at: int, index: int, until: float, timeout: float) -> socket.socket:
    while True:
        try:
            return socket.create_connection((host, at), timeout=max(0.1, until - time.monotonic()))
        except OSError as error:
            if time.monotonic() + 0.2 > until:
                raise ProcessesError(
                    f"Process {index} found no coordinator at {host}:{at} within {timeout:g} s ({error}): start "
                    "process 0 there, check the address and that the port is open, or wait longer with --timeout."
                ) from error
            time.sleep(0.2)
