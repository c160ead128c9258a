"""The ``mock`` source: a model that is none.

Owns the order of things in one call: it is counted, written down, met by its faults, and answered. Knows no wire. All
chance comes from the seed and the number of the call, so that a run repeats however its calls overlap.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Literal

from pydantic import Field

from motive_core.exchange import Answered, SeveredError
from motive_core.log_lines import LogLine
from motive_core.settings.types import Text
from motive_core.sources.base import Call, Source, SourceSettings, World
from motive_core.sources.mock_calls import facts_of
from motive_core.sources.mock_faults import LONGEST_STALL_S, Faults, error_of_fault
from motive_core.sources.mock_log import RequestLog
from motive_core.sources.mock_rules import NO_REPLY, Rules
from motive_core.sources.mock_settings import MockFault, MockPace, MockRule, MockWords, Seed
from motive_core.sources.mock_speech import Waits, pieces, scripted, spoken

logger = logging.getLogger(__name__)

_DELAY_S: Final = 1.0


class Mock(SourceSettings, MockWords):
    """Settings of ``mock``."""

    kind: Literal["mock"] = "mock"
    rules: tuple[MockRule, ...] = Field(
        default=(),
        description="What is said to some calls: the first rule that takes a call decides, in the place of "
        "what stands above.",
    )
    pace: MockPace = Field(default=MockPace(), description="How fast it speaks.")
    faults: tuple[MockFault, ...] = Field(
        default=(), description="What goes wrong. Delays add up; of all others the first that hits a call counts."
    )
    seed: Seed = Field(default=0, description="Where chance comes from: two runs of one seed are the same.")
    log: Text | None = Field(
        default=None,
        description="A file to which each request is added as a line of JSON, without its secrets; one that is not "
        "absolute is in the folder where the proxy was started. Null: none.",
    )

    def make(self, world: World) -> Source:
        """See ``SourceSettings``."""
        return MockSource(self, world)


class MockSource:
    """See the module."""

    def __init__(self, settings: Mock, world: World) -> None:
        self._settings = settings
        self._rules = Rules(settings, settings.rules)
        self._faults = Faults(settings.faults)
        self._log = RequestLog(settings.log, world.clock) if settings.log is not None else None
        self._calls = 0

    async def answer(self, call: Call) -> Answered:
        """See ``Source``."""
        self._calls += 1
        facts = facts_of(call.request, self._calls, self._settings.seed)
        # Everything that counts is decided before the first wait, in the order in which calls come.
        delays, fault = self._faults.of(facts)
        # An error takes no turn in a list of texts: its retry gets that one.
        rule, reply = self._rules.reply(facts) if fault is None or fault.leaves_reply else (None, NO_REPLY)
        if self._log is not None:
            self._log.add(call, facts.number, rule, fault.kind if fault is not None else None)
        if delays or fault is not None:
            logger.info(
                LogLine("fault made", exchange=call.exchange, call=facts.number, kind=fault.kind if fault else "delay")
            )
        for delay in delays:
            await asyncio.sleep(delay.duration_s or _DELAY_S)
        if fault is not None and not fault.is_within_reply:
            await self._fail(call, fault)
            fault = None
        script = scripted(reply, Waits(self._settings.pace, facts), fault, call.request)
        if script.first_s:
            await asyncio.sleep(script.first_s)
        if script.is_at_once:
            call.pieces = pieces
            return reply
        return spoken(script, call.hush)

    async def _fail(self, call: Call, fault: MockFault) -> None:
        """What happens in the place of a reply; a stall that ends leaves it to come."""
        match fault.kind:
            case "status":
                raise error_of_fault(fault)
            case "reset":
                raise SeveredError(reset=True)
            case _:
                call.hush()
                await asyncio.sleep(fault.duration_s or LONGEST_STALL_S)
                if fault.duration_s is None:
                    raise SeveredError

    async def close(self) -> None:
        """See ``Source``."""
