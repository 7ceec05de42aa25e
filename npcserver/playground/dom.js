/**
 * Making elements, and nothing else. All text goes in as text nodes, so that nothing a player or a
 * character says is ever read as markup. Knows nothing of the scene.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * The element with an id; the page is broken without it.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html lacks #${id}`);
  return element;
}

/**
 * An HTML element.
 * @param {string} tag
 * @param {Record<string, string | number>} [attributes] `text` becomes its text
 * @param {...Node} children
 * @returns {any}
 */
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, string | number>} [attributes] `text` becomes its text
 * @param {...Node} children
 * @returns {any}
 */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = String(value);
    else element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * Set several attributes.
 * @param {Element} element
 * @param {Record<string, string | number>} attributes
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
}

/** @returns {boolean} whether the reader asked for less motion */
export function prefersStill() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
