"""``motive converse``: lets two models talk with each other through the proxy, or plays scenarios without any model.

Owns the command line, which proxy it is, and the exit status: 0 only if every word arrived as it was said.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from motive_core.cli.environment import restored
from motive_core.cli.errors import CommandError
from motive_core.cli.launch import url_of
from motive_core.cli.own import OwnProxy
from motive_core.cli.proxies import AbsentError, StrangerError, ask_health_at
from motive_core.cli.settings import CONFDIR, listeners_of, settings_of
from motive_core.config import DEFAULT_CONFIG_NAME
from motive_core.converse.link import Link
from motive_core.converse.report import Reported, write
from motive_core.converse.scenarios import SCENARIOS, Stage, conversations_of
from motive_core.converse.show import Show, progress, summary
from motive_core.converse.sides import PROVIDERS, Side, SideError, side_of
from motive_core.converse.talk import Party, converse
from motive_core.converse.voices import Voice
from motive_core.session import Role
from motive_core.upstream import Http

REPORTS: Final = Path("e2e_test_results")
ALL: Final = "all"
PROMPT: Final = "Greet the other one, and ask what it likes about rivers. Keep it to two sentences."
_FAILED: Final = 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="motive converse",
        allow_abbrev=False,
        description="Let two models talk with each other through the proxy, each as a client that believes it talks to "
        "a model, and check that every word arrives as it was said. With --scenario, no model is needed.",
        epilog=f"Providers: {', '.join(PROVIDERS)}. Keys come from the environment: OPENAI_API_KEY, ANTHROPIC_API_KEY, "
        "GEMINI_API_KEY, CO_API_KEY. A mock speaks by itself, unless it is given a base URL.",
    )
    made.add_argument("--a", metavar="PROVIDER:MODEL", help="who begins, such as openai:gpt-4o")
    made.add_argument("--b", metavar="PROVIDER:MODEL", help="who answers, such as anthropic:claude-sonnet-4-5")
    made.add_argument("--a-base-url", metavar="URL", help="where A is, if not at its provider's")
    made.add_argument("--b-base-url", metavar="URL", help="where B is, if not at its provider's")
    made.add_argument("--prompt", default=PROMPT, help="what A is told at the beginning")
    made.add_argument("--system-prompt", help="system prompt of both")
    made.add_argument("--turns", type=_count, default=5, help="prompts of A, each with B's answer (5)")
    made.add_argument(
        "--max-context-messages", type=_count, default=8, metavar="N", help="messages that a model is told at most (8)"
    )
    made.add_argument("--no-stream", action="store_true", help="do not stream the calls to the proxy")
    made.add_argument("--timeout", type=_seconds, default=120.0, metavar="SECONDS", help="for each reply (120)")
    made.add_argument(
        "--scenario", action="append", choices=(*SCENARIOS, ALL), help="play this instead; may be given more than once"
    )
    made.add_argument("--pairs", type=_count, default=50, help="pairs of the scenario concurrent (50)")
    made.add_argument("--url", help="the meeting point; the configuration's if not given, or one of its own")
    made.add_argument("--key", help="a key for the meeting point; MOTIVE_KEY if not given")
    made.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration file; {DEFAULT_CONFIG_NAME} if not given"
    )
    made.add_argument("--own", action="store_true", help="start a proxy of its own, even if one runs")
    made.add_argument("--report", type=Path, default=REPORTS, metavar="FOLDER", help=f"for the report ({REPORTS})")
    made.add_argument("--no-report", action="store_true", help="write none")
    return made


def main(arguments: Sequence[str]) -> int:
    """Play; gives the status. Raises ``CommandError``."""
    made = parser()
    options = made.parse_args(arguments[1:])
    env = restored(os.environ)
    if options.scenario is None and (options.a is None or options.b is None):
        made.error("name both sides, as --a openai:gpt-4o --b anthropic:claude-sonnet-4-5, or a --scenario")
    if options.own and options.url is not None:
        made.error("--own and --url exclude each other")
    sides = None if options.scenario else _sides(options, env)
    console = Console(highlight=False)
    with _meeting_point(options, env) as url:
        found, name, about = asyncio.run(_played(options, sides, url, options.key or env.get("MOTIVE_KEY"), console))
    folder = None
    if not options.no_report:
        try:
            folder = write(options.report, name, found, datetime.now().astimezone(), about)
        except OSError as error:
            raise CommandError(f"the report cannot be written: {error}") from error
    summary(console, found, folder)
    return 0 if all(one.talk.is_whole for one in found) else _FAILED


def _sides(options: argparse.Namespace, env: Mapping[str, str]) -> tuple[Side, Side]:
    try:
        a = side_of(options.a, env, base_url=options.a_base_url, timeout_s=options.timeout)
        return a, side_of(options.b, env, base_url=options.b_base_url, timeout_s=options.timeout)
    except SideError as error:
        raise CommandError(str(error)) from error


@contextmanager
def _meeting_point(options: argparse.Namespace, env: Mapping[str, str]) -> Iterator[str]:
    """The URL of the meeting point: the one that was given, or runs; else one of its own."""
    if options.url is not None:
        url = options.url.rstrip("/").removesuffix("/v1")
        ask_health_at(url)
        yield url
        return
    settings = settings_of(options.config, env)
    if not options.own:
        _, meeting = listeners_of(settings)
        url = url_of(meeting)
        try:
            runs = ask_health_at(url)["status"] != "closing"
        except (AbsentError, StrangerError):
            runs = False
        if runs:
            yield url
            return
    sys.stderr.write("motive: starting a proxy for this\n")
    with OwnProxy(settings, CONFDIR.expanduser(), env) as own:
        yield own.meeting


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it is played: the meeting point, a key for it, and the connections with it."""

    url: str
    key: str | None
    http: Http


