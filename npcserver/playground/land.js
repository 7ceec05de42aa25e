/**
 * The paper the scene lies on: contour lines around the places, trails between them, a scale bar.
 * It is decoration but for the scale. Knows nothing of people.
 */

import { svg } from "./dom.js";

const CONTOURS = [88, 64, 43, 26, 12]; // px around the places, outermost first

/**
 * @param {SVGGElement} group what was there is replaced
 * @param {{x: number, y: number, w: number, h: number}[]} rects the places, in pixels
 * @param {number} scale pixels a metre
 * @param {{width: number, height: number}} size of the stage
 */
export function drawLand(group, rects, scale, size) {
  group.replaceChildren(
    ...CONTOURS.flatMap((grow, level) => contour(rects, grow, level)),
    ...trails(rects),
    scaleBar(scale, size),
  );
}

/** The outline around all places: strokes first, then fills over the strokes inside. */
function contour(rects, grow, level) {
  const shapes = (name) =>
    rects.map(({ x, y, w, h }, i) => {
      // Each a little different, so that it looks drawn and not computed.
      const wobble = (n) => Math.sin((i + 1) * 12.9 + level * 4.1 + n * 7.7) * grow * 0.16;
      return svg("rect", {
        class: `${name} level-${level}`,
        x: x - grow - wobble(1),
        y: y - grow - wobble(2),
        width: w + 2 * grow + wobble(1) + wobble(3),
        height: h + 2 * grow + wobble(2) + wobble(4),
        rx: 14 + grow * 0.9,
      });
    });
  return [...shapes("contour"), ...shapes("ground")];
}

/** The shortest net of trails that joins all places. */
function trails(rects) {
  const centre = ({ x, y, w, h }) => ({ x: x + w / 2, y: y + h / 2 });
  const joined = rects.slice(0, 1).map(centre);
  const left = rects.slice(1).map(centre);
  const paths = [];
  while (left.length) {
    let best = { far: Infinity };
    for (const from of joined) {
      for (const [i, to] of left.entries()) {
        const far = Math.hypot(from.x - to.x, from.y - to.y);
        if (far < best.far) best = { far, from, to, i };
      }
    }
    left.splice(best.i, 1);
    joined.push(best.to);
    const { from, to } = best;
    const bend = (to.x - from.x) * 0.12;
    const mid = { x: (from.x + to.x) / 2 + (to.y - from.y) * 0.12, y: (from.y + to.y) / 2 - bend };
    paths.push(svg("path", { class: "trail", d: `M${from.x} ${from.y}Q${mid.x} ${mid.y} ${to.x} ${to.y}` }));
  }
  return paths;
}

function scaleBar(scale, { width, height }) {
  const metres = [1, 2, 5, 10, 20, 50, 100].find((m) => m * scale >= 60) ?? 100;
  const x = width - 22 - metres * scale;
  const y = height - 16;
  return svg(
    "g",
    { class: "scale-bar" },
    svg("path", { d: `M${x} ${y - 4}v4h${metres * scale}v-4` }),
    svg("text", { x: x + (metres * scale) / 2, y: y - 6, text: `${metres} m` }),
  );
}
