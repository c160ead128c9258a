// The answer: words, tool calls by a form, an error, or the real service. A draft is kept for each call in this browser.

import { act } from "./wire.js";
import { make, part } from "./parts.js";
import { fieldsOf, hasFields, Problem } from "./form.js";
import { exactly } from "./drafts.js";
import { draftOf, forgetDraft, keepDraft } from "./kept.js";
import { Snippets } from "./snippets.js";
import { rendered } from "./markdown.js";

const CHECK_MS = 350;
const FINISHES = [
  ["", "Ends as usual"],
  ["length", "Ends at its length limit"],
  ["content_filter", "Ends by a content filter"],
];
const FAILURES = [
  ["429", "429 too many requests"],
  ["500", "500 failed"],
  ["503", "503 unavailable"],
  ["529", "529 overloaded"],
  ["400", "400 bad request"],
  ["refusal", "a refusal of the model"],
  ["cut", "a connection cut in the middle"],
];

export class Composer {
  constructor({ deeds, by }) {
    this.deeds = deeds;
    this.by = by;
    this.element = document.getElementById("composer");
    this.snippets = new Snippets();
    this.key = "";
    this.sending = false;
    this.told = 0;
  }

  // Draws anew only if another call is to be answered: what is being written stays.
  show(session, subject) {
    const prompt = subject?.undecided !== undefined ? subject.prompt : "";
    if (this.live?.out && session?.session === this.session?.session) return; // words of it are out: it stays
    this.endLive();
    const key = prompt ? `${session.session}\n${prompt}` : session ? `-${session.session}\n${session.taken}` : "";
    this.session = session;
    this.subject = subject;
    if (key === this.key) {
      this.update();
      return;
    }
    this.key = key;
    this.calls = [];
    if (!prompt) this.drawEmpty();
    else this.draw();
  }

  drawEmpty() {
    const { session } = this;
    this.text = null;
    if (!session) {
      this.element.replaceChildren();
      return;
    }
    this.element.replaceChildren(
      make(
        "p",
        { class: "none" },
        session.taken
          ? "Nothing waits in this session. Its next call is held for you."
          : "Its calls are answered without you. Take over, and the next one is held for you.",
      ),
    );
  }

  draw() {
    const { subject } = this;
    this.live = null;
    this.checked = 0;
    this.old = null; // when the draft began that is of no interest any more
    this.latest = null;
    const tools = (subject.request?.tools ?? subject.tools ?? []).filter((one) => one.schema !== null);
    this.tools = tools;
    const draft = draftOf(this.key);
    this.inserted = draft.inserted ?? null; // what was put in of a draft that goes on
    this.fromDraft = draft.fromDraft ?? false;
    this.text = make("textarea", { id: "text", rows: "6", placeholder: "What the model says", "aria-label": "Answer", "aria-describedby": "why" });
    this.text.value = draft.text ?? "";
    this.text.addEventListener("input", () => {
      if (!this.text.value.trim() && !this.calls.length) this.fromDraft = false;
      this.changed();
      this.tellWriting();
    });
    this.preview = make("div", { class: "preview md", hidden: true, tabindex: "0", role: "region", "aria-label": "Preview" });
    this.fits = make("p", { class: "fits", role: "status" });
    this.drafting = make("p", { class: "drafting", role: "status" });
    this.thought = make("div", {});
    this.reasoning = make("textarea", { id: "reasoning", rows: "3", "aria-label": "Reasoning", placeholder: "What the model thinks before it answers" });
    this.reasoning.value = draft.reasoning ?? "";
    this.reasoning.addEventListener("input", () => this.keep());
    this.finish = make("select", { "aria-label": "Why the reply ends" }, ...FINISHES.map(([value, label]) => make("option", { value }, label)));
    this.finish.value = draft.finish ?? "";
    this.finish.addEventListener("change", () => this.keep());
    this.list = make("div", { class: "calls" });
    this.why = make("p", { id: "why", class: "why", role: "alert" });
    this.writers = make("p", { class: "writes", role: "status" });
    this.send = make("button", { type: "button", class: "main", on: { click: () => this.submit() } }, "Send ", make("kbd", {}, "Ctrl Enter"));
    this.pass = make("button", { type: "button", on: { click: () => this.deeds.pass() } }, "Let the real service answer ", make("kbd", {}, "p"));
    const pick = make("select", { "aria-label": "Add a tool call" }, make("option", { value: "" }, "Call a tool\u2026"), ...tools.map((one) => make("option", { value: one.name }, one.name)));
    pick.addEventListener("change", () => {
      const tool = tools.find((one) => one.name === pick.value);
      pick.value = "";
      if (tool) this.addCall(tool, null, true);
    });
    const fail = make("select", { "aria-label": "Fail with" }, make("option", { value: "" }, "Fail with\u2026"), ...FAILURES.map(([value, label]) => make("option", { value }, label)));
    fail.addEventListener("change", () => {
      const value = fail.value;
      fail.value = "";
      if (value) this.fail(value);
    });
    const streams = subject.request?.stream && !subject.request.format;
    this.say = make("button", { type: "button", class: "quiet", "aria-pressed": "false", title: "The app hears each word as it is written" }, "Live off");
    this.say.addEventListener("click", () => this.turnLive());
    this.say.hidden = !streams;
    this.ask = make("button", { type: "button", on: { click: () => this.askDraft() } }, "Draft ", make("kbd", {}, "d"));
    const look = make("button", { type: "button", class: "quiet", "aria-pressed": "false" }, "Preview");
    look.addEventListener("click", () => {
      this.preview.hidden = !this.preview.hidden;
      look.setAttribute("aria-pressed", String(!this.preview.hidden));
      this.drawPreview();
    });
    const again = make("button", { type: "button", class: "quiet", "aria-haspopup": "dialog", on: { click: () => this.snippets.open(this.text.value, (words) => this.write(words)) } }, "Snippets\u2026");
    this.more = make("details", { class: "more", open: Boolean(draft.reasoning || draft.finish) }, make("summary", {}, "Reasoning, and why it ends"), this.reasoning, this.finish);
    this.element.replaceChildren(
      make("h2", { class: "hidden" }, "Your answer"),
      this.writers,
      this.drafting,
      this.thought,
      this.text,
      this.preview,
      this.fits,
      this.list,
      this.why,
      make("div", { class: "deeds" }, this.send, tools.length ? pick : null, fail, this.pass),
      make("div", { class: "deeds" }, this.ask, look, this.say, again),
      this.more,
    );
    for (const one of draft.calls ?? []) {
      const tool = tools.find((known) => known.name === one.name);
      if (tool) this.addCall(tool, one, false);
    }
    if (subject.draft && !this.text.value && !this.calls.length) this.insert(subject.draft_text, subject.draft);
    this.check();
    this.update();
  }

