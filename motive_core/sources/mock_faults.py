"""Which faults the ``mock`` source makes in a call.

Owns the counting, the chance, and the error that a fault may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from motive_core.errors import MotiveError, error_of
from motive_core.sources.mock_calls import Condition, Facts
from motive_core.sources.mock_settings import MockFault

LONGEST_STALL_S: Final = 3600.0
"""How long one lasts that has no end. That a client has left is not always seen: not where it resets a stream of
HTTP/2 whose reply has not begun."""


class Faults:
    """The faults of one source, and how many calls each has seen."""

    def __init__(self, faults: Sequence[MockFault]) -> None:
        self._faults = [(fault, Condition(fault.when)) for fault in faults]
        self._seen = [0] * len(faults)

    def of(self, facts: Facts) -> tuple[list[MockFault], MockFault | None]:
        """The delays of this call, and the fault that it meets. To be asked once a call, in the order in which they
        come."""
        delays: list[MockFault] = []
        met: MockFault | None = None
        for index, (fault, condition) in enumerate(self._faults):
            if condition.match(facts) is None:
                continue
            self._seen[index] += 1
            if not _hits(fault, self._seen[index], facts, index):
                continue
            if fault.kind == "delay":
                delays.append(fault)
            elif met is None:
                met = fault
        return delays, met


def error_of_fault(fault: MockFault) -> MotiveError:
    """The error that a fault of this kind is."""
    error = error_of(fault.status, fault.message or f"This is a mock, which was told to fail with {fault.status}.")
    error.code = fault.code
    if fault.retry_after_s is not None:
        error.retryable, error.retry_after_s = True, fault.retry_after_s
    return error


def _hits(fault: MockFault, seen: int, facts: Facts, index: int) -> bool:
    if fault.probability is not None:
        return facts.chance(f"fault {index}").random() < fault.probability
    if fault.every is not None:
        return seen % fault.every == 0
    if fault.nth is not None:
        return seen in (fault.nth if isinstance(fault.nth, tuple) else (fault.nth,))
    return True
