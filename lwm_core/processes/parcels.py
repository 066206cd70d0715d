"""Parcels: bytes that one process has made and the others come for, each straight from its maker.

Owns the serving and the fetching. A parcel is kept until every other process has had it, and no longer. What is in it,
and who makes which, its users know (`lwm_core.load.shared`).
"""

import hmac
import socket
import threading
from dataclasses import dataclass, field

from lwm_core.processes.base import ProcessesError, end, receive, send


class Gone(ProcessesError):
    """The session ended before the parcel came."""


class Parcels:
    """What this process serves, and its connections to those that serve it.

    - `server`: the socket at which others come; `addresses`: of every process's server; `token`: what lets one in.
    """

    def __init__(self, index: int, addresses: list[tuple[str, int]], token: str, server: socket.socket):
        self.index, self.count = index, len(addresses)
        self._addresses, self._token, self._server = addresses, token, server
        self._change = threading.Condition()
        self._opened, self._sessions = 0, {}
        threading.Thread(target=self._serve, daemon=True, name="lwm-parcels").start()

    def open(self) -> "Session":
        """A new session; every process opens its sessions in the same order, so that they mean the same one."""
        with self._change:
            self._opened += 1
            session = Session(self, self._opened)
            self._sessions[session.number] = session
            self._change.notify_all()
        return session

    def close(self) -> None:
        """Serves no more, and ends what sessions are left."""
        for session in list(self._sessions.values()):
            session.close()
        end(self._server)

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._hand_on, args=(link,), daemon=True, name="lwm-parcel").start()

    def _hand_on(self, link: socket.socket) -> None:
        with link:
            heard = receive(link)
            if heard is None or not hmac.compare_digest(str(heard[0].get("token")), self._token):
                return
            try:
                while (asked := receive(link)) is not None:
                    found = self._waited(asked[0]["session"], asked[0]["name"])
                    send(link, {"found": found is not None}, found or b"")
            except OSError:
                return

    def _waited(self, number: int, name: str) -> bytes | None:
        """The parcel, when it is made; None when its session is over."""
        with self._change:
            while True:
                session = self._sessions.get(number)
                if session is None and number <= self._opened:
                    return None
                if session is not None and name in session.made:
                    return self._taken(session, name)
                self._change.wait()

    def _taken(self, session: "Session", name: str) -> bytes:
        data, left = session.made[name]
        if left == 1:
            del session.made[name]
        else:
            session.made[name] = data, left - 1
        return data


@dataclass
class Session:
    """The parcels of one stream, from its opening to its end."""

    parcels: Parcels
    number: int
    made: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    sent: int = 0
    fetched: int = 0
    _links: dict[int, socket.socket] = field(default_factory=dict)
    _over: bool = False

    @property
    def index(self) -> int:
        return self.parcels.index

    @property
    def count(self) -> int:
        return self.parcels.count

    def put(self, name: str, data: bytes) -> None:
        """Has it ready for the others."""
        change = self.parcels._change
        with change:
            if not self._over:
                self.made[name] = data, self.count - 1
                self.sent += len(data)
                change.notify_all()

    def get(self, owner: int, name: str) -> bytes:
        """What process `owner` put under this name; waits for it. Raises `Gone` when the session has ended."""
        try:
            link = self._link(owner)
            send(link, {"session": self.number, "name": name})
            heard = receive(link)
        except OSError as error:
            raise Gone(f"Process {owner} cannot be asked for {name}: {error}") from error
        if heard is None or not heard[0]["found"]:
            raise Gone(f"Process {owner} ended before it gave {name}.")
        self.fetched += len(heard[1])
        return heard[1]

    def close(self) -> None:
        """Forgets what is left, and frees whoever waits in `get`, here or elsewhere."""
        change = self.parcels._change
        with change:
            self._over = True
            self.made.clear()
            self.parcels._sessions.pop(self.number, None)
            change.notify_all()
            links, self._links = list(self._links.values()), {}
        for link in links:
            end(link)

    def _link(self, owner: int) -> socket.socket:
        with self.parcels._change:
            if self._over:
                raise Gone("The stream is closed.")
            if owner in self._links:
                return self._links[owner]
        link = socket.create_connection(self.parcels._addresses[owner], timeout=60.0)
        link.settimeout(None)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(link, {"token": self.parcels._token})
        with self.parcels._change:
            if not self._over:
                self._links[owner] = link
                return link
        end(link)  # closed meanwhile, by `close`, which did not know of it
        raise Gone("The stream is closed.")
