// Texts that are used again: kept in this browser, put in where the cursor is.

import { forgetSnippet, keepSnippet, snippets } from "./kept.js";
import { make } from "./parts.js";

export class Snippets {
  constructor() {
    this.dialog = document.getElementById("snippets");
    this.body = document.getElementById("snippets-body");
  }

  // `text` is what is written now; `put` is told the text of the one that is chosen.
  open(text, put) {
    this.draw(text, put);
    if (!this.dialog.open) this.dialog.showModal();
  }

  draw(text, put) {
    const known = snippets();
    const name = make("input", { id: "snippet-name", maxlength: "60", autocomplete: "off" });
    name.value = text.trim().split("\n")[0].slice(0, 30);
    const save = () => {
      if (!name.value.trim()) return;
      keepSnippet(name.value.trim(), text);
      this.draw(text, put);
      this.body.querySelector("button")?.focus();
    };
    name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // it would press the button that has the focus by then
      save();
    });
    this.body.replaceChildren(
      known.length
        ? make(
            "ul",
            { class: "routes" },
            ...known.map((one) =>
              make(
                "li",
                {},
                make("strong", {}, one.name),
                make("p", { class: "facts" }, one.text.length > 120 ? `${one.text.slice(0, 120)}\u2026` : one.text),
                make(
                  "div",
                  { class: "deeds" },
                  make("button", { type: "button", class: "main", "aria-label": `Insert ${one.name}`, on: { click: () => this.choose(one.text, put) } }, "Insert"),
                  make("button", { type: "button", "aria-label": `Remove ${one.name}`, on: { click: () => this.remove(one.name, text, put) } }, "Remove"),
                ),
              ),
            ),
          )
        : make("p", { class: "none" }, "None yet. Write an answer, and save it here."),
      text.trim()
        ? make(
            "div",
            { class: "field" },
            make("label", { for: "snippet-name" }, "Save this text as"),
            make("div", { class: "deeds" }, name, make("button", { type: "button", on: { click: save } }, "Save")),
          )
        : "",
      make("div", { class: "deeds" }, make("button", { type: "button", on: { click: () => this.dialog.close() } }, "Close")),
    );
  }

  choose(text, put) {
    this.dialog.close();
    put(text);
  }

  remove(name, text, put) {
    forgetSnippet(name);
    this.draw(text, put);
    this.body.querySelector("button")?.focus();
  }
}
