"""The bundle of certificates."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from motive_core.certificates import (
    BUNDLE,
    CERTIFICATE,
    bundle_of,
    read_certificates,
    system_roots,
    validity,
    write_bundle,
)


@pytest.fixture
def confdir(tmp_path: Path) -> Path:
    trustme.CA().cert_pem.write_to_path(tmp_path / CERTIFICATE)
    return tmp_path


def test_the_bundle_holds_the_proxy_and_the_rest_of_the_world(confdir: Path) -> None:
    bundle = write_bundle(confdir)
    alone, together = (
        ssl.create_default_context(cafile=confdir / CERTIFICATE),
        ssl.create_default_context(cafile=bundle),
    )
    assert len(alone.get_ca_certs()) == 1
    assert len(together.get_ca_certs()) > 50
    assert alone.get_ca_certs()[0] in together.get_ca_certs()


def test_a_bundle_that_is_right_is_left_alone(confdir: Path) -> None:
    before = write_bundle(confdir).stat()
    after = write_bundle(confdir).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    trustme.CA().cert_pem.write_to_path(confdir / CERTIFICATE)
    assert write_bundle(confdir).read_bytes().endswith((confdir / CERTIFICATE).read_bytes())
    assert sorted(path.name for path in confdir.iterdir()) == [CERTIFICATE, BUNDLE]


def test_without_a_bundle_the_certificate_is_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert write_bundle(tmp_path) == tmp_path / CERTIFICATE
    assert "was not written" in caplog.text


def test_a_shell_that_is_set_up_for_apps_does_not_make_the_bundle_grow(
    confdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write_bundle(confdir).read_bytes()
    monkeypatch.setenv("SSL_CERT_FILE", str(confdir / BUNDLE))
    made_of_it = confdir / f"{Path(BUNDLE).stem}-0123456789ab.pem"
    made_of_it.write_bytes(before)
    for name in (BUNDLE, made_of_it.name):
        monkeypatch.setenv("SSL_CERT_FILE", str(confdir / name))
        assert system_roots(confdir / BUNDLE).parent != confdir
    after = write_bundle(confdir).read_bytes()
    assert after.count((confdir / CERTIFICATE).read_bytes().strip()) == 1
    assert before.endswith(after[-500:])
    assert write_bundle(confdir).read_bytes() == after


def test_the_roots_that_the_environment_names_are_in_it(confdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    company = confdir / "company.pem"
    trustme.CA().cert_pem.write_to_path(company)
    monkeypatch.setenv("SSL_CERT_FILE", str(company))
    assert read_certificates(write_bundle(confdir)) == read_certificates(company) | read_certificates(
        confdir / CERTIFICATE
    )


def test_a_bundle_that_will_do_is_taken_as_it_is(confdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app's shell may know other roots than the proxy's: the file is for all apps."""
    before = bundle_of(confdir).read_bytes()
    company = confdir / "company.pem"
    trustme.CA().cert_pem.write_to_path(company)
    monkeypatch.setenv("SSL_CERT_FILE", str(company))
    assert bundle_of(confdir).read_bytes() == before
    trustme.CA().cert_pem.write_to_path(confdir / CERTIFICATE)
    assert read_certificates(confdir / CERTIFICATE) <= read_certificates(bundle_of(confdir))


def test_what_is_read_out_of_it(confdir: Path, tmp_path: Path) -> None:
    since, until = validity(confdir / CERTIFICATE)
    assert since < until
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no certificate\n")
    for path in (nothing, tmp_path / "absent.pem"):
        with pytest.raises(OSError, match=r"."):
            read_certificates(path)