async def _played(
    options: argparse.Namespace, sides: tuple[Side, Side] | None, url: str, key: str | None, console: Console
) -> tuple[list[Reported], str, str]:
    """What was played: the conversations, and the name and the description of the report."""
    place = _Place(url, key, Http())
    try:
        if sides is None:
            names = list(SCENARIOS) if ALL in options.scenario else list(dict.fromkeys(options.scenario))
            about = f"Scenarios of {options.turns} turns: {', '.join(names)}."
            name = names[0] if len(names) == 1 else "scenarios"
            return await _scenarios(options, names, place, console), name, about
        return [await _conversation(options, sides, place, console)], "converse", f"Prompt: {options.prompt}"
    finally:
        await place.http.close()


async def _scenarios(
    options: argparse.Namespace, names: Sequence[str], place: _Place, console: Console
) -> list[Reported]:
    found: list[Reported] = []
    with progress(console) as bars:
        bar = bars.add_task("conversations", total=conversations_of(names, options.pairs))

        def done(reported: Reported) -> None:
            bars.advance(bar)
            if not console.is_terminal:
                state = "whole" if reported.talk.is_whole else "FAILED"
                console.print(f"{reported.title}: {state}, {reported.talk.took_s:.2f} s", markup=False)

        stage = Stage(place.url, place.http, options.turns, options.pairs, place.key, done)
        for name in names:
            bars.update(bar, description=name)
            found += await SCENARIOS[name](stage)
    return found


async def _conversation(
    options: argparse.Namespace, sides: tuple[Side, Side], place: _Place, console: Console
) -> Reported:
    session = f"converse-{secrets.token_hex(4)}"

    def party(side: Side, role: Role, seed: int) -> Party:
        most = options.max_context_messages
        voice = Voice(side, place.http, system_prompt=options.system_prompt, max_context_messages=most, seed=seed)
        # Each waits for the other one's model, too.
        timeout_s = 2 * options.timeout + 30
        stream = not options.no_stream
        link = Link(
            place.url,
            side.dialect,
            session,
            role,
            place.http,
            stream=stream,
            key=place.key,
            max_context_messages=most,
            timeout_s=timeout_s,
        )
        return Party(voice, link)

    a, b = sides
    names = {"a": a.name, "b": b.name} if a.name != b.name else {"a": f"{a.name} (a)", "b": f"{b.name} (b)"}
    show = Show(console, {"a": names["a"], "b": names["b"]})
    try:
        talk = await converse(
            session,
            party(a, "asker", 1),
            party(b, "answerer", 2),
            prompt=options.prompt,
            turns=options.turns,
            watcher=show.watcher,
        )
    finally:
        show.stop()
    return Reported(f"{names['a']} and {names['b']}", names["a"], names["b"], talk)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 10000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return seconds
