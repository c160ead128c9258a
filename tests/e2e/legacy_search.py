"""The stand-in search API of ``examples/`` as a process of its own, and the proxy that has it as a source.

Owns the process and the routes: the beginning of a model's name says which settings the source has.

======== ======================================================================
docs     the defaults
acked    each word waits until the one before was received by who the model names
native   citations are objects of the dialect
linked   the same, with URLs
json     events are JSON
======== ======================================================================
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx

from tests.e2e.proxy import DEADLINE_S, POLL_S, REPOSITORY, free_port

SECRET: Final = "sesame-seed-4711"
QUESTION: Final = "Who guards the gate, it's closed? 世 & ü=1"
WORDS: Final = ("The ", "gate ", "opens ", "at ", "dawn. ", "It's ", "guarded ", "by ", "Bram. ")
SAID: Final = "".join(WORDS)
LIST: Final = "\n\n- gates.md"


class SearchProcess:
    """``python examples/legacy_sse_api.py``, on a free port; it may be started again there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._log = folder / "search.txt"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> SearchProcess:
        command = [sys.executable, "examples/legacy_sse_api.py", "--port", str(self.port), "--pause", "0"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
        limit = time.monotonic() + DEADLINE_S
        while True:
            try:
                httpx.get(f"{self.url}/open", trust_env=False)
            except httpx.HTTPError:
                if self._process.poll() is not None or time.monotonic() > limit:
                    self.kill()
                    raise AssertionError(f"the stand-in API does not start\n{self._log.read_text()}") from None
                time.sleep(POLL_S)
            else:
                return self

    def kill(self) -> None:
        """End it at once, with whatever it is telling."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    async def received(self, who: str, words: int = 1) -> None:
        """Tell it that so many more words have arrived."""
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            assert (await client.get(f"{self.url}/acknowledge", params={"who": who, "words": words})).status_code == 200

    async def until_open(self, answers: int) -> None:
        """Wait until it tells so many answers."""
        async with asyncio.timeout(DEADLINE_S), httpx.AsyncClient(trust_env=False, verify=False) as client:
            while (await client.get(f"{self.url}/open")).json()["open"] != answers:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)

    def config(self) -> dict[str, Any]:
        """A configuration with this API behind it."""
        url = f"{self.url}/search?topNDocuments=1&key={SECRET}"
        link = "https://docs.example/{id}"
        sources: dict[str, Any] = {
            "docs": {"url": url},
            "acked": {"url": url, "session_parameter": "acknowledge"},
            "native": {"url": url, "citations": "native"},
            "linked": {"url": url, "citations": "native", "citation_url": link},
            "json": {"url": f"{url}&format=json"},
        }
        return {
            "sources": {name: {"kind": "legacy_sse", **settings} for name, settings in sources.items()},
            "routes": [{"match": {"model": f"{name}*"}, "session": "{model}", "answer": name} for name in sources],
            "log": {"debug": True},
        }
