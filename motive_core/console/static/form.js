// A form for a tool call, from the tool's JSON Schema. What a schema says that no field can carry is written as JSON.

import { make } from "./parts.js";

const DEPTH = 3;
const FIELDS = 60; // with more of them, JSON is quicker to write

export function fieldFor(name, schema, required, depth = 0) {
  const own = plain(schema);
  const id = `f${Math.random().toString(36).slice(2)}`;
  const kind = kindOf(own);
  const note = typeof own.description === "string" ? own.description : "";
  const title = make("span", { class: "name" }, name, required ? make("span", { class: "needed" }, " required") : null);
  const hint = note ? make("span", { class: "hint", id: `${id}-hint` }, note) : null;
  const described = hint ? { "aria-describedby": `${id}-hint` } : {};

  if (kind === "object" && depth < DEPTH) {
    const inner = fieldsOf(own, depth + 1);
    const element = make("fieldset", {}, make("legend", {}, title), hint, ...inner.elements);
    return { element, read: () => inner.read(required), write: (value) => inner.write(value) };
  }
  let input;
  if (kind === "enum") {
    input = make("select", { id, ...described }, required ? null : make("option", { value: "" }, ""));
    own.enum.forEach((value, at) => input.append(make("option", { value: String(at) }, typeof value === "string" ? value : JSON.stringify(value))));
  } else if (kind === "boolean") {
    input = make("select", { id, ...described }, required ? null : make("option", { value: "" }, ""), make("option", { value: "true" }, "true"), make("option", { value: "false" }, "false"));
  } else if (kind === "number" || kind === "integer") {
    input = make("input", { id, type: "number", step: kind === "integer" ? "1" : "any", ...described });
  } else if (kind === "string") {
    input = make("textarea", { id, rows: "1", ...described });
  } else {
    input = make("textarea", { id, rows: "2", class: "json", placeholder: kind === "array" ? "[ ]  as JSON" : "as JSON", ...described });
  }
  const element = make("div", { class: "field" }, make("label", { for: id }, title), input, hint);
  return {
    element,
    read() {
      const text = input.value;
      if (kind === "string") return text === "" && !required ? undefined : text;
      if (text === "") {
        if (required) throw new Problem(input, `${name} is required`);
        return undefined;
      }
      if (kind === "enum") return own.enum[Number(text)];
      if (kind === "boolean") return text === "true";
      if (kind === "number" || kind === "integer") return Number(text);
      try {
        return JSON.parse(text);
      } catch {
        throw new Problem(input, `${name} is not JSON`);
      }
    },
    write(value) {
      if (value === undefined) return;
      if (kind === "enum") input.value = String(own.enum.findIndex((one) => JSON.stringify(one) === JSON.stringify(value)));
      else input.value = kind === "string" && typeof value === "string" ? value : typeof value === "object" ? JSON.stringify(value) : String(value);
    },
  };
}

export class Problem extends Error {
  constructor(input, message) {
    super(message);
    this.input = input;
  }
}

export function fieldsOf(schema, depth = 0) {
  const own = plain(schema);
  const properties = own.properties && typeof own.properties === "object" ? own.properties : {};
  const needed = new Set(Array.isArray(own.required) ? own.required : []);
  const fields = Object.entries(properties).map(([name, one]) => [name, fieldFor(name, one, needed.has(name), depth)]);
  return {
    elements: fields.map(([, one]) => one.element),
    read(required = true) {
      const found = {};
      for (const [name, one] of fields) {
        const value = one.read();
        if (value !== undefined) Object.defineProperty(found, name, { value, enumerable: true });
      }
      return Object.keys(found).length || required ? found : undefined;
    },
    write(value) {
      if (!value || typeof value !== "object") return;
      for (const [name, one] of fields) if (Object.hasOwn(value, name)) one.write(value[name]);
    },
  };
}

export function hasFields(schema) {
  const own = plain(schema);
  const count = own.properties && typeof own.properties === "object" ? Object.keys(own.properties).length : 0;
  return count > 0 && count <= FIELDS;
}

function plain(schema) {
  return schema && typeof schema === "object" && !Array.isArray(schema) ? schema : {};
}

function kindOf(schema) {
  if (Array.isArray(schema.enum) && schema.enum.length) return "enum";
  const kind = Array.isArray(schema.type) ? schema.type.find((one) => one !== "null") : schema.type;
  if (kind === "object") return hasFields(schema) ? "object" : "json";
  return ["string", "number", "integer", "boolean", "array"].includes(kind) ? kind : "json";
}
