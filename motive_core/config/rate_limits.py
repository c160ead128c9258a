"""The settings of rate limits: how many calls a client may make at the meeting point."""

from __future__ import annotations

from pydantic import Field

from motive_core.settings.types import Count, Section


class RateLimits(Section):
    """How many calls one client may make at the meeting point. A client is its key if it has one, else its address."""

    enabled: bool = Field(default=False, description="Whether calls are limited at all.")
    requests_per_minute: Count | None = Field(
        default=60, description="Calls within any 60 seconds; the next one gets a 429 that says when. Null: any number."
    )
    requests_per_hour: Count | None = Field(default=1000, description="Calls within any hour. Null: any number.")
    burst_limit: Count | None = Field(default=10, description="Calls within any 10 seconds. Null: any number.")
    side_requests_per_minute: Count | None = Field(
        default=600,
        description="Requests within any 60 seconds that are no calls to a model: lists of models, counts of tokens, "
        "`/health`, `/admin`. They have this limit of their own. Null: any number.",
    )
