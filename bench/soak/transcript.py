"""What each side of a session said and heard, and what is wrong with it.

Owns the rules by which "each side heard exactly what the other said, in order, nothing twice" is decided. Pure. The
rules of what a client may do, so that this is well defined, are in the docstring of the package.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Asked:
    """A prompt, from its asker's side. ``lane`` numbers the asker's conversations, each of which says one prompt after
    another. ``said_again`` counts retries that carried no mark: each of them may be a prompt of its own, for a proxy
    cannot know better. ``heard`` are all replies that it got, in order; the last one counts."""

    lane: int
    words: str
    heard: list[str] = field(default_factory=list)
    gave_up: bool = False
    said_again: int = 0


@dataclass(slots=True)
class Shown:
    """A prompt as it came to the answerer, and what was said to it. ``expected_again``: since this prompt was shown
    before, the answerer lost a call, joined or left, so that it may be shown once more. ``taken``: a reply proved that
    one of these answers was taken."""

    words: str
    expected_again: bool
    answers: list[str] = field(default_factory=list)
    taken: bool = False


@dataclass(slots=True)
class Transcript:
    """Both sides of one session. ``oddities`` are replies that neither side should ever get; ``log`` is for who looks
    into a fault."""

    session: str
    asked: list[Asked] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def turns(self) -> int:
        """Prompts that were answered."""
        return sum(bool(one.heard) for one in self.asked)


def faults(transcript: Transcript) -> list[str]:
    """Everything that is wrong, a sentence each."""
    found = [*transcript.oddities, *_showings(transcript), *_order(transcript)]
    answers: dict[str, list[str]] = {}
    for shown in transcript.shown:
        answers.setdefault(shown.words, []).extend(shown.answers)
    for asked in transcript.asked:
        found += _hearing(asked, answers.get(asked.words, []))
    return [f"{transcript.session}: {fault}" for fault in found]


def _showings(transcript: Transcript) -> list[str]:
    """What was shown must have been said; nothing is shown twice without need, nor after its answer was taken."""
    found: list[str] = []
    asked = {one.words: one for one in transcript.asked}
    before: dict[str, list[Shown]] = {}
    for shown in transcript.shown:
        prompt = asked.get(shown.words)
        earlier = before.setdefault(shown.words, [])
        if prompt is None:
            found.append(f"shown, but never said: {shown.words!r}")
        elif earlier and not shown.expected_again and not prompt.said_again:
            found.append(f"shown twice: {shown.words!r}")
        elif sum(one.taken for one in earlier) > prompt.said_again:
            found.append(f"shown again after its answer was taken: {shown.words!r}")
        earlier.append(shown)
    return found


def _order(transcript: Transcript) -> list[str]:
    """Prompts are shown in the order in which each conversation said them. One that was given up may come late: its
    bytes may be read after those of the next one."""
    first: dict[str, int] = {}
    for index, shown in enumerate(transcript.shown):
        first.setdefault(shown.words, index)
    found: list[str] = []
    latest: dict[int, tuple[int, str]] = {}
    for asked in transcript.asked:
        if asked.gave_up or asked.words not in first:
            continue
        index, words = first[asked.words], asked.words
        if asked.lane in latest and latest[asked.lane][0] > index:
            found.append(f"shown out of order: {words!r} before {latest[asked.lane][1]!r}")
        latest[asked.lane] = index, words
    return found


def _hearing(asked: Asked, answers: list[str]) -> list[str]:
    """What an asker hears must be an answer to that very prompt, always the same one, and it must come."""
    found = [
        f"heard to {asked.words!r}, but not said to it: {heard!r}" for heard in asked.heard if heard not in answers
    ]
    if len(set(asked.heard)) > 1 + asked.said_again:
        found.append(f"heard different answers to {asked.words!r}: {asked.heard!r}")
    if not asked.heard and not asked.gave_up:
        found.append(f"never answered: {asked.words!r} (answers: {answers!r})")
    return found
