// The call in the middle: what is asked, what was said, which tools there are, the body as it came, the transcript.

import { ask } from "./wire.js";
import { make, message, part, pretty, size } from "./parts.js";
import { nameOf, stateOf } from "./list.js";

function meets(session) {
  return session.answered_by === "pair" || session.answered_by === "review";
}

function drafted(told) {
  const words = { draft: "The real service had drafted", shadow: "The real service would have said", review: "The real service had said" };
  const tags = { same: "span", gone: "del", new: "ins" };
  const body = told.diff ? [make("div", { class: "text diff" }, ...told.diff.map(([kind, text]) => make(tags[kind], {}, text)))] : told.parts.map(part);
  const why = told.why ? make("p", { class: "facts" }, told.why) : null;
  return make("details", { class: "part" }, make("summary", {}, words[told.kind] ?? "Drafted"), ...body, why);
}

// What is known of the real service's reply to a call that passed.
function heard(call) {
  if (call.took_s === null) return "The real service answers this call.";
  const how = [call.status, `${call.took_s.toFixed(1)} s`].filter(Boolean).join(", ");
  return call.problem ? `The real service: ${call.problem} (${how})` : `The real service answered this call (${how}).`;
}

export class View {
  constructor({ deeds, clock }) {
    this.deeds = deeds;
    this.clock = clock;
    this.head = document.getElementById("head");
    this.tabs = document.getElementById("tabs");
    this.view = document.getElementById("view");
    this.tab = "talk";
    this.shown = "";
    this.tabs.addEventListener("click", (event) => {
      const tab = event.target.dataset?.tab;
      if (tab) this.turnTo(tab);
    });
  }

  turnTo(tab) {
    this.tab = tab;
    for (const one of this.tabs.children) one.setAttribute("aria-pressed", String(one.dataset.tab === tab));
    this.shown = "";
    this.draw();
  }

  empty(text) {
    this.session = null;
    this.head.replaceChildren();
    this.tabs.hidden = true;
    this.view.replaceChildren(make("p", { class: "none" }, text));
    this.shown = "";
  }

  // `subject` is what of the session is looked at: a prompt that waits, or a call.
  show(session, subject) {
    this.session = session;
    this.subject = subject;
    this.tabs.hidden = false;
    this.drawHead();
    this.draw();
  }

  drawHead() {
    const { session, subject } = this;
    const state = stateOf(session);
    const request = subject?.request;
    const facts = [
      nameOf(session.app),
      request?.model ?? session.model,
      request?.dialect ?? session.dialect,
      request?.stream ? "streamed" : null,
      session.listener === "forward" ? "its own traffic" : session.listener === "reverse" ? "by base URL" : null,
    ].filter(Boolean);
    const waiting = session.prompts;
    this.head.replaceChildren(
      make("button", { type: "button", class: "quiet back", on: { click: () => this.deeds.back() } }, "\u2190 Inbox"),
      make("h2", {}, session.session, " ", make("span", { class: `state ${state}` }, state === "taken" ? "yours" : state)),
      make("p", { class: "facts" }, facts.join(" \u00b7 ")),
      make(
        "div",
        { class: "deeds" },
        !meets(session)
          ? ""
          : session.taken
          ? make("button", { type: "button", id: "take", on: { click: () => this.deeds.handBack() } }, "Hand back ", make("kbd", {}, "t"))
          : make("button", { type: "button", id: "take", class: "main", on: { click: () => this.deeds.take() } }, "Take over ", make("kbd", {}, "t")),
        session.listener === "forward" && subject?.call && subject.role !== "answerer"
          ? make("button", { type: "button", id: "from-now-on", on: { click: () => this.deeds.fromNowOn(subject.call) } }, "Answer this agent from now on\u2026")
          : "",
        meets(session) && session.listener === "forward"
          ? make("button", { type: "button", class: "quiet", "aria-pressed": String(Boolean(session.shadow)), title: "Ask the real service, too, and show what it would have said", on: { click: () => this.deeds.shadow(!session.shadow) } }, session.shadow ? "Shadow on" : "Shadow off")
          : "",
      ),
      !meets(session)
        ? make("p", { class: "notice" }, `The route of its calls says "answer: ${session.answered_by}". With "pair" there, you can take over.`)
        : "",
      session.answerer === "other" ? make("p", { class: "notice" }, "Another client answers in this session.") : "",
      session.prompts.some((one) => one.undecided)
        ? make("p", { class: "notice" }, "Who asks here is not known yet: take over, and this client is the app.")
        : "",
      waiting.length > 1
        ? make(
            "div",
            { class: "queue", role: "group", "aria-label": "Calls that wait" },
            ...waiting.map((one, at) =>
              make(
                "button",
                { type: "button", "aria-pressed": String(one.prompt === subject?.prompt), on: { click: () => this.deeds.look(one.prompt) } },
                `${at + 1} of ${waiting.length} `,
                make("span", { class: "clock", data: { since: one.since, deadline: one.deadline ?? "" } }),
              ),
            ),
          )
        : "",
    );
  }

