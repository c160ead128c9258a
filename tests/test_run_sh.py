"""``run.sh`` as its user meets it: which interpreter it takes, and when it trusts the environment that it made.

Each test has a checkout of its own, a home of its own and a PATH of a few tools, in which the only interpreters are
those that the test puts there. Nothing here needs a network.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
TOOLS: Final = (
    "bash",
    "cat",
    "chmod",
    "cksum",
    "date",
    "dirname",
    "env",
    "grep",
    "ls",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "sh",
    "sort",
)
MINOR: Final = f"{sys.version_info.major}.{sys.version_info.minor}"

TAKEN: Final = """#!/bin/sh
case $1 in
  -c) echo "{version} $0" ;;
  *) echo "asked: $*" >&2; exit 9 ;;
esac
"""
"""An interpreter that looks suitable, and fails as soon as it is to make an environment."""

SHIM: Final = """#!/bin/sh
echo "pyenv: python: command not found" >&2
echo "The python command exists in these Python versions: 3.8" >&2
exit 127
"""

UNUSED_LOCK: Final = "# nothing\n"


@dataclass(frozen=True)
class Checkout:
    """A folder with ``run.sh`` in it, and the small world that it runs in."""

    root: Path
    home: Path
    tools: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def stamp(self) -> list[str]:
        return (self.venv / ".motive-stamp").read_text().splitlines()

    def environment(self, **extra: str) -> dict[str, str]:
        offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
        return {"HOME": str(self.home), "PATH": str(self.tools)} | offline | extra

    def run(self, *arguments: str, script: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script or self.root / "run.sh", *arguments],
            env=self.environment(**extra),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )

    def put(self, path: str | Path, text: str) -> Path:
        """An executable: in the tools by its name alone, else where the path says."""
        target = self.tools / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755)
        return target

    def lock(self, text: str, name: str = "requirements.lock") -> None:
        (self.root / name).write_text(text)

    def pretend_environment(self, python: str, *locks: str, minor: str = "3.13") -> None:
        """A ready environment whose interpreter is a script of the test."""
        self.put(self.venv / "bin/python", python)
        stamp = [f"python {minor}"]
        for lock in locks:
            with (self.root / lock).open("rb") as file:
                stamp.append(f"{lock} {subprocess.check_output(['cksum'], stdin=file, text=True).strip()}")
        (self.venv / ".motive-stamp").write_text("\n".join(stamp) + "\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "my checkout", tmp_path / "home", tmp_path / "tools")
    for folder in (made.root, made.home, made.tools):
        folder.mkdir()
    shutil.copy(ROOT / "run.sh", made.root)
    for name in ("requirements.lock", "requirements-dev.lock"):
        made.lock(UNUSED_LOCK, name)
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (made.tools / tool).symlink_to(found)
    return made


def chosen(result: subprocess.CompletedProcess[str]) -> str:
    """The path in the first progress line."""
    line = result.stderr.splitlines()[0]
    assert line.startswith("[1/3] Using Python "), result.stderr
    return line[line.index("(") + 1 : -1]


class TestInterpreterSearch:
    @pytest.mark.parametrize(
        ("present", "taken"),
        [
            (["python", "python3", "python3.12", "python3.13", "python3.14"], "python3.13"),
            (["python3", "python3.12", "python3.14"], "python3.12"),
            (["python", "python3", "python3.14"], "python3.14"),
            (["python", "python3"], "python3"),
            (["python"], "python"),
        ],
    )
    def test_names_on_the_path_in_order(self, checkout: Checkout, present: list[str], taken: str) -> None:
        for name in present:
            checkout.put(name, TAKEN.format(version="3.13.5"))
        result = checkout.run("setup")
        assert chosen(result) == str(checkout.tools / taken)
        assert "asked: -m venv" in result.stderr
        assert result.returncode == 1

    def test_a_shim_that_fails_is_skipped(self, checkout: Checkout) -> None:
        checkout.put("python3.13", SHIM)
        checkout.put("python3", TAKEN.format(version="3.12.4"))
        assert chosen(checkout.run("setup")) == str(checkout.tools / "python3")

    def test_a_later_folder_of_the_path_is_tried_too(self, checkout: Checkout, tmp_path: Path) -> None:
        checkout.put("python3", SHIM)
        later = checkout.put(tmp_path / "later folder" / "python3", TAKEN.format(version="3.12.4"))
        result = checkout.run("setup", PATH=f"{checkout.tools}:{later.parent}")
        assert chosen(result) == str(later)

    def test_pyenv_newest_3_13_that_runs(self, checkout: Checkout) -> None:
        versions = checkout.home / ".pyenv/versions"
        for version in ("3.11.9", "3.12.9", "3.13.2", "3.13.11", "3.14.1"):
            checkout.put(versions / version / "bin/python", TAKEN.format(version=version))
        assert chosen(checkout.run("setup")) == str(versions / "3.13.11/bin/python")
        checkout.put(versions / "3.13.11/bin/python", SHIM)
        assert chosen(checkout.run("setup")) == str(versions / "3.13.2/bin/python")

    def test_pyenv_root(self, checkout: Checkout, tmp_path: Path) -> None:
        python = checkout.put(tmp_path / "envs/versions/3.12.9/bin/python", TAKEN.format(version="3.12.9"))
        assert chosen(checkout.run("setup", PYENV_ROOT=str(tmp_path / "envs"))) == str(python)

    def test_pyenv_whose_shims_are_on_path(self, checkout: Checkout, tmp_path: Path) -> None:
        shim = checkout.put(tmp_path / "shared env/shims/python3", SHIM)
        python = checkout.put(tmp_path / "shared env/versions/3.13.1/bin/python", TAKEN.format(version="3.13.1"))
        assert chosen(checkout.run("setup", PATH=f"{checkout.tools}:{shim.parent}")) == str(python)

    def test_uv_finds_one(self, checkout: Checkout, tmp_path: Path) -> None:
        python = checkout.put(tmp_path / "of uv/python", TAKEN.format(version="3.12.4"))
        checkout.put("uv", f'#!/bin/sh\n[ "$*" = "python find 3.12" ] && echo {shlex.quote(str(python))}\n')
        assert chosen(checkout.run("setup")) == str(python)

    def test_uv_installs_one(self, checkout: Checkout) -> None:
        uv = checkout.home / ".local/bin/uv"
        python = checkout.put(checkout.home / "installed/python", TAKEN.format(version="3.13.5"))
        marker = checkout.home / "marker"
        checkout.put(
            uv,
            f'#!/bin/sh\ncase "$*" in\n  "python install 3.13") : >{marker} ;;\n'
            f'  "python find 3.13") [ -e {marker} ] && echo {python} ;;\n  *) exit 1 ;;\nesac\n',
        )
        result = checkout.run("setup")
        assert "asking uv to install 3.13" in result.stderr
        assert f"({python})" in result.stderr

    def test_none_says_what_to_install(self, checkout: Checkout) -> None:
        shim = checkout.put("python3", SHIM)
        result = checkout.run()
        assert result.returncode == 3
        assert f"  {shim}: pyenv: python: command not found\n" in result.stderr
        assert "sudo apt install python3 python3-venv" in result.stderr
        assert not checkout.venv.exists()

    @pytest.mark.parametrize(
        ("pretence", "reason"),
        [
            ("sys.version_info = (3, 11, 9, 'final', 0)", "Python 3.11.9: too old"),
            ("sys.version_info = (2, 7, 18, 'final', 0)", "Python 2.7.18: too old"),
            ("sys.version_info = (3, 15, 0, 'final', 0)", "Python 3.15.0: newer than what mitmproxy supports"),
            ("sys.version_info = (3, 14, 0, 'candidate', 1)", "Python 3.14.0: not a final release"),
            ("sys.implementation.name = 'pypy'", "pypy, but mitmproxy needs CPython"),
            ("import sysconfig; sysconfig.get_config_var = lambda name: 1", "a free-threaded build"),
            ("sys.modules['ssl'] = None", "built without the module ssl"),
            ("sys.modules['ensurepip'] = None", f"sudo apt install python3-venv (or python{MINOR}-venv)"),
        ],
    )
    def test_an_unsuitable_one_is_refused_by_running_it(self, checkout: Checkout, pretence: str, reason: str) -> None:
        code = shlex.quote(f"import sys; {pretence}; exec(sys.argv[1])")
        checkout.put("python3", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {code} "$2"\n')
        result = checkout.run("setup")
        assert result.returncode == 3
        assert reason in result.stderr

    def test_motive_python_comes_first(self, checkout: Checkout, tmp_path: Path) -> None:
        checkout.put("python3.13", TAKEN.format(version="3.13.5"))
        mine = checkout.put(tmp_path / "my python", TAKEN.format(version="3.12.1"))
        assert chosen(checkout.run("setup", MOTIVE_PYTHON=str(mine))) == str(mine)

    def test_motive_python_is_not_silently_replaced(self, checkout: Checkout) -> None:
        checkout.put("python3.13", TAKEN.format(version="3.13.5"))
        mine = checkout.put("mine", SHIM)
        result = checkout.run("setup", MOTIVE_PYTHON="mine")
        assert result.returncode == 3
        assert "MOTIVE_PYTHON is not a Python that Motive can use" in result.stderr
        assert f"{mine.name}: pyenv: python: command not found" in result.stderr


def make_wheel(folder: Path, value: str) -> str:
    """A lock whose one package is a module ``tiny`` with ``VALUE``, in a wheel made here."""
    version = hashlib.sha256(value.encode()).digest()[0]
    name = f"tiny-1.{version}"
    files = {
        "tiny.py": f"VALUE = {value!r}\n",
        f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: 1.{version}\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        f"{len(text)}\n"
        for path, text in files.items()
    )
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in (files | {f"{name}.dist-info/RECORD": record + f"{name}.dist-info/RECORD,,\n"}).items():
            archive.writestr(path, text)
    return f"tiny @ {wheel.as_uri()} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def installed(checkout: Checkout) -> str:
    """What ``tiny`` says in the environment."""
    code = "import tiny; print(tiny.VALUE)"
    return subprocess.check_output([checkout.venv / "bin/python", "-c", code], text=True).strip()


class TestEnvironment:
    def test_made_once_and_again_when_the_lock_changes(self, checkout: Checkout, tmp_path: Path) -> None:
        checkout.lock(make_wheel(tmp_path, "one"))
        link = tmp_path / "link"
        link.symlink_to("my checkout/run.sh")
        first = checkout.run("setup", script=link, MOTIVE_PYTHON=sys.executable)
        assert first.returncode == 0, first.stderr
        assert [line[:5] for line in first.stderr.splitlines()][:3] == ["[1/3]", "[2/3]", "[3/3]"]
        assert installed(checkout) == "one"
        assert checkout.stamp[0] == f"python {MINOR}"

        # No interpreter is on the PATH now: nothing is searched, made or installed.
        second = checkout.run("setup")
        assert second.returncode == 0
        assert "[" not in second.stderr

        # The interpreter of the environment is enough to bring it up to date.
        checkout.lock(make_wheel(tmp_path, "two"))
        third = checkout.run("setup")
        assert third.returncode == 0, third.stderr
        assert "Using the Python of .venv" in third.stderr
        assert installed(checkout) == "two"

    def test_a_failed_install_is_not_trusted(self, checkout: Checkout, tmp_path: Path) -> None:
        good = make_wheel(tmp_path, "one")
        checkout.lock(good[:-65] + "0" * 64 + "\n")
        failed = checkout.run("setup", MOTIVE_PYTHON=sys.executable)
        assert failed.returncode == 1
        assert "THESE PACKAGES DO NOT MATCH THE HASHES" in failed.stderr
        assert checkout.stamp == [f"python {MINOR}"]
        checkout.lock(good)
        assert checkout.run("setup").returncode == 0
        assert installed(checkout) == "one"

    def test_an_interrupted_install_is_repaired(self, checkout: Checkout, tmp_path: Path) -> None:
        checkout.lock(make_wheel(tmp_path, "one"))
        assert checkout.run("setup", MOTIVE_PYTHON=sys.executable).returncode == 0
        # What a kill amid pip's work leaves: the metadata is there, the module is not.
        for module in checkout.venv.glob("lib/python*/site-packages/tiny.py"):
            module.unlink()
        for record in checkout.venv.glob("lib/python*/site-packages/tiny-*.dist-info/RECORD"):
            record.unlink()
        (checkout.venv / ".motive-stamp").write_text(f"python {MINOR}\nunfinished\n")
        again = checkout.run("setup")
        assert again.returncode == 0, again.stderr
        assert installed(checkout) == "one"
        assert "unfinished" not in checkout.stamp

    def test_dev_fails_without_harm_to_the_runtime(self, checkout: Checkout, tmp_path: Path) -> None:
        checkout.lock(make_wheel(tmp_path, "one"))
        checkout.lock("absent==1.0 --hash=sha256:" + "0" * 64 + "\n", "requirements-dev.lock")
        assert checkout.run("setup", MOTIVE_PYTHON=sys.executable).returncode == 0
        stamp = checkout.stamp
        failed = checkout.run("test")
        assert failed.returncode == 1
        assert "No matching distribution found for absent==1.0" in failed.stderr
        assert checkout.stamp == stamp
        assert "[" not in checkout.run("setup").stderr

    def test_what_the_stamp_says_while_pip_works(self, checkout: Checkout) -> None:
        # This pip tells what a start would trust if it were killed now, and then fails amid its work.
        checkout.pretend_environment(
            "#!/bin/sh\ncase $1 in\n  -c) echo python 3.13; exit ;;\nesac\n"
            'cat "$(dirname "$0")/../.motive-stamp"\necho Installing collected packages: some\nexit 1\n',
            "requirements.lock",
        )
        runtime = checkout.stamp
        checkout.lock("# something\n", "requirements-dev.lock")
        result = checkout.run("test")
        assert "\n".join([*runtime, "unfinished", "Installing"]) in result.stderr
        assert checkout.stamp == [*runtime, "unfinished"]
        # The next one installs over what is there, so that even the runtime cannot be trusted meanwhile.
        checkout.run("test")
        assert checkout.stamp == ["python 3.13", "unfinished"]

    @pytest.mark.parametrize("left", ["stamp without a Python line", "gone base"])
    def test_half_an_environment_is_made_anew(self, checkout: Checkout, left: str) -> None:
        checkout.venv.mkdir()
        (checkout.venv / "debris").touch()
        if left == "gone base":
            (checkout.venv / ".motive-stamp").write_text(f"python {MINOR}\n")
            (checkout.venv / "bin").mkdir()
            (checkout.venv / "bin/python").symlink_to(checkout.home / "gone")
        else:
            (checkout.venv / ".motive-stamp").touch()
        assert checkout.run("setup", MOTIVE_PYTHON=sys.executable).returncode == 0
        assert not (checkout.venv / "debris").exists()
        assert checkout.stamp[0] == f"python {MINOR}"

    def test_a_folder_of_the_user_is_put_aside(self, checkout: Checkout) -> None:
        checkout.venv.mkdir()
        (checkout.venv / "precious").touch()
        checkout.put("python3", TAKEN.format(version="3.13.5"))
        result = checkout.run("setup")
        (aside,) = checkout.root.glob(".venv.replaced-*")
        assert (aside / "precious").exists()
        assert str(aside) in result.stderr

    def test_a_second_start_waits_for_the_first(self, checkout: Checkout) -> None:
        with (checkout.root / "requirements.lock").open("r+") as first:
            fcntl.flock(first, fcntl.LOCK_EX)
            process = subprocess.Popen(
                [checkout.root / "run.sh", "setup"],
                env=checkout.environment(MOTIVE_PYTHON=sys.executable),
                stderr=subprocess.PIPE,
                text=True,
            )
            with process:
                assert process.stderr is not None
                assert process.stderr.readline().startswith("[1/3]")
                assert "another run.sh is making the environment; waiting" in process.stderr.readline()
                assert not checkout.venv.exists()
                # Meanwhile the first one finishes.
                checkout.pretend_environment(f"#!/bin/sh\necho python {MINOR}\n", "requirements.lock", minor=MINOR)
                first.close()
                rest = process.stderr.read()
        assert process.returncode == 0
        assert "[2/3]" not in rest

    def test_a_folder_that_cannot_hold_one(self, checkout: Checkout) -> None:
        colon = checkout.root.rename(checkout.root.with_name("a:b"))
        result = checkout.run("setup", script=colon / "run.sh")
        assert result.returncode == 1
        assert "':' in its path" in result.stderr


ECHO: Final = """#!/bin/sh
case $1 in
  -c) echo python 3.13; exit ;;
