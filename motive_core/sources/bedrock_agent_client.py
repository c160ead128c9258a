"""An agent's turns for an event loop, though AWS's SDK blocks: each turn has a thread while it lasts.

Owns the threads, how many there may be, and the way of events from them to the loop: a turn whose reader is slow waits,
and one whose reader has gone ends at once. Knows neither the SDK nor what an event says.

The threads are daemons of their own and no executor's: the interpreter waits for those of an executor at its exit, and
one of ours may be connecting just then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from motive_core.errors import UnavailableError
from motive_core.sources.bedrock_agent_errors import Fault, cut_off, no_extra, silent

if TYPE_CHECKING:
    from motive_core.sources.bedrock_agent_boto import Line, Runtime

logger = logging.getLogger(__name__)

type AgentEvent = Mapping[str, Any]
"""An event of the reply, as botocore's model ``ResponseStream`` has it: one member, which names its kind."""

_QUEUED_EVENTS: Final = 64
_PAUSE_S: Final = 0.5


class _Ended:
    """The last word of a turn's thread: how it ended."""

    def __init__(self, fault: Fault | None) -> None:
        self.fault = fault


class _Pipe:
    """Events from a thread to the loop, at most so many at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[AgentEvent | _Ended] = deque()
        self._ready = asyncio.Event()
        self._room = threading.Semaphore(_QUEUED_EVENTS)
        self._closed = False

    def put(self, item: AgentEvent) -> bool:
        """In the thread: one more, once there is room. Gives False if nobody wants it any more."""
        self._room.acquire()
        return not self._closed and self.post(self._arrived, item)

    def end(self, fault: Fault | None) -> None:
        """In the thread: no more."""
        self.post(self._arrived, _Ended(fault))

    def post(self, what: Callable[..., None], *arguments: Any) -> bool:
        """In the thread: do something in the loop. Gives False if that has ended."""
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            return False
        return True

    def _arrived(self, item: AgentEvent | _Ended) -> None:
        self._items.append(item)
        self._ready.set()

    async def take(self) -> tuple[Sequence[AgentEvent], _Ended | None]:
        """All that has come, once something has, and the end if that has come."""
        await self._ready.wait()
        self._ready.clear()
        events: list[AgentEvent] = []
        ended = None
        while self._items:
            item = self._items.popleft()
            if isinstance(item, _Ended):
                ended = item
            else:
                events.append(item)
                self._room.release()
        return events, ended

    def close(self) -> None:
        """Nothing more is wanted: a thread that waits for room goes on, and ends."""
        self._closed = True
        self._room.release(_QUEUED_EVENTS)


class AgentClient:
    """Asks for turns. ``make`` makes the SDK's client, in a thread, when the first turn is asked for; it may raise
    ``Fault``. At most ``most_turns`` go on at once, further ones wait. A turn that the service refused before the agent
    began is asked for again, ``attempts`` times in all."""

    def __init__(self, make: Callable[[], Runtime], *, most_turns: int, attempts: int) -> None:
        self._make = make
        self._attempts = attempts
        self._free = asyncio.Semaphore(most_turns)
        self._runtime: Runtime | None = None
        self._making = threading.Lock()
        self._lines: set[Line] = set()
        self._closed = False

    async def turn(
        self, params: Mapping[str, Any], *, first_timeout_s: float, idle_timeout_s: float, spoken: Callable[[], bool]
    ) -> AsyncGenerator[Sequence[AgentEvent]]:
        """The events of a turn, as they come. Until ``spoken()``, all of it may take ``first_timeout_s``, and from then
        on each silence ``idle_timeout_s``. A reader that closes this ends the turn. Raises ``MotiveError``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + first_timeout_s
        attempt = 1
        while True:
            try:
                async with aclosing(self._events(params)) as events:
                    while True:
                        try:
                            async with asyncio.timeout_at(loop.time() + idle_timeout_s if spoken() else deadline):
                                batch = await anext(events, None)
                        except TimeoutError:
                            raise silent() from None
                        if batch is None:
                            return
                        yield batch
            except Fault as fault:
                wait_s = _PAUSE_S * 2 ** (attempt - 1)
                if not fault.may_repeat or attempt >= self._attempts or loop.time() + wait_s > deadline:
                    raise fault.error from None
                attempt += 1
                await asyncio.sleep(wait_s)

    async def _events(self, params: Mapping[str, Any]) -> AsyncGenerator[Sequence[AgentEvent]]:
        """One try. Raises ``Fault``."""
        await self._free.acquire()
        pipe = _Pipe()
        turn = _Turn(pipe)
        thread = threading.Thread(target=self._in_thread, args=(turn, params), name="motive bedrock agent", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more of them
            self._free.release()
            raise Fault(cut_off("there are no threads left"), may_repeat=False) from None
        ended = None
        try:
            while ended is None:
                batch, ended = await pipe.take()
                if batch:
                    yield batch
        finally:
            if ended is None:
                turn.give_up()
        if ended.fault is not None:
            raise ended.fault

    def _in_thread(self, turn: _Turn, params: Mapping[str, Any]) -> None:
        pipe, fault = turn.pipe, None
        runtime, line = None, None
        try:
            runtime = self._ready_runtime()
            line = runtime.line()
            self._lines.add(line)
            if turn.start(line) and not self._closed:
                runtime.turn(line, params, pipe.put)
        except Fault as found:
            fault = found
            if isinstance(found.error, UnavailableError):
                self._forget(runtime)
        except Exception:
            # A connection that is cut while it is waited for ends in any way, and nobody asks how.
            if line is None or not line.is_cut:
                logger.exception("a turn of an agent failed")
            fault = Fault(cut_off(), may_repeat=False)
        finally:
            if line is not None:
                self._lines.discard(line)
            pipe.end(fault)
            pipe.post(self._free.release)

    def _ready_runtime(self) -> Runtime:
        with self._making:  # it reads the service's model, for a good part of a second
            if self._runtime is None:
                try:
                    self._runtime = self._make()
                except ImportError:
                    raise Fault(no_extra(), may_repeat=False) from None
            return self._runtime

    def _forget(self, runtime: Runtime | None) -> None:
        """Credentials that were not there when the client was made may be there for the next one."""
        with self._making:
            if self._runtime is runtime:
                self._runtime = None

    def close(self) -> None:
        """End every turn."""
        self._closed = True
        for line in list(self._lines):
            line.cut()
        if self._runtime is not None:
            self._runtime.close()


class _Turn:
    """What the loop and the thread of one turn have in common."""

    def __init__(self, pipe: _Pipe) -> None:
        self.pipe = pipe
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._given_up = False

    def start(self, line: Line) -> bool:
        """In the thread: this is the line. Gives False if the turn is not wanted any more."""
        with self._lock:
            self._line = line
            return not self._given_up

    def give_up(self) -> None:
        """In the loop: it is not wanted any more."""
        with self._lock:
            self._given_up = True
            line = self._line
        self.pipe.close()
        if line is not None:
            line.cut()