  update() {
    if (!this.text) return;
    const { subject, session } = this;
    this.pass.hidden = !subject.can_pass;
    this.pass.firstChild.data = subject.draft ? "Let its reply go as it is " : "Let the real service answer ";
    this.ask.hidden = !subject.can_pass || !subject.call || Boolean(subject.draft);
    const draft = (session.drafts ?? []).find((one) => one.prompt === subject.prompt);
    if (draft) this.takeDraft(draft);
    else if (subject.draft) this.tellDraft("The real service has answered. Edit it, or let it go as it is.");
    const others = Object.entries(session.writing ?? {})
      .filter(([prompt, who]) => prompt === subject.prompt && who !== this.self())
      .map(([, who]) => who);
    this.writers.textContent = others.length ? `${others.join(", ")} is writing an answer to this call.` : "";
    this.send.disabled = this.sending;
  }

  addCall(tool, draft, focus) {
    let form = hasFields(tool.schema) ? fieldsOf(tool.schema) : null;
    if (form && draft?.exact && !exactly(form, draft.json)) form = null;
    const json = make("textarea", { class: "json", rows: "3", "aria-label": `Arguments of ${tool.name} as JSON` });
    json.value = draft?.json ?? "{}";
    if (form && draft?.json) {
      try {
        form.write(JSON.parse(draft.json));
      } catch {
        // it was not finished
      }
    }
    const call = {
      name: tool.name,
      read: () => (form ? JSON.stringify(form.read()) : json.value),
      element: make(
        "fieldset",
        { class: "toolcall" },
        make("legend", {}, make("code", {}, tool.name), " ", make("button", { type: "button", class: "quiet", "aria-label": `Remove the call of ${tool.name}` }, "Remove")),
        tool.description ? make("p", { class: "hint" }, tool.description) : null,
        ...(form ? form.elements : [json]),
      ),
    };
    call.element.querySelector("legend button").addEventListener("click", () => {
      this.calls = this.calls.filter((one) => one !== call);
      call.element.remove();
      this.changed();
    });
    call.element.addEventListener("input", () => this.changed());
    this.calls.push(call);
    this.list.append(call.element);
    if (focus) call.element.querySelector("textarea, input, select")?.focus();
    this.keep();
  }

  keep() {
    const calls = this.calls.map((one) => {
      try {
        return { name: one.name, json: one.read() };
      } catch {
        return { name: one.name, json: "{}" };
      }
    });
    const { inserted, fromDraft } = this;
    keepDraft(this.key, { text: this.text.value, calls, reasoning: this.reasoning.value, finish: this.finish.value, inserted, fromDraft });
  }

