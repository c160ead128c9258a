"""What the process logs: levels, and one JSON object a line where the configuration says so.

Owns the levels of our loggers and of those that would flood ours, and the form of the terminal's lines, those that
mitmdump has for each flow included: they hold no credential.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final

from mitmproxy.addons.termlog import TermLogHandler
from mitmproxy.log import MitmFormatter

from motive_core.config import Config

_OURS: Final = ("motive_core", "motive_shell")
_NOISY: Final = ("mitmproxy.proxy.server", "uvicorn", "uvicorn.error", "asyncio")
"""A line for each connection, or for each request of our own: each is dispatched to every addon, too."""

# Google's clients may put their key into the query, some gateways a token. A flow's line is styled, and cut where the
# terminal ends.
_SECRET_IN_URL: Final = re.compile(
    r"(?i)([?&](?:[\w.-]*(?:key|token|secret|signature|password)|sig|code)=)[^&\s\x1b…]+"
)


# A header's line, as mitmdump has it from flow_detail=2 on; its name may be styled.
_SECRET_HEADER: Final = re.compile(
    r"(?i)\A((?:\x1b\[[\d;]*m)*[^:\x1b]*(?:authorization|cookie|key|token|secret)"
    r"(?:\s|\\x[0-9a-f]{2})*(?:\x1b\[[\d;]*m)*: )[^\n]+\Z"
)


def without_secrets(text: str) -> str:
    """A text whose URLs tell no credential, nor its header."""
    text = _SECRET_IN_URL.sub(r"\1***", text) if "=" in text else text
    return _SECRET_HEADER.sub(r"\1***", text) if ": " in text else text


def keep_secrets(dumper: Any) -> None:
    """Let mitmdump's own lines about flows tell no credential. ``dumper`` is mitmproxy's addon (12.2.3,
    ``addons/dumper.py``), None where another program shows the flows."""
    echo: Callable[..., None] | None = getattr(dumper, "echo", None)
    if echo is None:
        return

    def masked(text: str, *arguments: Any, **options: Any) -> None:
        echo(without_secrets(text), *arguments, **options)

    dumper.echo = masked


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, and the exception, if any."""

    default_msec_format = "%s.%03dZ"
    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def __init__(self) -> None:
        super().__init__()
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def apply_logging(config: Config) -> None:
    """Put the configuration's levels and form in force; may be called again."""
    for name in _OURS:
        logging.getLogger(name).setLevel("DEBUG" if config.log.debug else config.log.level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel("DEBUG" if config.log.debug else "WARNING")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, TermLogHandler):
            json_form, plain_form = JsonFormatter(), MitmFormatter(handler.has_vt_codes)
            handler.setFormatter(json_form if config.log.as_json else plain_form)
