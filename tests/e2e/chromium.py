"""A real browser: Chromium without a screen, driven over a pipe by the DevTools protocol.

Owns the process and the messages. Knows no page of ours.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_DEADLINE_S: Final = 30.0
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-pipe",
    "--force-color-profile=srgb",
)


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol."""
        return await self._browser.call(method, params, self._session)

    async def open(self, url: str) -> None:
        """Go to an address."""
        told = await self.call("Page.navigate", url=url)
        assert "errorText" not in told, told

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        told = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait until an expression is true. Gives its value."""
        limit, told = time.monotonic() + _DEADLINE_S, None
        while time.monotonic() < limit:
            with contextlib.suppress(AssertionError):  # between two documents
                if told := await self.run(f"Promise.resolve({script}).then((it) => (it instanceof Node ? true : it))"):
                    return told
            await asyncio.sleep(0.03)
        raise AssertionError(f"not in time: {script}\n{await self.run('document.body.innerText')}")

    async def type(self, text: str) -> None:
        """Write into the field that has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, *, ctrl: bool = False) -> None:
        """Press a key and let it go."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Escape": 27}.get(key, ord(key.upper()) if len(key) == 1 else 0)
        event = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if ctrl else 0}
        await self.call(
            "Input.dispatchKeyEvent", type="keyDown", **event, **({"text": text} if text and not ctrl else {})
        )
        await self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    async def look(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        """How large the screen is, and which scheme its owner likes."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[feature])

    async def shoot(self, path: Path) -> None:
        """Keep what is to be seen, as PNG."""
        told = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(told["data"]))


class Browser:
    """One process. ``problems`` are the errors that its pages told their consoles."""

    def __init__(self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: int) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self.problems: list[str] = []
        self._task = asyncio.create_task(self._read())

    async def call(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        """A command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(_DEADLINE_S):
            told: dict[str, Any] = await answer
        return told

    async def tab(self) -> Tab:
        """A new page."""
        target = await self.call("Target.createTarget", {"url": "about:blank"})
        attached = await self.call("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        tab = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        return tab

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                told = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if (answer := self._answers.pop(told.get("id", 0), None)) is not None and not answer.done():
                    if "error" in told:
                        answer.set_exception(AssertionError(told["error"]))
                    else:
                        answer.set_result(told["result"])
                elif told.get("method") == "Runtime.exceptionThrown":
                    self.problems.append(json.dumps(told["params"]["exceptionDetails"]))
                elif told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                    self.problems.append(told["params"]["entry"]["text"])

    async def close(self) -> None:
        """End the process."""
        with contextlib.suppress(AssertionError, TimeoutError, OSError):
            await self.call("Browser.close", {})
        try:
            await asyncio.to_thread(self.process.wait, 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        os.close(self._writer)


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """A browser with its profile in ``folder``."""
    assert CHROMIUM is not None
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    # It reads commands from descriptor 3, and writes to 4.
    command = f'exec 3<&{to_read} 4>&{from_write}; exec "$0" "$@"'
    process = subprocess.Popen(  # noqa: ASYNC220 - it is started once, and has to get our descriptors
        ["bash", "-c", command, CHROMIUM, *_FLAGS, f"--user-data-dir={folder}"],
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(from_read, "rb", 0)
    )
    browser = Browser(process, reader, to_write)
    try:
        yield browser
    finally:
        await browser.close()
        transport.close()
