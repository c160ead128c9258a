"""Motive's mitmproxy shell: hooks, options and the life of the process. What it knows of LLMs is in motive_core."""
