"""A list of strings in an SQLite file, a row each.

Owns which row an item has. Such a list grows at its end and is cut at its beginning, so that a change of it is a row or
two, where all of it would be pages. Knows no session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

type Slots = tuple[tuple[int, int], ...]
"""The row of each item, and its number, by which they are in order."""
type Items = tuple[str, ...]


def follow(
    slots: Slots, before: Items, after: Items, new_id: Callable[[], int]
) -> tuple[Slots, dict[int, tuple[int, str] | None]]:
    """Where the items are after a change, and the number and item of each row that it changes; None removes one. New
    items take the rows of those that went."""
    kept = _kept(before, after)
    free = [row for row, _ in slots[: len(slots) - kept]]
    changes: dict[int, tuple[int, str] | None] = dict.fromkeys(free)
    places = list(slots[len(slots) - kept :])
    number = slots[-1][1] + 1 if slots else 0
    for item in after[kept:]:
        row = free.pop(0) if free else new_id()
        changes[row] = number, item
        places.append((row, number))
        number += 1
    return tuple(places), changes


def _kept(before: Items, after: Items) -> int:
    """How many of the last items are the first ones now."""
    for count in range(min(len(before), len(after)), 0, -1):
        if before[len(before) - count :] == after[:count]:
            return count
    return 0


def in_order(rows: Iterable[tuple[int, int, str]]) -> tuple[Slots, Items]:
    """A list of its rows: id, number and item of each."""
    found = sorted(rows, key=lambda row: row[1])
    return tuple([(row, number) for row, number, _ in found]), tuple([item for *_, item in found])
