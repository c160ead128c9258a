"""Sessions that outlive the process: what is in the file when it is opened again, and what becomes of a bad one."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from motive_core.backends import SqliteBackend, open_sqlite
from motive_core.errors import ConfigError, StoreError, UnprocessableError
from motive_core.ir import OpaquePart, TextPart
from motive_core.session import Answer, LiveCall, Prompt, Rules, Seat, Session, Unsolicited, lasting, shifted
from tests.core.session.test_json import full_session

KEEP_S = 3600.0


@dataclass
class Disk:
    """A file, the clock, and the process that has it open, which may be killed at any time."""

    path: Path
    now: float = 1_000.0
    close: Callable[[], None] = lambda: None

    def open(self) -> SqliteBackend:
        store = open_sqlite(self.path, lambda: self.now, KEEP_S)
        self.close = store.close
        return store.backend

    def kill(self) -> None:
        """What waits is lost."""
        backend = self.backend_file()
        backend._pending.clear()
        self.close()

    def backend_file(self) -> Any:
        return self.close.__self__  # type: ignore[attr-defined]

    def again(self) -> SqliteBackend:
        self.kill()
        return self.open()

    def log_bytes(self) -> int:
        return Path(f"{self.path}-wal").stat().st_size

    def rows(self, table: str) -> int:
        self.close()
        with sqlite3.connect(self.path) as db:
            (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        db.close()
        return int(count)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "state" / "store.sqlite")
    yield made
    made.close()


def prompt(number: int, **changes: Any) -> Prompt:
    fixed = Prompt(
        prompt=f"p{number}",
        who="app",
        key=f"k{number}",
        digest="d",
        words=(TextPart(f"words {number}"),),
        context=(),
        quotes=(),
        rules=Rules(),
        created_at=990.0,
    )
    return replace(fixed, **changes)


async def put(backend: SqliteBackend, state: Session, session: str = "s", *, lazy: bool = False) -> None:
    assert await backend.swap(session, state, (await backend.load(session)).version, lazy=lazy)


class TestWhatIsThereAgain:
    async def test_everything(self, disk: Disk) -> None:
        state = full_session()
        twice = state.prompts[0]
        state = replace(state, prompts=(twice, replace(twice, prompt="p2", words=(TextPart("other"),))))
        await put(disk.open(), state)
        found = await disk.again().all()
        assert found == {"s": lasting(state)} != {"s": state}

    async def test_each_step_of_a_prompt(self, disk: Disk) -> None:
        backend = disk.open()
        one, two = prompt(1), prompt(2)
        answer, words = Answer((TextPart("a"),), "a"), Unsolicited(995.0, (TextPart("u"),))
        live = LiveCall("c", 999.0, 1_100.0, Rules())
        for state in (
            Session(prompts=(one,)),
            Session(prompts=(replace(one, calls=(live,)), two), turns=1),
            Session(prompts=(replace(one, shown="yes"), two), listening=live),
            Session(prompts=(replace(one, answer=answer), two), unsolicited=(words,)),
            Session(prompts=(two,), undelivered=(answer,), unsolicited=(words, words)),
            Session(prompts=(two,), undelivered=(answer, answer)),
            Session(prompts=(replace(two, answer=answer),), undelivered=(answer,)),
            Session(prompts=(replace(two, answer=answer, words=(TextPart("said anew"),)),)),
            Session(prompts=(), asker=Seat("a", 1.0)),
        ):
            await put(backend, state)
            backend = disk.again()
            assert await backend.all() == {"s": lasting(state)}
        assert disk.rows("prompts") == disk.rows("pieces") == 0

    async def test_a_removed_session_leaves_nothing(self, disk: Disk) -> None:
        backend = disk.open()
        state = Session(
            prompts=(prompt(1, answer=Answer((), "a")), prompt(2)),
            unsolicited=(Unsolicited(1.0, ()),),
            undelivered=(Answer((), "b"),),
        )
        await put(backend, state)
        await put(backend, Session())
        assert [disk.rows(table) for table in ("sessions", "digests", "prompts", "pieces")] == [0, 0, 0, 0]

    async def test_order_and_names(self, disk: Disk) -> None:
        backend = disk.open()
        names = ["b", "a", "'; DROP TABLE sessions", "n\u00fcr \U0001f600", "\ud83d", "x" * 256]
        for name in names:
            await put(backend, Session(prompts=tuple(prompt(n) for n in (3, 1, 2))), name)
        found = await disk.again().all()
        assert list(found) == names
        assert [one.prompt for one in found["a"].prompts] == ["p3", "p1", "p2"]

    async def test_words_are_written_once(self, disk: Disk) -> None:
        backend = disk.open()
        one = prompt(1, words=(TextPart("x" * 100_000),))
        await put(backend, Session(prompts=(one,)))
        before = disk.log_bytes()
        for number in range(20):
            await put(backend, Session(prompts=(replace(one, shown="yes" if number % 2 else "no"),), turns=number))
        assert disk.log_bytes() - before < 20 * 20_000

    async def test_what_did_not_change_is_not_written(self, disk: Disk) -> None:
        backend = disk.open()
        state = Session(prompts=(prompt(1),), asker=Seat("a", 1.0))
        await put(backend, state)
        before = disk.log_bytes()
        await put(backend, replace(state))
        assert disk.log_bytes() == before

    async def test_a_lazy_change_comes_with_the_next_one(self, disk: Disk) -> None:
        backend = disk.open()
        await put(backend, Session(turns=1))
        await put(backend, Session(turns=2), lazy=True)
        backend = disk.again()
        assert await backend.all() == {"s": Session(turns=1)}
        await put(backend, Session(turns=3), lazy=True)
        await put(backend, Session(turns=4), lazy=True)
        await put(backend, Session(turns=1), "other")
        backend = disk.again()
        assert await backend.all() == {"s": Session(turns=4), "other": Session(turns=1)}
        await put(backend, Session(turns=5), lazy=True)
        await backend.flush()
        assert (await disk.again().load("s")).state == Session(turns=5)

    async def test_a_lazy_end_is_safe_once_somebody_has_found_it(self, disk: Disk) -> None:
        backend = disk.open()
        await put(backend, Session(turns=1))
        await put(backend, Session(), lazy=True)
        await put(backend, Session())
        assert await disk.again().all() == {}

    async def test_a_graceful_end_loses_nothing(self, disk: Disk) -> None:
        await put(disk.open(), Session(turns=1), lazy=True)
        disk.close()
        assert await disk.open().all() == {"s": Session(turns=1)}


class TestCalls:
    """They die with the process: the file knows no more than that a prompt was held."""

    LIVE = tuple(LiveCall(f"c{number}", 999.0, 1_100.0, Rules()) for number in range(100))

    async def test_they_are_there_for_this_process(self, disk: Disk) -> None:
        backend = disk.open()
        answer = Answer((TextPart("a"),), "a")
        done = prompt(2, answer=answer, outcome="answered", closed_at=999.0, sending=("a", "b"), delivered=("c", "d"))
        state = Session(prompts=(prompt(1, calls=self.LIVE), done), listening=self.LIVE[0])
        await put(backend, state)
        assert (await backend.load("s")).state == state
        found = (await disk.again().load("s")).state
        assert found.listening == state.listening
        assert [(one.calls, one.sending, one.delivered) for one in found.prompts] == [((), (), ()), ((), (), ("c",))]

    async def test_an_answer_on_its_way_waits_for_a_retry(self, disk: Disk) -> None:
        answer = Answer((TextPart("a"),), "a")
        await put(disk.open(), Session(prompts=(prompt(1, answer=answer, outcome="answered", sending=("b",)),)))
        assert (await disk.again().load("s")).state.prompts == (prompt(1, answer=answer),)

    async def test_one_more_or_less_is_not_written(self, disk: Disk) -> None:
        backend = disk.open()
        state = Session(prompts=(prompt(1, calls=self.LIVE[:1]),), asker=Seat("a", 1_000.0, said=("x", "d")))
        await put(backend, state)
        before = disk.log_bytes()
        for count in (*range(2, 100), *range(100, 0, -1)):
            state = replace(state, prompts=(replace(state.prompts[0], calls=self.LIVE[:count]),))
            await put(backend, state)
        assert disk.log_bytes() == before
        assert (await backend.load("s")).state == state

    async def test_what_it_means_that_the_last_one_goes_is_written(self, disk: Disk) -> None:
        backend = disk.open()
        held, orphan = prompt(1, calls=self.LIVE[:1]), prompt(1, orphaned_at=1_000.0)
        for one in (orphan, held, orphan, held):
            await put(backend, Session(prompts=(one,)))
            backend = disk.again()
            assert (await backend.load("s")).state == lasting(Session(prompts=(one,)))

    async def test_how_long_the_asker_is_present_may_be_late(self, disk: Disk) -> None:
        """For a call of a prompt that others have, too, nothing else is written; all else is written at once."""
        backend = disk.open()
        seat = Seat("a", 1_000.0, shape="shape", said=("x", "d"), first_key="k0", last_key="k1", yields_at=1_000.0)
        held = prompt(1, calls=self.LIVE[:1])
        state = Session(prompts=(held,), asker=seat, turns=1)
        await put(backend, state)
        later = replace(seat, until=1_010.0, yields_at=1_005.0, said=("d", "d"))
        await put(backend, replace(state, prompts=(replace(held, calls=self.LIVE[:2]),), asker=later))
        assert await disk.again().all() == {"s": lasting(state)}
        backend = disk.again()
        await put(backend, replace(lasting(state), asker=later))
        await backend.flush()
        assert await disk.again().all() == {"s": replace(lasting(state), asker=later)}

    @pytest.mark.parametrize(
        "changes",
        [
            {"turns": 2},
            {"owes": "p1"},
            {"answerer": Seat("b", 1_000.0)},
            {"asker": Seat("b", 1_010.0, said=("x",))},
            {"asker": Seat("a", 1_010.0, said=("x", "y"))},
            {"asker": Seat("a", 1_010.0, said=("x",), last_key="k2")},
            {"asker": None},
            {"prompts": (prompt(1, orphaned_at=999.0),), "asker": Seat("a", 1_010.0, said=("x",))},
        ],
    )
    async def test_nothing_else_may(self, disk: Disk, changes: dict[str, Any]) -> None:
        backend = disk.open()
        state = Session(prompts=(prompt(1, calls=self.LIVE[:1]),), asker=Seat("a", 1_000.0, said=("x",)), turns=1)
        await put(backend, state)
        after = replace(state, **changes)
        await put(backend, after)
        assert await disk.again().all() == {"s": lasting(after)}


class TestDigests:
    SEAT = Seat("a", 1_000.0, said=("s1", "s2"))

    async def test_they_are_written_once(self, disk: Disk) -> None:
        backend = disk.open()
        state = Session(asker=self.SEAT, answerer=Seat("b", 1.0), turns=1)
        sizes = []
        for number in range(200):
            digests = tuple(f"{one:048}" for one in range(max(0, number - 31), number + 1))
            assert state.asker is not None and state.answerer is not None
            asker, answerer = replace(state.asker, said=digests), replace(state.answerer, said=digests)
            state = replace(state, asker=asker, answerer=answerer, shown=digests, answered=digests, turns=number)
            await put(backend, state)
            sizes.append(disk.log_bytes())
        # A page of the head, and one or two of the four rows.
        assert (sizes[-1] - sizes[99]) / 100 < 4 * 1024 + 500
        assert await disk.again().all() == {"s": state}
        assert disk.rows("digests") == 4 * 32

    @pytest.mark.parametrize(
        "changes",
        [
            {"asker": None},
            {"asker": Seat("b", 1.0)},
            {"asker": Seat("b", 1.0, said=("s2", "s3"))},
            {"answerer": Seat("b", 1.0, said=("s9",))},
            {"shown": ()},
            {"shown": ("b",), "answered": ("a", "b", "c")},
            {"shown": ("c", "b", "a")},
        ],
    )
    async def test_any_change(self, disk: Disk, changes: dict[str, Any]) -> None:
        backend = disk.open()
        state = Session(asker=self.SEAT, shown=("a", "b"), answered=("c",))
        await put(backend, state)
        after = replace(state, **changes)
        await put(backend, after)
        backend = disk.again()
        assert await backend.all() == {"s": after}
        await put(backend, state)
        backend = disk.again()
        assert await backend.all() == {"s": state}
        await put(backend, Session())
        assert disk.rows("digests") == 0


class TestOlderFile:
    """What version 1 wrote: calls in the rows of prompts, digests in the head, and no table of them."""

    STATE = Session(
        asker=Seat("a", 1_000.0, said=("s1", "s2")),
        answerer=Seat("b", 1_000.0, said=("s3",), shown="d"),
        prompts=(prompt(1, calls=TestCalls.LIVE[:1]), prompt(2, orphaned_at=1.0)),
        shown=("d", "e"),
        answered=("f",),
        turns=1,
    )

    async def make(self, disk: Disk) -> None:
        await put(disk.open(), self.STATE)
        disk.close()
        with sqlite3.connect(disk.path) as db:
            db.execute("PRAGMA user_version = 1")
            (moving,) = db.execute("SELECT state FROM prompts WHERE place = 0").fetchone()
            rules = {"is": "Rules"}
            calls = [{"is": "LiveCall", "call": "c0", "arrived_at": 999.0, "deadline": 1100.0, "rules": rules}]
            told = json.dumps({**json.loads(moving), "calls": calls})
            db.execute("UPDATE prompts SET state = ? WHERE place = 0", (told,))
            (head,) = db.execute("SELECT head FROM sessions").fetchone()
            told = json.loads(head) | {"shown": ["d", "e"], "answered": ["f"]}
            told["asker"]["said"], told["answerer"]["said"] = ["s1", "s2"], ["s3"]
            db.execute("UPDATE sessions SET head = ?", (json.dumps(told),))
            db.execute("DROP TABLE digests")
        db.close()

    async def test_it_is_read(self, disk: Disk) -> None:
        await self.make(disk)
        assert await disk.open().all() == {"s": self.STATE}

    async def test_it_is_brought_up_to_date(self, disk: Disk) -> None:
        await self.make(disk)
        disk.open()
        assert await disk.again().all() == {"s": lasting(self.STATE)}
        assert disk.rows("digests") == 6
        with sqlite3.connect(disk.path) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (2,)
            (head,) = db.execute("SELECT head FROM sessions").fetchone()
        db.close()
        assert "s1" not in head and '"d","e"' not in head


class TestTime:
    STATE = Session(
        asker=Seat("a", 1_500.0, yields_at=1_010.0),
        listening=LiveCall("c", 1_000.0, 1_590.0, Rules()),
        prompts=(prompt(1, orphaned_at=1_000.0), prompt(2, outcome="answered", closed_at=999.0)),
    )

    @pytest.mark.parametrize("passed", [0.0, 1.0, 3_500.0, -50_000.0])
    async def test_it_stands_still_between_two_processes(self, disk: Disk, passed: float) -> None:
        """Also where the clock was set back, which would make everything last for ever."""
        await put(disk.open(), self.STATE)
        for number in (1, 2):
            disk.now += passed
            state = (await disk.again().load("s")).state
            assert state == shifted(self.STATE, number * passed)
            assert state.prompts[0].orphaned_at == 1_000.0 + number * passed
            assert state.prompts[1].closed_at == 999.0 + number * passed
            assert state.prompts[0].created_at == 990.0

    async def test_the_last_sign_of_life_counts(self, disk: Disk) -> None:
        backend = disk.open()
        await put(backend, self.STATE)
        disk.now += 400.0
        await backend.flush()
        disk.now += 7.0
        assert (await disk.again().load("s")).state == shifted(self.STATE, 7.0)

    @pytest.mark.parametrize(("held", "kept"), [(True, True), (False, False)])
    async def test_an_old_session_is_forgotten(self, disk: Disk, *, held: bool, kept: bool) -> None:
        """Nothing was heard of it for longer than it lives; a call that was held until the end is a sign of life."""
        backend = disk.open()
        await put(backend, self.STATE if held else replace(self.STATE, listening=None))
        disk.now += KEEP_S
        await backend.flush()
        disk.now += 1.0
        assert await disk.again().count() == kept
        assert disk.rows("prompts") == 2 * kept


class TestDiskThatIsFull:
    async def test_nothing_is_half_done(self, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
        backend = disk.open()
        small = Session(prompts=(prompt(1),), turns=1)
        await put(backend, small)
        disk.backend_file()._db.execute("PRAGMA max_page_count = 24")
        large = Session(prompts=(*small.prompts, prompt(2, words=(TextPart("x" * 100_000),))), turns=2)
        version = (await backend.load("s")).version
        with pytest.raises(StoreError, match="full") as failed:
            await backend.swap("s", large, version)
        assert failed.value.status == 503 and failed.value.retryable
        assert "full" in (backend.problem or "")
        with pytest.raises(StoreError):
            await backend.swap("new", large, 0)
        assert await backend.all() == {"s": small}
        assert caplog.text.count("cannot be written") == 1

        # What goes into the room that is left is written, also after a failure, and what has happened is never refused.
        assert await backend.swap("s", replace(small, turns=3), version)
        problems = [backend.problem]
        assert await backend.swap("s", large, version + 1, lazy=True)
        await backend.flush()
        problems.append(backend.problem)
        assert [problem is None for problem in problems] == [True, False]
        assert (await backend.load("s")).state == large
        await put(backend, replace(large, turns=7), lazy=True)

        disk.backend_file()._db.execute("PRAGMA max_page_count = 1000")
        await backend.flush()
        assert backend.problem is None
        assert await disk.again().all() == {"s": replace(large, turns=7)}

    async def test_a_kill_while_it_is_full_gives_what_was_written_last(self, disk: Disk) -> None:
        backend = disk.open()
        await put(backend, Session(prompts=(prompt(1),)))
        disk.backend_file()._db.execute("PRAGMA max_page_count = 24")
        await put(backend, Session(prompts=(prompt(2, words=(TextPart("x" * 100_000),)),)), lazy=True)
        await backend.flush()
        assert await disk.again().all() == {"s": Session(prompts=(prompt(1),))}

    async def test_a_closed_store_refuses(self, disk: Disk) -> None:
        backend = disk.open()
        disk.close()
        with pytest.raises(StoreError, match="closed"):
            await backend.swap("s", Session(turns=1), 0)
        assert await backend.swap("s", Session(turns=1), 0, lazy=True)
        await backend.flush()


async def test_what_cannot_be_json_is_refused_alone(disk: Disk) -> None:
    deep: Any = []
    for _ in range(200_000):
        deep = [deep]
    backend = disk.open()
    with pytest.raises(UnprocessableError):
        await backend.swap("s", Session(prompts=(prompt(1, words=(OpaquePart("d", deep),)),)), 0)
    assert await backend.count() == 0
    await put(backend, Session(turns=1))
    assert await disk.again().all() == {"s": Session(turns=1)}
    while deep:
        deep = deep.pop()


class TestFile:
    def test_nobody_else_may_read_it(self, disk: Disk) -> None:
        before = os.umask(0)
        try:
            disk.open()
        finally:
            os.umask(before)
        assert stat.S_IMODE(disk.path.parent.stat().st_mode) == 0o700
        for name in ("", "-wal"):
            assert stat.S_IMODE(Path(f"{disk.path}{name}").stat().st_mode) == 0o600

    def test_one_that_others_may_read_is_closed_to_them(self, disk: Disk) -> None:
        disk.open()
        disk.close()
        disk.path.chmod(0o644)
        disk.open()
        assert stat.S_IMODE(disk.path.stat().st_mode) == 0o600

    def test_a_second_process_is_told_what_to_do(self, disk: Disk) -> None:
        disk.open()
        with pytest.raises(ConfigError, match=r"in use by another process.*MOTIVE_PROXY_STORE_PATH"):
            open_sqlite(disk.path, lambda: 0.0, KEEP_S)

    @pytest.mark.parametrize("what", ["nonsense", "cut", "a broken page", "a broken row", "a missing piece"])
    async def test_a_broken_one_is_set_aside(self, disk: Disk, what: str, caplog: pytest.LogCaptureFixture) -> None:
        backend = disk.open()
        for number in range(50):
            await put(backend, Session(prompts=(prompt(1, words=(TextPart("x" * 5000),)),)), f"s{number}")
        disk.close()
        data = disk.path.read_bytes()
        match what:
            case "nonsense":
                disk.path.write_bytes(b"these are notes\n" * 100)
            case "cut":
                disk.path.write_bytes(data[: len(data) // 2])
            case "a broken page":
                disk.path.write_bytes(data[:8192] + b"\xff" * 8192 + data[16384:])
            case _:
                with sqlite3.connect(disk.path) as db:
                    db.execute("UPDATE sessions SET head = '{}'" if what == "a broken row" else "DELETE FROM pieces")
                db.close()
        broken = disk.path.read_bytes()
        assert await disk.open().all() == {}
        assert "the store was broken" in caplog.text
        (aside,) = disk.path.parent.glob("store.sqlite.broken-*")
        assert aside.read_bytes() == broken
        await put(disk.again(), Session(turns=1))
        assert await disk.again().all() == {"s": Session(turns=1)}

    def test_a_newer_one_is_left_alone(self, disk: Disk) -> None:
        disk.open()
        disk.close()
        with sqlite3.connect(disk.path) as db:
            db.execute("PRAGMA user_version = 3")
        db.close()
        before = disk.path.read_bytes()
        with pytest.raises(ConfigError, match="newer version"):
            disk.open()
        assert disk.path.read_bytes() == before

    def test_one_of_another_program_is_left_alone(self, disk: Disk) -> None:
        disk.path.parent.mkdir()
        with sqlite3.connect(disk.path) as db:
            db.execute("CREATE TABLE sessions (id INTEGER)")
        db.close()
        before = disk.path.read_bytes()
        with pytest.raises(ConfigError, match="another program"):
            disk.open()
        assert disk.path.read_bytes() == before

    @pytest.mark.parametrize("what", ["a file in the way", "a folder", "a folder that may not be written"])
    def test_a_path_that_cannot_be_used(self, disk: Disk, what: str) -> None:
        if what == "a file in the way":
            disk.path.parent.write_text("")
        elif what == "a folder":
            disk.path.mkdir(parents=True)
        elif os.geteuid() == 0:
            disk.path = Path("/proc/motive/store.sqlite")  # nothing else stops the superuser
        else:
            disk.path.parent.mkdir(0o500)
        with pytest.raises(ConfigError, match=r"store.path: .* cannot be written"):
            disk.open()
