"""``motive exec`` with the clients that apps are made of: unmodified, behind a proxy that runs or one of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
import trustme

from tests.e2e.cli import environment, motive
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy, free_port
from tests.e2e.standin import Standin

BODY: Final = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})
URL: Final = "https://api.openai.com/v1/chat/completions"
SAY: Final = "print(reply['choices'][0]['message']['content'])"
HEADERS: Final = {"content-type": "application/json"}
PYTHON: Final[dict[str, str]] = {
    "httpx": f"import httpx; reply = httpx.post({URL!r}, content={BODY!r}).json(); {SAY}",
    "requests": f"import requests; reply = requests.post({URL!r}, data={BODY!r}).json(); {SAY}",
    "urllib": f"import json, urllib.request as u; asked = u.Request({URL!r}, {BODY!r}.encode(), {HEADERS!r}); "
    f"reply = json.load(u.urlopen(asked)); {SAY}",
    "openai": "import openai; made = openai.OpenAI(api_key='sk-test').chat.completions; "
    f"reply = made.create(**{json.loads(BODY)!r}).model_dump(); {SAY}",
    "a child's child": "import subprocess, sys; subprocess.run([sys.executable, '-c', "
    f"{f'import httpx; reply = httpx.post({URL!r}, content={BODY!r}).json(); {SAY}'!r}], check=True)",
}
SHOW: Final = "import json, os; print(json.dumps(dict(os.environ)))"
BY_MOCK: Final = """
sources: {parrot: {kind: mock, text: "Polly."}}
routes: [{match: {listener: forward}, answer: parrot}]
"""


def app(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.fixture
def by_mock(tmp_path: Path) -> Path:
    """A configuration by which no service is needed."""
    path = tmp_path / "mock.yaml"
    path.write_text(BY_MOCK)
    return path


class TestByTheProxyThatRuns:
    @pytest.mark.parametrize("client", PYTHON)
    def test_an_unmodified_app(
        self, proxy: Proxy, service: Standin, confdir: Path, tmp_path: Path, client: str
    ) -> None:
        chosen = ("--proxy", proxy.forward, "--confdir", confdir)
        ran = motive("exec", *chosen, "--", *app(PYTHON[client]), env=environment(tmp_path))
        assert (ran.returncode, ran.stdout) == (0, "real gpt-4o\n"), ran.stderr
        assert ran.stderr == (
            f"motive: the app's calls go by {proxy.forward}; join its sessions at {proxy.meeting}/v1\n"
        )
        assert service.requests[0].host == "api.openai.com"

    @pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
    def test_curl(self, proxy: Proxy, service: Standin, confdir: Path, tmp_path: Path) -> None:
        chosen = ("--proxy", proxy.forward, "--confdir", confdir, "--quiet")
        ran = motive("exec", *chosen, "curl", "-sS", URL, "-d", BODY, env=environment(tmp_path))
        assert "real gpt-4o" in ran.stdout
        assert ran.stderr == ""

    def test_the_configuration_says_where(self, proxy: Proxy, service: Standin, confdir: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(f"proxy: {{forward_port: {proxy.forward_address[1]}}}\n")
        chosen = ("--config", tmp_path / "mine.yaml", "--confdir", confdir)
        ran = motive("exec", *chosen, "--", *app(PYTHON["httpx"]), env=environment(tmp_path))
        assert ran.stdout == "real gpt-4o\n", ran.stderr
        assert proxy.forward in ran.stderr

    def test_a_host_that_is_not_opened_and_roots_of_a_company(
        self, proxy: Proxy, service: Standin, authority: trustme.CA, confdir: Path, tmp_path: Path
    ) -> None:
        """What the app trusted before, it trusts still, beside the proxy."""
        company = tmp_path / "company.pem"
        authority.cert_pem.write_to_path(company)
        code = f"import httpx; print(httpx.get('https://other.example/').status_code); {PYTHON['httpx']}"
        chosen = ("--proxy", proxy.forward, "--confdir", confdir)
        ran = motive("exec", *chosen, "--", *app(code), env=environment(tmp_path, SSL_CERT_FILE=str(company)))
        assert ran.stdout.split() == ["200", "real", "gpt-4o"], ran.stderr
        ran = motive("exec", *chosen, "--", *app(code), env=environment(tmp_path))
        assert "CERTIFICATE_VERIFY_FAILED" in ran.stderr

    def test_it_is_replaced_by_the_app(self, proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
        """Its signals, its terminal, its status: all are the app's own. What Python ignores, the app does not."""
        chosen = ("--proxy", proxy.forward, "--confdir", confdir, "--quiet")
        script = "echo $PPID; grep SigIgn /proc/self/status; kill -TERM $$"
        ran = motive("exec", *chosen, "--", "sh", "-c", script, env=environment(tmp_path))
        assert ran.returncode == -15
        parent, *ignored = ran.stdout.split()
        assert int(parent) == os.getpid()
        if ignored:
            bits = int(ignored[-1], 16)
            assert not [one for one in (signal.SIGPIPE, signal.SIGXFSZ) if bits >> (one - 1) & 1]

    def test_what_the_app_has_from_its_shell(self, proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
        own = {
            "PYTHONPATH": "/mine",
            "NO_PROXY": "intranet,*.corp",
            "NODE_OPTIONS": "--no-warnings",
            "HTTPS_PROXY": "x",
        }
        chosen = ("--proxy", proxy.forward, "--confdir", confdir)
        ran = motive("exec", *chosen, "--", *app(SHOW), env=environment(tmp_path, **own))
        shown = json.loads(ran.stdout)
        assert {name: shown[name] for name in ("PYTHONPATH", "NO_PROXY")} == {
            "PYTHONPATH": "/mine",
            "NO_PROXY": "intranet,*.corp",
        }
        assert shown["NODE_OPTIONS"].startswith("--no-warnings --require")
        assert {shown[name] for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")} == {proxy.forward}
        assert "PYTHONUNBUFFERED" not in shown

    def test_no_proxy_that_is_in_the_way(self, proxy: Proxy, confdir: Path, tmp_path: Path) -> None:
        env = environment(tmp_path, no_proxy="localhost, openai.com")
        ran = motive("exec", "--proxy", proxy.forward, "--confdir", confdir, "true", env=env)
        assert "NO_PROXY keeps calls to api.openai.com, localhost from the proxy" in ran.stderr

    def test_another_authority(self, proxy: Proxy, tmp_path: Path) -> None:
        trustme.CA().cert_pem.write_to_path(tmp_path / "mitmproxy-ca-cert.pem")
        ran = motive("exec", "--proxy", proxy.forward, "--confdir", tmp_path, "true", env=environment(tmp_path))
        assert ran.returncode == 1
        assert "the certificate for api.openai.com that came through" in ran.stderr
        assert "Traceback" not in ran.stderr

    @pytest.mark.parametrize("at", ["nobody", "meeting"])
    def test_no_proxy_there(self, proxy: Proxy, confdir: Path, tmp_path: Path, at: str) -> None:
        url = proxy.meeting if at == "meeting" else f"http://u:secret@127.0.0.1:{free_port()}"
        ran = motive("exec", "--proxy", url, "--confdir", confdir, "true", env=environment(tmp_path))
        assert ran.returncode == 1
        assert len(ran.stderr.splitlines()) == 1
        assert "secret" not in ran.stderr

    def test_a_proxy_with_a_password(self, start_proxy: StartProxy, confdir: Path, tmp_path: Path) -> None:
        guarded = start_proxy(config={}, options=("--set", "proxyauth=me:p@ss"))
        ran = motive("exec", "--proxy", guarded.forward, "--confdir", confdir, "true", env=environment(tmp_path))
        assert ran.returncode == 1
        assert "asks for a password: give --proxy http://NAME:PASSWORD@127.0.0.1" in ran.stderr
        url = guarded.forward.replace("http://", "http://me:p%40ss@")
        chosen = ("--proxy", url, "--confdir", confdir)
        for client in ("httpx", "requests"):
            ran = motive("exec", *chosen, "--", *app(PYTHON[client]), env=environment(tmp_path))
            assert ran.stdout == "real gpt-4o\n", ran.stderr
            assert "p%40ss" not in ran.stderr


class TestByOneOfItsOwn:
    def test_an_unmodified_app(self, by_mock: Path, confdir: Path, tmp_path: Path) -> None:
        chosen = ("--own", "--config", by_mock, "--confdir", confdir)
        code = f"import os, sys; {PYTHON['httpx']}; print(os.environ['HTTPS_PROXY']); sys.exit(7)"
        ran = motive("exec", *chosen, "--", *app(code), env=environment(tmp_path))
        assert ran.returncode == 7
        said, proxy = ran.stdout.split()
        assert said == "Polly."
        assert ran.stderr.startswith(f"motive: the app's calls go by {proxy}; join its sessions at http://127.0.0.1:")
        assert [path.name for path in tmp_path.iterdir()] == ["mock.yaml"]

    def test_where_none_runs_and_there_are_no_certificates(self, by_mock: Path, tmp_path: Path) -> None:
        by_mock.write_text(f"proxy: {{forward_port: {free_port()}}}\n{BY_MOCK}")
        ran = motive("exec", "--config", by_mock, "--", *app(PYTHON["requests"]), env=environment(tmp_path))
        assert ran.stdout == "Polly.\n", ran.stderr
        assert (tmp_path / ".mitmproxy" / "motive-ca-bundle.pem").exists()

    def test_several_at_once(self, by_mock: Path, confdir: Path, tmp_path: Path) -> None:
        chosen = ("--own", "--config", by_mock, "--confdir", confdir)

        def run(_: int) -> subprocess.CompletedProcess[str]:
            return motive("exec", *chosen, "--", *app(PYTHON["httpx"]), env=environment(tmp_path))

        with ThreadPoolExecutor(4) as pool:
            ended = list(pool.map(run, range(4)))
        assert [ran.stdout for ran in ended] == ["Polly.\n"] * 4, [ran.stderr for ran in ended]
        assert len({ran.stderr for ran in ended}) == 4

    @pytest.mark.parametrize(("program", "status"), [("no-such-command", 127), ("./data", 126)])
    def test_no_such_app(self, tmp_path: Path, program: str, status: int) -> None:
        (tmp_path / "data").touch()
        ran = motive("exec", "--", program, env=environment(tmp_path), cwd=tmp_path)
        assert ran.returncode == status
        assert ran.stderr.startswith(f"motive: {program}: ")
        assert len(ran.stderr.splitlines()) == 1

    @pytest.mark.parametrize("words", [[], ["--"], ["--own", "--proxy", "x:1", "--", "true"]])
    def test_a_malformed_command_line(self, tmp_path: Path, words: list[str]) -> None:
        ran = motive("exec", *words, env=environment(tmp_path))
        assert ran.returncode == 2
        assert "usage: motive exec [OPTIONS] -- COMMAND..." in ran.stderr

    def test_it_does_not_start(self, by_mock: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        chosen = ("--own", "--config", by_mock, "--confdir", tmp_path / "file")
        ran = motive("exec", *chosen, "--", "true", env=environment(tmp_path))
        assert ran.returncode == 1
        assert "motive: a proxy of its own did not start:\n" in ran.stderr
        assert "File exists" in ran.stderr or "Not a directory" in ran.stderr, ran.stderr

    def test_the_log_may_stay(self, by_mock: Path, confdir: Path, tmp_path: Path) -> None:
        chosen = ("--own", "--config", by_mock, "--confdir", confdir, "--log", tmp_path / "log.txt")
        motive("exec", *chosen, "--", *app(PYTHON["httpx"]), env=environment(tmp_path))
        assert "source=mock" in (tmp_path / "log.txt").read_text()
