"""The long defaults of the configuration: hosts, and the background calls that apps are known to make.

Owns facts about services and apps, as plain data. Knows no model.
"""

from __future__ import annotations

from typing import Any, Final

CORS_ORIGINS: Final = (
    "http://localhost",
    "http://localhost:*",
    "http://127.0.0.1",
    "http://127.0.0.1:*",
    "http://[::1]:*",
)

HOSTS: Final = (
    # OpenAI and Azure OpenAI
    "api.openai.com",
    "*.api.openai.com",
    "*.openai.azure.com",
    "*.cognitiveservices.azure.com",
    "*.services.ai.azure.com",
    # Anthropic
    "api.anthropic.com",
    # Google: Gemini and Vertex AI
    "generativelanguage.googleapis.com",
    "aiplatform.googleapis.com",
    "*-aiplatform.googleapis.com",
    "aiplatform.*.rep.googleapis.com",
    # Amazon Bedrock
    "bedrock-runtime.*.amazonaws.com",
    "bedrock-runtime-fips.*.amazonaws.com",
    "bedrock-agent-runtime.*.amazonaws.com",
    "bedrock-agent-runtime-fips.*.amazonaws.com",
    "bedrock-runtime.*.api.aws",
    "bedrock-runtime-fips.*.api.aws",
    "bedrock-agent-runtime.*.api.aws",
    "bedrock-agent-runtime-fips.*.api.aws",
    # Others
    "api.cohere.com",
    "api.cohere.ai",
    "api.mistral.ai",
    "codestral.mistral.ai",
    "api.groq.com",
    "openrouter.ai",
    "api.deepseek.com",
    "api.x.ai",
    "*.api.x.ai",
    "api.together.xyz",
    "api.together.ai",
    "api.fireworks.ai",
    "api.perplexity.ai",
    "api.cerebras.ai",
    # Ollama
    "ollama.com",
    "localhost:11434",
    "127.0.0.1:11434",
)

_TITLE_JSON: Final = '{"title": {title_json}}'
_TAGS: Final = '{"tags": ["General"]}'
_FOLLOW_UPS: Final = '{"follow_ups": []}'
_QUERIES: Final = '{"queries": []}'
_CONTINUATION: Final = '{"text": ""}'
_EMOJI: Final = "🙂"
_IMAGE_PROMPT: Final = '{"prompt": {words_json}}'
_NO_TOOLS: Final = '{"tool_calls": []}'
_TASK: Final = r"\A\s*### Task:\s+"


def _message(name: str, regex: str, reply: str) -> dict[str, Any]:
    return {"name": name, "match": {"message": regex}, "reply": reply}


def _system(name: str, regex: str, reply: str) -> dict[str, Any]:
    return {"name": name, "match": {"system": regex}, "reply": reply}


def _header(name: str, task: str, reply: str) -> dict[str, Any]:
    return {"name": name, "match": {"header": {"x-openwebui-task": f"(?i){task}$"}}, "reply": reply}


