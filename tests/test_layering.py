"""The directions of imports, and other rules that hold for every file: a law of the tree that no reviewer has to keep.

Owns the table of layers. Reads source text only, so it needs nothing of the project to be importable.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]

LAYERS: Final[tuple[frozenset[str], ...]] = (
    frozenset({"motive_core.errors", "motive_core.log_lines", "motive_core.linear"}),
    frozenset({"motive_core.ir", "motive_core.certificates"}),
    frozenset({"motive_core.schemas"}),
    frozenset(
        {
            "motive_core.stream",
            "motive_core.framing",
            "motive_core.estimate",
            "motive_core.fit",
            "motive_core.part_sizes",
        }
    ),
    frozenset({"motive_core.session", "motive_core.dialects", "motive_core.content", "motive_core.readable"}),
    frozenset(
        {
            "motive_core.exchange",
            "motive_core.clients",
            "motive_core.kept",
            "motive_core.state_json",
            "motive_core.settings",
        }
    ),
    frozenset({"motive_core.upstream"}),
    frozenset({"motive_core.sources"}),
    frozenset({"motive_core.config"}),
    frozenset(
        {
            "motive_core.routing",
            "motive_core.background",
            "motive_core.heartbeats",
            "motive_core.relay",
            "motive_core.backends",
            "motive_core.health",
            "motive_core.metrics",
            "motive_core.overview",
            "motive_core.rate_limits",
        }
    ),
    frozenset({"motive_core.access", "motive_core.holder", "motive_core.live_routes"}),
    frozenset(
        {
            "motive_core.pairing",
            "motive_core.converse",
            "motive_core.incoming",
            "motive_core.origin",
            "motive_core.sidecalls",
            "motive_core.ledger",
        }
    ),
    frozenset({"motive_core.answering", "motive_core.operating", "motive_core.refusals"}),
    frozenset({"motive_core.console"}),
    frozenset({"motive_core.gateway"}),
    frozenset({"motive_core.cli"}),
    frozenset({"motive_core.__main__"}),
    frozenset({"motive_shell"}),
)
"""Lowest first. A module imports from lower layers and from its own package, never from a neighbour or upwards."""

SHARED: Final[Mapping[str, frozenset[str]]] = {
    "motive_core.dialects": frozenset({"base", "aws", "decoding", "degrade", "exact", "fields", "in_turn", "results"}),
    "motive_core.backends": frozenset({"base"}),
    "motive_core.sources": frozenset({"base"}),
}
"""Packages whose files are strangers to each other, and the files that all of them may import. Files that share their
first word (``anthropic_messages``, ``anthropic_reply``) are one thing in several files."""

PURE: Final = frozenset(
    f"motive_core.{name}"
    for name in (
        "errors",
        "ir",
        "stream",
        "framing",
        "estimate",
        "fit",
        "content",
        "session",
        "dialects",
        "relay",
        "routing",
        "access",
    )
)
"""What takes ``now`` and ``new_id`` as arguments and waits for nothing."""

IMPURE_IMPORTS: Final = frozenset(
    {"asyncio", "concurrent", "random", "secrets", "select", "selectors", "socket", "threading", "time", "uuid"}
)
IMPURE_CALLS: Final = frozenset({"now", "utcnow", "today", "urandom", "getrandom"})

ONE_FILE_ONLY: Final = frozenset({"redis", "boto3", "botocore"})
"""Clients that are optional: imported in the one file that uses them."""
BORROWERS: Final = frozenset({"motive_core/framing/eventstream.py"})
"""Files that use no client, but a part of its package: botocore's parser of headers."""

LINE_LIMIT: Final = 600


@dataclass(frozen=True)
class Source:
    """A file of the tree: its dotted name (a package's is that of its ``__init__``), its text and its syntax tree."""

    path: Path
    name: str
    is_package: bool
    tree: ast.Module


