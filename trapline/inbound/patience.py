"""Connections of `inbound` whose sender is slow or says nothing: how long they are borne, and how many of them."""

from __future__ import annotations

import asyncio
from typing import Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 10.0  # seconds until a request's head must be there, from its first byte, or from the connection's beginning
BODY = 35.0  # seconds until its body must be there: `inbound` answers before that, where it still reads
CONNECTIONS = 512  # at a time; a few more are answered 503, and there are files left for the engine
MORE = 64  # that are let in to be answered so; what comes beyond is closed
OWING = 256  # that may be without a whole request at a time
GRACE = 1.0  # seconds in which nobody has to give way: what comes at once is slow because of us
LOOK = 1.0  # seconds between two looks at how long each has been slow


class Patience:
    """Who has been without a whole request, and since when; who is idle after one. On the server's own loop."""

    def __init__(self) -> None:
        self.owing: dict[Connection, tuple[float, float]] = {}  # since when, and until when that is borne
        self.idle: dict[Connection, float] = {}
        self._looking = False

    def owes(self, one: Connection, seconds: float) -> None:
        """It has to send something within so many seconds."""
        now = one.loop.time()
        self.forget(one)  # the oldest are the first
        self.owing[one] = (now, now + seconds)
        if len(self.owing) > OWING:
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
        """End the connection that can best be done without, if there is one."""
        if not self._end_oldest(now):
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
        if len(self.connections) >= CONNECTIONS + MORE:
            self.end()
            return
        if len(self.connections) >= CONNECTIONS:
            self.patience.make_room(self.loop.time())
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
