"""A request as a turn of an agent: what of it the agent is told.

Owns the arguments of ``InvokeAgent`` but for the session's id. Source: botocore's model, ``InvokeAgentRequest``, 1.44.

The agent has its own instructions, model, tools and memory: only what was said since the last reply goes to it. System
prompts, history, tools and sampling stay here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from motive_core.errors import BadRequestError, PayloadTooLargeError
from motive_core.ir import BlobPart, ChatRequest, OpaquePart, RefusalPart, TextPart
from motive_core.sources.bedrock_agent_calls import Waiting, new_messages, results_of

FileUse = Literal["chat", "code_interpreter"]

_FILES: Final = 5
_FILES_BYTES: Final = 10 * 1024 * 1024
"""Of all files of a turn; the service's quota."""
_TYPES: Final = {
    "application/json": "json",
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/x-ipynb+json": "ipynb",
    "application/xml": "xml",
    "application/yaml": "yaml",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
    "text/x-python": "py",
    "text/xml": "xml",
}
"""Documents by media type, with the ending that a file without a name gets."""
_S3: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.{1,1024}")


def asked_of(request: ChatRequest, file_use: FileUse, waiting: Waiting) -> dict[str, Any]:
    """``inputText`` and ``sessionState``, as far as there is something to say. ``waiting`` is what the agent waits for
    in this session, as far as that is known. Raises ``MotiveError`` if there is
    nothing, and for what an agent cannot be given."""
    text = "\n\n".join(_texts(request))
    files = [_file(blob, number, file_use) for number, blob in enumerate(_blobs(request), 1)]
    if len(files) > _FILES:
        raise BadRequestError(f"An agent takes at most {_FILES} files in one turn.", code="too_many_files")
    size = sum(len(one["source"].get("byteContent", {}).get("data", b"")) for one in files)
    if size > _FILES_BYTES:
        raise PayloadTooLargeError(f"An agent takes at most {_FILES_BYTES} bytes of files in one turn.")
    state = results_of(request, text, waiting)
    asked: dict[str, Any] = {}
    if text and not state:
        asked["inputText"] = text
    if files:
        state["files"] = files
    if state:
        asked["sessionState"] = state
    if not asked:
        raise BadRequestError("There is nothing in the call that an agent could be told.", code="nothing_to_say")
    return asked


def _texts(request: ChatRequest) -> Iterator[str]:
    """What the user says, a text for each message."""
    for message in new_messages(request):
        if message.role != "user":
            continue
        said = "".join(part.text for part in message.parts if isinstance(part, TextPart | RefusalPart))
        if said.strip():
            yield said


def _blobs(request: ChatRequest) -> Iterator[BlobPart]:
    for message in new_messages(request):
        for part in message.parts:
            if isinstance(part, BlobPart):
                yield part
            elif isinstance(part, OpaquePart) and message.role == "user":
                raise BadRequestError("An agent cannot be given this part of the message.", code="unsupported_content")


def _file(blob: BlobPart, number: int, use: FileUse) -> dict[str, Any]:
    media_type = blob.media_type.partition(";")[0].strip().lower()
    name = blob.name or f"file{number}.{_TYPES.get(media_type, 'bin')}"
    source: dict[str, Any]
    if blob.url is not None:
        if _S3.fullmatch(blob.url) is None:
            raise BadRequestError(
                "An agent takes files as bytes, or from s3://; this one is a URL.", code="unsupported_content"
            )
        source = {"sourceType": "S3", "s3Location": {"uri": blob.url}}
    elif media_type not in _TYPES:
        raise BadRequestError(
            f"An agent takes documents, and no {media_type or 'file of an unknown type'}.", code="unsupported_content"
        )
    else:
        try:
            data = base64.b64decode(blob.data or "", validate=True)
        except (ValueError, binascii.Error):
            raise BadRequestError("A file is not valid base64.", code="unsupported_content") from None
        source = {"sourceType": "BYTE_CONTENT", "byteContent": {"mediaType": media_type, "data": data}}
    return {"name": name, "source": source, "useCase": use.upper()}
