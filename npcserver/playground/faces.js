/**
 * Drawn faces for the six VRM expression presets, and the looks that tell characters apart: a tint
 * and a head of hair. A face is drawn around (0, 0) in a circle of radius 24. Knows nothing of who
 * wears it.
 */

import { svg } from "./dom.js";

const eyes = (rx, ry, y = 1) => [
  ["ellipse", { class: "eye", cx: -7.2, cy: y, rx, ry }],
  ["ellipse", { class: "eye", cx: 7.2, cy: y, rx, ry }],
];
const both = (d, mirrored, name = "line") => [
  ["path", { class: name, d }],
  ["path", { class: name, d: mirrored }],
];

const FACES = {
  neutral: [
    ...both("M-10.8-5.6Q-7.4-7.2-4-5.8", "M10.8-5.6Q7.4-7.2 4-5.8", "brow"),
    ...eyes(2.2, 2.8),
    ["path", { class: "line", d: "M-4.6 9.8Q0 10.6 4.6 9.8" }],
  ],
  happy: [
    ...both("M-11.4-6.4Q-7.8-9.8-4-7.4", "M11.4-6.4Q7.8-9.8 4-7.4", "brow"),
    ...both("M-10.6 1.8Q-7.3-3.4-4 1.8", "M10.6 1.8Q7.3-3.4 4 1.8"),
    ["path", { class: "mouth", d: "M-8 7Q0 9 8 7Q7 15.6 0 15.6T-8 7Z" }],
    ["path", { class: "tongue", d: "M-4.4 13.8Q0 10.6 4.4 13.8Q2.6 15.4 0 15.4T-4.4 13.8Z" }],
    ["circle", { class: "cheek", cx: -12.2, cy: 6.4, r: 3 }],
    ["circle", { class: "cheek", cx: 12.2, cy: 6.4, r: 3 }],
  ],
  angry: [
    ["ellipse", { class: "flush", cx: 0, cy: 4, rx: 15, ry: 7 }],
    ...both("M-12-7.4L-3.2-3", "M12-7.4L3.2-3", "brow heavy"),
    ...eyes(2.3, 2.3, 1.6),
    ["path", { class: "teeth", d: "M-6.6 12.8Q-6 8.4 0 8.4T6.6 12.8Q0 10.8-6.6 12.8Z" }],
    ["path", { class: "line", d: "M-6.8 13Q-6 8.4 0 8.4T6.8 13" }],
  ],
  sad: [
    ...both("M-11.6-3.6Q-8-7-3.8-8.2", "M11.6-3.6Q8-7 3.8-8.2", "brow"),
    ...eyes(2.2, 2.6, 1.8),
    ...both("M-10.4-.2Q-7.4-2.2-4.6-2.2", "M10.4-.2Q7.4-2.2 4.6-2.2", "lid"),
    ["path", { class: "line", d: "M-4.8 13Q0 8.6 4.8 13" }],
    ["path", { class: "tear", d: "M10.2 5.2Q13 9.4 10.2 11Q7.4 9.4 10.2 5.2Z" }],
  ],
  relaxed: [
    ...both("M-11-4.8Q-7.4-6.6-4-5.4", "M11-4.8Q7.4-6.6 4-5.4", "brow"),
    ...both("M-10.6.6Q-7.3 4-4 .6", "M10.6.6Q7.3 4 4 .6"),
    ["path", { class: "line", d: "M-5.6 9Q.8 13.4 6.2 8.4" }],
    ["circle", { class: "cheek soft", cx: -12, cy: 6.6, r: 2.8 }],
    ["circle", { class: "cheek soft", cx: 12, cy: 6.6, r: 2.8 }],
  ],
  surprised: [
    ...both("M-11.6-8Q-7.6-11.6-3.8-9", "M11.6-8Q7.6-11.6 3.8-9", "brow"),
    ["circle", { class: "white", cx: -7.2, cy: 0.6, r: 4.2 }],
    ["circle", { class: "white", cx: 7.2, cy: 0.6, r: 4.2 }],
    ...eyes(1.7, 1.9, 0.6),
    ["ellipse", { class: "mouth", cx: 0, cy: 12, rx: 3, ry: 4 }],
  ],
};

const HAIR = [
  [["path", { d: "M-19.6-3.4A20 20 0 0 1 19.6-3.4Q14-12.4 2-12T-19.6-3.4Z" }]],
  [["circle", { cx: 0, cy: -21, r: 6.2 }], ["path", { d: "M-19.4-4.6A20 20 0 0 1 19.4-4.6Q12-13.6 0-13.6T-19.4-4.6Z" }]],
  [
    ["circle", { class: "trim", cx: 0, cy: -23, r: 4.2 }],
    ["path", { d: "M-19-8.2Q-17.6-22 0-22T19-8.2Z" }],
    ["rect", { class: "trim", x: -20.4, y: -12, width: 40.8, height: 5.6, rx: 2.8 }],
  ],
  [["path", { d: "M-19.8-1.6A20 20 0 0 1 19.4-5.4Q6-8.6-4.6-14.4Q-10-7-19.8-1.6Z" }]],
  [[-17, -9, 5.4], [-11.4, -15.4, 6], [-3.8, -18.4, 6.2], [4.2, -18.4, 6.2], [11.6, -15.2, 6], [17, -9, 5.4]].map(
    ([cx, cy, r]) => ["circle", { cx, cy, r }],
  ),
  [["path", { d: "M-19.8-2Q-21-21 0-21.4T19.8-2Q17-12 9-14Q12-9.6 6.4-12.6Q-10-15-14.6-8Q-17-6-19.8-2Z" }]],
];
const BEHIND = { 5: [["path", { d: "M-22.6 13Q-27-23.4 0-23.4T22.6 13Q18 18.4 12 17.4H-12Q-18 18.4-22.6 13Z" }]] };

/** How many tints style.css knows (`--tint-0` and so on). */
export const TINTS = 8;

/**
 * A head that can change its face.
 * @param {number} look chooses the hair
 * @returns {{node: SVGGElement, wear: (face: string, intensity: number) => void}}
 */
export function createFace(look) {
  const features = svg("g", { class: "features" });
  const hair = look % HAIR.length;
  const node = svg(
    "g",
    { class: "face" },
    svg("g", { class: "hair" }, ...(BEHIND[hair] ?? []).map(draw)),
    svg("circle", { class: "head", r: 20 }),
    features,
    svg("g", { class: "hair" }, ...HAIR[hair].map(draw)),
  );
  return {
    node,
    wear(face, intensity) {
      const known = face in FACES ? face : "neutral";
      features.replaceChildren(...FACES[known].map(draw));
      features.style.setProperty("--intensity", String(intensity));
    },
  };
}

function draw([tag, attributes]) {
  return svg(tag, attributes);
}
