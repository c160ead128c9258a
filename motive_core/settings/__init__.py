"""What settings are made of: their types, and the patterns that stand in them."""

from __future__ import annotations
