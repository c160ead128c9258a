"""A session's state survives JSON exactly, and what is no state is refused."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive_core.ir import (
    BlobPart,
    Choice,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from motive_core.session import Answer, LiveCall, Prompt, Rules, Seat, Session, Terms, Unsolicited
from motive_core.state_json import dump_session, load_session

EXTRA = {"cache_control": {"type": "ephemeral"}, "n": [1, None, 0.5, {"is": "TextPart"}], "is": "Session"}

PARTS: tuple[Part, ...] = (
    TextPart("a\n\tb \U0001f600 \ud83d"),
    TextPart("", extra=EXTRA),
    BlobPart("image/png", data="aGk="),
    BlobPart("", url="file-id:7", name="a.png", extra=EXTRA),
    ReasoningPart("hm", "sig", "red", extra=EXTRA),
    RefusalPart("no", extra=EXTRA),
    ToolCallPart("c1", "look", '{"a":  1}', custom=True, extra=EXTRA),
    ToolResultPart("c1", (TextPart("x"), OpaquePart("anthropic-messages", EXTRA)), "look", is_error=True, extra=EXTRA),
    ToolResultPart("c2", (ToolResultPart("c3", ()),)),
    OpaquePart("openai-chat", EXTRA),
    OpaquePart("openai-chat", None),
    OpaquePart("openai-chat", [[], [{}]]),
)


REPLY = Reply(
    "r1",
    "m",
    (Choice(PARTS, "tool_calls", "stop", extra=EXTRA), Choice(())),
    Usage(1, 2, 3, 4, estimated=True, extra=EXTRA),
    5,
    extra=EXTRA,
    dialect="openai-chat",
)


def full_session() -> Session:
    """A state in which no field has its default."""
    rules = Rules(
        when_joined=True,
        can_pass=True,
        hold_timeout_s=1.5,
        handshake_timeout_s=2,
        turn_timeout_s=3.25,
        rejoin_window_s=0.1,
        retry_window_s=1e-9,
        queue_limit=7,
        keep_limit_bytes=9,
        twins="queue",
        on_timeout="pass",
        on_lost="error",
        on_full="pass",
        on_idle="notice",
        review_timeout_s=4.5,
    )
    live = LiveCall("c1", 2.5, 12.5, rules)
    seat = Seat("who", 1e9 + 0.1, "shape", asks=True, said=("s",), first_key="k1", last_key="k2", away=True, shown="d1")
    prompt = Prompt(
        prompt="p1",
        who="who",
        key="k",
        digest="d",
        words=PARTS,
        context=PARTS[:1],
        quotes=("q",),
        rules=rules,
        created_at=0.1 + 0.2,
        terms=Terms(
            (Tool("t", "d", {"type": "object"}, extra=EXTRA), Tool("u", raw=EXTRA)),
            ResponseFormat("json_schema", "n", {}, strict=True, extra=EXTRA),
        ),
        draft=Answer((), "d", reply=REPLY),
        calls=(live, live),
        shown="sending",
        shown_by="c2",
        answer=Answer(PARTS, "d"),
        sending=("c3",),
        delivered=("c4",),
        orphaned_at=5.0,
        outcome="answered",
        closed_at=6.0,
        size_bytes=8,
    )
    return Session(
        asker=seat,
        answerer=Seat("other", 0.0),
        provisional=True,
        prompts=(prompt, prompt),
        listening=live,
        owes="p1",
        shown=("d",),
        answered=("e",),
        unsolicited=(Unsolicited(1.0, PARTS, 5),),
        undelivered=(Answer((), ""),),
        turns=3,
        next_prompt=9,
        taken_by="console",
    )


def text(session: Session) -> str:
    return json.dumps(dump_session(session))


def test_the_examples_leave_nothing_out() -> None:
    assert {type(part) for part in PARTS} == set(get_args(Part.__value__))
    session = full_session()
    fresh = Session()
    assert [f.name for f in fields(Session) if getattr(session, f.name) == getattr(fresh, f.name)] == []
    prompt = session.prompts[0]
    assert [f.name for f in fields(Prompt) if getattr(prompt, f.name) == f.default] == []
    assert [f.name for f in fields(Rules) if getattr(prompt.rules, f.name) == f.default] == []


def test_a_full_state_survives() -> None:
    loaded = load_session(json.loads(text(full_session())))
    assert loaded == full_session()
    assert [type(part) for part in loaded.prompts[0].words] == [type(part) for part in PARTS]
    assert text(loaded) == text(full_session())


def test_a_fresh_state_is_small() -> None:
    assert dump_session(Session()) == {"is": "Session"}
    assert load_session({"is": "Session"}) == Session()


def test_a_loaded_state_can_be_hashed_and_compared_as_before() -> None:
    session = Session(asker=Seat("a", 1.0, said=("x",)), shown=("d",))
    assert hash(load_session(json.loads(text(session)))) == hash(session)


def seat(**changes: Any) -> dict[str, Any]:
    return {"is": "Session", "asker": {"is": "Seat", "who": "a", "until": 1.0} | changes}


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (None, "session"),
        ([], "session"),
        ("Session", "session"),
        ({}, "session"),
        ({"is": "Seat", "who": "a", "until": 1.0}, "session"),
        ({"is": ["Session"]}, "session"),
        ({"is": "Session", "colour": 1}, "unknown: ['colour']"),
        ({"is": "Session", "turns": True}, "session.turns"),
        ({"is": "Session", "turns": 1.0}, "session.turns"),
        ({"is": "Session", "provisional": 1}, "session.provisional"),
        ({"is": "Session", "owes": None}, "session.owes"),
        ({"is": "Session", "shown": "d"}, "session.shown"),
        ({"is": "Session", "shown": ["d", 1]}, "session.shown[1]"),
        ({"is": "Session", "asker": {"is": "Seat", "who": "a"}}, "missing: ['until']"),
        ({"is": "Session", "asker": {"is": "Answer", "parts": [], "digest": ""}}, "session.asker: expected Seat"),
        (seat(until="1"), "session.asker.until"),
        (seat(until=True), "session.asker.until"),
        (seat(until=float("nan")), "session.asker.until"),
        (seat(until=float("inf")), "session.asker.until"),
        (seat(until=10**400), "session.asker.until"),
        ({"is": "Session", "undelivered": [{"is": "Answer", "parts": [{"is": "Seat"}], "digest": ""}]}, "TextPart or"),
        (
            {
                "is": "Session",
                "undelivered": [
                    {"is": "Answer", "digest": "", "parts": [{"is": "TextPart", "text": "", "extra": [["a", 1]]}]}
                ],
            },
            "session.undelivered[0].parts[0].extra",
        ),
        (
            {
                "is": "Session",
                "listening": {
                    "is": "LiveCall",
                    "call": "c",
                    "arrived_at": 0.0,
                    "deadline": 1.0,
                    "rules": {"is": "Rules", "twins": "both"},
                },
            },
            "session.listening.rules.twins",
        ),
    ],
    ids=repr,
)
def test_what_is_no_state_is_refused_with_its_place(data: Any, where: str) -> None:
    with pytest.raises(ValueError) as caught:
        load_session(data)
    assert where in str(caught.value)


def test_a_state_that_is_nested_too_deeply_is_refused() -> None:
    part: dict[str, Any] = {"is": "ToolResultPart", "call_id": "c", "content": []}
    for _ in range(5000):
        part = {"is": "ToolResultPart", "call_id": "c", "content": [part]}
    with pytest.raises(ValueError, match="too deeply"):
        load_session({"is": "Session", "undelivered": [{"is": "Answer", "parts": [part], "digest": ""}]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("Session"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, value in items for place in _places(value, (*path, key)))]


PLACES = _places(dump_session(full_session()))[1:]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.sampled_from(PLACES), JSON, st.booleans())
def test_a_state_with_one_thing_changed_loads_as_a_state_or_is_refused(
    path: tuple[Any, ...],
    value: Any,
    remove: bool,
) -> None:
    data = json.loads(text(full_session()))
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    if remove:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    try:
        loaded = load_session(data)
    except ValueError:
        return
    assert load_session(json.loads(text(loaded))) == loaded
