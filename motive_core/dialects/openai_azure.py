"""What is Azure's own in the OpenAI dialects: the deployment in the path, and its list of deployments.

Owns these paths. A deployment names the model, whatever the body says. Knows no message.

Paths are those of Azure's dated API, ``/openai/deployments/{deployment}/...?api-version=...``, and those of gateways
before it, whatever stands before ``deployments``. Its newer API, ``/openai/v1/...``, has no deployments in its paths:
the model of the body is one.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from motive_core.dialects.base import ModelInfo, RequestHead
from motive_core.ir import Json

_DEPLOYMENT: Final = re.compile(
    r"(?:\A|/)(?:deployments|engines)/(?P<name>[^/]+)/(?:extensions/)?(?P<call>chat/completions|completions)/?\Z"
)
"""``engines`` is OpenAI's own, of its first API: the model in the path."""
_DEPLOYMENTS: Final = re.compile(r"(?:\A|/)openai/deployments(?:/(?P<name>[^/]+))?/?\Z")

_ONE_DEPLOYMENT: Final = re.compile(r"/openai/deployments/[^/]+\Z")

_API_VERSION: Final = "2024-10-21"
"""The last of the dated API that is no preview."""


def deployment_of(head: RequestHead, call: str) -> str | None:
    """The deployment that a call (``chat/completions``) names in its path, decoded; None if it names none."""
    found = _DEPLOYMENT.search(head.path)
    return unquote(found["name"]) if found is not None and found["call"] == call else None


def deployment_target(deployment: str, call: str) -> str:
    """Path and query of a call (``chat/completions``) to a deployment."""
    return f"/openai/deployments/{quote(deployment, safe='')}/{call}?api-version={_API_VERSION}"


def deployment_url(base_url: str, deployment: str, call: str) -> str | None:
    """Where a call (``chat/completions``) to a deployment goes, by the base URL that Azure's clients have: the
    endpoint, with or without ``/openai``, or that of one deployment. None for one of the newer API, which is like
    OpenAI's."""
    base = base_url.rstrip("/")
    path = urlsplit(base).path
    if _ONE_DEPLOYMENT.search(path):
        return f"{base}/{call}?api-version={_API_VERSION}"
    if path.endswith("/v1"):
        return None
    return base.removesuffix("/openai") + deployment_target(deployment, call)


def deployment_listed(head: RequestHead) -> str | None:
    """The deployment that a list of deployments is asked for: empty for all of them, None if it is no such call."""
    found = _DEPLOYMENTS.search(head.path) if head.method == "GET" else None
    return None if found is None else unquote(found["name"] or "")


def render_deployment(model: ModelInfo) -> dict[str, Json]:
    """An item of the list of deployments, as version 2022-12-01 has it."""
    return {
        "id": model.model,
        "object": "deployment",
        "model": model.model,
        "owner": model.owned_by,
        "status": "succeeded",
        "scale_settings": {"scale_type": "standard"},
        "created_at": model.created,
        "updated_at": model.created,
    }