  changed() {
    if (this.live) this.sayLive(false);
    this.keep();
    this.drawPreview();
    clearTimeout(this.checking);
    this.checking = setTimeout(() => this.check(), CHECK_MS);
  }

  drawPreview() {
    if (!this.preview.hidden) this.preview.replaceChildren(...rendered(this.text.value || "_Nothing yet._"));
  }

  // Ask the proxy whether this would do, where there is something to be wrong.
  async check() {
    const { subject, text, fits } = this;
    if (!text) return;
    const form = subject.request ? subject.request.format : subject.format;
    const number = ++this.checked;
    if (!(form || this.calls.length || text.value.startsWith("/")) || !(text.value.trim() || this.calls.length)) {
      fits.textContent = "";
      return;
    }
    let why = "";
    try {
      const calls = this.calls.map((one) => ({ name: one.name, arguments: one.read() }));
      why = (await act("check", { session: this.session.session, prompt: subject.prompt, text: text.value, calls, from_draft: this.fromDraft })).why;
    } catch (error) {
      if (!(error instanceof Problem)) return; // it is over, or the proxy is away: sending says so
      why = error.message;
    }
    if (number !== this.checked || fits !== this.fits) return;
    fits.textContent = why || (form ? "It is what the app asked for." : "The app can take this.");
    fits.classList.toggle("wrong", Boolean(why));
  }

  // Put words where the cursor is.
  write(words) {
    this.text.setRangeText(words, this.text.selectionStart, this.text.selectionEnd, "end");
    this.text.focus();
    this.changed();
  }

  // A draft of the real model

  async askDraft() {
    if (!this.text || this.ask.hidden) return;
    const { key, inserted, old } = this;
    this.inserted = this.text.value.trim() ? null : this.text.value;
    if (this.latest?.done) this.old = this.latest.began_at;
    this.why.textContent = "";
    try {
      const draft = await act("draft", { session: this.session.session, prompt: this.subject.prompt });
      if (this.key === key && !this.latest?.done) this.takeDraft(draft);
    } catch (error) {
      if (this.key !== key) return;
      this.inserted = inserted;
      this.old = old;
      this.why.textContent = error.message;
    }
  }

  stopDraft() {
    act("stop-draft", { session: this.session.session, prompt: this.subject.prompt }).catch(() => {});
  }

  // What is known of it by now. It goes into the field as it comes, until somebody writes there.
  takeDraft(draft) {
    if (!this.text || draft.prompt !== this.subject.prompt || draft.session !== this.session.session) return;
    if (draft.began_at === this.old) return;
    this.latest = draft;
    // What the app hears as it is written is for a person to put there.
    if (!this.live && this.inserted !== null && this.text.value === this.inserted) this.insert(draft.text, draft.parts, draft.done);
    this.showThought(draft.parts);
    if (!draft.done) this.tellDraft("The real service is drafting\u2026", ["Stop", () => this.stopDraft()]);
    else {
      const some = draft.parts.length > 0;
      const whole = draft.stopped ? "Drafted by the real service, as far as it came." : "Drafted by the real service.";
      const why = draft.error ? `${some ? "Not all of it is here" : "No draft"}: ${draft.error}` : whole;
      this.tellDraft(why, ...(some ? [["Put it in again", () => this.putAgain()]] : []), ...(draft.error || draft.stopped ? [] : [["Send it as it is", () => this.sendDraft()]]));
    }
  }

  putAgain() {
    for (const one of this.calls.splice(0)) one.element.remove();
    this.insert(this.latest.text, this.latest.parts);
  }

  sendDraft() {
    const calls = this.latest.parts.filter((one) => one.kind === "call").map((one) => ({ name: one.name, arguments: one.arguments }));
    this.give("answer", { text: this.latest.text, calls, from_draft: true });
  }

  // The model's reasoning stays with what is made of its draft, unless other reasoning is written.
  showThought(parts) {
    const told = parts.filter((one) => one.kind === "reasoning");
    const key = JSON.stringify(told);
    if (this.thought.dataset.told === key) return;
    this.thought.dataset.told = key;
    const open = this.thought.querySelector("details")?.open;
    this.thought.replaceChildren(...told.map(part));
    for (const one of this.thought.querySelectorAll("details")) one.open = Boolean(open);
  }

  tellDraft(text, ...deeds) {
    const key = [text, ...deeds.map(([label]) => label)].join("\n");
    if (this.drafting.dataset.told === key) return;
    this.drafting.dataset.told = key;
    this.drafting.replaceChildren(text, ...deeds.map(([label, deed]) => make("button", { type: "button", class: "quiet", on: { click: deed } }, label)));
  }

