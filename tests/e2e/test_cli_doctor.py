"""``motive doctor``: what it finds on a machine that is well, and on one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from motive_core.certificates import BUNDLE, CERTIFICATE
from motive_core.cli import proxies
from tests.e2e.cli import environment, motive
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy, free_port
from tests.e2e.standin import Standin


def at_ports(folder: Path, forward: int, meeting: int = 0) -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"proxy: {{forward_port: {forward}, port: {meeting or free_port()}}}\n")
    return path


def test_with_the_proxy_that_runs(proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
    config = at_ports(tmp_path, proxy.forward_address[1])
    ran = motive("doctor", "--config", config, "--confdir", confdir, env=environment(tmp_path))
    assert ran.returncode == 0, ran.stdout
    lines = ran.stdout.splitlines()
    for line in (
        f"✓ the configuration is valid: {config}",
        f"✓ Motive runs at {proxy.forward}",
        f"✓ the forward proxy at {proxy.forward} is well",
        "✓ a call to https://api.openai.com was opened by the proxy and answered by Motive",
        f"✓ the meeting point at {proxy.meeting}/v1 is well",
    ):
        assert line in lines
    assert [line for line in lines if line.startswith(("!", "✗"))] == []
    assert lines[-1] == "nothing is wrong"
    assert "\x1b" not in ran.stdout  # no colours where there is no terminal


def test_its_call_reaches_no_service(proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
    before = proxy.log.count("call ended")
    motive("doctor", "--proxy", proxy.forward, "--confdir", confdir, env=environment(tmp_path))
    assert proxy.log.count("call ended") == before


def test_a_call_that_somebody_else_answers(
    proxy: Proxy, service: Standin, proxy_authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened TLS is not enough: a call without the mark by which Motive knows it goes to the service."""
    address = proxies.address_of(proxy.forward)
    proxies.check_interception(address, "api.openai.com", proxy_authority)
    assert service.requests == []
    monkeypatch.setattr(proxies, "_UPGRADE", {})
    with pytest.raises(proxies.InterceptionError, match="was answered with 200, not by Motive"):
        proxies.check_interception(address, "api.openai.com", proxy_authority)


def test_without_one(tmp_path: Path) -> None:
    """It starts its own, which makes the certificates."""
    config = at_ports(tmp_path, free_port())
    ran = motive("doctor", "--config", config, env=environment(tmp_path))
    assert ran.returncode == 0, ran.stdout
    assert "✓ no proxy runs; ports " in ran.stdout
    assert "✓ a call to https://api.openai.com was opened by the proxy and answered by Motive" in ran.stdout
    assert f"✓ {tmp_path / '.mitmproxy' / BUNDLE} holds it and the system's " in ran.stdout


def test_a_port_that_somebody_else_has(proxy: Proxy, service: Standin, confdir: Path, tmp_path: Path) -> None:
    stranger = int(service.env["STANDIN_PLAIN_PORT"])
    config = at_ports(tmp_path, stranger)
    ran = motive("doctor", "--config", config, "--confdir", confdir, env=environment(tmp_path))
    assert ran.returncode == 1
    assert f"✗ what listens at http://127.0.0.1:{stranger} is not Motive's forward proxy" in ran.stdout
    assert "choose another port for Motive by --forward-port PORT" in ran.stdout

    config = at_ports(tmp_path, free_port(), proxy.meeting_address[1])
    ran = motive("doctor", "--config", config, "--confdir", confdir, env=environment(tmp_path))
    assert ran.returncode == 1
    assert f"✗ port {proxy.meeting_address[1]} of the meeting point on 127.0.0.1 is in use" in ran.stdout


