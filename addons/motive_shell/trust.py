"""mitmproxy's certificate authority: whether it is there yet, and its making ahead of time.

Owns the order at the start. What apps are to trust is ``motive_core.certificates``'.
"""

from __future__ import annotations

from mitmproxy.master import Master


def has_certificates(master: Master) -> bool:
    """Whether mitmproxy can show certificates yet (12.2.3, ``addons/tlsconfig.py``)."""
    tlsconfig = master.addons.get("tlsconfig")
    return tlsconfig is None or getattr(tlsconfig, "certstore", None) is not None


def make_certificates(master: Master) -> None:
    """Let mitmproxy make its certificate authority, or read the one that it has, now."""
    tlsconfig = master.addons.get("tlsconfig")
    if tlsconfig is not None and not has_certificates(master):
        tlsconfig.running()
