// Elements, and the parts of a conversation as elements. Words of apps are put in as text and nothing else.

export function make(tag, fields = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "on") for (const [kind, handler] of Object.entries(value)) element.addEventListener(kind, handler);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

export function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "kB", "MB"]) {
    if (value < 1000) return `${unit === "B" ? value : value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} GB`;
}

export function ago(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} d`;
}

const LONG = 6000;

// A very long text is folded: its beginning, and the rest on request.
function text(value, kind = "text") {
  if (value.length <= LONG) return make("div", { class: kind }, value);
  const rest = make("div", { class: kind }, value.slice(0, LONG));
  const more = make("button", { type: "button", class: "quiet" }, `Show all ${value.length.toLocaleString("en")} characters`);
  more.addEventListener("click", () => {
    rest.textContent = value;
    more.remove();
  });
  return make("div", {}, rest, more);
}

export function part(one) {
  switch (one.kind) {
    case "text":
      return text(one.text);
    case "refusal":
      return make("div", { class: "part" }, make("span", { class: "label" }, "refusal"), text(one.text));
    case "reasoning":
      if (one.redacted) return make("div", { class: "part label" }, "encrypted reasoning");
      return make("details", { class: "part" }, make("summary", {}, "reasoning"), text(one.text));
    case "call":
      return make(
        "details",
        { class: "part tool" },
        make("summary", {}, make("span", { class: "label" }, "calls "), make("code", {}, one.name), " ", make("span", { class: "id" }, one.id)),
        make("pre", {}, pretty(one.arguments)),
      );
    case "result":
      return make(
        "details",
        { class: `part tool${one.error ? " wrong" : ""}` },
        make(
          "summary",
          {},
          make("span", { class: "label" }, one.error ? "error of " : "result of "),
          make("code", {}, one.name || "a call"),
          " ",
          make("span", { class: "id" }, one.id),
        ),
        ...one.parts.map((inner) => (inner.kind === "text" ? make("pre", {}, pretty(inner.text)) : part(inner))),
      );
    case "file": {
      const name = one.name || one.type || "file";
      if (one.image) return make("img", { class: "part", src: one.image, alt: name });
      // A link to somewhere else is shown, and never followed by itself.
      return make("div", { class: "part" }, make("span", { class: "label" }, name), " ", one.url || size(one.size_bytes ?? 0));
    }
    default:
      return make("details", { class: "part" }, make("summary", {}, `of ${one.dialect ?? "its dialect"} alone`), make("pre", {}, one.json ?? ""));
  }
}

export function message(one) {
  const role = one.name ? `${one.role} (${one.name})` : one.role;
  return make(
    "article",
    { class: `message ${["user", "assistant", "tool"].includes(one.role) ? one.role : "other"}${one.new ? " new" : ""}` },
    make("h3", {}, role, one.new ? make("span", { class: "badge" }, "new") : null),
    ...one.parts.map(part),
    one.parts.length ? null : make("p", { class: "none" }, "(empty)"),
  );
}
