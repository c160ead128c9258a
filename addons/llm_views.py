"""Entry of ``mitmproxy -s addons/llm_views.py``: the content views for LLM traffic alone, in any mitmproxy."""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
for _folder in (str(_HERE), str(_HERE.parent)):
    if _folder not in sys.path:
        sys.path.insert(0, _folder)

from motive_shell.views import LLMViews  # noqa: E402

addons = [LLMViews()]
