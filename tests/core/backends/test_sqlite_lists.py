"""Lists whose items have a row each."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from motive_core.backends.sqlite_lists import Items, Slots, follow, in_order

ITEMS = st.lists(st.sampled_from("abc"), max_size=6).map(tuple)


class Table:
    """The rows, as the file has them."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, str]] = {}
        self.slots: Slots = ()
        self.items: Items = ()
        self.ids = itertools.count(1)
        self.touched = 0

    def change(self, after: Items) -> None:
        self.slots, changes = follow(self.slots, self.items, after, lambda: next(self.ids))
        self.items = after
        self.touched = len(changes)
        for row, item in changes.items():
            if item is None:
                del self.rows[row]
            else:
                self.rows[row] = item

    def check(self) -> None:
        slots, items = in_order([(row, *item) for row, item in self.rows.items()])
        assert (slots, items) == (self.slots, self.items)


@given(st.lists(ITEMS, max_size=8))
def test_the_rows_are_the_list(lists: list[Items]) -> None:
    table = Table()
    for one in lists:
        table.change(one)
        table.check()


def test_a_list_that_goes_on_is_a_row_a_step() -> None:
    """Also when it is as long as it may be: then the oldest row is the newest item's."""
    table = Table()
    for number in range(100):
        table.change((*table.items, f"{number}")[-32:])
        assert table.touched == 1
        table.check()
    assert len(table.rows) == 32 and next(table.ids) == 33


def test_items_that_are_the_same_stay_in_order() -> None:
    table = Table()
    for number in range(100):
        table.change((*table.items, "a" if number % 3 else "b")[-5:])
        table.check()
    table.change(())
    assert table.rows == {}
