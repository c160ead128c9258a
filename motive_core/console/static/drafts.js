// What a form must not lose of a tool call that the real model has made.

const LONG_NUMBER = /\d{16}/; // more than a number of a browser can carry

// Puts arguments into a form. False if it does not give the same ones back: then they are edited as JSON.
export function exactly(form, json) {
  if (LONG_NUMBER.test(json)) return false;
  try {
    const value = JSON.parse(json);
    form.write(value);
    return JSON.stringify(sorted(form.read())) === JSON.stringify(sorted(value));
  } catch {
    return false;
  }
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])]));
}
