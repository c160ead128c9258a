"""What an agent's trace tells: what it thought and did, what it spent, and whether a guardrail stopped it.

Owns the reading of ``trace`` events. Source of the shapes: botocore's model, ``TracePart``, 1.44. Knows no reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import to_json

from motive_core.ir import Json, Usage
from motive_core.sources.bedrock_agent_errors import clean

_STEPS: Final = ("preProcessingTrace", "orchestrationTrace", "postProcessingTrace", "routingClassifierTrace")


def kind_of(part: Mapping[str, Any]) -> str:
    """The name of a trace for the log: ``orchestrationTrace.rationale``."""
    for name, step in _trace(part).items():
        inner = next(iter(step), "") if name in _STEPS and isinstance(step, Mapping) else ""
        return f"{name}.{inner}" if inner else name
    return "unknown"


def spent(part: Mapping[str, Any]) -> Usage | None:
    """What a step spent, if it tells. Only a model's own step counts: what contains it tells the sum again."""
    for step in _steps(part):
        usage = _at(step, "modelInvocationOutput", "metadata", "usage")
        if isinstance(usage, Mapping):
            return Usage(_count(usage, "inputTokens"), _count(usage, "outputTokens"))
    return None


def blocks(part: Mapping[str, Any]) -> bool:
    """Whether a guardrail stopped the agent. One that only masks something lets it go on."""
    guard = _trace(part).get("guardrailTrace")
    if not isinstance(guard, Mapping) or guard.get("action") != "INTERVENED":
        return False
    assessed = [guard.get("inputAssessments"), guard.get("outputAssessments")]
    actions = list(_actions(assessed))
    return "BLOCKED" in actions or not actions


def thought(part: Mapping[str, Any]) -> str:
    """What a trace tells of the agent's reasoning, as text; empty if nothing. Cleaned as errors are."""
    lines = [line for line in _lines(part) if line.strip()]
    return clean("\n".join(lines)) if lines else ""


def failure(part: Mapping[str, Any]) -> str:
    """Why a step failed; empty if none did."""
    return clean(str(_at(_trace(part), "failureTrace", "failureReason") or ""))


def _lines(part: Mapping[str, Any]) -> Iterator[str]:
    for step in _steps(part):
        if isinstance(said := _at(step, "modelInvocationOutput", "reasoningContent", "reasoningText", "text"), str):
            yield said
        if isinstance(said := _at(step, "modelInvocationOutput", "parsedResponse", "rationale"), str):
            yield said
        if isinstance(said := _at(step, "rationale", "text"), str):
            yield said
        if isinstance(given := step.get("invocationInput"), Mapping):
            yield from _invoked(given)
        if isinstance(seen := step.get("observation"), Mapping):
            yield from _observed(seen)
    if reason := failure(part):
        yield f"[failed] {reason}"
    if blocks(part):
        yield "[guardrail] intervened"


def _invoked(given: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(action := given.get("actionGroupInvocationInput"), Mapping):
        name = action.get("function") or " ".join(str(action.get(one) or "") for one in ("verb", "apiPath")).strip()
        arguments = {str(one.get("name")): one.get("value") for one in action.get("parameters") or ()}
        yield f"[action {action.get('actionGroupName') or ''} {name}] {_json(arguments)}"
    if isinstance(lookup := given.get("knowledgeBaseLookupInput"), Mapping):
        yield f"[knowledge base {lookup.get('knowledgeBaseId') or ''}] {lookup.get('text') or ''}"
    if isinstance(code := _at(given, "codeInterpreterInvocationInput", "code"), str):
        yield f"[code]\n{code}"
    if isinstance(other := given.get("agentCollaboratorInvocationInput"), Mapping):
        yield f"[agent {other.get('agentCollaboratorName') or ''}] {_at(other, 'input', 'text') or ''}"


def _observed(seen: Mapping[str, Any]) -> Iterator[str]:
    """What came back. The final response is the answer itself."""
    for path in (
        ("actionGroupInvocationOutput", "text"),
        ("agentCollaboratorInvocationOutput", "output", "text"),
        ("codeInterpreterInvocationOutput", "executionOutput"),
        ("codeInterpreterInvocationOutput", "executionError"),
        ("repromptResponse", "text"),
    ):
        if isinstance(said := _at(seen, *path), str):
            yield f"[result] {said}"
    found = _at(seen, "knowledgeBaseLookupOutput", "retrievedReferences")
    if isinstance(found, list):
        yield f"[result] {len(found)} passages"


def _trace(part: Mapping[str, Any]) -> Mapping[str, Any]:
    trace = part.get("trace")
    return trace if isinstance(trace, Mapping) else {}


def _steps(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in _STEPS:
        if isinstance(step := _trace(part).get(name), Mapping):
            yield step


def _actions(value: Json) -> Iterator[str]:
    """Every ``action`` in the assessments of a guardrail, however deep."""
    if isinstance(value, Mapping):
        if isinstance(action := value.get("action"), str):
            yield action
        for inner in value.values():
            yield from _actions(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _actions(inner)


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _count(usage: Mapping[str, Any], name: str) -> int:
    found = usage.get(name)
    return found if isinstance(found, int) and found >= 0 else 0


def _json(value: Json) -> str:
    return to_json(value, fallback=str).decode()
