"""Connections of `inbound` whose sender is slow or says nothing: how long they are borne, and how many of them."""

from __future__ import annotations

import asyncio
import resource
from typing import Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 10.0  # seconds until a request's head must be there, from its first byte, or from the connection's beginning
BODY = 35.0  # seconds until its body must be there: `inbound` answers before that, where it still reads
CONNECTIONS = 512  # at a time, or fewer where the process may have few files open: see `most_connections`
MORE = 8  # of so many, one more is let in to be answered 503; what comes beyond is closed
OWING = 2  # of so many, one may be without a whole request at a time
GRACE = 1.0  # seconds in which nobody has to give way: what comes at once is slow because of us
LOOK = 1.0  # seconds between two looks at how long each has been slow


def most_connections() -> int:
    """How many are let in: half of the files that this process may have open at most, for the engine needs some too."""
    return min(CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


class Patience:
    """Who has been without a whole request, and since when; who is idle after one. On the server's own loop.

    `most`: connections at a time.
    """

    def __init__(self, most: int = CONNECTIONS) -> None:
        self.most = most
        self.owing: dict[Connection, tuple[float, float]] = {}  # since when, and until when that is borne
        self.idle: dict[Connection, float] = {}
        self._looking = False

    def owes(self, one: Connection, seconds: float) -> None:
        """It has to send something within so many seconds."""
        now = one.loop.time()
        self.forget(one)  # the oldest are the first
        self.owing[one] = (now, now + seconds)
        if len(self.owing) > self.most // OWING:
            self._end_oldest(now)
        if not self._looking:
            self._looking = True
            one.loop.call_later(LOOK, self._look, one.loop)

    def rests(self, one: Connection) -> None:
        """Its request was answered, and it may send another."""
        self.owing.pop(one, None)
        self.idle[one] = one.loop.time()

    def forget(self, one: Connection) -> None:
        """Its request is all there, or the connection has ended."""
        self.owing.pop(one, None)
        self.idle.pop(one, None)

    def make_room(self, now: float) -> None:
        """End what can best be done without: who owes a request, down to those few that may; else who is idle."""
        ended = self._end_oldest(now)
        while len(self.owing) > self.most // OWING and self._end_oldest(now):
            pass
        if not ended:
            one = next(iter(self.idle), None)
            if one is not None and now - self.idle[one] > GRACE:
                one.end()

    def _end_oldest(self, now: float) -> bool:
        one = next(iter(self.owing), None)
        if one is None or now - self.owing[one][0] <= GRACE:
            return False
        one.end()
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for one, (_, until) in list(self.owing.items()):
            if until < now:
                one.end()
        self._looking = bool(self.owing)
        if self._looking:
            loop.call_later(LOOK, self._look, loop)


class Connection(H11Protocol):
    """A connection that `Patience` watches; a subclass for each server holds its own."""

    patience: Patience

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._owed: _Owed = "a head", None
        most = self.patience.most
        if len(self.connections) >= most:
            self.patience.make_room(self.loop.time())
        if len(self.connections) >= most + most // MORE:
            self.end()
            return
        self.patience.owes(self, HEAD)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        self.patience.forget(self)
        super().connection_lost(exc)

    def end(self) -> None:
        """Without a word: whoever is slow on purpose would not hear it."""
        self.patience.forget(self)
        self.connections.discard(self)
        self.transport.abort()

    def _note(self) -> None:
        """Tell `Patience` where what the sender owes is not what it was."""
        before, self._owed = self._owed, self._owes()
        if self._owed == before:
            return
        if self._owed[0] == "nothing":
            self.patience.forget(self)
        elif self._owed[0] == "another request":
            self.patience.rests(self)
        else:
            self.patience.owes(self, HEAD if self._owed[0] == "a head" else BODY)

    def _owes(self) -> _Owed:
        theirs = self.conn.their_state
        if self.transport.is_closing() or theirs not in (h11.IDLE, h11.SEND_BODY):
            return "nothing", self.cycle
        if theirs is h11.SEND_BODY:
            return "a body", self.cycle
        answered = bool(self.cycle) and not self.conn.trailing_data[0]
        return ("another request" if answered else "a head"), self.cycle


_Owed = tuple[Literal["nothing", "a head", "a body", "another request"], object]  # and after which request
