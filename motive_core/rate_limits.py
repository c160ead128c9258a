"""Rate limits: how many calls one client may make within a while.

Owns the windows and who is counted in them. A call counts once, when it comes: it costs nothing to be held, and a retry
that only comes back for the answer is free. Moving windows, so that who waits as long as it was told is let in.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, NamedTuple

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from motive_core.config.rate_limits import RateLimits
from motive_core.errors import Allowance, TooManyRequestsError

_BURST_S: Final = 10
_REMEMBERED: Final = 20_000
"""How many windows, and how many calls that may be retried, are kept: those that were not used for longest go."""
_FREE_RETRIES: Final = 10
"""How often a call may be sent again for nothing. The SDKs' own default is two."""
_LONGEST_S: Final = 3600.0


class _Limit(NamedTuple):
    name: str
    item: RateLimitItem
    told: str


class RateLimiter:
    """See the module. ``clock`` gives Unix seconds that never go back; a client is any text that stands for it."""

    def __init__(self, settings: RateLimits, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows = _Windows(clock)
        self._limiter = MovingWindowRateLimiter(self._windows)
        self._calls: tuple[_Limit, ...] = ()
        self._side: tuple[_Limit, ...] = ()
        self._retries: OrderedDict[tuple[str, bytes], tuple[float, int]] = OrderedDict()
        """By client and call: since when it counts, and how often it was retried for nothing."""
        self.configure(settings)

    def configure(self, settings: RateLimits) -> None:
        """Take new settings. What was counted stays counted, unless its limit changed."""
        self._calls = self._side = ()
        if not settings.enabled:
            return
        self._calls = _limits(
            ("rate_burst", settings.burst_limit, RateLimitItemPerSecond, _BURST_S),
            ("rate_minute", settings.requests_per_minute, RateLimitItemPerMinute, 1),
            ("rate_hour", settings.requests_per_hour, RateLimitItemPerHour, 1),
        )
        self._side = _limits(("rate_side", settings.side_requests_per_minute, RateLimitItemPerMinute, 1))

    def admit(self, client: str, call: bytes, *, retry: bool) -> Allowance | None:
        """Count a call. ``call`` is what a retry repeats to the letter; ``retry``: the client says that it is one.

        Gives what the client may still do, by the limit that is nearest, or None if calls are not limited. A retry is
        free for as long as the call that it repeats counts itself, a few times; whoever only calls it a retry, or
        repeats itself without saying so, is counted. Raises ``TooManyRequestsError``; such a call does not count.
        """
        if not self._calls:
            return None
        if retry and self._is_free(client, call):
            return self._nearest(client, self._calls)
        try:
            allowance = self._count(client, self._calls, "calls")
        except TooManyRequestsError:
            # It may have been let in before, word for word. From now on, a retry may be one of this call.
            self._retries.pop((client, _digest(call)), None)
            raise
        self._remember(client, call)
        return allowance

    def admit_side(self, client: str) -> None:
        """Count a request that is no call to a model. Raises ``TooManyRequestsError``."""
        if self._side:
            self._count(client, self._side, "requests")

    def _count(self, client: str, limits: tuple[_Limit, ...], what: str) -> Allowance:
        over = [limit for limit in limits if not self._limiter.test(limit.item, limit.name, client)]
        if over:
            limit = max(over, key=lambda one: self._free_at(one, client))
            wait_s = max(0.001, self._free_at(limit, client) - self._clock())
            raise TooManyRequestsError(
                f"Too many {what}: {limit.item.amount} are allowed {limit.told}. Try again in {wait_s:.1f} s.",
                limit=limit.name,
                allowance=self._allowance(limit, client),
                retry_after_s=wait_s,
            )
        for limit in limits:
            self._limiter.hit(limit.item, limit.name, client)
        return self._nearest(client, limits)

    def _nearest(self, client: str, limits: tuple[_Limit, ...]) -> Allowance:
        """The limit that will be met first: for a client that goes on as before, that with the fewest calls left."""
        return min((self._allowance(limit, client) for limit in limits), key=lambda one: (one.remaining, -one.reset_s))

    def _allowance(self, limit: _Limit, client: str) -> Allowance:
        remaining = self._limiter.get_window_stats(limit.item, limit.name, client).remaining
        now = self._clock()
        last = self._windows.last(limit.item.key_for(limit.name, client))
        resets_at = now if last is None else max(now, last + limit.item.get_expiry())
        return Allowance(limit.item.amount, max(0, remaining), resets_at - now, resets_at)

    def _free_at(self, limit: _Limit, client: str) -> float:
        return self._limiter.get_window_stats(limit.item, limit.name, client).reset_time

    def _is_free(self, client: str, call: bytes) -> bool:
        key = (client, _digest(call))
        since, used = self._retries.get(key, (0.0, _FREE_RETRIES))
        if used >= _FREE_RETRIES or self._clock() - since > _LONGEST_S:
            return False
        self._retries[key] = (since, used + 1)
        return True

    def _remember(self, client: str, call: bytes) -> None:
        key = (client, _digest(call))
        self._retries.pop(key, None)
        self._retries[key] = (self._clock(), 0)
        if len(self._retries) > _REMEMBERED:
            self._retries.popitem(last=False)


def _limits(*wanted: tuple[str, int | None, type[RateLimitItem], int]) -> tuple[_Limit, ...]:
    told = {"rate_burst": f"within {_BURST_S} seconds", "rate_hour": "an hour"}
    return tuple(
        _Limit(name, kind(amount, multiples), told.get(name, "a minute"))
        for name, amount, kind, multiples in wanted
        if amount is not None
    )


def _digest(call: bytes) -> bytes:
    return blake2b(call, digest_size=16).digest()


class _Windows(Storage, MovingWindowSupport):
    """When a client's latest calls came, by limit.

    The library's own storage in memory has a thread for what is too old, which wakes after each call and looks at every
    client, and reads the system's clock, which may go back.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._windows: OrderedDict[str, deque[float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """See ``Storage``."""
        return ValueError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """See ``MovingWindowSupport``."""
        window = self._window(key, expiry)
        if len(window) + amount > limit:
            return False
        if not window:
            self._windows[key] = window
            if len(self._windows) > _REMEMBERED:
                self._windows.popitem(last=False)
        self._windows.move_to_end(key)
        window.extend([self._clock()] * amount)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """See ``MovingWindowSupport``."""
        window = self._window(key, expiry)
        return (window[0] if window else self._clock()), len(window)

    def last(self, key: str) -> float | None:
        """When the latest call came."""
        window = self._windows.get(key)
        return window[-1] if window else None

    def _window(self, key: str, expiry: int) -> deque[float]:
        window = self._windows.get(key)
        if window is None:
            return deque()
        limit = self._clock() - expiry
        while window and window[0] <= limit:
            window.popleft()
        if not window:
            del self._windows[key]
        return window

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Of other strategies than that of moving windows."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """Of other strategies than that of moving windows."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        """Of other strategies than that of moving windows."""
        raise NotImplementedError

    def check(self) -> bool:
        """See ``Storage``."""
        return True

    def reset(self) -> int | None:
        """See ``Storage``."""
        count = len(self._windows)
        self._windows.clear()
        return count

    def clear(self, key: str) -> None:
        """See ``Storage``."""
        self._windows.pop(key, None)
