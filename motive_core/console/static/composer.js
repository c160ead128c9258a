// The answer: words, tool calls by a form, an error, or the real service. A draft is kept for each call in this browser.

import { act } from "./wire.js";
import { make } from "./parts.js";
import { fieldsOf, hasFields, Problem } from "./form.js";

const KEPT = 100;
const FAILURES = [
  ["429", "429 too many requests"],
  ["500", "500 failed"],
  ["503", "503 unavailable"],
  ["529", "529 overloaded"],
  ["400", "400 bad request"],
  ["refusal", "a refusal of the model"],
];

export class Composer {
  constructor({ deeds, by }) {
    this.deeds = deeds;
    this.by = by;
    this.element = document.getElementById("composer");
    this.key = "";
    this.sending = false;
    this.told = 0;
  }

  // Draws anew only if another call is to be answered: what is being written stays.
  show(session, subject) {
    const prompt = subject?.undecided !== undefined ? subject.prompt : "";
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
    const tools = (subject.request?.tools ?? subject.tools ?? []).filter((one) => one.schema !== null);
    const draft = read(this.key);
    this.text = make("textarea", { id: "text", rows: "6", placeholder: "What the model says", "aria-label": "Answer", "aria-describedby": "why" });
    this.text.value = draft.text ?? "";
    this.text.addEventListener("input", () => {
      this.keep();
      this.tellWriting();
    });
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
    this.element.replaceChildren(
      make("h2", { class: "hidden" }, "Your answer"),
      this.writers,
      this.text,
      this.list,
      this.why,
      make("div", { class: "deeds" }, this.send, tools.length ? pick : null, fail, this.pass),
    );
    for (const one of draft.calls ?? []) {
      const tool = tools.find((known) => known.name === one.name);
      if (tool) this.addCall(tool, one, false);
    }
    this.update();
  }

  update() {
    if (!this.text) return;
    const { subject, session } = this;
    this.pass.hidden = !subject.can_pass;
    const others = Object.entries(session.writing ?? {})
      .filter(([prompt, who]) => prompt === subject.prompt && who !== this.by())
      .map(([, who]) => who);
    this.writers.textContent = others.length ? `${others.join(", ")} is writing an answer to this call.` : "";
    this.send.disabled = this.sending;
  }

  addCall(tool, draft, focus) {
    const form = hasFields(tool.schema) ? fieldsOf(tool.schema) : null;
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
      this.keep();
    });
    call.element.addEventListener("input", () => this.keep());
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
    write(this.key, { text: this.text.value, calls });
  }

  tellWriting() {
    const now = Date.now();
    if (now - this.told < 5000) return;
    this.told = now;
    act("writing", { session: this.session.session, prompt: this.subject.prompt, by: this.by() }).catch(() => {});
  }

  async submit() {
    if (!this.text || this.sending) return;
    let calls;
    try {
      calls = this.calls.map((one) => ({ name: one.name, arguments: one.read() }));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.why.textContent = error.message;
      error.input.focus();
      return;
    }
    await this.give("answer", { text: this.text.value, calls });
  }

  async fail(value) {
    const message = this.text.value.trim();
    if (value === "refusal") await this.give("answer", { text: message || "I cannot help with that.", refusal: true });
    else await this.give("fail", { status: Number(value), message });
  }

  async give(name, body) {
    if (this.sending) return;
    const { key } = this;
    this.sending = true;
    this.update();
    this.why.textContent = "";
    try {
      await act(name, { session: this.session.session, prompt: this.subject.prompt, by: this.by(), ...body });
      forget(key);
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

// Drafts, the latest of them. Where the browser keeps nothing, they last as long as the page.
const page = new Map();

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(`draft\n${key}`) ?? "null") ?? page.get(key) ?? {};
  } catch {
    return page.get(key) ?? {};
  }
}

function write(key, value) {
  page.set(key, value);
  try {
    if (!value.text && !value.calls.length) localStorage.removeItem(`draft\n${key}`);
    else localStorage.setItem(`draft\n${key}`, JSON.stringify({ ...value, at: Date.now() }));
    const known = Object.keys(localStorage).filter((one) => one.startsWith("draft\n"));
    if (known.length > KEPT) {
      const at = (one) => JSON.parse(localStorage.getItem(one) ?? "{}").at ?? 0;
      localStorage.removeItem(known.sort((one, other) => at(one) - at(other))[0]);
    }
  } catch {
    // full, or switched off
  }
}

function forget(key) {
  page.delete(key);
  try {
    localStorage.removeItem(`draft\n${key}`);
  } catch {
    // switched off
  }
}
