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
from copy import copy
from typing import Any, Final

from mitmproxy.addons.termlog import TermLogHandler
from mitmproxy.log import LegacyLogEvents, MitmFormatter

from motive_core.config import Config
from motive_core.log_lines import LogLine, printable

_OURS: Final = ("motive_core", "motive_shell")
_NOISY: Final = ("mitmproxy.proxy.server", "uvicorn", "uvicorn.error", "asyncio")
"""A line for each connection, or for each request of our own: each is dispatched to every addon, too."""
_SILENT: Final = ("httpx", "httpcore")
"""A dozen lines for each call to a service, with its URL and all of its reply's headers: never, not even to debug."""
LOGGERS: Final = (*_OURS, *_NOISY, *_SILENT)
"""Those whose levels are set."""

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
_UNWRITABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


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


def _unforged(record: logging.LogRecord) -> logging.LogRecord:
    """A record of ours whose arguments, which may be somebody else's words, cannot break its line."""
    if record.name.partition(".")[0] not in _OURS or not isinstance(record.args, tuple):
        return record
    safe = copy(record)
    safe.args = tuple(printable(value) if isinstance(value, str) else value for value in record.args)
    return safe


class TextFormatter(MitmFormatter):
    """mitmproxy's lines. What somebody else said is escaped in ours, and cannot look like one in a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        return super().format(_unforged(record))

    def formatException(self, ei: Any) -> str:
        """See ``logging.Formatter``."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f" {line}" if line.startswith("[") else line for line in map(printable, lines))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, the fields of a line that has some as
    members of their own, and the exception, if any."""

    default_msec_format = "%s.%03dZ"
    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def __init__(self) -> None:
        super().__init__()
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if isinstance(record.msg, LogLine):
            fields |= {"message": record.msg.event, **record.msg.fields}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        # What is left of control characters (C1), and halves of characters, which no file takes.
        return _UNWRITABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(fields, ensure_ascii=False))


def _is_no_call(record: logging.LogRecord) -> bool:
    """Whether a record is to go to each addon as well, by a hook that mitmproxy keeps for old ones: a line for each
    call would cost more there than all else that is done to observe it."""
    return not (isinstance(record.msg, LogLine) and record.levelno <= logging.INFO)


def _is_ours_or_severe(record: logging.LogRecord) -> bool:
    """Whether a record is to be shown where our own details are. Those of others are no help, and AWS's SDK and HTTP
    clients write whole requests, credentials and all."""
    return record.levelno >= logging.INFO or record.name.partition(".")[0] in (*_OURS, "mitmproxy")


def apply_logging(config: Config) -> None:
    """Put the configuration's levels and form in force; may be called again."""
    for name in _OURS:
        logging.getLogger(name).setLevel("DEBUG" if config.log.debug else config.log.level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel("DEBUG" if config.log.debug else "WARNING")
    for name in _SILENT:
        logging.getLogger(name).setLevel("WARNING")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LegacyLogEvents):
            handler.addFilter(_is_no_call)
        if isinstance(handler, TermLogHandler):
            json_form, plain_form = JsonFormatter(), TextFormatter(handler.has_vt_codes)
            handler.setFormatter(json_form if config.log.as_json else plain_form)
            if handler.level == logging.INFO and (config.log.debug or config.log.level == "debug"):
                handler.setLevel(logging.DEBUG)  # mitmproxy's own default would hide what the configuration wants shown
                handler.addFilter(_is_ours_or_severe)
