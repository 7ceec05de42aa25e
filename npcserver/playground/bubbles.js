/**
 * Speech bubbles: shows a turn's words at a pace one can follow, and tells when they were shown. One
 * bubble a speaker. Knows nothing of the map but where a speaker's head is.
 *
 * @typedef {import("./turns.js").Turn} Turn
 */

import { html, prefersStill, set, svg } from "./dom.js";
import { t } from "./i18n.js";
import { placeBubbles, tail } from "./layout.js";

const TICK_MS = 40;
const PACE = { wide: 16, narrow: 42 }; // code points a second, for scripts with wide characters and others
const READ_MS = { wide: 170, narrow: 62 }; // a code point
const LEAST_READ_MS = 2600;
const FADE_MS = 700;
const WIDE = /[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]/;

export class Bubbles {
  /**
   * @param {HTMLElement} root
   * @param {SVGSVGElement} tails drawn over the root, for the tails
   * @param {{anchor: (id: string) => any, faces: () => any[]}} stage
   * @param {{onHeard: (turn: Turn, chars: number) => void,
   *   onFeeling: (turn: Turn, feeling: any) => void,
   *   onDoing: (turn: Turn, doing: any, wasShown: boolean) => void,
   *   onSpeaking: (id: string, speaks: boolean) => void,
   *   describe: (doing: any) => string, nameOf: (id: string) => string}} events
   */
  constructor(root, tails, stage, events) {
    Object.assign(this, { root, tails, stage, events });
    /** @type {Map<string, any>} by speaker */
    this.live = new Map();
    this.timer = setInterval(() => this.tick(), TICK_MS);
  }

  /**
   * A character takes the floor.
   * @param {Turn} turn
   */
  open(turn) {
    const bubble = this.add(turn.npc, turn.volume, { "data-turn": turn.id });
    Object.assign(bubble, { turn, shown: 0, felt: 0, done: 0 });
    this.events.onSpeaking(turn.npc, true);
  }

  /**
   * A line that is there at once: a player's, or something done.
   * @param {string} speaker
   * @param {string} text
   * @param {string} volume
   * @param {string} [direction] what is done beside the words
   */
  say(speaker, text, volume, direction) {
    const bubble = this.add(speaker, volume, { "data-line": "" });
    bubble.text.textContent = text;
    if (direction) this.direct(bubble, direction);
    bubble.node.classList.remove("thinks");
    this.finish(bubble, `${text}${direction ?? ""}`);
    this.arrange();
  }

  /**
   * Cut off what is still being said to a player.
   * @param {string} player
   */
  cut(player) {
    for (const bubble of this.live.values()) {
      const { turn } = bubble;
      if (!turn || bubble.finished || !turn.to.includes(player)) continue;
      bubble.isCut = true;
      this.advance(bubble, 0);
    }
  }

  /** Take all bubbles away. */
  clear() {
    for (const bubble of this.live.values()) this.remove(bubble);
  }

  add(speaker, volume, data) {
    const last = this.live.get(speaker);
    if (last) {
      if (last.turn && !last.finished) this.hurry(last);
      this.remove(last);
    }
    const text = html("span", { class: "words" });
    const doings = html("span", { class: "direction" });
    const who = html("span", { class: "who", text: this.events.nameOf(speaker) });
    const node = html("div", { class: `bubble ${volume} thinks`, ...data }, who, text, doings);
    const wedge = svg("path", { class: `tail ${volume}` });
    this.root.append(node);
    this.tails.append(wedge);
    const bubble = { speaker, node, text, doings, wedge, size: "" };
    this.live.set(speaker, bubble);
    this.arrange();
    return bubble;
  }

  tick() {
    let changed = false;
    for (const bubble of [...this.live.values()]) {
      if (bubble.turn && !bubble.finished) this.advance(bubble, this.elapsed());
      const size = `${bubble.node.offsetWidth}×${bubble.node.offsetHeight}`;
      changed ||= size !== bubble.size;
      bubble.size = size;
      if (bubble.fadeAt && performance.now() > bubble.fadeAt) {
        bubble.node.classList.add("fades");
        bubble.wedge.classList.add("fades");
        if (performance.now() > bubble.fadeAt + FADE_MS) this.remove(bubble);
      }
    }
    this.lastTick = performance.now();
    if (changed) this.arrange();
  }

  elapsed() {
    return (performance.now() - (this.lastTick ?? performance.now())) / 1000;
  }