  async draw() {
    const { session, subject, tab } = this;
    if (!session) return;
    const key = [tab, session.session, subject?.prompt ?? subject?.call ?? "", subject?.state ?? "", subject?.took_s ?? "", subject?.drafted ? "drafted" : "", tab === "turns" ? `${session.calls} ${session.latest_took_s}` : ""].join("\n");
    if (key === this.shown) return;
    this.shown = key;
    try {
      const children = await this[tab](session, subject);
      if (this.shown !== key) return;
      this.view.replaceChildren(...children);
      if (tab === "talk") {
        const first = this.view.querySelector(".message.new") ?? this.view.lastElementChild;
        first?.scrollIntoView({ block: "start" });
      } else {
        this.view.scrollTop = 0;
      }
    } catch (error) {
      if (this.shown === key) this.view.replaceChildren(make("p", { class: "none" }, error.message));
    }
  }

  talk(session, subject) {
    if (!subject) return [make("p", { class: "none" }, "No call of this session is kept.")];
    const request = subject.request;
    if (!request) {
      if (subject.words) {
        return [
          make("p", { class: "notice" }, "The app is not connected now. It may come back for your answer."),
          ...(subject.context?.length ? [make("details", { class: "system" }, make("summary", {}, "Before that"), ...subject.context.map(part))] : []),
          message({ role: "user", parts: subject.words, new: true }),
        ];
      }
      return [make("p", { class: "none" }, "The words of this call are not kept any more: it began "), make("p", {}, subject.title)];
    }
    const settings = Object.entries(request.settings).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
    const system = request.system.map((one) => one.parts.map(part));
    const before = request.messages.filter((one) => !one.new);
    const fold = before.length > 40 ? before.length - 20 : 0;
    const messages = request.messages.slice(fold).map(message);
    if (fold) {
      const more = make("button", { type: "button", class: "quiet" }, `Show ${fold} earlier messages`);
      more.addEventListener("click", () => more.replaceWith(...request.messages.slice(0, fold).map(message)));
      messages.unshift(more);
    }
    return [
      system.length
        ? make("details", { class: "system", open: request.system.length && JSON.stringify(request.system).length < 1500 }, make("summary", {}, "System prompt"), ...system.flat())
        : "",
      settings.length ? make("p", { class: "facts" }, settings.join(" \u00b7 ")) : "",
      ...messages,
      request.format ? make("details", { class: "system" }, make("summary", {}, `The reply must be ${request.format.kind}`), make("pre", {}, JSON.stringify(request.format.schema, null, 2) ?? "")) : "",
      subject.reply ? message({ role: "assistant", name: subject.by || (subject.state === "passed" ? "the real service" : null), parts: subject.reply, new: false }) : "",
      subject.drafted ? drafted(subject.drafted) : "",
      subject.state === "passed" || subject.state === "passing" ? make("p", { class: subject.problem ? "notice" : "none" }, heard(subject)) : "",
      subject.state === "failed" ? make("p", { class: "notice" }, `It failed: ${subject.error || subject.status || "no reply"}`) : "",
    ];
  }

  tools(session, subject) {
    const tools = subject?.request?.tools ?? subject?.tools ?? [];
    if (!tools.length) return [make("p", { class: "none" }, "This call offers no tools.")];
    return tools.map((one) =>
      make(
        "details",
        { class: "part tool" },
        make("summary", {}, make("code", {}, one.signature.split("  ")[0]), one.description ? make("span", { class: "hint" }, one.description) : null),
        make("pre", {}, JSON.stringify(one.schema, null, 2) ?? "of the vendor"),
      ),
    );
  }

  async raw(session, subject) {
    const call = subject?.call;
    if (!call) return [make("p", { class: "none" }, "The body of this call is not kept.")];
    const told = await ask("raw", { id: call });
    const text = told.cut ? told.text : pretty(told.text);
    return [make("p", { class: "facts" }, size(told.size_bytes), told.cut ? ", of which this is the beginning" : ""), make("pre", { class: "raw" }, text)];
  }

  async turns(session) {
    const told = await ask("transcript", { session: session.session });
    const link = (form, label) =>
      make("a", { class: "button", href: `/console/api/transcript?${new URLSearchParams({ session: session.session, form, download: "1" })}`, download: "" }, label);
    return [
      make("p", { class: "deeds" }, link("markdown", "Markdown"), link("json", "JSON"), link("jsonl", "Fine-tuning JSONL")),
      ...told.turns.map((turn) =>
        make(
          "article",
          { class: "turn" },
          make("h3", {}, turn.at.replace("T", " ").replace("Z", ""), make("span", { class: `state ${turn.state}` }, turn.state)),
          ...(turn.said ? turn.said.map(part) : [make("p", { class: "none" }, "(not kept)")]),
          make(
            "div",
            { class: "reply" },
            make("p", { class: "facts" }, [turn.answered_by, turn.took_s === null ? "" : `${turn.took_s.toFixed(1)} s`, turn.error].filter(Boolean).join(" \u00b7 ")),
            ...(turn.answer ?? []).map(part),
            turn.drafted ? drafted(turn.drafted) : "",
          ),
        ),
      ),
    ];
  }
}
