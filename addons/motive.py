"""Entry of ``mitmdump -s addons/motive.py``: puts the project on the path and hands over to ``motive_shell``.

mitmproxy loads this file under a name of its own and again at every change of it, so nothing may live here.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
for _folder in (str(_HERE), str(_HERE.parent)):
    if _folder not in sys.path:
        sys.path.insert(0, _folder)

from motive_shell.addon import Motive  # noqa: E402
from motive_shell.commands import MotiveCommands  # noqa: E402
from motive_shell.views import LLMViews  # noqa: E402

_motive = Motive()
addons = [_motive, MotiveCommands(_motive), LLMViews()]
