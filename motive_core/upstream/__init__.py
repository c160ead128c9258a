"""Asking a service: at a base URL of our own choice, or the real one that an app has called."""

from __future__ import annotations

from motive_core.upstream.ask import Begun, Upstream, whole
from motive_core.upstream.connections import Http
from motive_core.upstream.http import HttpUpstream
from motive_core.upstream.own import OwnService
from motive_core.upstream.settings import Endpoint
from motive_core.upstream.transfer import refusal, sent, timely

__all__ = [
    "Begun",
    "Endpoint",
    "Http",
    "HttpUpstream",
    "OwnService",
    "Upstream",
    "refusal",
    "sent",
    "timely",
    "whole",
]