def test_the_meeting_point_is_no_proxy(proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
    ran = motive("doctor", "--proxy", proxy.meeting, "--confdir", confdir, env=environment(tmp_path))
    assert ran.returncode == 1
    assert f"✗ a call to api.openai.com through {proxy.meeting} failed" in ran.stdout
    assert "what is wanted there is the forward proxy, not the meeting point" in ran.stdout


def test_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("prxy: {}\n")
    ran = motive("doctor", "--config", tmp_path / "wrong.yaml", env=environment(tmp_path))
    assert ran.returncode == 1
    assert "✗ prxy: unknown key; did you mean proxy?" in ran.stdout
    assert "Traceback" not in ran.stderr


def test_a_host_that_the_proxy_does_not_open(start_proxy: StartProxy, confdir: Path, tmp_path: Path) -> None:
    other = start_proxy(config={"hosts": ["api.groq.com"]})
    ran = motive("doctor", "--proxy", other.forward, "--confdir", confdir, env=environment(tmp_path))
    assert ran.returncode == 1
    assert "✗ the certificate for api.openai.com that came through" in ran.stdout


def test_certificates_of_another_proxy(proxy: Proxy, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / CERTIFICATE)
    ran = motive("doctor", "--proxy", proxy.forward, "--confdir", tmp_path, env=environment(tmp_path))
    assert ran.returncode == 1
    assert f"✗ {tmp_path / BUNDLE} cannot be read" in ran.stdout
    assert "the proxy has another folder of certificates (--confdir)" in ran.stdout


def test_a_proxy_that_is_not_well(start_proxy: StartProxy, confdir: Path, tmp_path: Path) -> None:
    ill = start_proxy(config={})
    ill.configure("prxy: {}\n")
    ill.wait_for_log("configuration not reloaded")
    ran = motive("doctor", "--proxy", ill.forward, "--confdir", confdir, env=environment(tmp_path))
    assert f"! the forward proxy at {ill.forward} is degraded" in ran.stdout
    assert "    config: " in ran.stdout
    assert ran.returncode == 0
    assert "nothing is wrong, but see 2 notes" in ran.stdout


def test_what_is_wrong_with_a_shell(proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
    config = at_ports(tmp_path, proxy.forward_address[1])
    chosen = ("doctor", "--config", config, "--confdir", confdir)
    shell = {
        "HTTPS_PROXY": f"http://localhost:{proxy.forward_address[1]}",
        "http_proxy": "http://me:secret@corp:3128",
        "NO_PROXY": "anthropic.com,127.0.0.1",
        "SSL_CERT_FILE": str(tmp_path / "gone.pem"),
        "REQUESTS_CA_BUNDLE": str(confdir / BUNDLE),
        "OPENAI_BASE_URL": "https://llm.corp/v1",
        "ANTHROPIC_BASE_URL": "https://api.anthropic.com",
        "MOTIVE_PROXY_HSOT": "x",
    }
    ran = motive(*chosen, env=environment(tmp_path, **shell))
    assert ran.returncode == 1
    for line in (
        "! the environment variable MOTIVE_PROXY_HSOT is not one of Motive's; did you mean MOTIVE_PROXY_HOST?",
        "! http_proxy of this shell points to ...@corp:3128, not to Motive",
        f"✓ apps of this shell go by {proxy.forward}",
        "! NO_PROXY of this shell keeps calls to api.anthropic.com, 127.0.0.1 from the proxy",
        "! OPENAI_BASE_URL points to llm.corp:443, which is neither the meeting point nor in the table of hosts",
        "! CURL_CA_BUNDLE is not set (curl, requests)",
    ):
        assert line in ran.stdout.splitlines()
    assert f"✗ SSL_CERT_FILE={tmp_path / 'gone.pem'} cannot be read" in ran.stdout
    assert "REQUESTS_CA_BUNDLE=" not in ran.stdout
    assert "ANTHROPIC_BASE_URL" not in ran.stdout
    assert "secret" not in ran.stdout


def test_a_shell_whose_proxy_is_gone(tmp_path: Path) -> None:
    port = free_port()
    shell = {"HTTPS_PROXY": f"http://127.0.0.1:{port}"}
    ran = motive("doctor", "--config", at_ports(tmp_path, port), env=environment(tmp_path, **shell))
    assert ran.returncode == 1
    assert f"✗ HTTPS_PROXY of this shell point to http://127.0.0.1:{port}, where no proxy runs" in ran.stdout


@pytest.mark.parametrize(
    ("told", "line"),
    [("v20.20.2", "✗ fetch() of Node v20.20.2 goes by no proxy variable"), ("v24.5.0", "✓ Node v24.5.0 knows the")],
)
def test_node(proxy: Proxy, confdir: Path, tmp_path: Path, told: str, line: str) -> None:
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho {told}\n")
    node.chmod(0o755)
    shell = {"PATH": str(tmp_path), "HTTPS_PROXY": proxy.forward}
    config = at_ports(tmp_path, proxy.forward_address[1])
    ran = motive("doctor", "--config", config, "--confdir", confdir, env=environment(tmp_path) | shell)
    assert line in ran.stdout


def test_a_terminal_that_cannot_show_the_signs(proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
    env = environment(tmp_path, PYTHONIOENCODING="ascii", LC_ALL="POSIX", PYTHONUTF8="0")
    ran = motive("doctor", "--proxy", proxy.forward, "--confdir", confdir, env=env)
    assert ran.returncode == 0, ran.stderr
