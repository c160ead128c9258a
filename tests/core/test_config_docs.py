"""``docs/config.md``, ``config.yaml`` and ``.env.example`` say what the models say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from motive_core.config import Config, load_config
from motive_core.config.models import default_background
from motive_core.config.reference import TABLES, with_tables
from motive_core.config.variables import VARIABLES
from motive_core.settings.patterns import CAPTURED_CHARACTERS, MATCHED_CHARACTERS

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "docs" / "config.md").read_text("utf-8")
SOURCES = (ROOT / "docs" / "sources.md").read_text("utf-8")


def test_the_tables_are_those_of_the_models() -> None:
    """If this fails: ``python -m motive_core.config.reference docs/config.md docs/sources.md``."""
    assert with_tables(REFERENCE) == REFERENCE
    assert with_tables(SOURCES) == SOURCES


def test_every_table_is_there() -> None:
    tables = set(re.findall(r"<!-- (\w+) -->\n(?!<!--)", REFERENCE + SOURCES)) - {"end"}
    assert tables == TABLES


def test_a_table_is_made_anew() -> None:
    text = "a\n<!-- proxy -->\nold\n<!-- end -->\nb\n<!-- log -->\n<!-- end -->\n"
    made = with_tables(text)
    assert "old" not in made
    assert (
        "| `forward_port` | port | 8080 | The forward proxy, where HTTPS_PROXY points; 0 takes a free port. |" in made
    )
    assert "| `json` | boolean | false |" in made
    assert with_tables(made) == made
    with pytest.raises(KeyError):
        with_tables("<!-- nothing -->\n<!-- end -->")


def test_every_setting_is_described() -> None:
    rows = re.findall(r"^\| `\w+` \| [^|]+ \| [^|]+ \| (.*) \|$", REFERENCE + SOURCES, re.MULTILINE)
    assert len(rows) > 60
    assert all(row.endswith((".", ")")) for row in rows)


def test_the_built_in_routes_are_as_shown(tmp_path: Path) -> None:
    shown = re.search(r"```yaml\n(routes:.*?)```", REFERENCE, re.DOTALL)
    assert shown is not None
    path = tmp_path / "config.yaml"
    path.write_text(shown[1], "utf-8")
    assert load_config(path, {}).routes == Config().routes


def test_the_limits_of_regexes_are_as_told() -> None:
    for limit in (MATCHED_CHARACTERS, CAPTURED_CHARACTERS, 10 * MATCHED_CHARACTERS):
        assert f"first {limit:,}" in REFERENCE.replace("\n", " ")


def test_the_shipped_file_lists_the_hosts_in_order() -> None:
    stated: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text("utf-8"))
    assert tuple(stated["hosts"]) == Config().hosts


def test_the_example_environment_is_the_defaults(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    given = dict(re.findall(r"^#(MOTIVE_PROXY_\w+)=(.*)$", text, re.MULTILINE))
    assert given.keys() == VARIABLES.keys()
    assert load_config(None, given) == Config()
    path = tmp_path / ".env"
    path.write_text(text, "utf-8")
    assert load_config(None, {}, path) == Config()


def test_every_background_call_has_a_name_of_its_own() -> None:
    names = [entry.name for entry in default_background()]
    assert len(set(names)) == len(names)