BACKGROUND: Final[tuple[dict[str, Any], ...]] = (
    # Open WebUI, DEFAULT_*_PROMPT_TEMPLATE in backend/open_webui/config.py. The instruction is the whole user message,
    # history included. "### Task:" alone is no mark: its RAG template begins so, too, and that is a turn.
    _message(
        "open-webui title",
        _TASK
        + r"(?:You are a title generator\.\s+)?Generate a concise\b[^\n]{0,40}\btitle\b[^\n]{0,80}\bchat history\b",
        _TITLE_JSON,
    ),
    _message("open-webui tags", _TASK + r"Generate 1-3 broad tags categorizing\b", _TAGS),
    _message("open-webui follow-ups", _TASK + r"Suggest 3-5 relevant follow-up questions\b", _FOLLOW_UPS),
    _message(
        "open-webui queries", _TASK + r"Analyze the \w+ ?\w* to determine the necessity of generating\b", _QUERIES
    ),
    _message("open-webui autocomplete", _TASK + r"You are an autocompletion system\.", _CONTINUATION),
    _message("open-webui image prompt", _TASK + r"Generate a detailed prompt for a[mn]? image\b", _IMAGE_PROMPT),
    _message("open-webui emoji", r"\A\s*Your task is to reflect the speaker's likely facial expression\b", _EMOJI),
    {
        "name": "open-webui tool choice",
        "match": {"system": r"\AAvailable Tools: ", "message": r"\AQuery: "},
        "reply": _NO_TOOLS,
    },
    _message(
        "open-webui title, 0.3",
        r"\AHere is the query:\n(?P<words>[\s\S]*?)\n\nCreate a concise, 3-5 word phrase with an emoji as a title\b",
        "{title}",
    ),
    _message(
        "open-webui title, 0.2",
        r"\ACreate a concise, 3-5 word phrase as a header for the following query\b[^:\n]*:\s*(?P<words>[\s\S]*)",
        "{title}",
    ),
    # The same where its prompts were changed, if the connection's custom headers have "X-OpenWebUI-Task": "{{TASK}}".
    # The values are those of TASKS in backend/open_webui/constants.py.
    _header("open-webui title header", "title_generation", _TITLE_JSON),
    _header("open-webui tags header", "tags_generation", _TAGS),
    _header("open-webui follow-ups header", "follow_up_generation", _FOLLOW_UPS),
    _header("open-webui queries header", "query_generation", _QUERIES),
    _header("open-webui autocomplete header", "autocomplete_generation", _CONTINUATION),
    _header("open-webui image prompt header", "image_prompt_generation", _IMAGE_PROMPT),
    _header("open-webui emoji header", "emoji_generation", _EMOJI),
    _header("open-webui tool choice header", "function_calling", _NO_TOOLS),
    # LibreChat: src/utils/title.ts of @librechat/agents; before that api/app/clients/prompts/titlePrompts.js.
    _message("librechat title", r"\AProvide a concise, 5-word-or-less title for the conversation\b", "{title}"),
    _message(
        "librechat title and language",
        r"\AAnalyze this conversation and provide:\s+1\. The detected language\b",
        '{"language": "English", "title": {title_json}}',
    ),
    _message(
        "librechat title, older",
        r"\AWrite a concise title for this conversation in the detected language\. Title in 5 Words or Less\.",
        "{title}",
    ),
    _system(
        "librechat title, oldest",
        r"\AWrite a concise title for this conversation in the given language\.\s+Title in 5 Words or Less\.",
        "{title}",
    ),
    _message("librechat language", r"\ADetect the language used in the following text\. Note: words may\b", "English"),
    # LobeChat: summaryTitle.ts, topicAutoSummary.ts and followUpAction.ts in packages/prompts/src/chains.
    _system(
        "lobe-chat topic title",
        r"\AYou are a professional conversation summarizer\. Generate a concise title\b",
        "{title}",
    ),
    _system("lobe-chat topic title, older", r"\A你是一名擅长会话的助理，你需要将用户的会话总结为", "{title}"),
    _system(
        "lobe-chat topic summary",
        r"\ASummarize the conversation for future reference\.\s+Requirements:",
        '{"description": {title_json}, "summary": {words_json}}',
    ),
    _system(
        "lobe-chat follow-ups", r"\AYou are a sidecar that extracts 0-4 quick-reply suggestions\b", '{"chips": []}'
    ),
    # NextChat, Store.Prompt.Topic in app/locales/en.ts: the last message after the whole conversation.
    _message(
        "nextchat title",
        r"\APlease generate a four to five word title summarizing our conversation without any lead-in\b",
        "{title}",
    ),
    # Continue, core/util/chatDescriber.ts.
    _message(
        "continue title",
        r"\AGiven the following\.\.\. please reply with a title for the chat\b[^\n]*\n+(?P<words>[\s\S]*)",
        "{title}",
    ),
    # Coding agents: title.txt in packages/opencode/src/agent/prompt; Claude Code, which puts lines of its own before.
    _system("opencode title", r"\AYou are a title generator\. You output ONLY a thread title\.", "{title}"),
    _system("claude-code title", r"(?m)^Generate a concise, sentence-case title \(3-\d+ words\)", _TITLE_JSON),
    _system(
        "claude-code topic",
        r"(?m)^Analyze if this message indicates a new conversation topic\. If it does, extract a 2-3 word title\b",
        '{"isNewTopic": true, "title": {title_json}}',
    ),
    _message(
        "claude-code title, older", r"\APlease write a 5-10 word title for the following conversation:", "{title}"
    ),
    _system("claude-code summary", r"(?m)^Summarize this coding conversation in under \d+ characters\b", "{title}"),
    _message("claude-code suggestion", r"\A\[SUGGESTION MODE:", ""),
    {
        "name": "claude-code warm-up",
        "match": {"header": {"user-agent": r"\Aclaude-cli/"}, "message": r"\AWarmup\s*$"},
        "reply": "Ready.",
    },
    # gemini-cli: classifierStrategy.ts, numericalClassifierStrategy.ts and nextSpeakerChecker.ts in packages/core/src.
    _system(
        "gemini-cli router",
        r"\A\s*You are a specialized Task Routing AI\. [^\n]*\bclassify its complexity\b",
        '{"reasoning": "", "model_choice": "flash"}',
    ),
    _system(
        "gemini-cli router by score",
        r"\A\s*You are a specialized Task Routing AI\. [^\n]*\bComplexity Score\b",
        '{"complexity_reasoning": "", "complexity_score": 50}',
    ),
    _message(
        "gemini-cli next speaker",
        r"\AAnalyze \*only\* the content and structure of your immediately preceding response\b",
        '{"reasoning": "", "next_speaker": "user"}',
    ),
    # Codex: the name of a thread; and what it marks as no turn of its thread.
    _message("codex title", r"\AGenerate a concise, single-line task title of at most \d+\b", "{title}"),
    _system("codex title by instructions", r"\AGenerate a concise, single-line task title of at most \d+\b", "{title}"),
    {
        "name": "codex memory",
        "match": {"header": {"x-openai-subagent": r"\Amemory_consolidation$"}},
        "reply": "",
    },
    # Whether the service is there, the key is good, the quota not used up: Claude Code's "quota", gateways' and SDKs'
    # own checks. A single token is no room for an answer; such a call with other words is a classification, and a turn.
    {
        "name": "probe",
        "match": {"max_tokens": 1, "message": r"(?i)\A\W*(?:quota|test|hi|hello|hey|ping|foo|count|\d{0,3})\W*$"},
        "reply": ".",
    },
)
"""As ``background`` in the file. The texts are recognised by how they begin, which ordinary messages don't."""