esac
echo "$PYTHONPATH|$PWD|$*"
case " $FAIL " in
  *" $3 "*) exit 5 ;;
esac
"""
"""An interpreter of a ready environment that says how it was called, and fails for the modules in FAIL."""


class TestCommands:
    @pytest.fixture(autouse=True)
    def _ready(self, checkout: Checkout) -> None:
        checkout.pretend_environment(ECHO, "requirements.lock", "requirements-dev.lock")

    @pytest.mark.parametrize(
        ("arguments", "command"),
        [
            (["demo", "-x"], "motive_shell.demo -x"),
            (["bench"], "bench"),
        ],
    )
    def test_what_is_started(self, checkout: Checkout, arguments: list[str], command: str) -> None:
        result = checkout.run(*arguments, PYTHONPATH="/elsewhere")
        assert result.stderr == ""
        assert result.stdout == f"{checkout.root}/addons:{checkout.root}|{checkout.home}|-P -m {command}\n"

    @pytest.mark.parametrize(
        ("arguments", "command"),
        [
            ([], "run"),
            (["run", "--port", "0"], "run --port 0"),
            (["--port", "0", "--", "-w", "a b"], "run --port 0 -- -w a b"),
            (["--", "-q"], "run -- -q"),
            (["web", "--help"], "web --help"),
            (["tui"], "tui"),
            (["mock"], "mock"),
            (["exec", "--", "python", "a b.py", "--help"], "exec -- python a b.py --help"),
            (["env", "--unset"], "env --unset"),
            (["doctor"], "doctor"),
        ],
    )
    def test_what_is_handed_over(self, checkout: Checkout, arguments: list[str], command: str) -> None:
        # What the user has for other interpreters is for the app that is started, and -I keeps it from ours.
        result = checkout.run(*arguments, PYTHONPATH="/elsewhere")
        assert result.stderr == ""
        main = checkout.root / "motive_core/__main__.py"
        assert result.stdout == f"/elsewhere|{checkout.home}|-I {main} {command}\n"

    def test_motive_is_a_command_of_the_environment(self, checkout: Checkout, tmp_path: Path) -> None:
        checkout.run("help")
        motive = checkout.venv / "bin/motive"
        assert not motive.exists()
        checkout.run("setup")
        ran = subprocess.run(
            [motive, "env", "a b", "$x"], env=checkout.environment(), capture_output=True, text=True, check=True
        )
        assert ran.stdout == f"|{Path.cwd()}|-I {checkout.root}/motive_core/__main__.py env a b $x\n"
        before = motive.stat()
        checkout.run("setup")
        assert motive.stat().st_ino == before.st_ino
        moved = checkout.root.rename(tmp_path / "it's $moved")
        subprocess.run([moved / "run.sh", "setup"], env=checkout.environment(), check=True)
        motive = moved / ".venv/bin/motive"
        ran = subprocess.run([motive, "env"], env=checkout.environment(), capture_output=True, text=True, check=True)
        assert ran.stdout.endswith(f"|-I {moved}/motive_core/__main__.py env\n")

    def test_the_suite(self, checkout: Checkout) -> None:
        result = checkout.run("test", "-k", "a b")
        assert result.returncode == 0
        assert [line.split("|")[2] for line in result.stdout.splitlines()] == [
            "-P -m ruff check .",
            "-P -m ruff format --check .",
            "-P -m mypy",
            "-P -m pytest -n auto --maxprocesses 4 -k a b",
        ]
        assert {line.split("|")[1] for line in result.stdout.splitlines()} == {str(checkout.root)}

    def test_a_failed_check_fails_the_suite_but_stops_nothing(self, checkout: Checkout) -> None:
        result = checkout.run("test", FAIL="mypy ruff")
        assert result.returncode == 1
        assert "FAILED: ruff check, ruff format, mypy" in result.stderr
        assert "-m pytest" in result.stdout.splitlines()[-1]

    def test_the_status_of_pytest_is_that_of_the_suite(self, checkout: Checkout) -> None:
        assert checkout.run("test", FAIL="mypy pytest").returncode == 5

    @pytest.mark.parametrize("argument", ["help", "--help", "-h"])
    def test_help_needs_no_environment(self, checkout: Checkout, argument: str) -> None:
        shutil.rmtree(checkout.venv)
        result = checkout.run(argument)
        assert result.returncode == 0
        assert "Usage: ./run.sh" in result.stdout
        assert not checkout.venv.exists()

    def test_an_unknown_command(self, checkout: Checkout) -> None:
        result = checkout.run("strat")
        assert result.returncode == 2
        assert "there is no command 'strat'" in result.stderr


def test_a_start_says_at_once_where_it_listens(checkout: Checkout, tmp_path: Path) -> None:
    # The interpreter of the environment is the one of this suite; all else is real.
    python = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'
    checkout.pretend_environment(python, "requirements.lock", minor=MINOR)
    for folder in ("addons", "motive_core"):
        (checkout.root / folder).symlink_to(ROOT / folder)
    (tmp_path / "mine.yaml").touch()
    confdir = tmp_path / "certificates"
    flags = ["--config", "mine.yaml", "--port", "0", "--forward-port", "0"]
    process = subprocess.Popen(
        [checkout.root / "run.sh", *flags, "--", "--set", f"confdir={confdir}"],
        env=checkout.environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if "HTTPS_PROXY=" in line:
                break
        text = "".join(said)
        assert f"certificate    {confdir}/mitmproxy-ca-cert.pem" in text
        for title in ("meeting point", "forward proxy"):
            address = re.search(rf"{title} +http://([^:]+):(\d+)", text)
            assert address is not None, text
            with socket.create_connection((address[1], int(address[2]))):
                pass
        process.terminate()
        assert process.wait() == 0, process.stdout.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", ["run.sh", ".ci/run"])
def test_shellcheck(script: str) -> None:
    result = subprocess.run(["shellcheck", ROOT / script], capture_output=True, text=True, check=False)
    assert result.stdout == ""
