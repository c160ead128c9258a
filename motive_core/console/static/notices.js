// Tells a person who looks elsewhere that a call waits: by the browser, and by a sound. Both are off until asked for.

import { keepWish, wish } from "./kept.js";

export class Notices {
  constructor({ button, say }) {
    this.button = button;
    this.say = say;
    this.known = null;
    this.sound = null;
    button.addEventListener("click", () => this.turn(!this.on));
    this.show(wish("notices"));
  }

  show(on) {
    this.on = on;
    this.button.setAttribute("aria-pressed", String(on));
    this.button.textContent = on ? "Notices on" : "Notices off";
  }

  async turn(on) {
    this.show(on);
    keepWish("notices", on);
    if (!on) return;
    this.beep(); // a browser plays sounds only after somebody has clicked
    const able = "Notification" in window;
    const allowed = able && (Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission);
    this.say(allowed === "granted" ? "A notice and a sound tell you when a call waits." : "This browser shows no notices of this page: a sound tells you when a call waits.");
  }

  // `rows` are the sessions that have changed; a prompt is told once.
  waits(rows) {
    const waiting = new Map(rows.flatMap((row) => row.waiting.map((one) => [`${row.session}\n${one.prompt}`, row])));
    if (this.known === null) {
      this.known = new Set(waiting.keys());
      return;
    }
    const fresh = [...waiting].filter(([key]) => !this.known.has(key));
    for (const [key] of fresh) this.known.add(key);
    if (this.known.size > 5000) this.known = new Set([...this.known].slice(-1000));
    if (!fresh.length || !this.on || document.hasFocus()) return;
    const [, row] = fresh[0];
    this.beep();
    if ("Notification" in window && Notification.permission === "granted") {
      const told = new Notification(`${row.session} waits for you`, { body: row.title, tag: `motive ${row.session}` });
      told.addEventListener("click", () => {
        window.focus();
        told.close();
      });
    }
  }

  beep() {
    try {
      this.sound ??= new AudioContext();
      const tone = this.sound.createOscillator();
      const volume = this.sound.createGain();
      const now = this.sound.currentTime;
      tone.frequency.setValueAtTime(660, now);
      tone.frequency.setValueAtTime(880, now + 0.09);
      volume.gain.setValueAtTime(0.08, now);
      volume.gain.exponentialRampToValueAtTime(0.001, now + 0.25);
      tone.connect(volume).connect(this.sound.destination);
      tone.start(now);
      tone.stop(now + 0.26);
    } catch {
      // no sound here
    }
  }
}
