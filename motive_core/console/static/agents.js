// "Answer this agent from now on": what to match by, what that would have caught, and the routes that are in force.

import { act, ask } from "./wire.js";
import { ago, make } from "./parts.js";

export class Agents {
  constructor({ clock, said, opened }) {
    this.clock = clock;
    this.said = said;
    this.opened = opened;
    this.dialog = document.getElementById("agents");
    this.body = document.getElementById("agents-body");
    document.getElementById("routes").addEventListener("click", () => this.list());
  }

  show(title, ...children) {
    document.getElementById("agents-title").textContent = title;
    this.body.replaceChildren(...children);
    if (!this.dialog.open) this.dialog.showModal();
  }

  async propose(call) {
    let told;
    try {
      told = (await ask("proposals", { call })).proposals;
    } catch (error) {
      this.said(error.message);
      return;
    }
    if (!told.length) {
      this.said("Nothing tells this agent from others.");
      return;
    }
    const why = make("p", { class: "why", role: "alert" });
    const caught = make("div", { class: "caught", "aria-live": "polite" });
    const match = make("textarea", { class: "json", rows: "5", "aria-label": "What is matched, as JSON" });
    const session = make("input", { id: "agent-session", maxlength: "200", autocomplete: "off" });
    const answer = make(
      "select",
      { id: "agent-answer" },
      make("option", { value: "pair" }, "I answer its calls"),
      make("option", { value: "review" }, "The real service answers, and I see its reply first"),
    );
    const draw = (one) => {
      const left = one.caught_count - one.caught.length;
      caught.replaceChildren(
        make("p", {}, `Of the latest ${one.looked_at} calls it takes ${one.caught_count}:`),
        make(
          "ul",
          { tabindex: "0", "aria-label": "Calls that it takes" },
          ...one.caught.map((row) => make("li", {}, row.title || "\u2014", " ", make("span", { class: "facts" }, `${row.session}, ${ago(this.clock() - row.at)} ago`))),
          left > 0 ? make("li", { class: "facts" }, `and ${left} more`) : null,
        ),
      );
    };
    const choose = (one) => {
      match.value = JSON.stringify(one.match, null, 2);
      session.value = one.session;
      why.textContent = "";
      draw(one);
    };
    const read = () => {
      try {
        return JSON.parse(match.value);
      } catch {
        why.textContent = "What is matched is not JSON.";
        match.focus();
        return null;
      }
    };
    match.addEventListener("change", async () => {
      const value = read();
      if (value === null) return;
      try {
        draw(await act("caught", { match: value }));
        why.textContent = "";
      } catch (error) {
        why.textContent = error.message;
      }
    });
    const put = make("button", { type: "button", class: "main" }, "Answer it from now on");
    put.addEventListener("click", async () => {
      const value = read();
      if (value === null) return;
      try {
        await act("put-route", { match: value, session: session.value, answer: answer.value });
        this.opened(session.value.trim());
        await this.list("It is in force: the agent's next call is held for you.");
      } catch (error) {
        why.textContent = error.message;
      }
    });
    this.show(
      "Answer this agent from now on",
      make(
        "fieldset",
        { class: "by" },
        make("legend", {}, "It is told from others by"),
        ...told.map((one, at) =>
          make(
            "label",
            {},
            make("input", { type: "radio", name: "by", value: String(at), checked: at === 0, on: { change: () => choose(one) } }),
            ` ${one.label} `,
            make("span", { class: "facts" }, `${one.caught_count} of the latest ${one.looked_at} calls`),
          ),
        ),
      ),
      make("details", { class: "more" }, make("summary", {}, "What is matched"), match),
      caught,
      make("div", { class: "field" }, make("label", { for: "agent-session" }, "Session"), session),
      make("div", { class: "field" }, make("label", { for: "agent-answer" }, "Who answers"), answer),
      why,
      make("div", { class: "deeds" }, put, this.closing()),
    );
    choose(told[0]);
  }

  closing() {
    return make("button", { type: "button", on: { click: () => this.dialog.close() } }, "Close");
  }

  async list(news = "") {
    let told;
    try {
      told = (await ask("routes")).routes;
    } catch (error) {
      this.said(error.message);
      return;
    }
    const why = make("p", { class: "why", role: "alert" });
    const deed = async (name, id, text) => {
      try {
        await act(name, { id });
        await this.list(text);
      } catch (error) {
        why.textContent = error.message;
      }
    };
    this.show(
      "Routes of this console",
      news ? make("p", { class: "fits", role: "status" }, news) : "",
      told.length
        ? make(
            "ul",
            { class: "routes" },
            ...told.map((one) =>
              make(
                "li",
                {},
                make("strong", {}, one.route.session ?? "{model}"),
                one.route.answer === "review" ? make("span", { class: "facts" }, " reviewed") : "",
                make("pre", {}, JSON.stringify(one.route.match, null, 2)),
                make(
                  "div",
                  { class: "deeds" },
                  make("button", { type: "button", on: { click: () => deed("save-route", one.id, "It is in the configuration file now.") } }, "Save to config"),
                  make("button", { type: "button", on: { click: () => deed("drop-route", one.id, "It is not in force any more.") } }, "Drop"),
                ),
              ),
            ),
          )
        : make("p", { class: "none" }, "None. Open a call of an app's own traffic, and choose to answer its agent from now on. Routes of the configuration file are not listed here."),
      why,
      make("div", { class: "deeds" }, this.closing()),
    );
  }
}
