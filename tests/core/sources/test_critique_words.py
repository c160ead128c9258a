"""What the models of a critique are told, and what is asked of the app's own service with its credentials."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from motive_core.dialects import DIALECTS, Dialect
from motive_core.dialects.base import RequestHead
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Message,
    OpaquePart,
    ReasoningPart,
    Reply,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from motive_core.sources import Call
from motive_core.sources.critique_run import Critic, Run
from motive_core.sources.critique_words import at_own_service, for_critic

PICTURE = BlobPart("image/png", data="aGk=")
DRAFT = Choice((ReasoningPart("Hmm.", "sig"), TextPart("The draft.", extra={"citations": []})))
REQUEST = ChatRequest(
    "anthropic-messages",
    "claude-app",
    (
        Message("system", (TextPart("You are a guard."),)),
        Message("developer", (TextPart("Be brief."),)),
        Message("user", (TextPart("How is it outside?"), PICTURE)),
        Message(
            "assistant",
            (ReasoningPart("Let me see.", "sig"), TextPart("One moment."), ToolCallPart("c1", "look", "{}")),
        ),
        Message("tool", (ToolResultPart("c1", (TextPart("rain"), PICTURE), name="look"),)),
        Message("user", (TextPart("And?"),)),
    ),
    tools=(Tool("look"),),
    tool_choice=ToolChoice("auto"),
    parallel_tool_calls=True,
    response_format=ResponseFormat("json_object"),
    sampling=Sampling(max_tokens=9, temperature=0.5, stop=("END",), seed=1),
    n=2,
    previous="resp_1",
    store=True,
    extra={"thinking": {"type": "enabled"}},
)


def test_the_conversation_as_a_critic_sees_it() -> None:
    asked = for_critic(REQUEST, DRAFT, "Judge.", refines=True, stream=True)
    system, question, calls, results, draft, task = asked.messages
    assert [one.role for one in asked.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert system.text.startswith("Judge.\n\n——— What follows is the system prompt of the conversation")
    assert system.text.endswith("———\n\nYou are a guard.\n\nBe brief.")
    assert question.parts == (TextPart("How is it outside?"), PICTURE)
    assert calls.text == "One moment.\n[tool call look c1]\n{}\n"
    assert results.parts[1] == PICTURE
    assert results.text == "\n[tool result look c1]\n\nrain\n\nAnd?"
    assert draft.parts == (TextPart("The draft."),)
    assert "a draft of the answer" in task.text and "repeat the draft" in task.text


def test_of_the_apps_settings_the_bounds_of_a_reply_go_along() -> None:
    asked = for_critic(REQUEST, DRAFT, "Judge.", refines=True, stream=True)
    assert asked.sampling == Sampling(max_tokens=9, stop=("END",))
    assert asked.response_format == REQUEST.response_format
    assert (asked.tools, asked.tool_choice, asked.parallel_tool_calls) == ((), None, None)
    assert (asked.n, asked.previous, asked.store, dict(asked.extra)) == (1, None, False, {})
    assert asked.stream and asked.include_usage


def test_who_only_comments_is_not_bound_by_them() -> None:
    asked = for_critic(REQUEST, DRAFT, "Judge.", refines=False, stream=False)
    assert (asked.sampling, asked.response_format) == (Sampling(), None)
    assert "Do not write the answer yourself" in asked.messages[-1].text


def test_a_conversation_without_a_system_prompt() -> None:
    request = replace(REQUEST, messages=(Message("user", (TextPart("Hi"),)),))
    asked = for_critic(request, DRAFT, "Judge.", refines=True, stream=False)
    assert asked.messages[0] == Message("system", (TextPart("Judge."),))
    assert asked.messages[1:2] == request.messages


def test_items_that_nobody_knows_are_kept_for_a_critic_that_may() -> None:
    item = OpaquePart("anthropic-messages", {"type": "novel"})
    request = replace(REQUEST, messages=(Message("user", (item,)), Message("assistant", (ReasoningPart("x"),))))
    asked = for_critic(request, DRAFT, "Judge.", refines=True, stream=False)
    assert asked.messages[1].parts == (item,)
    assert [one.role for one in asked.messages] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_any_dialect_can_ask_it(dialect: Dialect) -> None:
    asked = for_critic(REQUEST, DRAFT, "Judge.", refines=True, stream=False)
    body = dialect.render_request(asked).decode()
    assert "The draft." in body and "Judge." in body and "sig" not in body.replace("design", "")


def test_the_apps_own_service_gets_all_that_the_app_set() -> None:
    asked = for_critic(REQUEST, DRAFT, "Judge.", refines=False, stream=False)
    own = at_own_service(asked, replace(REQUEST, stream=True), "claude-critic")
    assert (own.model, own.previous, own.extra) == ("claude-critic", "resp_1", REQUEST.extra)
    assert own.stream and own.include_usage
    assert own.sampling == replace(REQUEST.sampling, stop=())
    assert at_own_service(asked, REQUEST, None).model == "claude-app"


@dataclass
class Service:
    """The app's own: keeps what it is asked."""

    asked: list[ChatRequest] = field(default_factory=list)

    async def ask(self, request: ChatRequest) -> Reply:
        self.asked.append(request)
        return Reply("r", "m", (Choice((TextPart(f"reply {len(self.asked)}"),)),))


