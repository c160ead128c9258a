"""A conversation on the terminal, as it happens.

Owns what it looks like. On something that is no terminal, it is plain lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from motive_core.converse.report import Reported, figures, verdict
from motive_core.converse.talk import Said, Speaker, Watcher

_COLOURS: Final[Mapping[Speaker, str]] = {"a": "blue", "b": "dark_orange3"}
_LINES_SHOWN: Final = 12


class Show:
    """One conversation. ``names`` are those of its sides."""

    def __init__(self, console: Console, names: Mapping[Speaker, str]) -> None:
        self._console = console
        self._names = names
        self._live: Live | None = None

    @property
    def watcher(self) -> Watcher:
        """What is to be told."""
        return Watcher(self._thinking, self._said)

    def _thinking(self, speaker: Speaker, text: str) -> None:
        if not self._console.is_terminal:
            return
        # Only the end of what is long, so that it stays on the screen.
        shown = "\n".join(text.splitlines()[-_LINES_SHOWN:])
        panel = self._panel(speaker, Text(shown or "...", style="dim"))
        if self._live is None:
            self._live = Live(panel, console=self._console, transient=True, refresh_per_second=12)
            self._live.start()
        self._live.update(panel)

    def _said(self, said: Said) -> None:
        self.stop()
        times = f"model {said.spoken.took_s:.2f} s"
        if said.transit_s is not None:
            times += f", proxy {said.transit_s * 1000:.1f} ms"
        times += f", {said.spoken.output_tokens} tokens"
        if not said.is_right:
            times += ", ARRIVED ALTERED"
        if self._console.is_terminal:
            self._console.print(self._panel(said.speaker, Text(said.text), times, wrong=not said.is_right))
            return
        title = f"[{said.number}] {self._names[said.speaker]} ({times})"
        self._console.print(f"{title}\n{said.text}\n", markup=False, highlight=False, soft_wrap=True)

    def _panel(self, speaker: Speaker, text: Text, times: str = "", *, wrong: bool = False) -> Panel:
        return Panel(
            text,
            title=Text(self._names[speaker], style="bold"),
            title_align="left" if speaker == "a" else "right",
            subtitle=Text(times, style="bold red" if wrong else "dim") if times else None,
            subtitle_align="left" if speaker == "a" else "right",
            border_style=_COLOURS[speaker],
        )

    def stop(self) -> None:
        """Leave the screen as it is."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def progress(console: Console) -> Progress:
    """A bar for many conversations."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def summary(console: Console, found: Sequence[Reported], folder: Path | None) -> None:
    """How it went, in the end."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for what, value in figures(found).items():
        table.add_row(Text(what, style="bold"), Text(value))
    console.print(table)
    for one in found:
        if not one.talk.is_whole:
            console.print(Text(f"✗ {one.title}: {verdict(one.talk)}", style="red"))
    whole = all(one.talk.is_whole for one in found)
    words = "every word arrived as it was said" if whole else "words were lost or altered, or a side failed"
    console.print(Text(f"{'✓' if whole else '✗'} {words}", style="bold green" if whole else "bold red"))
    if folder is not None:
        console.print(Text(f"report: {folder}/report.html", style="dim"), soft_wrap=True)
