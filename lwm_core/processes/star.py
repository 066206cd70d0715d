"""What processes tell each other in the course of a run, through process 0: words to compare, and that one has failed.

Owns the links of the roll call. A process whose link ends without a farewell was killed, or its machine is gone; then
all end, at once and saying who it was, where JAX alone would wait in a collective for one that does not come.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from lwm_core.processes.base import ProcessesError, end, receive, send
from lwm_core.processes.parcels import Gone
from lwm_core.processes.roll import Roll


LINGER = 5.0  # seconds that process 0, which JAX's own service lives in, waits for the others to end first
DOUBT = 3.0  # seconds in which a failure of a collective turns out to be another process's


class Star:
    """The links of one process; `ending` is called instead of ending the process, in programs that outlive a run."""

    def __init__(self, roll: Roll, ending: Callable[[str, int], None] | None = None):
        self.index, self.count = roll.index, roll.count
        self._links = roll.links
        self._ending = ending or self._end_here
        self._change = threading.Condition()
        self._said: dict[str, dict[int, bytes]] = {}
        self._left: set[int] = set()
        self._over = False
        self._sending = {number: threading.Lock() for number in self._links}
        for number in self._links:
            threading.Thread(target=self._listen, args=(number,), daemon=True, name=f"lwm-star-{number}").start()

    def gather(self, topic: str, said: bytes, timeout: float = 300.0) -> list[bytes]:
        """What every process said on this topic, in order of their numbers; all must ask. Each topic once."""
        if self.index == 0:
            self._note(topic, 0, said)
        else:
            self._send(0, {"say": topic}, said)
        with self._change:
            whole = self._change.wait_for(lambda: len(self._said.get(topic, {})) == self.count, timeout)
            found = self._said.pop(topic, {})
        if not whole:
            lost = ", ".join(str(number) for number in range(self.count) if number not in found)
            who = f"processes {lost}" if self.index == 0 else "the other processes"
            raise ProcessesError(f"Waited {timeout:g} s for {who} to come to {topic!r}: see what they wait for.")
        return [found[number] for number in range(self.count)]

    def leave(self) -> None:
        """The farewell of a process that is done; the last thing it says."""
        self._over = True
        for number in self._links:
            self._send(number, {"bye": self.index})

    def fail(self, error: BaseException, code: int = 1) -> NoReturn:
        """Tells all that this process has failed, and ends it; they end too."""
        from jax.errors import JaxRuntimeError  # here, since only a failure asks

        if isinstance(error, JaxRuntimeError | Gone):
            time.sleep(DOUBT)  # these are met when another process is gone, and then that one is to be named
        self._over = True
        for number in self._links:
            self._send(number, {"failed": self.index, "why": f"{type(error).__name__}: {error}", "code": code})
        self._exit(code)

    def _listen(self, number: int) -> None:
        while (heard := receive(self._links[number])) is not None:
            head, body = heard
            if "bye" in head:
                with self._change:
                    self._left.add(number)
            elif "failed" in head:
                self._lost(head["failed"], head["why"], head["code"])
            elif "say" in head:
                self._note(head["say"], number, body)
            elif "heard" in head:
                self._answer(head, body)
        if not self._over and number not in self._left:
            self._lost(number, "its connection ended without a word: it was killed, or its machine is gone")

    def _note(self, topic: str, number: int, said: bytes) -> None:
        """Process 0 notes a word, and passes all of them on with the last."""
        with self._change:
            words = self._said.setdefault(topic, {})
            words[number] = said
            whole = len(words) == self.count
            lengths, joined = [len(words[n]) for n in sorted(words)], b"".join(words[n] for n in sorted(words))
            self._change.notify_all()
        if whole:
            for other in self._links:
                self._send(other, {"heard": topic, "lengths": lengths}, joined)

    def _answer(self, head: dict, body: bytes) -> None:
        at, words = 0, {}
        for number, length in enumerate(head["lengths"]):
            words[number] = body[at : at + length]
            at += length
        with self._change:
            self._said[head["heard"]] = words
            self._change.notify_all()

    def _lost(self, who: int, why: str, code: int = 1) -> None:
        with self._change:
            if self._over:
                return
            self._over = True
        if self.index == 0:
            for number in self._links:
                if number != who:
                    self._send(number, {"failed": who, "why": why, "code": code})
        self._ending(f"process {who} of {self.count} failed: {why}\nProcess {self.index} ends with it.", code)

    def _end_here(self, said: str, code: int) -> None:
        print(f"lwm: {said}", file=sys.stderr, flush=True)
        self._exit(code)

    def _exit(self, code: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        if self.index == 0:
            until = time.monotonic() + LINGER
            while time.monotonic() < until and any(_open(link) for link in self._links.values()):
                time.sleep(0.05)
        os._exit(code)  # not through JAX's farewell, which waits for processes that do not come

    def _send(self, number: int, head: dict, body: bytes = b"") -> None:
        try:
            with self._sending[number]:
                send(self._links[number], head, body)
        except OSError:
            pass  # its end is heard of by `_listen`

    def close(self) -> None:
        """Ends the links."""
        self._over = True
        for link in self._links.values():
            end(link)


def _open(link) -> bool:
    try:
        return link.fileno() >= 0 and link.getpeername() is not None and not _ended(link)
    except OSError:
        return False


def _ended(link) -> bool:
    import socket

    try:
        return link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
