"""The origin: a small web application on the loopback interface, for whatever an addon cannot answer by itself."""

from __future__ import annotations

from motive_core.origin.app import Site, make_app
from motive_core.origin.server import OriginServer
from motive_core.origin.streams import Streams
from motive_core.origin.teller import Teller

__all__ = ["OriginServer", "Site", "Streams", "Teller", "make_app"]
