/**
 * Why a character said that: a panel with all that a turn hung on, as the server finds it again in
 * its journal. Only admins are told; on a server without a secret, everybody is one.
 */

import { html } from "./dom.js";
import { t } from "./i18n.js";

const MEASURES = ["trust", "familiarity", "debt"];
/** One in ten to the power of this is marked the strongest. */
const UNHEARD_OF = 4;

export class Inspector {
  /** @param {HTMLDialogElement} dialog */
  constructor(dialog) {
    this.dialog = dialog;
  }

  /**
   * @param {string} turn
   * @param {{scene: string, instance: string, token?: string} | null} visit
   */
  async show(turn, visit) {
    if (!visit) return;
    const query = new URLSearchParams({ scene: visit.scene, instance: visit.instance });
    const headers = visit.token ? { Authorization: `Bearer ${visit.token}` } : {};
    const answer = await fetch(`/v1/admin/turns/${encodeURIComponent(turn)}?${query}`, { headers });
    const told = await answer.json();
    this.dialog.replaceChildren(...(answer.ok ? panel(told) : [html("p", { text: told.error.message })]), this.closing());
    this.dialog.showModal();
  }

  closing() {
    const button = html("button", { type: "button", class: "close", text: t("why.close") });
    button.addEventListener("click", () => this.dialog.close());
    return button;
  }
}

function panel(told) {
  const recalled = [...(told.example ? [`${told.example[0]} → ${told.example[1]}`] : []), ...told.facts, ...told.beside];
  return [
    html("h2", { text: told.text || told.status }),
    ...(told.authored ? part("why.authored", [html("p", { text: told.authored })]) : []),
    ...part("why.asked", [html("p", { text: told.line })]),
    ...part("why.speaker", told.because ? [html("p", { text: t(`because.${told.because}`) }), ...bars(told.odds)] : []),
    ...part("why.surprise", told.surprise ? surprise(told.surprise) : []),
    ...part("why.feeling", bars(told.emotions)),
    ...part("why.doing", bars(told.actions)),
    ...part("why.recalled", recalled.map((text) => html("p", { text }))),
    ...part("why.remembered", told.memories.map(memory)),
    ...part("why.known", [list(told.known)]),
    ...part("why.withheld", [list(told.withheld.map(({ fact, why }) => `${fact} — ${why}`))]),
    ...part("why.relation", [list([...MEASURES.map((name) => `${name} ${told.relation[name]}`), ...told.relation.moves])]),
    ...part("why.beats", told.beats.length ? [list(told.beats)] : []),
    ...part("why.prompt", [html("pre", { text: [...told.prompt.map(({ text }) => text), told.opening].join("\n\n") })]),
  ];
}

/** What was said, the stronger marked the less likely, and in words what was least likely. */
function surprise(pieces) {
  const marks = pieces.map(({ text, probability }) => {
    const mark = html("span", { class: "piece", text, title: probability.toPrecision(2) });
    mark.style.setProperty("--surprise", String(Math.min(1, -Math.log10(probability) / UNHEARD_OF)));
    return mark;
  });
  const least = pieces.reduce((one, other) => (other.probability < one.probability ? other : one));
  const legend = t("why.marked", { piece: least.text.trim(), chance: least.probability.toPrecision(2) });
  return [html("p", { class: "pieces" }, ...marks), html("p", {}, html("small", { text: legend }))];
}

/** A memory, and what brought it up. */
function memory(told) {
  const weights = ["relevance", "recency", "importance"].map((name) => `${t(`why.${name}`)} ${told[name].toFixed(2)}`);
  const why = [t(`why.${told.why}`), t(`why.${told.source}`), told.place, ...weights].filter(Boolean).join(" · ");
  return html("p", {}, html("span", { text: told.text }), html("br"), html("small", { text: why }));
}

function part(title, inner) {
  return inner.length ? [html("h3", { text: t(title) }), ...inner] : [];
}

function list(texts) {
  return html("ul", {}, ...texts.map((text) => html("li", { text })));
}

/** Probabilities, the likeliest first. */
function bars(chances) {
  return Object.entries(chances).sort(([, a], [, b]) => b - a).map(([name, chance]) =>
    html("div", { class: "chance" }, html("span", { text: name }), html("meter", { min: 0, max: 1, value: chance }), html("span", { text: chance.toFixed(2) })));
}
