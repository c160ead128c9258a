"""A small game whose guard is an LLM: or whoever sits in session ``npc-guard``.

    pip install openai
    python examples/game.py                   # through the meeting point
    OPENAI_BASE_URL=... python examples/game.py

Start ``./run.sh`` first, then ``python examples/play.py npc-guard`` in another terminal: you are the guard.
"""

from __future__ import annotations

import os

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

SYSTEM = "You are Bram, a guard at the city gate. Answer in one or two sentences. Say OPEN to let the traveller in."


def main() -> None:
    client = OpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "unused"),
    )
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": SYSTEM}]
    print("You stand before the city gate. Talk the guard into opening it.")
    while True:
        try:
            line = input("you> ")
        except (KeyboardInterrupt, EOFError):
            print()
            return
        messages.append({"role": "user", "content": line})
        guard = ""
        print("guard> ", end="", flush=True)
        for chunk in client.chat.completions.create(model="npc-guard", messages=messages, stream=True):
            if chunk.choices and (piece := chunk.choices[0].delta.content):
                guard += piece
                print(piece, end="", flush=True)
        print()
        messages.append({"role": "assistant", "content": guard})
        if "OPEN" in guard:
            print("The gate opens. You win.")
            return


if __name__ == "__main__":
    main()
