#!/usr/bin/env bash
# The quick start of the README in one script: the model's side in the background, the game's in the foreground.
set -euo pipefail

base=${MOTIVE_URL:-http://127.0.0.1:8000}
session=${1:-npc-guard}

say() { # text -> the reply's text
  curl -sS "$base/v1/chat/completions" -H 'content-type: application/json' \
    -d "$(python3 -c 'import json, sys; print(json.dumps({"model": sys.argv[1], "messages": [{"role": "user", "content": sys.argv[2]}]}))' "$session" "$1")" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["choices"][0]["message"]["content"])'
}

(
  echo "player hears: $(say ping)"
  # This call carries the answer, and would then wait for the next prompt; here the game is over.
  say "I attack the troll!" >/dev/null &
  wait_for_answer=$!
  sleep 1
  kill "$wait_for_answer" 2>/dev/null || true
) &
sleep 1
echo "game hears:   $(say 'You see a troll. What do you do?')"
wait
