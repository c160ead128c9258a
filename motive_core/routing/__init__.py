"""Routing: from what is known of a call to what is to be done with it."""

from __future__ import annotations

from motive_core.routing.credentials import credential_identity, sigv4_key_id
from motive_core.routing.hosts import HostTable
from motive_core.routing.matching import CallFacts
from motive_core.routing.proposals import NAMING_HEADERS, Proposal, propose, takes
from motive_core.routing.router import Answer, Decision, Pass, Reject, Router, session_id, split_model

__all__ = [
    "NAMING_HEADERS",
    "Answer",
    "CallFacts",
    "Decision",
    "HostTable",
    "Pass",
    "Proposal",
    "Reject",
    "Router",
    "credential_identity",
    "propose",
    "session_id",
    "sigv4_key_id",
    "split_model",
    "takes",
]
