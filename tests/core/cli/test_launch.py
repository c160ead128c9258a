"""The launcher: which settings win, what it refuses, and what mitmproxy makes of the command line that it builds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import ProxyMode, RegularMode, ReverseMode
from mitmproxy.tools import cmdline
from mitmproxy.tools.dump import DumpMaster
from mitmproxy.tools.main import process_options
from mitmproxy.tools.web.master import WebMaster

from motive_core.cli.launch import Launch, LaunchError, checked, mitmproxy_arguments, web_port
from motive_core.cli.layout import ROOT
from motive_core.cli.run import launch_of

FREE = ("--port", "0", "--forward-port", "0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the default configuration and ``.env`` would be."""
    return tmp_path


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that somebody else listens on."""
    with closing(socket.create_server((host, 0))) as server:
        yield server.getsockname()[1]


def listeners(launch: Launch) -> tuple[tuple[str, int], tuple[str, int]]:
    """Host and port of the forward proxy and of the meeting point."""
    assert launch.forward is not None
    return (launch.forward.host, launch.forward.port), (launch.meeting.host, launch.meeting.port)


class TestPrecedence:
    def test_defaults(self, folder: Path) -> None:
        launch = launch_of(["run"], {}, folder)
        assert listeners(launch) == (("127.0.0.1", 8080), ("127.0.0.1", 8000))
        assert launch.config is None

    def test_each_overrides_the_one_before(self, folder: Path) -> None:
        (folder / "config.yaml").write_text("proxy: {host: 127.0.0.2, port: 1001, forward_port: 2001}\n")
        assert listeners(launch_of(["run"], {}, folder)) == (("127.0.0.2", 2001), ("127.0.0.2", 1001))

        (folder / ".env").write_text("MOTIVE_PROXY_HOST=127.0.0.3\nMOTIVE_PROXY_PORT=1002\n")
        assert listeners(launch_of(["run"], {}, folder)) == (("127.0.0.3", 2001), ("127.0.0.3", 1002))

        env = {"MOTIVE_PROXY_PORT": "1003", "MOTIVE_PROXY_FORWARD_PORT": "2003"}
        assert listeners(launch_of(["run"], env, folder)) == (("127.0.0.3", 2003), ("127.0.0.3", 1003))

        flags = ["run", "--host", "127.0.0.4", "--port", "1004", "--forward-port", "2004"]
        assert listeners(launch_of(flags, env, folder)) == (("127.0.0.4", 2004), ("127.0.0.4", 1004))

    def test_a_flag_may_be_zero(self, folder: Path) -> None:
        (folder / "config.yaml").write_text("proxy: {port: 1001, forward_port: 2001}\n")
        assert listeners(launch_of(["run", *FREE], {}, folder)) == (("127.0.0.1", 0), ("127.0.0.1", 0))

    def test_a_named_file_takes_the_place_of_the_default(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "config.yaml").write_text("proxy: {port: 1001}\n")
        (folder / "mine.yaml").write_text("proxy: {forward_port: 2001}\n")
        monkeypatch.chdir(folder)
        launch = launch_of(["run", "--config", "mine.yaml"], {}, folder)
        assert listeners(launch) == (("127.0.0.1", 2001), ("127.0.0.1", 8000))
        assert launch.config == folder / "mine.yaml"

    def test_what_follows_the_border_is_not_ours(self, folder: Path) -> None:
        launch = launch_of(["run", "--port", "1", "--", "--port", "2", "--", "x"], {}, folder)
        assert launch.meeting.port == 1
        assert launch.extra == ("--port", "2", "--", "x")

    @pytest.mark.parametrize(("command", "program"), [("run", "mitmdump"), ("web", "mitmweb"), ("tui", "mitmproxy")])
    def test_the_program(self, folder: Path, command: str, program: str) -> None:
        assert launch_of([command], {}, folder).program == program


class TestRefusal:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["run", "--port", "65536"], "'65536' is not a port"),
            (["run", "--forward-port", "http"], "'http' is not a port"),
            (["run", "--host", ""], "'' is not a host; 0.0.0.0 or ::"),
            (["run", "--host", "a@b"], "'a@b' is not a host"),
            (["run", "-w", "flows"], "unrecognized arguments: -w flows"),
            (["start"], "invalid choice: 'start'"),
        ],
    )
    def test_a_malformed_command_line(
        self, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            launch_of(arguments, {}, folder)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("proxy: {port: many}\n", "proxy.port"),
            ("proxy: {host: a b}\n", "proxy.host: 'a b' is not a host"),
            ("prxy: {}\n", "prxy: unknown key"),
        ],
    )
    def test_a_wrong_configuration(self, folder: Path, text: str, said: str) -> None:
        (folder / "config.yaml").write_text(text)
        with pytest.raises(LaunchError, match=said) as raised:
            launch_of(["run"], {}, folder)
        assert "\n" not in str(raised.value)

    def test_a_named_file_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(LaunchError, match=r"mine\.yaml"):
            launch_of(["run", "--config", str(folder / "mine.yaml")], {}, folder)

    def test_one_port_for_both(self, folder: Path) -> None:
        with pytest.raises(LaunchError, match=r"cannot both have port 9000; .* --forward-port or --port"):
            checked(launch_of(["run", "--port", "9000", "--forward-port", "9000"], {}, folder))

    def test_the_port_of_the_page_of_mitmweb(self, folder: Path) -> None:
        taken = ["--port", "8081", "--forward-port", "0"]
        with pytest.raises(LaunchError, match=r"8081 of the meeting point is that of mitmweb's own page"):
            checked(launch_of(["web", *taken], {}, folder))

    @pytest.mark.parametrize(
        ("flag", "other", "title", "variable"),
        [
            ("--port", "--forward-port", "meeting point", "MOTIVE_PROXY_PORT or proxy.port"),
            ("--forward-port", "--port", "forward proxy", "MOTIVE_PROXY_FORWARD_PORT or proxy.forward_port"),
        ],
    )
    def test_a_port_in_use(self, folder: Path, flag: str, other: str, title: str, variable: str) -> None:
        with listening() as port:
            launch = launch_of(["run", flag, str(port), other, "0"], {}, folder)
            with pytest.raises(LaunchError) as raised:
                checked(launch)
        assert str(raised.value) == (
            f"port {port} of the {title} on 127.0.0.1 is in use; choose another by {flag} PORT, {variable}"
        )
        # Once that one is gone, nothing is in the way.
        assert listeners(checked(launch))[flag == "--port"] == ("127.0.0.1", port)

    def test_an_address_of_another_machine(self, folder: Path) -> None:
        with pytest.raises(LaunchError, match=r"192\.0\.2\.1 is not an address of this machine; .* --host"):
            checked(launch_of(["run", "--host", "192.0.2.1", *FREE], {}, folder))

    def test_a_name_that_is_none(self, folder: Path) -> None:
        with pytest.raises(LaunchError, match=r"the host 'nowhere\.invalid' cannot be found"):
            checked(launch_of(["run", "--host", "nowhere.invalid", *FREE], {}, folder))


def understood(launch: Launch) -> tuple[Options, Namespace]:
    """The options of a master with all its addons, and the command line as mitmproxy's own parser reads it."""
    made = Options()
    if launch.program == "mitmweb":
        WebMaster(made)
        parser: ArgumentParser = cmdline.mitmweb(made)
    else:
        DumpMaster(made)
        parser = cmdline.mitmdump(made)
    return made, parser.parse_args(mitmproxy_arguments(launch))


