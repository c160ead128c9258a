"""Sit down as the model: shows each prompt that an app sends, and answers with what you type.

python examples/play.py gpt-4o            # needs nothing but Python
python examples/play.py npc-guard http://127.0.0.1:8000
"""

from __future__ import annotations

import json
import sys
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener


def main() -> None:
    session = sys.argv[1] if len(sys.argv) > 1 else "npc-guard"
    base = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000"
    opener = build_opener(ProxyHandler({}))  # the meeting point is not to be reached through a proxy

    def say(text: str) -> str:
        body = {"model": f"{session}@answerer", "messages": [{"role": "user", "content": text}]}
        url = f"{base}/v1/chat/completions"
        request = Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
        while True:
            try:
                with opener.open(request) as response:
                    reply: str = json.load(response)["choices"][0]["message"]["content"]
                    return reply
            except HTTPError as error:
                problem = json.load(error)["error"]
                if problem["code"] != "idle":  # nothing came for a long time: go on waiting
                    raise SystemExit(problem["message"]) from None
                request.data = json.dumps(body | {"messages": [{"role": "user", "content": "/join"}]}).encode()

    print(f"You are {session}. Waiting for a prompt ... (Ctrl-C leaves)")
    text = "/join"
    try:
        while True:
            print(f"\n{say(text)}\n")
            text = input("> ")
    except (KeyboardInterrupt, EOFError):
        print("\nbye")


if __name__ == "__main__":
    main()
