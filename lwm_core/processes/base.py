"""Messages between processes: a small JSON head and a body of bytes over a socket.

Owns the framing and the error of this folder. Nothing is unpickled: what arrives is JSON, or bytes as they are.
"""

import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any


_SIZES = struct.Struct("!IQ")
_MOST_HEAD, _MOST_BODY = 2**24, 2**34


class ProcessesError(ValueError):
    """The processes of a run do not come together, or do not fit together; the message says which and what would."""


def send(link: socket.socket, head: Mapping[str, Any], body: bytes = b"") -> None:
    """Sends one message; raises `OSError` when the other side is gone."""
    said = json.dumps(head).encode()
    link.sendall(_SIZES.pack(len(said), len(body)) + said)
    if body:
        link.sendall(body)


def receive(link: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None when the other side has ended, or speaks something else."""
    try:
        sizes = _exactly(link, _SIZES.size)
        if sizes is None:
            return None
        head, body = _SIZES.unpack(sizes)
        if head > _MOST_HEAD or body > _MOST_BODY:
            return None
        said, rest = _exactly(link, head), _exactly(link, body)
        if said is None or rest is None:
            return None
        heard = json.loads(said)
    except TimeoutError:
        raise
    except (OSError, ValueError):
        return None
    return (heard, bytes(rest)) if isinstance(heard, dict) else None


def end(link: socket.socket) -> None:
    """Ends a connection, and whoever waits on it."""
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()


def listening(port: int) -> socket.socket:
    """A socket that listens on every address of this machine; port 0 takes one that is free."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=1024)


def split(address: str) -> tuple[str, int]:
    """`"host:port"` as its parts; raises `ProcessesError` for anything else."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ProcessesError(f"The coordinator {address!r} is not HOST:PORT: write it as 10.0.0.1:12345.")
    return host.strip("[]"), int(port)


def _exactly(link: socket.socket, count: int) -> bytearray | None:
    data = bytearray(count)
    view, at = memoryview(data), 0
    while at < count:
        got = link.recv_into(view[at:])
        if not got:
            return None
        at += got
    return data
