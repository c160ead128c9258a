// What goes over the wire: questions, deeds and the feed. Knows nothing of the page.

export class Refused extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function told(reply) {
  if (reply.status === 401) {
    location.reload(); // the page that says how to log in
    throw new Refused(401, "You are logged out.", "logged_out");
  }
  let value = null;
  try {
    value = await reply.json();
  } catch {
    throw new Refused(reply.status, `The proxy answered with ${reply.status}.`, "no_json");
  }
  if (!reply.ok) {
    throw new Refused(reply.status, value?.error?.message ?? `The proxy answered with ${reply.status}.`, value?.error?.code ?? "");
  }
  return value;
}

async function sent(url, options) {
  let reply;
  try {
    reply = await fetch(url, options);
  } catch {
    throw new Refused(0, "The proxy does not answer. What you wrote is kept here.", "offline");
  }
  return told(reply);
}

export function ask(name, query = {}) {
  const fields = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(fields).toString();
  return sent(`/console/api/${name}${text ? `?${text}` : ""}`, { cache: "no-store" });
}

export function act(name, body) {
  return sent(`/console/api/${name}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

// The browser comes back by itself, with the number of the last event. `reset` says that something was missed.
export function follow({ changes, reset, state }) {
  let source = null;
  let again = null;
  function open() {
    source = new EventSource("/console/api/feed");
    source.addEventListener("hello", (event) => state(true, JSON.parse(event.data)));
    source.addEventListener("reset", (event) => {
      state(true, JSON.parse(event.data));
      reset();
    });
    source.addEventListener("changes", (event) => changes(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      state(false, null);
      if (source.readyState === EventSource.CLOSED && again === null) {
        // It gave up: the proxy is down, or wants a login.
        again = setTimeout(async () => {
          again = null;
          try {
            const reply = await fetch("/console/api/sessions", { cache: "no-store" });
            if (reply.status === 401) return location.reload();
          } catch {
            // still down
          }
          open();
        }, 1500);
      }
    });
  }
  open();
}
