"""The limit of open files: raised as far as it goes, and told if that is not enough."""

from __future__ import annotations

import resource

import pytest

from motive_shell import descriptors


@pytest.mark.parametrize("limits", [(100, 5000), (5000, 5000)])
def test_the_limit_is_raised_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert descriptors.open_files_allowed() == 5000
    assert raised == ([(5000, 5000)] if limits[0] < limits[1] else [])


def test_a_system_that_does_not_let_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert descriptors.open_files_allowed() == 100
    assert "could not be raised limit=100" in caplog.text


def test_no_limit_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert descriptors.open_files_allowed() is None
    assert descriptors.too_few_for(10**9, None) is None


def test_whether_they_are_enough() -> None:
    assert descriptors.too_few_for(1000, 1256) is None
    why = descriptors.too_few_for(1000, 1255)
    assert why is not None and "limits.max_held is 1000" in why and "the system allows 1255" in why
