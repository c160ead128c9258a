"""The lock files: what ``run.sh`` installs is what ``pyproject.toml`` asks for, on every Python that it accepts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[1]
PYTHONS: Final = ("3.12", "3.13", "3.14")
SYSTEMS: Final = ("linux", "darwin")


def pins(name: str) -> dict[str, set[str]]:
    """Each requirement of a lock, with its hashes."""
    found: dict[str, set[str]] = {}
    text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if not line.startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            found[requirement] = set(hashes)
    return found


def versions(name: str, python: str, system: str) -> dict[str, list[str]]:
    """What a lock installs on one Python and system: the versions by the package's name."""
    environment = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "python_full_version": f"{python}.1",
        "python_version": python,
        "sys_platform": system,
    }
    found: dict[str, list[str]] = {}
    for line in pins(name):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (version,) = requirement.specifier
            assert version.operator == "=="
            found.setdefault(requirement.name, []).append(version.version)
    return found


def wanted(*extras: str) -> list[Requirement]:
    """What the project asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    listed = [*project["dependencies"]]
    for extra in extras:
        listed += project["optional-dependencies"][extra]
    return [Requirement(line) for line in listed]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("lock", "extras"), [("requirements.lock", ()), ("requirements-dev.lock", ("dev",))])
def test_every_dependency_is_pinned_once_and_in_range(
    lock: str, extras: tuple[str, ...], python: str, system: str
) -> None:
    locked = versions(lock, python, system)
    assert {name: found for name, found in locked.items() if len(found) != 1} == {}
    for requirement in wanted(*extras):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)][0]), requirement


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_only_names_versions_and_hashes(lock: str) -> None:
    for requirement, hashes in pins(lock).items():
        assert Requirement(requirement).url is None
        assert hashes, requirement
        for digest in hashes:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest), digest


def test_the_dev_lock_holds_the_other() -> None:
    """``run.sh`` trusts an environment that was made for the tests to run the proxy too."""
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()
