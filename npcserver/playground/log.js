/**
 * Everything said, as a list one can read back and copy. Knows nothing of bubbles or the socket.
 *
 * @typedef {{kind: "line" | "note", at: number, speaker?: string, name?: string, to?: string[],
 *   volume?: string, text: string, emotion?: string, actions?: string[], status?: string,
 *   reason?: string, ttft?: number, heard?: number, turn?: string, isSelf?: boolean,
 *   rating?: "good" | "bad" | "none"}} Entry
 *   `rating`, where there is one, makes the line one that can be rated.
 */

import { html } from "./dom.js";
import { listed, t } from "./i18n.js";

const MOST = 1000;

export class Log {
  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} count
   * @param {(entry: Entry, rating: string) => void} onRate
   * @param {(entry: Entry) => void} onWhy
   */
  constructor(list, count, onRate, onWhy) {
    Object.assign(this, { list, count, onRate, onWhy });
    /** @type {Entry[]} */
    this.entries = [];
  }

  /**
   * @param {Omit<Entry, "at"> & {at?: number}} entry
   * @returns {Entry}
   */
  add(entry) {
    const whole = { at: Date.now(), ...entry };
    this.entries.push(whole);
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 60;
    this.list.append(this.row(whole));
    if (this.entries.length > MOST) {
      this.entries.shift();
      this.list.firstElementChild.remove();
    }
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
    this.count.textContent = String(this.entries.filter(({ kind }) => kind === "line").length);
    return whole;
  }

  /**
   * Lines of the past, without reading them all aloud; those that are here already are left out.
   * @param {Omit<Entry, "kind">[]} lines
   */
  recall(lines) {
    this.list.setAttribute("aria-live", "off");
    const known = new Set(this.entries.map(({ speaker, text }) => `${speaker}\n${text}`));
    for (const line of lines) {
      if (!known.has(`${line.speaker}\n${line.text}`)) this.add({ kind: "line", ...line });
    }
    setTimeout(() => this.list.setAttribute("aria-live", "polite"), 500);
  }

  /**
   * Add something to an entry.
   * @param {Entry | undefined} entry
   * @param {Partial<Entry>} more
   */
  amend(entry, more) {
    const index = this.entries.indexOf(entry);
    if (index < 0) return;
    Object.assign(entry, more);
    this.list.children[index].replaceWith(this.row(entry));
  }

  /** Say everything again, in the page's language of now. */
  redraw() {
    this.list.setAttribute("aria-live", "off");
    this.list.replaceChildren(...this.entries.map((entry) => this.row(entry)));
    this.list.scrollTop = this.list.scrollHeight;
    setTimeout(() => this.list.setAttribute("aria-live", "polite"), 500);
  }

  /** Forget everything: another scene begins. */
  clear() {
    this.entries = [];
    this.list.replaceChildren();
    this.count.textContent = "";
  }

  /** @param {Entry} entry */
  row(entry) {
    const item = row(entry);
    if (entry.rating) item.append(this.thumbs(entry));
    return item;
  }

  /** Two buttons; pressing the one that is pressed already takes the rating back. */
  thumbs(entry) {
    const button = (rating, sign) => {
      const pressed = String(entry.rating === rating);
      const title = t(`rate.${rating}`);
      const node = html("button", { type: "button", class: "thumb", "aria-pressed": pressed, title, text: sign });
      node.addEventListener("click", () => {
        const now = entry.rating === rating ? "none" : rating;
        this.onRate(entry, now);
        this.amend(entry, { rating: now });
      });
      return node;
    };
    const why = html("button", { type: "button", class: "thumb why", title: t("log.why"), text: "?" });
    why.addEventListener("click", () => this.onWhy(entry));
    return html("span", { class: "thumbs" }, button("good", "👍"), button("bad", "👎"), why);
  }

  /** @returns {string} the log as plain text, a line each */
  text() {
    return this.entries.map((entry) => {
      const time = new Date(entry.at).toTimeString().slice(0, 8);
      if (entry.kind === "note") return `[${time}] * ${entry.text}`;
      const notes = details(entry);
      return `[${time}] ${heading(entry)}: ${entry.text}${notes.length ? `  {${notes.join("; ")}}` : ""}`;
    }).join("\n");
  }
}

function row(entry) {
  if (entry.kind === "note") return html("li", { class: "note", text: entry.text });
  const notes = details(entry);
  const item = html(
    "li",
    { class: entry.isSelf ? "line own" : "line", "data-status": entry.status ?? "" },
    html("span", { class: "speaker", text: heading(entry) }),
    html("span", { class: "said", text: entry.text }),
  );
  if (entry.turn) item.dataset.turn = entry.turn;
  if (notes.length) item.append(html("span", { class: "details", text: notes.join(" · ") }));
  return item;
}

function heading({ name, to, volume }) {
  const how = volume && volume !== "talk" ? ` ${t(`volume.${volume}`)}` : "";
  return `${name}${how}${to?.length ? ` → ${listed(to)}` : ""}`;
}

function details({ emotion, actions = [], status, reason, ttft, heard, text }) {
  const of = Array.from(text).length;
  return [
    emotion,
    ...actions,
    status && [t(`status.${status}`), reason].filter(Boolean).join(": "),
    ttft !== undefined && t("log.ttft", { ms: ttft }),
    heard !== undefined && heard < of && t("log.heard", { n: heard, of }),
  ].filter(Boolean);
}