class TestCommandLine:
    @pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "::1", "[::1]"])
    async def test_mitmproxy_reads_both_listeners(self, folder: Path, host: str) -> None:
        if ":" in host and not socket.has_dualstack_ipv6():
            pytest.skip("no IPv6 here")
        launch = checked(launch_of(["run", "--host", host, *FREE], {}, folder))
        _, command = understood(launch)
        forward, meeting = (ProxyMode.parse(mode) for mode in command.mode)
        assert isinstance(forward, RegularMode)
        assert isinstance(meeting, ReverseMode)
        assert forward.listen_host() == meeting.listen_host() == host.strip("[]")
        assert launch.forward is not None
        assert (forward.listen_port(), meeting.listen_port()) == (launch.forward.port, launch.meeting.port)
        assert 0 != forward.listen_port() != meeting.listen_port() != 0
        assert [Path(script) for script in command.scripts] == [ROOT / "addons/motive.py"]

    def test_a_configuration_is_handed_on(self, folder: Path) -> None:
        (folder / "config.yaml").touch()
        arguments = mitmproxy_arguments(launch_of(["run"], {}, folder))
        assert arguments[-2:] == ["--set", f"motive_config={folder / 'config.yaml'}"]

    @pytest.mark.parametrize(
        ("extra", "opens"),
        [
            ([], False),
            (["--web-open-browser", "--web-port", "9001"], True),
            (["--set", "web_open_browser=true"], True),
            (["--no-web-open-browser"], False),
        ],
    )
    async def test_a_browser_opens_if_asked_for(self, folder: Path, extra: list[str], opens: bool) -> None:
        made, command = understood(launch_of(["web", "--", *extra], {}, folder))
        made.set(*command.setoptions)
        process_options(None, made, command)
        assert made.web_open_browser is opens

    @pytest.mark.parametrize(
        ("extra", "port"),
        [
            ([], 8081),
            (["--web-port", "9001"], 9001),
            (["--web-port=9002", "-q"], 9002),
            (["--set", "web_port=9003"], 9003),
            (["--web-port", "9001", "--set", "web_port=9004"], 9004),
            (["--web-port"], 8081),
        ],
    )
    def test_the_page_of_mitmweb(self, extra: list[str], port: int) -> None:
        assert web_port(extra) == port


def start(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The launcher as ``run.sh`` starts it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MOTIVE_")}
    command = [sys.executable, "-I", str(ROOT / "motive_core/__main__.py"), *arguments]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["run", "web", "tui"])
def test_it_becomes_mitmproxy(tmp_path: Path, command: str) -> None:
    # A module of that name in the current folder must not get in.
    (tmp_path / "mitmproxy.py").write_text("raise SystemExit('the wrong one')\n")
    result = start(command, *FREE, "--", "--version", cwd=tmp_path)
    assert result.stdout.startswith("Mitmproxy: 12."), result.stderr
    assert result.returncode == 0


def test_it_refuses_with_one_line(tmp_path: Path) -> None:
    with listening() as port:
        result = start("run", "--port", str(port), "--forward-port", "0", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith(f"motive: port {port} of the meeting point")
    assert len(result.stderr.splitlines()) == 1
