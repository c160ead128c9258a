"""Rate limits by a fake clock: what counts, what does not, and what a client is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from motive_core.config.rate_limits import RateLimits
from motive_core.dialects import DIALECTS
from motive_core.dialects.base import go_duration
from motive_core.errors import Allowance, TooManyRequestsError
from motive_core.rate_limits import RateLimiter


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(clock: Clock, **settings: Any) -> RateLimiter:
    given = {"requests_per_minute": None, "requests_per_hour": None, "burst_limit": None, **settings}
    return RateLimiter(RateLimits(enabled=True, **given), clock)


def refused(made: RateLimiter, client: str = "a", call: bytes = b"more", **more: bool) -> TooManyRequestsError:
    with pytest.raises(TooManyRequestsError) as caught:
        made.admit(client, call, retry=more.get("retry", False))
    return caught.value


def test_off_by_default(clock: Clock) -> None:
    made = RateLimiter(RateLimits(), clock)
    assert [made.admit("a", b"x", retry=False) for _ in range(1000)] == [None] * 1000
    for _ in range(1000):
        made.admit_side("a")


@pytest.mark.parametrize(
    ("setting", "name", "window_s"),
    [
        ("burst_limit", "rate_burst", 10),
        ("requests_per_minute", "rate_minute", 60),
        ("requests_per_hour", "rate_hour", 3600),
    ],
)
def test_a_window(clock: Clock, setting: str, name: str, window_s: int) -> None:
    made = limiter(clock, **{setting: 3})
    told = []
    for number in range(3):
        told.append(made.admit("a", b"%d" % number, retry=False))
        clock.now += 1.0
    assert [one.remaining for one in told if one is not None] == [2, 1, 0]
    error = refused(made)
    assert (error.status, error.code, error.limit, error.retryable) == (429, "rate_limited", name, True)
    assert error.retry_after_s == pytest.approx(window_s - 3.0)
    allowance = error.allowance
    assert allowance is not None
    assert (allowance.limit, allowance.remaining) == (3, 0)
    assert allowance.reset_s == pytest.approx(window_s - 1.0)
    assert allowance.resets_at == pytest.approx(clock.now + window_s - 1.0)
    clock.now += window_s - 3.01
    refused(made)
    clock.now += 0.01
    assert made.admit("a", b"x", retry=False) is not None
    refused(made)


def test_a_refused_call_does_not_count(clock: Clock) -> None:
    made = limiter(clock, requests_per_minute=1)
    made.admit("a", b"x", retry=False)
    for _ in range(59):
        clock.now += 1.0
        refused(made)
    clock.now += 1.0
    assert made.admit("a", b"x", retry=False) is not None


def test_clients_do_not_eat_each_others_budget(clock: Clock) -> None:
    made = limiter(clock, requests_per_minute=1)
    for client in ("a", "b", "a/b", "key a"):
        made.admit(client, b"x", retry=False)
        refused(made, client)


def test_the_longest_wait_is_told_and_the_nearest_limit_is_shown(clock: Clock) -> None:
    made = limiter(clock, burst_limit=2, requests_per_minute=4, requests_per_hour=4)
    for _ in range(2):
        shown = made.admit("a", b"x", retry=False)
        assert shown is not None and shown.limit == 2
    assert refused(made).limit == "rate_burst"
    clock.now += 10.0
    shown = made.admit("a", b"x", retry=False)
    assert shown is not None and (shown.limit, shown.remaining) == (4, 1)
    made.admit("a", b"x", retry=False)
    error = refused(made)
    assert error.limit == "rate_hour" and error.retry_after_s == pytest.approx(3590.0)


class TestRetries:
    def test_a_retry_of_a_call_that_counted_is_free(self, clock: Clock) -> None:
        made = limiter(clock, requests_per_minute=1)
        made.admit("a", b"x", retry=False)
        clock.now += 30.0
        shown = made.admit("a", b"x", retry=True)
        assert shown is not None and shown.remaining == 0

    def test_another_call_is_no_retry_whatever_it_says(self, clock: Clock) -> None:
        made = limiter(clock, requests_per_minute=1)
        made.admit("a", b"x", retry=False)
        refused(made, call=b"y", retry=True)
        refused(made, client="a", call=b"x")  # the same again, and not said to be a retry

    def test_anothers_call_is_no_retry(self, clock: Clock) -> None:
        made = limiter(clock, requests_per_minute=1)
        made.admit("a", b"x", retry=False)
        made.admit("b", b"x", retry=True)
        refused(made, client="b", call=b"y")

    def test_the_retry_of_a_refused_call_counts(self, clock: Clock) -> None:
        made = limiter(clock, requests_per_minute=1)
        made.admit("a", b"x", retry=False)
        refused(made, call=b"y")
        refused(made, call=b"y", retry=True)
        clock.now += 60.0
        made.admit("a", b"y", retry=True)
        refused(made, call=b"z")

    def test_nor_is_the_retry_of_a_refused_call_that_was_let_in_before(self, clock: Clock) -> None:
        made = limiter(clock, requests_per_minute=1)
        made.admit("a", b"x", retry=False)
        refused(made, call=b"x")
        refused(made, call=b"x", retry=True)

    def test_not_for_ever(self, clock: Clock) -> None:
        made = limiter(clock, requests_per_minute=1)
        made.admit("a", b"x", retry=False)
        for _ in range(10):
            made.admit("a", b"x", retry=True)
        refused(made, call=b"x", retry=True)

    def test_not_after_the_call_itself_counts_no_more(self, clock: Clock) -> None:
        made = limiter(clock, requests_per_minute=1)
        made.admit("a", b"x", retry=False)
        clock.now += 3601.0
        made.admit("a", b"x", retry=True)
        refused(made, call=b"y")


def test_requests_beside_the_chat_have_a_limit_of_their_own(clock: Clock) -> None:
    made = limiter(clock, requests_per_minute=1, side_requests_per_minute=2)
    made.admit("a", b"x", retry=False)
    made.admit_side("a")
    made.admit_side("a")
    with pytest.raises(TooManyRequestsError) as caught:
        made.admit_side("a")
    assert caught.value.limit == "rate_side"


def test_new_settings_keep_what_was_counted(clock: Clock) -> None:
    made = limiter(clock, requests_per_minute=2)
    made.admit("a", b"x", retry=False)
    made.admit("a", b"y", retry=False)
    made.configure(RateLimits(enabled=False))
    assert made.admit("a", b"z", retry=False) is None
    made.configure(RateLimits(enabled=True, requests_per_minute=2))
    refused(made)


def test_memory_is_bounded(clock: Clock) -> None:
    made = limiter(clock, requests_per_minute=2)
    for number in range(30_000):
        made.admit(f"c{number}", b"%d" % number, retry=False)
    assert len(made._windows._windows) == len(made._retries) == 20_000
    clock.now += 61.0
    made.admit("c29999", b"x", retry=False)
    assert list(made._windows._windows.popitem()[1]) == [clock.now]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0ms"),
        (0.012, "12ms"),
        (0.9991, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (3723.25, "1h2m3.25s"),
    ],
)
def test_durations_are_those_of_go(seconds: float, told: str) -> None:
    assert go_duration(seconds) == told


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_headers_of_a_refused_call(dialect: Any) -> None:
    allowance = Allowance(60, 0, 59.2, 1_800_000_059.2)
    error = TooManyRequestsError("Too many.", limit="rate_minute", allowance=allowance, retry_after_s=1.2)
    headers = dialect.error_headers(error, "ex1")
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1200")
    assert "x-should-retry" not in headers
    if dialect.name == "anthropic-messages":
        assert headers["anthropic-ratelimit-requests-limit"] == "60"
        assert headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert headers["anthropic-ratelimit-requests-reset"] == "2027-01-15T08:01:00Z"
    else:
        assert headers["x-ratelimit-limit-requests"] == "60"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert headers["x-ratelimit-reset-requests"] == "59.2s"
