"""Which tool call a result belongs to, on wires where a result may name no more than its tool.

Owns the calls that wait for a result. What a wire says about them is a dialect's business.
"""

from __future__ import annotations

from collections import deque


class OpenCalls:
    """Calls that have no result yet, in their order. Each is found, and taken, in constant time, however many there
    are."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget them all."""
        self._ids: list[str] = []
        self._open: list[bool] = []
        self._by_id: dict[str, deque[int]] = {}
        self._by_name: dict[str | None, deque[int]] = {}
        self._in_order: deque[int] = deque()

    def add(self, call_id: str, name: str) -> None:
        """A call was made."""
        place = len(self._ids)
        self._ids.append(call_id)
        self._open.append(True)
        self._by_id.setdefault(call_id, deque()).append(place)
        self._by_name.setdefault(name, deque()).append(place)
        self._in_order.append(place)

    def take(self, call_id: str) -> str | None:
        """The call of this id has its result now. Gives its id, None if there is no such call."""
        return self._take(self._by_id.get(call_id))

    def take_named(self, name: str | None) -> str | None:
        """The first call of this name has its result now. Gives its id, None if there is no such call."""
        return self._take(self._by_name.get(name))

    def take_first(self) -> str | None:
        """The first call of all has its result now. Gives its id, None if there is none."""
        return self._take(self._in_order)

    def _take(self, places: deque[int] | None) -> str | None:
        while places:
            place = places.popleft()
            if self._open[place]:
                self._open[place] = False
                return self._ids[place]
        return None
