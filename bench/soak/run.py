"""The phases of a soak: warm-up, rough weather, the end, and what is left after it.

Owns who plays in which session, when the weather changes, when the proxy is killed, and the verdict.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from bench.soak.processes import CLEAN_UP_S, SoakedProxy, Standing
from bench.soak.sides import PACED, Answerer, Asker, Client, Role, Weather
from bench.soak.transcript import Transcript, faults
from bench.soak.wires import WIRES

_END_DEADLINE_S: Final = 180.0
_QUIET_DEADLINE_S: Final = 30.0
_QUIET_POLL_S: Final = 0.5
_PROGRESS_S: Final = 5.0
_MEMORY_MARGIN: Final = 0.10

_MUST_BE_GONE: Final = (
    "held calls",
    "flows in hand",
    "clients with flows",
    "timers",
    "terms",
    "sessions heard of",
    "promised streams",
    "requests at the origin",
    "connections",
    "flow objects",
    "exchange objects",
    "tasks of the gateway",
)

type Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how many, how rude. ``minutes`` is the rough weather; the warm-up comes before it. With ``kills`` the
    warm-up has one, too: everybody comes back at once then, and Python never gives back what so many calls at once have
    taken. Only a process that has been through that can be compared with the last one."""

    minutes: float
    sessions: int
    seed: int
    warm_up_s: float = 30.0
    think_s: float = 1.5
    rudeness: float = 0.35
    kills: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What a soak found. ``faults`` is empty if all is well; ``left`` are the counts after it that should be none."""

    plan: Plan
    faults: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    prompts: int = 0
    turns: int = 0
    kills: int = 0
    before: Standing | None = None
    after: Standing | None = None
    peak_kib: int = 0
    took_s: float = 0.0
    stopped_s: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.faults and not self.left


class Soak:
    """One run. ``folder`` is empty, and holds the log afterwards; ``say`` is told of progress."""

    def __init__(self, plan: Plan, folder: Path, say: Say) -> None:
        self._plan = plan
        self._proxy = SoakedProxy(folder, plan.settings)
        self._say = say
        self.outcome = Outcome(plan)

    async def run(self) -> Outcome:
        """All phases."""
        began = time.monotonic()
        plan, proxy, outcome = self._plan, self._proxy, self.outcome
        try:
            await proxy.start()
            self._say("warm-up")
            await self._phase("warm", plan.warm_up_s, min(plan.kills, 1))
            outcome.before = await _quiet(proxy, None)
            self._say(f"warm: {outcome.before.resident_kib / 1024:.1f} MiB, {outcome.before.descriptors} descriptors")
            await self._phase("soak", plan.minutes * 60, plan.kills)
            outcome.after = await _quiet(proxy, outcome.before)
            outcome.left = _left(outcome.before, outcome.after)
            outcome.stopped_s = await asyncio.to_thread(proxy.stop)
            outcome.faults += [f"log: {line}" for line in proxy.complaints()]
        finally:
            proxy.kill()
        outcome.took_s = time.monotonic() - began
        return outcome

    async def _phase(self, name: str, seconds: float, kills: int) -> None:
        """Let all sessions play for so long, come to an end, and judge them."""
        plan, outcome = self._plan, self.outcome
        weather = Weather(plan.rudeness, plan.think_s, address=self._proxy.address)
        random = Random(f"{plan.seed} {name}")
        pairs = [_pair(f"{name}-{number}", weather, Random(random.random())) for number in range(plan.sessions)]
        transcripts = [asker.client.transcript for asker, _ in pairs]
        answering = [asyncio.create_task(answerer.run()) for _, answerer in pairs]
        asking = [asyncio.create_task(asker.run()) for asker, _ in pairs]
        progress = asyncio.create_task(self._progress(weather))
        try:
            for _ in range(kills):
                await asyncio.sleep(seconds / (kills + 1) * random.uniform(0.7, 1.3))
                await self._kill(random)
            await asyncio.sleep(seconds / (kills + 1))
            self._say("no more new prompts; all that is open is answered")
            weather.rudeness, weather.ending = 0.0, True
            done, pending = await asyncio.wait(asking, timeout=_END_DEADLINE_S)
            outcome.faults += [f"{name}: an asker did not come to an end" for _ in pending]
            for task in (*done, *(one for one in answering if one.done())):
                if (error := task.exception()) is not None:
                    raise error
        finally:
            for task in (progress, *asking, *answering):
                task.cancel()
            await asyncio.gather(progress, *asking, *answering, return_exceptions=True)
        for session in await self._proxy.sessions():
            await self._proxy.close_session(session)
        outcome.prompts += sum(len(one.asked) for one in transcripts)
        outcome.turns += sum(one.turns for one in transcripts)
        for what, count in weather.counts.items():
            outcome.counts[what] = outcome.counts.get(what, 0) + count
        for transcript in transcripts:
            found = faults(transcript)
            outcome.faults += found
            if found:
                path = self._proxy.folder / f"faulty-{transcript.session}.txt"
                path.write_text("\n".join([*found, "", *transcript.log]), encoding="utf-8")

    async def _kill(self, random: Random) -> None:
        self._say("kill")
        self._proxy.kill()
        await asyncio.sleep(random.random())
        await self._proxy.start()
        self.outcome.kills += 1

    async def _progress(self, weather: Weather) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(_PROGRESS_S)
            try:
                resident = self._proxy.resident_kib()
            except OSError:
                continue  # it was killed just now
            self.outcome.peak_kib = max(self.outcome.peak_kib, resident)
            told = weather.counts.get
            self._say(
                f"{time.monotonic() - began:5.0f} s  {told('calls', 0)} calls, {told('turns', 0)} turns, "
                f"{told('lost calls', 0)} lost calls, {resident / 1024:.1f} MiB"
            )


def _pair(name: str, weather: Weather, random: Random) -> tuple[Asker, Answerer]:
    """Two clients of random dialects, and who they are."""
    lanes = random.choice((1, 1, 1, 3))
    named = lanes > 1 or random.random() < 0.5
    model = f"{PACED}{name}" if random.random() < 0.1 else name
    transcript = Transcript(model)
    by_suffix = random.random() < 0.5
    same_key = random.random() < 0.3

    def client(role: Role) -> Client:
        wire = random.choice(WIRES)
        return Client(
            wire=wire,
            model=model,
            key=f"sk-{name}" if same_key else f"sk-{name}-{role}",
            agent=f"{wire.agent} {role}" if same_key else wire.agent,
            asks=role == "asker",
            role=role if named else None,
            by_suffix=by_suffix,
            streams=random.choice((0.0, 1.0, 0.5)),
            weather=weather,
            transcript=transcript,
            random=Random(random.random()),
            calm=not named,
        )

    return Asker(client("asker"), lanes), Answerer(client("answerer"), alone=lanes == 1)


async def _quiet(proxy: SoakedProxy, before: Standing | None) -> Standing:
    """What is left when nothing changes any more, or should not. What ends takes a moment to be gone, and its memory is
    given back by the next clean-up. So it is measured after one each time: else the moment would decide, since what
    hundreds of connections leave behind is a fifth of all, and so is what the count itself takes."""
    limit = time.monotonic() + _QUIET_DEADLINE_S
    while True:
        standing = await proxy.census()
        clean = not any(standing.counts[name] for name in _MUST_BE_GONE)
        if clean:
            await asyncio.sleep(2 * CLEAN_UP_S)
            standing = replace(standing, resident_kib=proxy.resident_kib())
        if time.monotonic() > limit or (clean and (before is None or not _left(before, standing))):
            return standing
        await asyncio.sleep(_QUIET_POLL_S)


def _left(before: Standing, after: Standing) -> list[str]:
    """What is there now and was not before, or should not be."""
    found = [f"{name}: {after.counts[name]}" for name in _MUST_BE_GONE if after.counts[name]]
    if after.counts["tasks"] > before.counts["tasks"]:
        found.append(f"tasks: {before.counts['tasks by name']} before, {after.counts['tasks by name']} after")
    if after.descriptors > before.descriptors:
        found.append(f"descriptors: {before.descriptors} before, {after.counts['descriptors']} after")
    if after.resident_kib > before.resident_kib * (1 + _MEMORY_MARGIN):
        kinds = (before.counts["largest kinds"], after.counts["largest kinds"])
        found.append(f"memory: {before.resident_kib} KiB before, {after.resident_kib} KiB after; objects {kinds}")
    return found