  insert(text, parts, done = true) {
    this.fromDraft = true;
    this.text.value = text;
    this.inserted = done ? null : text;
    if (done) {
      for (const one of parts.filter((it) => it.kind === "call")) {
        const tool = this.tools.find((known) => known.name === one.name) ?? { name: one.name, schema: null };
        this.addCall(tool, { name: one.name, json: one.arguments, exact: true }, false);
      }
    }
    this.changed();
  }

  // What others are told that this person is called; one without a name is somebody for as long as they write.
  self() {
    return this.by() || (Date.now() - this.told < 20_000 ? "somebody" : "");
  }

  tellWriting() {
    const now = Date.now();
    if (now - this.told < 5000) return;
    this.told = now;
    act("writing", { session: this.session.session, prompt: this.subject.prompt, by: this.by() }).catch(() => {});
  }

  // Words that the app hears as they are written

  turnLive() {
    if (this.live?.out) return; // there is no way back
    this.live = this.live ? null : { out: "", said: "", busy: false };
    this.say.setAttribute("aria-pressed", String(this.live !== null));
    this.say.textContent = this.live ? "Live on" : "Live off";
    this.more.hidden = this.live !== null;
    this.why.textContent = this.live && (this.reasoning.value.trim() || this.finish.value) ? "Live words go without the reasoning, and end as usual." : "";
    this.sayLive(false);
  }

  // Whole words go out; the last one is held back until the next begins, or all is sent.
  async sayLive(isAll) {
    const { live, session, subject } = this;
    if (!live || live.over) return;
    const { value } = this.text;
    if (!value.startsWith(live.out)) {
      this.text.value = live.out;
      this.why.textContent = "What the app has heard cannot be changed.";
      return;
    }
    if (isAll && !value.trim()) {
      this.why.textContent = "An answer needs words.";
      return;
    }
    live.all ||= isAll;
    live.next = live.all ? value : value.slice(0, value.search(/\s\S*$/) + 1);
    if (live.busy || (live.next.length <= live.said.length && !live.all)) return;
    live.busy = true;
    try {
      while ((live.next.length > live.said.length || live.all) && !live.over) {
        const [text, all] = [live.next.slice(live.said.length), Boolean(live.all)];
        live.out = live.next;
        const told = await act("type", { session: session.session, prompt: subject.prompt, at: live.said.length, text, all, by: this.by() });
        if (!all && told.said.length <= live.said.length) break; // it takes no more, and says no more of it
        live.said = told.said;
        live.over = all;
      }
      if (live.over) {
        forgetDraft(this.key);
        if (this.live === live) {
          this.live = null;
          this.key = "";
          this.deeds.sent();
        }
      }
    } catch (error) {
      this.why.textContent = error.message;
      // Whatever has become of it, no more of it goes out: what waits now is shown, and what was written is kept.
      if (error.status === 409 && error.code !== "said") {
        live.over = true;
        if (this.live === live) {
          this.live = null;
          this.key = "";
        }
        this.deeds.late(live.said ? `${error.message} The app had heard ${live.said.length} characters.` : error.message);
      }
    } finally {
      live.busy = false;
    }
  }

  // Somebody went on to another call: what was said is all.
  endLive() {
    if (this.live?.out) this.sayLive(true);
    this.live = null;
  }

  async submit() {
    if (!this.text || this.sending) return;
    if (this.live && (this.live.out || !this.calls.length)) {
      await this.sayLive(true);
      return;
    }
    let calls;
    try {
      calls = this.calls.map((one) => ({ name: one.name, arguments: one.read() }));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.why.textContent = error.message;
      error.input.focus();
      return;
    }
    await this.give("answer", { text: this.text.value, calls, reasoning: this.reasoning.value, finish: this.finish.value || null, from_draft: this.fromDraft });
  }

  async fail(value) {
    const message = this.text.value.trim();
    if (value === "refusal") await this.give("answer", { text: message || "I cannot help with that.", refusal: true });
    else if (value === "cut") await this.give("cut", { text: this.text.value });
    else await this.give("fail", { status: Number(value), message });
  }

  async give(name, body) {
    if (this.sending) return;
    clearTimeout(this.checking);
    const { key } = this;
    this.sending = true;
    this.update();
    this.why.textContent = "";
    try {
      await act(name, { session: this.session.session, prompt: this.subject.prompt, by: this.by(), ...body });
      forgetDraft(key);
      this.deeds.sent();
    } catch (error) {
      if (this.key === key) this.why.textContent = error.message;
      if (error.status === 409) this.deeds.late(error.message);
    } finally {
      this.sending = false;
      this.update();
    }
  }

  focus() {
    this.text?.focus();
  }
}
