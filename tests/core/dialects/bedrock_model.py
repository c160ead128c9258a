"""The service model of Bedrock's runtime, as botocore has it: what a body must be, checked to the letter.

Stricter than the SDK, which ignores members that it does not know and checks neither words nor patterns.
"""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import Any

from botocore.loaders import Loader


@cache
def _shapes(service: str) -> Any:
    return Loader().load_service_model(service, "service-2")["shapes"]


def faults(shape: str, value: Any, where: str = "", service: str = "bedrock-runtime") -> list[str]:
    """What is wrong with a JSON value that should have this shape. Members that are not in a body (those of a path or a
    header) don't count; models may be called by any name here, so their names are not checked."""
    told = _shapes(service)[shape]
    match told["type"]:
        case "structure" if told.get("document"):
            return []
        case "structure":
            return _structure(told, value, where or shape, service)
        case "list":
            if not isinstance(value, list):
                return [f"{where}: no list"]
            sizes = _range(told, len(value), where)
            return sizes + [
                one
                for number, item in enumerate(value)
                for one in faults(told["member"]["shape"], item, f"{where}[{number}]", service)
            ]
        case "map":
            return [
                one for key, item in value.items() for one in faults(told["value"]["shape"], item, f"{where}.{key}")
            ]
        case "string":
            return _string(told, value, where)
        case "blob":
            return [] if isinstance(value, str) and base64.b64decode(value, validate=True) else [f"{where}: no base64"]
        case "boolean":
            return [] if isinstance(value, bool) else [f"{where}: no boolean"]
        case "integer" | "long":
            return _range(told, value, where) if type(value) is int else [f"{where}: no integer"]
        case "float":
            return _range(told, value, where) if type(value) in (int, float) else [f"{where}: no number"]
        case "timestamp":
            return [] if re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", value) else [f"{where}: no time"]
        case other:
            return [f"{where}: a {other}"]


def _structure(told: Any, value: Any, where: str, service: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: no object"]
    members = {name: one["shape"] for name, one in told["members"].items() if one.get("location") is None}
    found = [f"{where}.{name}: missing" for name in told.get("required", []) if name in members and name not in value]
    found += [f"{where}.{name}: unknown" for name in value if name not in members]
    if told.get("union") and len(value) != 1:
        found.append(f"{where}: {len(value)} members of a union")
    return found + [
        one
        for name, item in value.items()
        if name in members
        for one in faults(members[name], item, f"{where}.{name}", service)
    ]


def _string(told: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, str):
        return [f"{where}: no text"]
    found = _range(told, len(value), where)
    if "enum" in told and value not in told["enum"]:
        found.append(f"{where}: {value!r} is none of {told['enum']}")
    if "pattern" in told and not re.fullmatch(told["pattern"], value):
        found.append(f"{where}: {value!r} does not match {told['pattern']}")
    return found


def _range(told: Any, value: float, where: str) -> list[str]:
    fits = told.get("min", value) <= value <= told.get("max", value)
    return [] if fits else [f"{where}: {value} is out of range"]
