"""A small stand-in for a search API that tells its answer word by word, and then which documents it rests on.

    python examples/legacy_sse_api.py                       # listens at http://127.0.0.1:8123/search
    curl -N 'http://127.0.0.1:8123/search?topNDocuments=3&sessionID=12345&search_query=troll'
    STREAM_URL='http://127.0.0.1:8123/search?topNDocuments=3&sessionID=12345' ./run.sh

It needs nothing that Motive does not need. ``?format=json`` writes the events as JSON, where the API writes Python
literals. Where the query names ``acknowledge``, each word waits until somebody has asked for ``/acknowledge`` as often
as words were sent before: so a test sees that a word had arrived when the next one was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

DOCUMENTS: Final = {
    "trolls.md": "Trolls guard bridges. Sunlight turns a troll to stone.",
    "gates.md": "The gate opens at dawn. It's guarded by Bram.",
    "prices.md": "Crossing the bridge costs two coins – or a riddle.",
}
PATIENCE_S: Final = 30.0


def found(question: str, most: int) -> list[str]:
    """The ids of the documents that have a word of the question in them, best first; the first ones if none has."""
    words = {word.strip(".,?!").lower() for word in question.split()}
    hits = {name: sum(word in text.lower() for word in words if len(word) > 3) for name, text in DOCUMENTS.items()}
    ranked = sorted(hits, key=lambda name: -hits[name])
    return [name for name in ranked if hits[name] or not any(hits.values())][:most]


class SearchApi:
    """The API, and what its callers have told it."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._received: dict[str, int] = {}
        self._change = asyncio.Condition()
        self.open = 0
        self.app = Starlette(
            routes=[
                Route("/search", self.search),
                Route("/acknowledge", self.acknowledge),
                Route("/open", self.count),
            ]
        )

    async def search(self, request: Request) -> Response:
        """The answer to ``search_query``, as a stream."""
        query = request.query_params
        question = query.get("search_query", "")
        if not question:
            return JSONResponse({"message": "search_query is missing"}, 400)
        write = json.dumps if query.get("format") == "json" else str
        events = self._events(question, int(query.get("topNDocuments", "3")), query.get("acknowledge"))

        async def lines() -> AsyncIterator[str]:
            self.open += 1
            try:
                async for kind, data in events:
                    yield f"data: {write({'type': kind, 'data': data})}\n\n"
            finally:
                self.open -= 1

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def _events(self, question: str, most: int, acknowledge: str | None) -> AsyncIterator[tuple[str, str]]:
        if question == "fail":
            yield "error", "the index is closed"
            return
        names = found(question, most)
        words = [f"{word} " for name in names for word in DOCUMENTS[name].split()]
        for number, word in enumerate(words):
            if acknowledge is not None:
                await self._until_received(acknowledge, number)
            elif number:
                await asyncio.sleep(self._pause_s)
            yield "response", word
        for name in names:
            yield "citation", name

    async def _until_received(self, who: str, words: int) -> None:
        async with asyncio.timeout(PATIENCE_S), self._change:
            await self._change.wait_for(lambda: self._received.get(who, 0) >= words)

    async def acknowledge(self, request: Request) -> Response:
        """``?who=...``: one more word has arrived there, or so many as ``words`` says."""
        who, words = request.query_params["who"], int(request.query_params.get("words", "1"))
        async with self._change:
            self._received[who] = self._received.get(who, 0) + words
            self._change.notify_all()
        return JSONResponse({"received": self._received[who]})

    async def count(self, request: Request) -> Response:
        """How many answers are being told."""
        return JSONResponse({"open": self.open})


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for a search API that streams.")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two words")
    options = parser.parse_args()
    api = SearchApi(options.pause)
    uvicorn.run(api.app, host="127.0.0.1", port=options.port, access_log=False)


if __name__ == "__main__":
    main()
