"""Calls beside the chat: lists of models, counts of tokens, replies that were kept.

Owns what such calls are told of the proxy, and the replies that clients may name later. What a call means and what its
reply looks like is its dialect's business. These calls never reach a session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from motive_core.dialects import Dialect, ModelInfo, RequestHead, SideCall, WireReply
from motive_core.errors import BadRequestError, MotiveError
from motive_core.ir import ChatRequest
from motive_core.kept import KeptReplies, KeptStore


class SideCalls:
    """``clock`` gives seconds that never go back, ``keep_s`` is how long replies are kept, and ``store`` where;
    ``models`` gives what there is to talk to."""

    def __init__(
        self,
        clock: Callable[[], float],
        keep_s: float,
        models: Callable[[], Awaitable[Sequence[ModelInfo]]],
        store: KeptStore | None = None,
    ) -> None:
        self.kept = KeptReplies(clock, keep_s, store)
        self._models = models

    async def serve(
        self, dialect: Dialect, head: RequestHead, body: bytes, credential: str | None, may_use: Callable[[str], bool]
    ) -> WireReply:
        """Answer a call that the dialect said it serves, for the client of this credential, which learns of no model
        but those that it ``may_use``. Raises ``MotiveError``."""
        return dialect.serve(
            SideCall(
                head,
                body,
                [model for model in await self._models() if may_use(model.model)],
                kept=lambda reply_id: self.kept.find(reply_id, credential),
                forget=lambda reply_id: self.kept.forget(reply_id, credential),
            )
        )

    def continue_kept(
        self, dialect: Dialect, request: ChatRequest, credential: str | None, *, forward: bool
    ) -> tuple[ChatRequest, bool]:
        """A request with the conversation that it names and the items that it refers to, and whether any of that was
        ours.

        One that came by the forward proxy may name a reply of the real service, which is nothing to us: then only its
        own words are known here. At the meeting point there is nobody else: raises ``BadRequestError``, as for
        quotations that the vendor refuses.
        """
        found = dialect.resolved(request, lambda reply_id: self.kept.find(reply_id, credential))
        changed = found is not request
        if request.previous is None:
            return found, changed
        kept = self.kept.find(request.previous, credential)
        if kept is not None:
            return dialect.continued(found, kept), True
        if forward:
            return found, changed
        message = f"Previous response with id '{request.previous}' not found."
        raise BadRequestError(message, code="previous_response_not_found", param="previous_response_id")

    def continued_body(
        self, dialect: Dialect, head: RequestHead, body: bytes, credential: str | None, *, forward: bool
    ) -> bytes | None:
        """A body (in no content encoding) with the conversation that it only names, for a service that does not know
        it; None if it will do as it is, or is none that can be read."""
        try:
            request = dialect.parse_request(body, head)
            request, continues = self.continue_kept(dialect, request, credential, forward=forward)
        except MotiveError:
            return None
        return dialect.render_request(request) if continues else None
