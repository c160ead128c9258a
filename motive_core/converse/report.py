"""The report of conversations: JSON for programs, Markdown and one page of HTML for people.

Owns the files and their form. The page needs nothing but itself.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from motive_core.converse.talk import Conversation, Said

_SHOWN_CHARACTERS: Final = 20_000
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 880, 260, 56, 28


@dataclass(frozen=True, slots=True)
class Reported:
    """A conversation, or what a scenario found: ``title`` names it, ``a`` and ``b`` its sides."""

    title: str
    a: str
    b: str
    talk: Conversation


def write(folder: Path, name: str, found: Sequence[Reported], at: datetime, about: str) -> Path:
    """Write the three files into a new folder within ``folder``; gives that. Raises ``OSError``."""
    target = folder / f"{at:%Y%m%d-%H%M%S}-{name}"
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{at:%Y%m%d-%H%M%S}-{name}-{number}"
    target.mkdir(parents=True)
    data = as_json(name, found, at, about)
    (target / "report.json").write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (target / "report.md").write_text(as_markdown(name, found, at, about), "utf-8")
    (target / "report.html").write_text(as_html(name, found, at, about), "utf-8")
    return target


def as_json(name: str, found: Sequence[Reported], at: datetime, about: str) -> dict[str, Any]:
    """The whole report as JSON values."""
    return {
        "name": name,
        "about": about,
        "at": at.isoformat(timespec="seconds"),
        "passed": all(one.talk.is_whole for one in found),
        "conversations": [_talk_as_json(one) for one in found],
    }


def _talk_as_json(one: Reported) -> dict[str, Any]:
    talk = one.talk
    return {
        "title": one.title,
        "session": talk.session,
        "a": one.a,
        "b": one.b,
        "turns": talk.turns,
        "passed": talk.is_whole,
        "problem": talk.problem,
        "took_s": _ms(talk.took_s),
        "messages": [
            {
                "number": said.number,
                "speaker": said.speaker,
                "text": said.text,
                "arrived": said.is_right,
                **({"received": said.received} if not said.is_right else {}),
                "model_s": _ms(said.spoken.took_s),
                "first_token_s": _ms(said.spoken.first_token_s),
                "transit_s": _ms(said.transit_s),
                "input_tokens": said.spoken.input_tokens,
                "output_tokens": said.spoken.output_tokens,
                "tokens_estimated": said.spoken.estimated,
            }
            for said in talk.messages
        ],
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def figures(found: Sequence[Reported]) -> dict[str, str]:
    """What a reader wants to know first."""
    messages = [said for one in found for said in one.talk.messages]
    transits = [said.transit_s for said in messages if said.transit_s is not None]
    models = [said.spoken.took_s for said in messages]
    wrong = sum(not said.is_right for said in messages)
    told = {
        "conversations": f"{sum(one.talk.is_whole for one in found)} of {len(found)} whole",
        "messages": f"{len(messages)}, {wrong} lost or altered",
        "tokens": f"{sum(said.spoken.output_tokens for said in messages):,} said",
    }
    if transits:
        told["through the proxy"] = f"median {median(transits) * 1000:.1f} ms, most {max(transits) * 1000:.1f} ms"
    if models:
        told["model"] = f"median {median(models):.2f} s, most {max(models):.2f} s"
    return told


def as_markdown(name: str, found: Sequence[Reported], at: datetime, about: str) -> str:
    """The report for people who read text."""
    lines = [f"# {name}", "", f"{about} {at:%Y-%m-%d %H:%M:%S}", "", "| | |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in figures(found).items()]
    for one in found:
        talk = one.talk
        lines += ["", f"## {one.title}", "", f"{one.a} and {one.b} in session `{talk.session}`: {verdict(talk)}", ""]
        if len(found) > 20:
            continue  # a storm: its figures are what counts
        for said in talk.messages:
            lines += [f"**{said.number}. {_name(one, said)}** ({_times(said)})", "", *_quoted(said.text), ""]
            if not said.is_right:
                lines += ["arrived as:", "", *_quoted(said.received or "(never)"), ""]
    return "\n".join(lines).rstrip() + "\n"


def verdict(talk: Conversation) -> str:
    """In a few words, whether it went well."""
    if talk.is_whole:
        return f"{talk.turns} turns, every word as it was said."
    wrong = sum(not said.is_right for said in talk.messages)
    spoken = len(talk.messages) // 2
    why = f" {talk.problem}" if talk.problem else ""
    return f"FAILED: {spoken} of {talk.turns} turns, {wrong} messages lost or altered.{why}"


def _quoted(text: str) -> list[str]:
    return [f"> {line}" for line in text[:_SHOWN_CHARACTERS].split("\n")]


def _name(one: Reported, said: Said) -> str:
    return one.a if said.speaker == "a" else one.b


def _times(said: Said) -> str:
    parts = [f"model {said.spoken.took_s:.2f} s"]
    if said.spoken.first_token_s is not None:
        parts.append(f"first token {said.spoken.first_token_s:.2f} s")
    if said.transit_s is not None:
        parts.append(f"proxy {said.transit_s * 1000:.1f} ms")
    parts.append(f"{said.spoken.output_tokens} tokens{' (estimated)' if said.spoken.estimated else ''}")
    return ", ".join(parts)


def as_html(name: str, found: Sequence[Reported], at: datetime, about: str) -> str:
    """One page, complete in itself."""
    rows = "".join(f"<tr><th>{_e(what)}</th><td>{_e(value)}</td></tr>" for what, value in figures(found).items())
    talks = "".join(_talk_as_html(one, with_messages=len(found) <= 20) for one in found)
    passed = all(one.talk.is_whole for one in found)
    return _PAGE.format(
        title=_e(name),
        about=_e(f"{about} {at:%Y-%m-%d %H:%M:%S}"),
        verdict="passed" if passed else "failed",
        rows=rows,
        plot=_plot([said for one in found for said in one.talk.messages]),
        talks=talks,
    )


def _talk_as_html(one: Reported, *, with_messages: bool) -> str:
    talk = one.talk
    said = "".join(_said_as_html(one, message) for message in talk.messages) if with_messages else ""
    state = "ok" if talk.is_whole else "bad"
    return (
        f'<section><h2>{_e(one.title)}</h2><p class="{state}">{_e(one.a)} and {_e(one.b)} in session '
        f"<code>{_e(talk.session)}</code>: {_e(verdict(talk))}</p>{said}</section>"
    )


def _said_as_html(one: Reported, said: Said) -> str:
    wrong = "" if said.is_right else f'<p class="bad">arrived as:</p><pre>{_e(said.received or "(never)")}</pre>'
    return (
        f'<article class="{said.speaker}"><header><b>{_e(_name(one, said))}</b> <small>{_e(_times(said))}</small>'
        f"</header><pre>{_e(said.text[:_SHOWN_CHARACTERS])}</pre>{wrong}</article>"
    )


def _e(text: str) -> str:
    return html.escape(text)


def _plot(messages: Sequence[Said]) -> str:
    """What each message took, as bars: the model's time, and the proxy's on top of it."""
    if not messages:
        return ""
    shown = messages[:400]
    times = [(said.spoken.took_s, said.transit_s or 0.0) for said in shown]
    top = max(0.001, *(model + proxy for model, proxy in times))
    step = (_WIDTH - _LEFT) / len(shown)
    bars = []
    for index, (said, (model, proxy)) in enumerate(zip(shown, times, strict=True)):
        x, high = _LEFT + index * step, _HEIGHT - _BOTTOM
        model_h, proxy_h = (high - 10) * model / top, (high - 10) * proxy / top
        wide = max(1.0, step * 0.8)
        title = f"<title>{said.number}. {said.speaker}: {_e(_times(said))}</title>"
        bars.append(
            f'<g>{title}<rect class="{said.speaker}" x="{x:.1f}" y="{high - model_h:.1f}" width="{wide:.1f}" '
            f'height="{max(model_h, 0.5):.1f}"/><rect class="proxy" x="{x:.1f}" y="{high - model_h - proxy_h:.1f}" '
            f'width="{wide:.1f}" height="{max(proxy_h, 0.5):.1f}"/></g>'
        )
    unit, scale = ("s", 1.0) if top >= 1 else ("ms", 1000.0)
    lines = []
    for part in (0.0, 0.5, 1.0):
        y = (_HEIGHT - _BOTTOM) - (_HEIGHT - _BOTTOM - 10) * part
        lines.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * part * scale:.3g} {unit}</text>'
        )
    label = f"Latency of {len(shown)} messages: the model's time, and above it the proxy's"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_e(label)}">{"".join(lines)}'
        f'{"".join(bars)}</svg><figcaption>{_e(label)}. <i class="a"></i> a <i class="b"></i> b '
        f'<i class="proxy"></i> proxy</figcaption></figure>'
    )


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: {verdict}</title>
<style>
:root {{ color-scheme: light dark; --a: #2f6fde; --b: #b3541e; --proxy: #1a8a5a; --line: #8886; --soft: #8881; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} th {{ text-align: left; padding-right: 2rem; font-weight: 600; }}
.verdict {{ display: inline-block; padding: .1rem .6rem; border-radius: .4rem; color: #fff; background: var(--proxy); }}
.verdict.failed {{ background: #b3261e; }} .bad {{ color: #d3362d; font-weight: 600; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; margin: .3rem 0 0; }}
article {{ border-left: 4px solid var(--a); background: var(--soft); padding: .6rem .9rem; margin: .7rem 0; }}
article {{ border-radius: 0 .5rem .5rem 0; }} article.b {{ border-color: var(--b); margin-left: 2rem; }}
small, figcaption {{ opacity: .75; font-size: .85rem; }} figure {{ margin: 1.5rem 0; }}
svg {{ width: 100%; height: auto; }} svg line {{ stroke: var(--line); }}
svg text {{ font-size: 11px; fill: currentColor; }}
rect.a {{ fill: var(--a); }} rect.b {{ fill: var(--b); }} rect.proxy {{ fill: var(--proxy); }}
i {{ display: inline-block; width: .8em; height: .8em; margin-left: .8em; }}
i.a {{ background: var(--a); }} i.b {{ background: var(--b); }} i.proxy {{ background: var(--proxy); }}
</style></head><body>
<h1>{title} <span class="verdict {verdict}">{verdict}</span></h1><p>{about}</p>
<table>{rows}</table>{plot}{talks}
</body></html>
"""
