"""The bundle of certificates, and what a person is told at the start."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from mitmproxy.proxy.mode_specs import ProxyMode

from motive_shell.banner import announce
from motive_shell.trust import BUNDLE, CERTIFICATE, write_bundle


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


@dataclass
class Server:
    mode: ProxyMode
    listen_addrs: tuple[tuple[str, int], ...]


def test_the_banner_shows_where_it_really_listens() -> None:
    shown = announce(
        [
            Server(ProxyMode.parse("regular@0.0.0.0:0"), (("0.0.0.0", 40001),)),
            Server(ProxyMode.parse("reverse:http://127.0.0.1:9@::1:0"), (("::1", 40002, 0, 0),)),  # type: ignore[arg-type]
        ],
        Path("/c/cert.pem"),
        Path("/c/bundle.pem"),
        "t0ken",
    )
    for line in (
        "  meeting point  http://[::1]:40002/v1",
        "  forward proxy  http://127.0.0.1:40001",
        "  its sessions   http://[::1]:40002/admin/sessions?token=t0ken",
        "  admin token    t0ken",
        "  certificate    /c/cert.pem",
        "    export OPENAI_BASE_URL=http://[::1]:40002/v1",
        "    export ANTHROPIC_BASE_URL=http://[::1]:40002",
        "    export GOOGLE_GEMINI_BASE_URL=http://[::1]:40002",
        "    export CO_API_URL=http://[::1]:40002",
        "    export OLLAMA_HOST=http://[::1]:40002",
        "    export AWS_ENDPOINT_URL_BEDROCK_RUNTIME=http://[::1]:40002",
        "    export HTTPS_PROXY=http://127.0.0.1:40001",
        "    export SSL_CERT_FILE=/c/bundle.pem",
    ):
        assert line in shown.splitlines()


def test_a_lone_forward_proxy_has_no_meeting_point_to_show() -> None:
    shown = announce([Server(ProxyMode.parse("regular"), (("127.0.0.1", 8080),))], Path("c"), Path("b"), None)
    assert "meeting point" not in shown and "OPENAI_BASE_URL" not in shown
    assert "  admin token    the one that the configuration names" in shown.splitlines()
