"""``python -m motive_core.access hash``: the digest of a key, to be written into a configuration file in its place.

Owns the command. The key comes from the terminal, unseen, or from standard input: never from the command line, which
every process of the machine can read.
"""

from __future__ import annotations

import argparse
import getpass
import sys

from motive_core.config import Hashed


def main() -> int:
    """Run the command; gives its exit status."""
    parser = argparse.ArgumentParser(prog="python -m motive_core.access", allow_abbrev=False)
    parser.add_argument("command", choices=("hash",), help="read a key or an admin token, and print its digest")
    parser.parse_args()
    secret = (getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    if not secret:
        sys.stderr.write("no key was given\n")
        return 1
    sys.stdout.write(f"{Hashed.of(secret).written}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