def sources_of(root: Path) -> list[Source]:
    """Every module of ``motive_core`` and of ``addons``; the latter is a folder on the path, not a package."""
    found = []
    for base, folder in ((root, root / "motive_core"), (root / "addons", root / "addons")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found.append(Source(path.relative_to(root), name, is_package, ast.parse(path.read_text("utf-8"))))
    return found


def imports_of(source: Source, modules: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import, those within functions and ``TYPE_CHECKING`` too. ``from a import b`` is
    ``a.b`` if that is a module of the tree, else ``a``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                package = source.name.split(".")
                package = package[: len(package) - node.level + source.is_package]
                origin = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                yield node.lineno, whole if whole in modules else origin


def member_of(name: str, group: Iterable[str]) -> str | None:
    """The entry of ``group`` that is ``name`` or a package around it."""
    return next((entry for entry in group if name == entry or name.startswith(f"{entry}.")), None)


def layer_of(name: str) -> tuple[int, str] | None:
    """Rank and table entry of a module of ours, None for one that the table does not have."""
    for rank, layer in enumerate(LAYERS):
        entry = member_of(name, layer)
        if entry is not None:
            return rank, entry
    return None


def is_ours(name: str) -> bool:
    """Whether a dotted name is of this project."""
    return member_of(name, ("motive_core", "motive_shell")) is not None


def direction_faults(source: Source, modules: frozenset[str]) -> Iterator[str]:
    """Imports upwards, sideways, of mitmproxy by the core, and modules that no layer has."""
    in_core = member_of(source.name, ("motive_core",)) is not None
    here = layer_of(source.name)
    if in_core and here is None and source.name != "motive_core":
        yield f"{source.path}: {source.name} is in no layer; add it to LAYERS in tests/test_layering.py"
        return
    for line, target in imports_of(source, modules):
        where = f"{source.path}:{line}"
        if in_core and member_of(target, ("mitmproxy",)):
            yield f"{where}: motive_core must not know mitmproxy"
        if not in_core or not is_ours(target):
            continue
        there = layer_of(target)
        if source.name == "motive_core":
            yield f"{where}: the package itself imports nothing, or every import of a part would import {target}"
        elif there is None:
            yield f"{where}: imports {target}, which is in no layer; add it to LAYERS in tests/test_layering.py"
        elif here is not None and there[0] >= here[0] and there[1] != here[1]:
            yield f"{where}: {here[1]} must not import {target}: imports go to lower layers only"


def sibling_faults(source: Source, modules: frozenset[str]) -> Iterator[str]:
    """Dialects, sources and backends that know each other."""
    package = member_of(source.name, SHARED)
    if package is None or source.is_package:
        return
    file = source.name.removeprefix(f"{package}.").split(".")[0]
    for line, target in imports_of(source, modules):
        if member_of(target, (package,)) is None:
            continue
        other = target.removeprefix(package).removeprefix(".").split(".")[0]
        if other not in SHARED[package] and other.split("_")[0] != file.split("_")[0]:
            yield f"{source.path}:{line}: {source.name} must not import its sibling {target}"


def purity_faults(source: Source, modules: frozenset[str]) -> Iterator[str]:
    """Clocks, chance, waiting and sockets where results must depend on the arguments alone."""
    if member_of(source.name, PURE) is None:
        return
    for line, target in imports_of(source, modules):
        if target.split(".")[0] in IMPURE_IMPORTS:
            yield f"{source.path}:{line}: {source.name} is pure and must not import {target}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_CALLS:
            yield f"{source.path}:{node.lineno}: {source.name} is pure and must not call {node.func.attr}()"


def print_faults(source: Source) -> Iterator[str]:
    """Output past the log."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{source.path}:{node.lineno}: print() goes past the log"


def spread_faults(sources: Iterable[Source], modules: frozenset[str]) -> Iterator[str]:
    """Optional clients that more than one file imports."""
    homes: dict[str, set[str]] = {}
    for source in sources:
        if source.path.as_posix() in BORROWERS:
            continue
        for _, target in imports_of(source, modules):
            homes.setdefault(target.split(".")[0], set()).add(str(source.path))
    for client in sorted(ONE_FILE_ONLY & homes.keys()):
        if len(homes[client]) > 1:
            yield f"{client} is imported by more than one file: {', '.join(sorted(homes[client]))}"


def length_faults(root: Path) -> Iterator[str]:
    """Files that are more than one concept."""
    for folder in ("motive_core", "addons", "tests", "bench", "examples"):
        for path in sorted((root / folder).rglob("*.py")):
            lines = len(path.read_text("utf-8").splitlines())
            if lines > LINE_LIMIT:
                yield f"{path.relative_to(root)}: {lines} lines, {LINE_LIMIT} are the limit"


def faults(root: Path) -> list[str]:
    """Everything that is wrong with the tree at ``root``."""
    sources = sources_of(root)
    modules = frozenset(source.name for source in sources)
    found = [*spread_faults(sources, modules), *length_faults(root)]
    for source in sources:
        found += direction_faults(source, modules)
        found += sibling_faults(source, modules)
        found += purity_faults(source, modules)
        found += print_faults(source)
    return found


def test_the_tree_keeps_the_rules() -> None:
    assert faults(ROOT) == []


def test_the_table_names_only_what_is_there() -> None:
    names = {source.name for source in sources_of(ROOT)}
    assert frozenset().union(*LAYERS) - names == set()
    assert SHARED.keys() | PURE <= names
    assert all((ROOT / path).exists() for path in BORROWERS)


GOOD_TREE: Final = {
    "motive_core/__init__.py": "",
    "motive_core/errors.py": "import json\n",
    "motive_core/ir.py": "from motive_core.errors import MotiveError\n",
    "motive_core/stream.py": "from motive_core import ir\n",
    "motive_core/session/__init__.py": "from motive_core.session.machine import step\n",
    "motive_core/session/machine.py": "from . import state\nfrom .state import State\n",
    "motive_core/session/state.py": "import datetime\nfrom ..ir import Part\n",
    "motive_core/dialects/__init__.py": "from motive_core.dialects.red_chat import Red\n",
    "motive_core/dialects/base.py": "from motive_core.stream import Event\n",
    "motive_core/dialects/red_chat.py": "from motive_core.dialects import base, red_stream\n",
    "motive_core/dialects/red_stream.py": "from motive_core.dialects.base import Decoder\n",
    "motive_core/dialects/blue.py": "from motive_core.dialects.base import Decoder\n",
    "motive_core/gateway.py": "import asyncio, time\nfrom motive_core.dialects import DIALECTS\nimport redis\n",
    "addons/motive.py": "from motive_shell.addon import Motive\n",
    "addons/motive_shell/addon.py": "from mitmproxy import http\nfrom motive_core.gateway import Gateway\n",
}


def plant(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


def test_a_good_tree_has_no_faults(tmp_path: Path) -> None:
    assert faults(plant(tmp_path, GOOD_TREE)) == []


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("motive_core/ir.py", "from motive_core.stream import Event", "motive_core.ir must not import"),
        ("motive_core/errors.py", "from motive_core import gateway", "must not import motive_core.gateway"),
        ("motive_core/errors.py", "def f():\n    import motive_core.ir", "ir: imports go to lower layers"),
        ("motive_core/session/state.py", "from ..dialects.base import X", "must not import motive_core.dialects.base"),
        ("motive_core/session/state.py", "from ...motive_shell import X", "must not import motive_shell"),
        ("motive_core/gateway.py", "import motive_shell.addon", "must not import motive_shell.addon"),
        ("motive_core/gateway.py", "from mitmproxy.http import HTTPFlow", "must not know mitmproxy"),
        ("motive_core/gateway.py", "import motive_core.nowhere", "motive_core.nowhere, which is in no layer"),
        ("motive_core/helpers.py", "", "motive_core.helpers is in no layer; add it to LAYERS in tests/"),
        ("motive_core/__init__.py", "from motive_core.ir import Part", "the package itself imports nothing"),
        ("motive_core/dialects/blue.py", "from .red_chat import Red", "sibling motive_core.dialects.red_chat"),
        ("motive_core/dialects/blue.py", "from motive_core.dialects import Red", "sibling motive_core.dialects"),
        ("motive_core/dialects/base.py", "from motive_core.dialects import blue", "sibling motive_core.dialects.blue"),
        ("motive_core/session/machine.py", "from time import monotonic", "pure and must not import time"),
        ("motive_core/dialects/blue.py", "import asyncio.queues", "pure and must not import asyncio"),
        ("motive_core/stream.py", "import datetime as d\nd.datetime.now()", "pure and must not call now()"),
        ("motive_core/stream.py", "import os\nos.urandom(8)", "pure and must not call urandom()"),
        ("motive_core/gateway.py", "print('here')", "print() goes past the log"),
        ("addons/motive_shell/addon.py", "def f():\n    print()", "print() goes past the log"),
        ("addons/motive_shell/addon.py", "import redis.asyncio\n", "redis is imported by more than one file"),
        ("tests/core/test_big.py", "x = 1\n" * (LINE_LIMIT + 1), f"{LINE_LIMIT + 1} lines"),
    ],
)
def test_a_bad_file_is_caught(tmp_path: Path, path: str, text: str, fault: str) -> None:
    found = faults(plant(tmp_path, GOOD_TREE | {path: text}))
    assert len(found) == 1, found
    assert fault in found[0]
