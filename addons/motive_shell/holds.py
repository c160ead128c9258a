"""The flows that are in our hands: held, or answered and not yet known to be delivered.

Owns interception and its end, whoever causes it: we (a reply), the operator (Resume or Kill in any mitmproxy UI) or the
client (it goes away). Lives in the runtime, so that a reload of the script drops no hold.
"""

from __future__ import annotations

import asyncio
import logging

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.flow import Flow

from motive_core.errors import MotiveError, UnavailableError
from motive_core.exchange import Exchange
from motive_core.gateway import Gateway
from motive_core.operating import OPERATOR
from motive_core.refusals import error_reply
from motive_shell.flows import FlowPort
from motive_shell.notes import note_exchange

logger = logging.getLogger(__name__)


class Holds:
    """Every flow between its arrival and its delivery, by flow id."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ports: dict[str, FlowPort] = {}
        self._by_client: dict[str, set[str]] = {}
        self._empty = asyncio.Event()
        self._told_to = 0
        """How many of those that wait ``tell_waiting`` has told of in this round."""

    def __len__(self) -> int:
        return len(self._ports)

    def is_promoted(self, flow: http.HTTPFlow) -> bool:
        """Whether this flow fetches its reply from the origin."""
        port = self._ports.get(flow.id)
        return port is not None and port.promoted

    def speaks(self, flow: http.HTTPFlow) -> None:
        """The reply of a flow begins."""
        port = self._ports.get(flow.id)
        exchange = port.exchange if port is not None else None
        if port is not None and exchange is not None and exchange.ending is not None:
            self._note(port, exchange)
        if exchange is not None and exchange.request.stream and exchange.ending != "passed":
            self._gateway.metrics.first_byte(self._gateway.clock() - exchange.arrived_at)

    async def take(self, port: FlowPort, exchange: Exchange) -> None:
        """Take charge of a flow whose call was accepted. If it has no reply yet, it is held from now on."""
        flow = port.flow
        if exchange.ending == "passed":
            note_exchange(flow, exchange, 0.0)
            return
        port.exchange = exchange
        self._ports[flow.id] = port
        self._by_client.setdefault(flow.client_conn.id, set()).add(flow.id)
        if not flow.client_conn.connected:
            await self.client_gone(flow.client_conn)
            return
        if exchange.ending is None:
            port.hold(self._continued)
            self._note(port, exchange)
        if exchange.ending is None and not port.promoted:
            flow.intercept()
            # The watcher is the first to wait for the resume, since it is spawned up to there: so it can still answer a
            # flow that the operator resumes before mitmproxy goes on with it.
            self._gateway.spawn(self._watch(port))

    async def _watch(self, port: FlowPort) -> None:
        """The operator's Resume lets the real service answer, with the draft if it has made one; nothing else tells of
        it."""
        flow, exchange = port.flow, port.exchange
        await flow.wait_for_resume()
        if port.resumed or exchange is None or exchange.ending is not None:
            return
        if flow.error is None and exchange.draft is not None:
            await self._gateway.let_go(exchange)
            return
        if flow.error is not None:
            exchange.end("gone")
            self._note(port, exchange)
            self._forget(flow)
            await self._gateway.gone(exchange)
            return
        exchange.end("passed")
        exchange.answered_by = OPERATOR
        port.prepare(flow.request, exchange.service, exchange.own_body())
        if exchange.service is None and exchange.listener == "reverse" and not port.is_readdressed:
            exchange.end("failed")
            exchange.error = error = UnavailableError(
                "The operator released this call, and it has no real service.", code="released"
            )
            status, headers, body = error_reply(exchange.dialect, error, exchange.exchange)
            flow.response = http.Response.make(status, body, headers)
        self._note(port, exchange)
        self._forget(flow)
        await self._gateway.released(exchange)

    async def delivered(self, flow: http.HTTPFlow) -> None:
        """The reply of a flow is complete and goes out."""
        port = self._ports.get(flow.id)
        exchange = self._forget(flow)
        if port is None or exchange is None:
            return
        self._note(port, exchange)
        await self._gateway.delivered(exchange)

    async def failed(self, flow: http.HTTPFlow) -> None:
        """A flow ended with an error."""
        port = self._ports.get(flow.id)
        exchange = self._forget(flow)
        if port is None or exchange is None:
            return
        if exchange.ending is None:
            exchange.end("gone")
            self._note(port, exchange)
            await self._gateway.gone(exchange)
        else:
            self._note(port, exchange)
            await self._gateway.failed(exchange)

    async def client_gone(self, client: Client) -> None:
        """A client closed its connection: every call on it that has no reply yet is over."""
        for flow_id in list(self._by_client.get(client.id, ())):
            port = self._ports[flow_id]
            exchange = port.exchange
            assert exchange is not None
            if exchange.ending is not None or port.promoted:
                continue  # its reply is on the way: delivered or failed will tell
            self._forget(port.flow)
            exchange.end("gone")
            self._note(port, exchange)
            await self._gateway.gone(exchange)
            # Let mitmproxy end the flow; the error that it meets is no news.
            port.flow.response = http.Response.make(499)
            port.resume()

    def _note(self, port: FlowPort, exchange: Exchange) -> None:
        waited_s = self._gateway.clock() - exchange.arrived_at
        port.told = note_exchange(port.flow, exchange, waited_s, port.told)

    def _continued(self, exchange: Exchange, body: bytes) -> bytes | None:
        forward = exchange.listener == "forward"
        return self._gateway.side.continued_body(
            exchange.dialect, exchange.head, body, exchange.credential, forward=forward
        )

    def held(self, flow: Flow) -> Exchange | None:
        """The call of a flow, if it is in our hands and waits."""
        port = self._ports.get(flow.id)
        exchange = port.exchange if port is not None else None
        return exchange if exchange is not None and exchange.ending is None else None

    def flow_of(self, exchange: Exchange) -> http.HTTPFlow | None:
        """The flow of a call that is in our hands."""
        return next((port.flow for port in self._ports.values() if port.exchange is exchange), None)

    def tell_waiting(self, most: int) -> list[http.HTTPFlow]:
        """Write into flows that wait how long they do by now: into so many at most, those after them the next time.
        Gives these flows, for the UIs to show them anew."""
        waiting = [port for port in self._ports.values() if port.exchange is not None and port.exchange.ending is None]
        begin = self._told_to if self._told_to < len(waiting) else 0
        told = waiting[begin : begin + most]
        self._told_to = begin + len(told)
        for port in told:
            assert port.exchange is not None
            self._note(port, port.exchange)
        return [port.flow for port in told]

    def sweep_killed(self) -> None:
        """A flow that was killed in a UI stays where it is held, its client waiting: let it go on to its end."""
        for port in list(self._ports.values()):
            flow = port.flow
            if flow.error is not None and not flow.intercepted and not port.resumed:
                flow.intercepted = True
                flow.resume()

    def cut(self, error: MotiveError) -> None:
        """End every reply that is being spoken, in the middle."""
        for port in self._ports.values():
            if port.exchange is not None:
                port.exchange.cut(error)

    def _forget(self, flow: http.HTTPFlow) -> Exchange | None:
        """Let a flow out of our hands. Gives its exchange, None if it was not in them."""
        port = self._ports.pop(flow.id, None)
        if port is None:
            return None
        port.restore()
        flows = self._by_client.get(flow.client_conn.id)
        if flows is not None:
            flows.discard(flow.id)
            if not flows:
                del self._by_client[flow.client_conn.id]
        if not self._ports:
            self._empty.set()
        # Port and exchange know each other: that has to end here, or both, and the bodies with them, would stay until
        # the garbage collector comes by.
        exchange, port.exchange = port.exchange, None
        return exchange

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no flow is in our hands. Gives False if the time ran out before."""
        if not self._ports:
            return True
        self._empty.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
