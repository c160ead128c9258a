"""Motive's core: what an LLM call is, how two clients meet, and how each wire dialect says it.

Knows nothing of mitmproxy. Imports point one way:
``gateway -> {origin, sources, backends, routing} -> {session, dialects} -> {stream, framing} -> ir -> errors``.
"""
