// The inbox: sessions, or calls, in pages. Owns what is listed and which row has the focus.

import { ask } from "./wire.js";
import { ago, make } from "./parts.js";

const STATES = {
  waiting: "waiting",
  taken: "yours",
  paired: "paired",
  held: "held",
  listening: "listens",
  passed: "passed",
  passing: "passing",
  answered: "answered",
  noticed: "told",
  failed: "failed",
  gone: "gone",
};

export class List {
  constructor({ open, clock, by }) {
    this.by = by;
    this.open = open;
    this.clock = clock;
    this.kind = "sessions";
    this.rows = new Map();
    this.next = null;
    this.selected = "";
    this.element = document.getElementById("rows");
    this.none = document.getElementById("none");
    this.more = document.getElementById("more");
    this.only = document.getElementById("only");
    this.search = document.getElementById("search");
    this.asked = 0;
    this.loaded = false;
    this.more.addEventListener("click", () => this.load(true));
    this.only.addEventListener("change", () => this.load());
    let typing = null;
    this.search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.load(), 150);
    });
    for (const kind of ["sessions", "calls"]) {
      document.getElementById(`show-${kind}`).addEventListener("click", () => this.show(kind));
    }
  }

  show(kind) {
    this.kind = kind;
    for (const one of ["sessions", "calls"]) {
      document.getElementById(`show-${one}`).setAttribute("aria-pressed", String(one === kind));
    }
    this.load();
  }

  async load(further = false) {
    const number = ++this.asked;
    const words = this.search.value.trim();
    const query = this.kind === "sessions" ? { words, only: this.only.value } : { words, only: this.only.value };
    if (further) query[this.kind === "sessions" ? "after" : "before"] = this.next;
    const told = await ask(this.kind, query);
    if (number !== this.asked) return null; // another question was asked meanwhile
    if (!further) this.rows.clear();
    for (const row of told[this.kind]) this.rows.set(this.key(row), row);
    this.next = told.next;
    this.loaded = true;
    this.draw();
    return told;
  }

  key(row) {
    return this.kind === "sessions" ? row.session : row.call;
  }

  // What the feed tells. A search is asked again rather than judged here.
  take(changes) {
    if (!this.loaded) return;
    const rows = this.kind === "sessions" ? changes.sessions : changes.calls;
    if (!rows.length) return;
    const filtered = this.search.value.trim() || this.only.value;
    if (filtered) {
      if (!this.again) this.again = setTimeout(() => ((this.again = null), this.load()), 500);
      return;
    }
    for (const row of rows) {
      if (this.kind === "sessions" && !row.at && !row.waiting_count && !row.answerer) this.rows.delete(row.session);
      else this.rows.set(this.key(row), row);
    }
    if (this.rows.size > 400) for (const row of this.sorted().slice(300)) this.rows.delete(this.key(row)), (this.next ??= 300);
    this.draw();
  }

  sorted() {
    const rows = [...this.rows.values()];
    if (this.kind === "calls") return rows.sort((one, other) => other.number - one.number);
    const since = (row) => (row.waiting.length ? row.waiting[0].since : Infinity);
    return rows.sort((one, other) => {
      const [a, b] = [since(one), since(other)];
      return a === b ? (other.at ?? 0) - (one.at ?? 0) : a - b;
    });
  }

  longestWaiting() {
    return this.kind === "sessions" ? this.sorted().find((row) => row.waiting_count) : null;
  }

  select(session, call = "") {
    this.selected = session;
    this.selectedCall = call;
    this.draw();
  }

  draw() {
    const focused = document.activeElement?.closest?.("#rows li")?.dataset.key;
    this.element.replaceChildren(...this.sorted().map((row) => this.row(row)));
    if (focused !== undefined) this.button(focused)?.focus({ preventScroll: true });
    this.more.hidden = this.next === null;
    this.none.hidden = this.rows.size > 0;
    const sought = this.search.value.trim() || this.only.value;
    this.none.textContent = sought ? "Nothing like that." : "No calls yet. Point an app at the proxy: its calls show up here, those that pass, too.";
  }

  button(key) {
    return [...this.element.children].find((item) => item.dataset.key === key)?.querySelector("button");
  }

  row(row) {
    const isSession = this.kind === "sessions";
    const state = isSession ? stateOf(row) : row.state;
    const isOpen = isSession ? row.session === this.selected : row.call === this.selectedCall;
    const wait = isSession ? row.waiting[0] : null;
    const clock = make("span", { class: "clock", data: wait ? { since: wait.since, deadline: wait.deadline ?? "" } : { at: row.at ?? "" } });
    this.tickOne(clock);
    const writers = isSession ? Object.values(row.writing ?? {}).filter((who) => who !== this.by()) : [];
    const status = isSession ? row.latest_status : row.status;
    const refused = state === "passed" && status >= 400;
    const took = isSession ? null : row.took_s;
    const count = isSession && row.waiting_count > 1 ? ` ${row.waiting_count}` : "";
    return make(
      "li",
      { data: { key: this.key(row) } },
      make(
        "button",
        { type: "button", class: "row", "aria-current": isOpen ? "true" : null, on: { click: () => this.open(row) } },
        make("span", { class: "top" }, make("strong", {}, row.session), clock),
        make("span", { class: "title" }, row.title || "\u2014"),
        make(
          "span",
          { class: "meta" },
          make("span", { class: `state ${refused ? "failed" : state}` }, `${STATES[state] ?? state}${refused ? ` ${status}` : count}`),
          make("span", {}, nameOf(row.app)),
          row.model && row.model !== row.session ? make("span", {}, row.model) : null,
          make("span", {}, row.dialect),
          isSession ? make("span", {}, `${row.calls} ${row.calls === 1 ? "call" : "calls"}`) : row.by ? make("span", {}, `by ${row.by}`) : null,
          took !== null ? make("span", {}, `${took.toFixed(1)} s`) : null,
          writers.length ? make("span", { class: "writes" }, `${writers.join(", ")} writes`) : null,
        ),
      ),
    );
  }

  tickOne(clock) {
    const now = this.clock();
    const { since, deadline, at } = clock.dataset;
    if (since) {
      const left = deadline ? Number(deadline) - now : null;
      clock.textContent = left === null ? ago(now - Number(since)) : `${ago(now - Number(since))} / ${ago(left)} left`;
      clock.classList.toggle("late", left !== null && left < 60);
    } else if (at) {
      clock.textContent = ago(now - Number(at));
    }
  }

  tick() {
    for (const clock of document.querySelectorAll(".clock")) this.tickOne(clock);
  }

  move(step) {
    const buttons = [...this.element.querySelectorAll("button")];
    if (!buttons.length) return;
    const at = buttons.indexOf(document.activeElement);
    const from = at >= 0 ? at : buttons.findIndex((one) => one.getAttribute("aria-current"));
    buttons[Math.min(buttons.length - 1, Math.max(0, from < 0 ? 0 : from + step))].focus();
  }
}

export function stateOf(row) {
  if (row.waiting_count) return "waiting";
  if (row.taken) return "taken";
  if (row.answerer === "other") return "paired";
  return row.latest_state || "gone";
}

// The name of a user agent: the rest is versions and platforms.
export function nameOf(app) {
  return app.split(/[ /]/)[0] || "unknown app";
}
