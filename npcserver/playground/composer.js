/**
 * Where the player speaks: the input, the voices, whom it is for. Reports what is meant; knows
 * nothing of who can hear it.
 */

import { html } from "./dom.js";
import { t } from "./i18n.js";

const TYPING_MS = 280;
const MOST_ADDRESSED = 8;

export class Composer {
  /**
   * @param {{form: HTMLFormElement, input: HTMLTextAreaElement, stop: HTMLElement, addressees: HTMLElement}} parts
   * @param {{onSay: (text: string, volume: string) => void, onTyping: (text: string) => void,
   *   onStop: () => void, onVoice: (volume: string | null) => void,
   *   onAddressed: (ids: Set<string>) => void, nameOf: (id: string) => string}} events
   */
  constructor({ form, input, stop, addressees }, events) {
    Object.assign(this, { form, input, addressees, events });
    /** @type {Set<string>} */
    this.to = new Set();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.say("talk");
    });
    input.addEventListener("keydown", (event) => {
      // An Enter that ends the choice of a character (IME) is not yet meant as "say".
      if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.say("talk");
    });
    input.addEventListener("input", (event) => this.changed(/** @type {any} */ (event).isComposing));
    input.addEventListener("compositionend", () => this.changed(false));
    stop.addEventListener("click", () => events.onStop());
    for (const button of form.querySelectorAll("[data-volume]")) {
      const { volume } = button.dataset;
      if (volume !== "talk") button.addEventListener("click", () => this.say(volume));
      for (const type of ["pointerenter", "focus"]) button.addEventListener(type, () => events.onVoice(volume));
      for (const type of ["pointerleave", "blur"]) button.addEventListener(type, () => events.onVoice(null));
    }
  }

  /** @returns {boolean} whether something is written */
  get isWriting() {
    return this.input.value.trim() !== "";
  }

  say(volume) {
    const text = tidy(this.input.value);
    if (!text) return this.input.focus();
    clearTimeout(this.timer);
    this.write("");
    this.events.onSay(text, volume);
  }

  /**
   * Put text into the input.
   * @param {string} text
   */
  write(text) {
    this.input.value = text;
    this.grow();
  }

  changed(isComposing) {
    this.grow();
    this.events.onVoice(null);
    if (isComposing) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.events.onTyping(tidy(this.input.value)), TYPING_MS);
  }

  grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight + 2}px`;
  }

  /**
   * Begin or stop to speak to somebody.
   * @param {string} id
   */
  toggle(id) {
    if (!this.to.delete(id) && this.to.size < MOST_ADDRESSED) this.to.add(id);
    this.showAddressed();
  }

  /**
   * Speak only to those who are still there.
   * @param {(id: string) => boolean} isHere
   */
  keep(isHere) {
    for (const id of this.to) if (!isHere(id)) this.to.delete(id);
    this.showAddressed();
  }

  showAddressed() {
    const chips = [...this.to].map((id) => {
      const name = this.events.nameOf(id);
      const chip = html("button", { type: "button", class: "chip", "aria-label": t("say.unaddress", { name }) });
      chip.append(html("span", { text: t("say.to", { name }) }), html("span", { class: "cross", text: "×" }));
      chip.addEventListener("click", () => {
        this.toggle(id);
        this.input.focus();
      });
      return chip;
    });
    this.addressees.replaceChildren(...chips);
    this.events.onAddressed(this.to);
  }
}

/** What the wire takes: one line, without control characters or direction overrides. */
function tidy(text) {
  return text.replace(/[\s\u2028\u2029]+/gu, " ").replace(/[\p{Cc}\p{Cs}\p{Co}\u202a-\u202e\u2066-\u2069]/gu, "").trim();
}
