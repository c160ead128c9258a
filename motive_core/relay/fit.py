"""Whether a value fits a JSON Schema, in words for whoever wrote it.

Owns what is said of a misfit. A schema that is none is no reason to refuse anything, and none is ever fetched.
"""

from __future__ import annotations

import logging

from jsonschema.exceptions import SchemaError, UnknownType, ValidationError
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from motive_core.ir import Json

logger = logging.getLogger(__name__)


def misfit(value: Json, schema: Json) -> str | None:
    """Where and why a value does not fit a JSON Schema; None if it does, or if the schema is none."""
    if not isinstance(schema, dict):
        return None
    # A registry of its own keeps a ``$ref`` to somewhere else from being fetched.
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
        kind(schema, registry=Registry()).validate(value)
    except ValidationError as error:
        where = "/".join(map(str, error.absolute_path)) or "the object"
        return f"{where}: {error.message}"
    except (SchemaError, UnknownType, Unresolvable, RecursionError) as error:
        logger.info("schema not usable error=%s", type(error).__name__)
    return None
