"""Whether a value fits a JSON Schema, and a text the format that a reply must have, in words for whoever wrote it.

Owns what is said of a misfit. A schema that is none is no reason to refuse anything, and none is ever fetched.
"""

from __future__ import annotations

import logging

from pydantic_core import from_json

from motive_core.ir import Json, ResponseFormat
from motive_core.schemas import UnusableError, fault

logger = logging.getLogger(__name__)


def misfit(value: Json, schema: Json) -> str | None:
    """Where and why a value does not fit a JSON Schema; None if it does, or if the schema is none or takes too long."""
    if not isinstance(schema, dict):
        return None
    try:
        error = fault(value, schema)
    except UnusableError as unusable:
        logger.info("schema not usable error=%s", unusable)
        return None
    if error is None:
        return None
    where = "/".join(map(str, error.absolute_path)) or "the object"
    return f"{where}: {error.message}"


def wants_json(response_format: ResponseFormat | None) -> bool:
    """Whether a reply must be JSON."""
    return response_format is not None and response_format.kind != "text"


def format_misfit(text: str, response_format: ResponseFormat | None) -> str | None:
    """Why a text is not the reply that was asked for; None if it is."""
    if response_format is None or not wants_json(response_format):
        return None
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        return f"the app asked for JSON, and this is none: {error}"
    if response_format.kind == "json_object" and not isinstance(value, dict):
        return "the app asked for a JSON object"
    if (why := misfit(value, response_format.schema)) is not None:
        return f"the app asked for JSON of another shape: {why}"
    return None
