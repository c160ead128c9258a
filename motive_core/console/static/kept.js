// What this browser keeps: drafts of answers, snippets, wishes. Where it keeps nothing, they last as long as the page.

const DRAFTS = 100;
const page = new Map();

function get(name) {
  try {
    return JSON.parse(localStorage.getItem(name) ?? "null") ?? page.get(name) ?? null;
  } catch {
    return page.get(name) ?? null;
  }
}

function set(name, value) {
  if (value === null) page.delete(name);
  else page.set(name, value);
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // full, or switched off
  }
}

export function draftOf(key) {
  return get(`draft\n${key}`) ?? {};
}

export function keepDraft(key, value) {
  const nothing = !value.text && !value.calls.length && !value.reasoning;
  set(`draft\n${key}`, nothing ? null : { ...value, at: Date.now() });
  try {
    const known = Object.keys(localStorage).filter((one) => one.startsWith("draft\n"));
    if (known.length > DRAFTS) {
      const at = (one) => JSON.parse(localStorage.getItem(one) ?? "{}").at ?? 0;
      localStorage.removeItem(known.sort((one, other) => at(one) - at(other))[0]);
    }
  } catch {
    // switched off
  }
}

export function forgetDraft(key) {
  set(`draft\n${key}`, null);
}

// Snippets: { name, text }, in the order of their names.

export function snippets() {
  return get("snippets") ?? [];
}

export function keepSnippet(name, text) {
  const others = snippets().filter((one) => one.name !== name);
  set("snippets", [...others, { name, text }].sort((one, other) => one.name.localeCompare(other.name)));
}

export function forgetSnippet(name) {
  set("snippets", snippets().filter((one) => one.name !== name));
}

export function wish(name) {
  return get(`wish\n${name}`) === true;
}

export function keepWish(name, on) {
  set(`wish\n${name}`, on ? true : null);
}
