"""What the doctor makes of files, versions and clocks."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import trustme

from motive_core.certificates import BUNDLE, CERTIFICATE, validity, write_bundle
from motive_core.cli import checks
from motive_core.cli.checks import check_certificates, check_versions, knows_proxies

DAY_S = 24 * 3600.0


def marks(found: object) -> list[str]:
    return [one.mark for one in found]  # type: ignore[attr-defined]


@pytest.fixture
def confdir(tmp_path: Path) -> Path:
    trustme.CA().cert_pem.write_to_path(tmp_path / CERTIFICATE)
    write_bundle(tmp_path)
    return tmp_path


class TestCertificates:
    def test_all_is_well(self, confdir: Path) -> None:
        since, _ = validity(confdir / CERTIFICATE)
        assert marks(check_certificates(confdir, since + DAY_S)) == ["good", "good"]

    def test_none(self, tmp_path: Path) -> None:
        (found,) = check_certificates(tmp_path, 0.0)
        assert found.mark == "bad"
        assert found.what == f"{tmp_path / CERTIFICATE} is not there"

    def test_clocks(self, confdir: Path) -> None:
        since, until = validity(confdir / CERTIFICATE)
        early, *_ = check_certificates(confdir, since - 1)
        assert (early.mark, early.advice) == ("bad", "set this machine's clock")
        late, *_ = check_certificates(confdir, until + 1)
        assert late.mark == "bad"
        assert "has expired on" in late.what
        soon, *_ = check_certificates(confdir, until - DAY_S)
        assert soon.mark == "note"

    def test_bundles(self, confdir: Path) -> None:
        now = validity(confdir / CERTIFICATE)[0] + 1
        (confdir / BUNDLE).write_bytes((confdir / CERTIFICATE).read_bytes())
        _, found = check_certificates(confdir, now)
        assert found.mark == "note"
        assert "of the system's" in found.what
        write_bundle(confdir)
        trustme.CA().cert_pem.write_to_path(confdir / CERTIFICATE)
        _, found = check_certificates(confdir, now)
        assert (found.mark, "of another one" in found.what) == ("bad", True)
        (confdir / BUNDLE).unlink()
        _, found = check_certificates(confdir, now)
        assert (found.mark, "cannot be read" in found.what) == ("bad", True)


class TestVersions:
    def test_these(self) -> None:
        assert marks(check_versions()) == ["good", "good"]

    @pytest.mark.parametrize(
        ("python", "mitmproxy", "expected"),
        [
            ((3, 11, 9), "11.0.2", ["bad", "bad"]),
            ((3, 14, 0), "12.3.1", ["good", "good"]),
            ((3, 15, 0), "13.0.0", ["bad", "bad"]),
            ((3, 12, 0), "12.2.2", ["good", "bad"]),
        ],
    )
    def test_others(
        self, monkeypatch: pytest.MonkeyPatch, python: tuple[int, ...], mitmproxy: str, expected: list[str]
    ) -> None:
        monkeypatch.setattr(sys, "version_info", python)
        monkeypatch.setattr(checks, "version", lambda _: mitmproxy)
        assert marks(check_versions()) == expected

    def test_no_mitmproxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(name: str) -> str:
            raise PackageNotFoundError(name)

        monkeypatch.setattr(checks, "version", absent)
        assert marks(check_versions()) == ["good", "bad"]


@pytest.mark.parametrize(
    ("numbers", "knows"),
    [((18, 20), False), ((22, 20), False), ((22, 21), True), ((23, 11), False), ((24, 4), False), ((24, 5), True)],
)
def test_versions_of_node(numbers: tuple[int, ...], knows: bool) -> None:
    assert knows_proxies(numbers) is knows
