/**
 * The way in: who plays, in which scene and instance. Remembers the last answer, and takes it from
 * the address where it is given there (`?scene=&player=&instance=&auto=1#token=…`). Knows nothing of
 * what happens after.
 *
 * @typedef {{scene: string, instance: string, token: string, player: {id: string, name: string}}} Choice
 */

import { subjectOf } from "./client.js";
import { byId, html } from "./dom.js";
import { listed, t } from "./i18n.js";

const KEY = "npcserver.playground";
const ID = /^[A-Za-z0-9_.-]{1,64}$/;
const NOT_IN_NAMES = /[()[\]{}<>:;|\\"`\p{C}]/u;

/** @returns {Record<string, string>} what was chosen before; empty where nothing may be stored */
export function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/** @param {Record<string, string>} values to remember beside the others */
export function remember(values) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...remembered(), ...values }));
  } catch {
    // private windows may refuse; then nothing is remembered
  }
}

export class Start {
  /** @param {(choice: Choice) => void} onEnter */
  constructor(onEnter) {
    this.onEnter = onEnter;
    this.asked = new URLSearchParams(location.search);
    this.token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
    this.name = byId("player-name");
    this.select = byId("scene-select");
    this.instance = byId("instance");
    this.scenes = [];
    const last = remembered();
    this.name.value = this.asked.get("player") ?? last.player ?? "";
    this.instance.value = this.asked.get("instance") ?? last.instance ?? "main";
    this.select.addEventListener("change", () => this.describe());
    this.name.addEventListener("input", () => this.check());
    byId("start-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.enter();
    });
  }

  /** Fetch the scenes; go in at once where the address says so. */
  async load() {
    try {
      const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
      const answer = await fetch(new URL("v1/scenes", document.baseURI), { headers });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      this.scenes = (await answer.json()).scenes;
    } catch (error) {
      this.fail(t("start.unreachable", { why: error.message }));
      setTimeout(() => this.load(), 4000);
      return;
    }
    this.fail(this.scenes.length ? "" : t("start.noscenes"));
    const options = this.scenes.map(({ id, name }) => html("option", { value: id, text: name }));
    this.select.replaceChildren(...options);
    const wanted = this.asked.get("scene") ?? remembered().scene;
    if (this.scenes.some(({ id }) => id === wanted)) this.select.value = wanted;
    this.describe();
    if (this.asked.get("auto") === "1") {
      this.asked.delete("auto");
      this.name.value ||= t("start.name.default");
      this.enter();
    }
  }

  /** Say what the chosen scene is. */
  describe() {
    const scene = this.scenes.find(({ id }) => id === this.select.value);
    byId("scene-about").textContent = scene?.about ?? "";
    const names = (scene?.npcs ?? []).map(({ name }) => name);
    byId("scene-cast").textContent = names.length ? t("start.cast", { names: listed(names) }) : "";
  }

  /**
   * Say what is wrong, in the form.
   * @param {string} why empty when all is well
   */
  fail(why) {
    const place = byId("start-error");
    place.textContent = why;
    place.hidden = !why;
  }

  check() {
    const isBad = NOT_IN_NAMES.test(this.name.value);
    this.name.setCustomValidity(isBad ? t("start.name.bad") : "");
  }

  enter() {
    this.check();
    if (!byId("start-form").reportValidity()) return;
    const name = this.name.value.trim().normalize("NFC");
    if (!name) return this.name.focus();
    const scene = this.select.value;
    const instance = this.instance.value;
    remember({ player: name, scene, instance });
    this.fail("");
    this.onEnter({ scene, instance, token: this.token, player: { id: this.idFor(name), name } });
  }

  /** The token's player, or the one the address names, or one made of the name and this browser. */
  idFor(name) {
    const given = subjectOf(this.token);
    if (given) return given;
    if (name === this.asked.get("player") && ID.test(name)) return name;
    let { browser } = remembered();
    if (!browser || !ID.test(browser)) {
      browser = Math.random().toString(36).slice(2, 8);
      remember({ browser });
    }
    const latin = name.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "").toLowerCase().slice(0, 24);
    const number = [...name].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) >>> 0, 7);
    return `${latin || "p"}-${number.toString(36)}-${browser}`;
  }
}
