"""The sources of the matrix: a row each, with its settings and what it can say.

To add a source, add its row. Its answers are those of ``model_service`` (for sources that ask a model), or what
``repeats`` says: then it only tells what it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.e2e.voices import VOICES, Can

_CANS: Final = {voice.dialect: voice.can for voice in VOICES}


@dataclass(frozen=True, slots=True)
class Row:
    """One source. ``settings`` are made of the URL of the stand-in, behind which ``model_service`` speaks. ``asks``:
    it asks a model, so that errors, cut streams and gates of the stand-in are its own; if not, it tells what it was
    told last (``repeats``). ``calls`` and ``reasoning``: whether it has them in its replies. ``streams``: whether it
    says its first word before it knows its second."""

    name: str
    settings: Callable[[str], Mapping[str, Any]]
    asks: bool = True
    calls: bool = True
    reasoning: bool = True
    streams: bool = True


def _model(dialect: str) -> Row:
    can: Can = _CANS[dialect]

    def settings(url: str) -> Mapping[str, Any]:
        return {"kind": "model", "base_url": url, "dialect": dialect, "model": "real", "key": "sk-upstream"}

    calls = can.tools == "native" and can.calls == "native"
    return Row(f"to-{dialect}", settings, calls=calls, reasoning=can.reasoning == "native")


ROWS: Final[tuple[Row, ...]] = (
    *(_model(voice.dialect) for voice in VOICES),
    Row("mock", lambda url: {"kind": "mock"}, asks=False, calls=False, reasoning=False, streams=False),
)


def config(url: str) -> dict[str, Any]:
    """A configuration with a route for each row, by the beginning of the model's name."""
    return {
        "sources": {row.name: dict(row.settings(url)) for row in ROWS},
        "routes": [{"match": {"model": f"{row.name}--*"}, "answer": row.name} for row in ROWS],
    }
