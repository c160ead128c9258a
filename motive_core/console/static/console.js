// The page: which session is looked at, what the feed tells, and the keys.

import { act, ask, follow } from "./wire.js";
import { List } from "./list.js";
import { View } from "./view.js";
import { Composer } from "./composer.js";
import { Agents } from "./agents.js";
import { Notices } from "./notices.js";

const get = (id) => document.getElementById(id);
const by = get("by");
let skew = 0; // the proxy's clock less ours
let open = null; // { session, prompt, call }: what is looked at
let asked = 0;
let again = null;
let seen = { call: "", request: null }; // the last conversation that waited
let lost = null;

const clock = () => Date.now() / 1000 + skew;

try {
  by.value = localStorage.getItem("by") ?? "";
} catch {
  // switched off
}
by.addEventListener("change", () => {
  try {
    localStorage.setItem("by", by.value.trim());
  } catch {
    // switched off
  }
});

const deeds = {
  take: () => deed(() => act("take", { session: open.session }), `You answer ${open?.session} now.`),
  handBack: () => deed(() => act("hand-back", { session: open.session }), `${open?.session} is handed back.`),
  pass: () => deed(() => act("pass", { session: open.session, prompt: composer.subject.prompt }), "The real service answers this call."),
  shadow: (on) => deed(() => act("shadow", { session: open.session, on }), on ? "The real service is asked, too." : "The real service is not asked any more."),
  fromNowOn: (call) => agents.propose(call),
  look: (prompt) => look({ ...open, prompt, call: "" }),
  back: () => pane("list"),
  sent: () => {
    say("Sent.");
    open.prompt = "";
    refresh();
  },
  late: (message) => {
    toast(message);
    refresh();
  },
};

const list = new List({
  clock,
  by: () => composer.self(),
  open: (row) => {
    look({ session: row.session, prompt: "", call: list.kind === "calls" ? row.call : "" });
    pane("call");
  },
});
const view = new View({ deeds, clock });
const composer = new Composer({ deeds, by: () => by.value.trim() });

const agents = new Agents({
  clock,
  said: (text) => toast(text),
  opened: (session) => look({ session, prompt: "", call: "" }),
});
const notices = new Notices({ button: get("notices"), say: (text) => toast(text) });

async function deed(work, done) {
  if (!open) return;
  try {
    await work();
    say(done);
  } catch (error) {
    toast(error.message);
  }
  await refresh();
}

function look(what) {
  open = what;
  history.replaceState(null, "", `#${new URLSearchParams(Object.entries(what).filter(([, value]) => value))}`);
  list.select(what.session, what.call);
  return refresh();
}

// Ask for all of what is looked at, and draw it.
async function refresh() {
  if (!open) return;
  const number = ++asked;
  const what = open;
  try {
    const session = await ask("session", { name: what.session, prompt: what.prompt, known: seen.call });
    // All is told of one prompt: of the one that was asked for, if it still waits.
    const full = session.prompts.find((one) => one.request !== undefined || one.words !== undefined) ?? null;
    if (full?.request) seen = { call: full.call, request: full.request };
    else if (full && full.call && full.call === seen.call) full.request = seen.request;
    let subject = full;
    if (!subject || (what.call && what.call !== subject.call)) {
      const waiting = session.prompts.find((one) => one.call && one.call === what.call);
      if (waiting) {
        if (number === asked) look({ ...what, prompt: waiting.prompt, call: "" });
        return;
      }
      const call = what.call || session.latest;
      if (call) subject = await ask("call", { id: call }).catch(() => null);
    }
    if (number !== asked) return;
    if (subject && subject === full) open.prompt = subject.prompt;
    view.show(session, subject);
    composer.show(session, subject);
    list.tick();
  } catch (error) {
    if (number !== asked) return;
    if (error.status === 404) {
      view.empty(error.message);
      composer.show(null, null);
    } else if (error.status) toast(error.message);
  }
}

function pane(name) {
  document.body.dataset.pane = name;
}

function count(waiting) {
  get("count").textContent = waiting ? `${waiting} waiting` : "nothing waits";
  get("count").classList.toggle("some", waiting > 0);
  document.title = waiting ? `(${waiting}) Motive` : "Motive";
}

function say(text) {
  get("said").textContent = text;
}

let toasted = null;
function toast(text) {
  const element = get("toast");
  element.textContent = text;
  element.hidden = false;
  clearTimeout(toasted);
  toasted = setTimeout(() => (element.hidden = true), 8000);
}

async function load() {
  try {
    const told = await list.load();
    if (told?.waiting !== undefined) count(told.waiting);
    if (told?.sessions) notices.waits(told.sessions);
  } catch {
    // the feed says when the proxy is there again, and then it is asked again
  }
  await refresh();
}

follow({
  state(up, told) {
    if (up) {
      clearTimeout(lost);
      lost = null;
      get("link").hidden = true;
    } else {
      // It is cut now and then, and back at once.
      lost ??= setTimeout(() => (get("link").hidden = false), 2500);
    }
    if (told) skew = told.now - Date.now() / 1000;
  },
  reset: load,
  changes(told) {
    skew = told.now - Date.now() / 1000;
    count(told.waiting);
    notices.waits(told.sessions);
    list.take(told);
    for (const draft of told.drafts) composer.takeDraft(draft);
    const mine = open && (told.sessions.some((row) => row.session === open.session) || told.calls.some((row) => row.session === open.session));
    if (mine && again === null) {
      again = setTimeout(() => {
        again = null;
        refresh();
      }, 60);
    }
  },
});
setInterval(() => list.tick(), 1000);

get("help").addEventListener("click", () => get("keys").showModal());
get("logout").addEventListener("click", async () => {
  await act("../logout", {}).catch(() => {});
  location.replace("/console");
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    composer.submit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const field = event.target.closest?.("input, textarea, select");
  if (event.key === "Escape") {
    if (field) field.blur();
    else {
      pane("list");
      list.move(0);
    }
    return;
  }
  if (field) return;
  const down = event.target.closest?.("#rows");
  const keys = {
    j: () => list.move(1),
    k: () => list.move(-1),
    ArrowDown: down && (() => list.move(1)),
    ArrowUp: down && (() => list.move(-1)),
    t: () => (view.session?.taken ? deeds.handBack() : deeds.take()),
    r: () => composer.focus(),
    d: () => composer.askDraft(),
    p: () => composer.text && !composer.pass.hidden && deeds.pass(),
    n: () => {
      const row = list.longestWaiting();
      if (row) look({ session: row.session, prompt: "", call: "" }).then(() => composer.focus());
    },
    "/": () => get("search").focus(),
    "?": () => get("keys").showModal(),
  };
  const act = Object.hasOwn(keys, event.key) && keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

const start = new URLSearchParams(location.hash.slice(1));
if (start.get("session")) {
  open = { session: start.get("session"), prompt: start.get("prompt") ?? "", call: start.get("call") ?? "" };
  list.select(open.session, open.call);
  pane("call");
} else {
  view.empty("Choose a session. Calls that wait for an answer stand first.");
}
