"""What a person is told at the start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mitmproxy.proxy.mode_specs import ProxyMode

from motive_shell.banner import announce


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