  /** Show more of a turn: words at a pace, faces and actions where they belong in them. */
  advance(bubble, seconds) {
    const { turn } = bubble;
    const waiting = turn.points.length - bubble.shown;
    if (!bubble.isCut) {
      const pace = WIDE.test(turn.points[0] ?? "") ? PACE.wide : PACE.narrow;
      const due = prefersStill() ? waiting : seconds * pace * (1 + waiting / 70);
      bubble.shown = Math.min(turn.points.length, bubble.shown + due);
    }
    const shown = Math.floor(bubble.shown);
    const isAll = !bubble.isCut && turn.done && shown === turn.points.length;
    for (; bubble.felt < turn.feelings.length && turn.feelings[bubble.felt].at <= shown; bubble.felt++) {
      this.events.onFeeling(turn, turn.feelings[bubble.felt]);
    }
    for (; bubble.done < turn.doings.length && (isAll || turn.doings[bubble.done].at <= shown); bubble.done++) {
      const doing = turn.doings[bubble.done];
      this.direct(bubble, this.events.describe(doing));
      this.events.onDoing(turn, doing, true);
    }
    const words = turn.points.slice(0, shown).join("");
    const broken = bubble.isCut || (isAll && turn.done.status === "interrupted");
    bubble.text.textContent = broken && words ? `${words.trimEnd()}—` : words;
    bubble.text.scrollTop = bubble.text.scrollHeight;
    bubble.node.classList.toggle("thinks", !words && !turn.done && !bubble.isCut);
    if (turn.done && (isAll || bubble.isCut)) this.complete(bubble, shown);
  }

  complete(bubble, shown) {
    const { turn } = bubble;
    const { status, reason } = turn.done;
    if (status !== "completed" && status !== "interrupted") {
      this.direct(bubble, [t(`status.${status}`), reason].filter(Boolean).join(": "));
    }
    for (const doing of turn.doings.slice(bubble.done)) this.events.onDoing(turn, doing, false);
    const heard = Math.min(shown, turn.points.length);
    if (turn.points.length) this.events.onHeard(turn, heard);
    this.finish(bubble, turn.points.join(""));
    if (!bubble.text.textContent && !bubble.doings.textContent) this.remove(bubble);
  }

  /** The speaker goes on to something else: what is left was shown too briefly to be heard. */
  hurry(bubble) {
    bubble.isCut = true;
    if (bubble.turn.done) this.complete(bubble, Math.floor(bubble.shown));
  }

  finish(bubble, text) {
    bubble.finished = true;
    this.events.onSpeaking(bubble.speaker, false);
    const each = WIDE.test(text) ? READ_MS.wide : READ_MS.narrow;
    bubble.fadeAt = performance.now() + Math.max(LEAST_READ_MS, Array.from(text).length * each);
  }

  direct(bubble, words) {
    bubble.doings.append(html("span", { class: "doing", text: words }));
    bubble.node.classList.remove("thinks");
  }

  remove(bubble) {
    bubble.node.remove();
    bubble.wedge.remove();
    if (this.live.get(bubble.speaker) === bubble) this.live.delete(bubble.speaker);
    if (!bubble.finished) this.events.onSpeaking(bubble.speaker, false);
  }

  /** Find a place for every bubble. */
  arrange() {
    const { width, height } = this.root.getBoundingClientRect();
    if (!width || !this.live.size) return;
    set(this.tails, { viewBox: `0 0 ${width} ${height}` });
    const shown = [...this.live.values()].map((bubble) => ({
      bubble,
      w: bubble.node.offsetWidth,
      h: bubble.node.offsetHeight,
      anchor: this.stage.anchor(bubble.speaker) ?? { x: width / 2, y: height, r: 0 },
      last: bubble.last,
    }));
    const area = { x0: 8, y0: 8, x1: width - 8, y1: height - 8 };
    const spots = placeBubbles(shown, this.stage.faces(), area);
    for (const [i, { bubble, anchor }] of shown.entries()) {
      const spot = spots[i];
      bubble.last = { x: spot.x, bottom: spot.y + spot.h / 2 };
      bubble.node.style.transform = `translate(${Math.round(spot.x - spot.w / 2)}px, ${Math.round(spot.y - spot.h / 2)}px)`;
      set(bubble.wedge, { d: tail(spot, anchor) });
    }
  }
}
