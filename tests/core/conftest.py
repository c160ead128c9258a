"""Lets the assertions of the session tests' room explain themselves as those of a test do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.core.session.room")