BEARER = {"authorization": "Bearer sk-app"}
SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/bedrock/aws4_request, Signature=0"}
GEMINI = "/v1beta/models/gemini-app:generateContent"
AZURE = "/openai/deployments/gpt-app/chat/completions"


@pytest.mark.parametrize(
    ("way", "critic", "outcome"),
    [
        (("openai-chat", "/v1/chat/completions", BEARER), "other", "refined"),
        (("openai-responses", "/v1/responses", BEARER), "other", "refined"),
        (("anthropic-messages", "/v1/messages", {"x-api-key": "sk-app"}), "other", "refined"),
        (("cohere-chat", "/v2/chat", BEARER), "other", "refined"),
        (("ollama-chat", "/api/chat", {}), "other", "refined"),
        (("openai-chat", AZURE, BEARER), "other", "failed"),
        (("openai-chat", AZURE, BEARER), None, "refined"),
        (("gemini", GEMINI, {"x-goog-api-key": "sk-app"}), "other", "failed"),
        (("gemini", GEMINI, {"x-goog-api-key": "sk-app"}), None, "refined"),
        (("gemini", GEMINI, {"x-goog-api-key": "sk-app"}), "gemini-app", "refined"),
        (("bedrock-converse", "/model/app/converse", BEARER), "other", "failed"),
        (("bedrock-converse", "/model/app/converse", BEARER), None, "refined"),
        (("bedrock-converse", "/model/app/converse", SIGNED), None, "failed"),
        (("bedrock-invoke", "/model/anthropic.app/invoke", SIGNED), None, "failed"),
    ],
)
async def test_another_body_goes_to_the_apps_service_only_where_its_credentials_are_good_for_that(
    way: tuple[str, str, dict[str, str]], critic: str | None, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    dialect, path, headers = way
    by_path = {GEMINI: "gemini-app", AZURE: "gpt-app", "/model/app/converse": "app"}
    request = ChatRequest(dialect, by_path.get(path, "anthropic.app"), (Message("user", (TextPart("Hi"),)),))
    own = Service()
    call = Call(request, RequestHead("POST", "service", 443, path, headers=headers), "ex1", "s", 0.0, own=own)
    run = Run(call, own, [Critic("refine", "Judge.", 60.0, None, critic)], lambda: 0.0)
    reply = await run.answer()
    assert isinstance(reply, Reply)
    assert call.headers["x-motive-critique"] == outcome
    assert own.asked[0] is request
    if outcome == "refined":
        assert reply.choices[0].parts == (TextPart("reply 2"),)
        assert own.asked[1].model == (critic or request.model)
    else:
        assert len(own.asked) == 1 and "WARNING" in caplog.text


async def test_comments_do_not_go_to_a_service_that_would_not_take_them() -> None:
    own, critic = Service(), Service()
    head = RequestHead("POST", "service", 443, "/model/app/converse", headers=SIGNED)
    call = Call(ChatRequest("bedrock-converse", "app", (Message("user", (TextPart("Hi"),)),)), head, "e", "s", 0.0, own)
    await Run(call, own, [Critic("feedback", "Judge.", 60.0, critic, None)], lambda: 0.0).answer()
    assert call.headers["x-motive-critique"] == "failed"
    assert len(own.asked) == 1
