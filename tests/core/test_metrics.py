"""Metrics: what a scrape reads, and that no client can make a series or write into one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from motive_core.errors import MotiveError
from motive_core.metrics import CONTENT_TYPE, DIALECT_NAMES, ERROR_CODES, LISTENERS, OUTCOMES, SOURCES, Metrics

ROOT = Path(__file__).resolve().parents[2]


def samples(metrics: Metrics, held: int = 0, sessions: int = 0) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels, as a scraper reads them."""
    text = metrics.render(held=held, sessions=sessions).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scraper_reads_what_was_told() -> None:
    metrics = Metrics({"version": "1.2", "mitmproxy": "12"})
    for _ in range(2):
        metrics.ended("openai-chat", "reverse", "pair", "replied")
    metrics.error("hold_timeout")
    metrics.limit_hit("rate_minute")
    metrics.turn(3)
    metrics.held(42.0)
    metrics.first_byte(0.2)
    metrics.added("accept", 0.0003)
    metrics.added("reply", 0.002)
    read = samples(metrics, held=7, sessions=5)
    labels = (("dialect", "openai-chat"), ("listener", "reverse"), ("outcome", "replied"), ("source", "pair"))
    assert read["motive_exchanges_total", labels] == 2
    assert read["motive_errors_total", (("code", "hold_timeout"),)] == 1
    assert read["motive_limit_hits_total", (("limit", "rate_minute"),)] == 1
    assert read["motive_turns_total", ()] == 3
    assert read["motive_held", ()] == 7
    assert read["motive_sessions", ()] == 5
    assert read["motive_hold_seconds_bucket", (("le", "30.0"),)] == 0
    assert read["motive_hold_seconds_bucket", (("le", "60.0"),)] == 1
    assert read["motive_stream_first_byte_seconds_sum", ()] == 0.2
    assert read["motive_added_seconds_count", (("stage", "accept"),)] == 1
    assert read["motive_added_seconds_bucket", (("le", "0.001"), ("stage", "reply"))] == 0
    (build,) = [dict(key[1]) for key in read if key[0] == "motive_build_info"]
    assert build["version"] == "1.2" and build["mitmproxy"] == "12" and build["python"]
    assert not [name for name, _ in read if name.endswith("_created")]
    assert CONTENT_TYPE.startswith("text/plain")


def test_two_proxies_in_one_process_count_for_themselves() -> None:
    one, two = Metrics(), Metrics()
    one.turn()
    assert samples(two)["motive_turns_total", ()] == 0


@pytest.mark.parametrize("hostile", ["npc\n# HELP x", 'a"} 1\nmotive_held 99', "\x1b[31m", "\ud800", "gpt-4o", ""])
def test_what_is_not_known_is_other(hostile: str) -> None:
    metrics = Metrics()
    metrics.ended(hostile, hostile, hostile, hostile)
    metrics.error(hostile)
    metrics.limit_hit(hostile)
    read = samples(metrics)
    labels = tuple((name, "other") for name in ("dialect", "listener", "outcome", "source"))
    assert read["motive_exchanges_total", labels] == 1
    assert (
        read["motive_errors_total", (("code", "other"),)] == read["motive_limit_hits_total", (("limit", "other"),)] == 1
    )


def test_series_and_memory_are_bounded() -> None:
    metrics = Metrics()
    for number in range(2000):
        metrics.ended(f"d{number}", f"l{number}", "pair", f"o{number}")
        metrics.error(f"e{number}")
    before = len(samples(metrics))
    for number in range(2000, 4000):
        metrics.ended(f"d{number}", "reverse", f"s{number}", "replied")
        metrics.error(f"e{number}")
    assert len(samples(metrics)) == before + 1
    assert metrics._exchanges._series == metrics._errors._series == {}
    most = (len(DIALECT_NAMES) + 1) * (len(LISTENERS) + 1) * (len(SOURCES) + 1) * (len(OUTCOMES) + 1)
    assert most < 5000


def test_every_code_of_ours_is_known() -> None:
    """A dialect's own codes of bad bodies aside, whose files are left out, and what only the console's page is told."""
    texts = [
        path.read_text("utf-8")
        for folder in ("motive_core", "addons")
        for path in (ROOT / folder).rglob("*.py")
        if not {"dialects", "console"} & set(path.parts)
    ]
    written = {code for text in texts for code in re.findall(r'\bcode="(\w+)"', text)}
    classes = [MotiveError]
    for one in classes:
        classes += one.__subclasses__()
    assert written | {one.default_code for one in classes} - {"upstream_error"} <= ERROR_CODES
