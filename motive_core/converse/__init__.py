"""Two models that talk with each other through the proxy, each as a client that believes it talks to a model."""

from __future__ import annotations
