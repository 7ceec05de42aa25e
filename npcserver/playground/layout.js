/**
 * Where things go so that nothing covers what matters: the camera, avatars side by side, bubbles
 * around them. Plain geometry in pixels. Knows nothing of elements or of who is who.
 *
 * @typedef {{x: number, y: number, w: number, h: number}} Box centre and size
 * @typedef {{x0: number, y0: number, x1: number, y1: number}} Area
 */

const LEAST_SCALE = 14; // px per metre; below it the view follows the player instead
const MOST_SCALE = 40;

/**
 * The camera: everything when it is large enough to read, else the player's place.
 * @param {{position: number[], size: number[]}[]} places
 * @param {{position: number[], size: number[]} | undefined} here
 * @param {{width: number, height: number}} stage
 * @returns {{scale: number, follows: boolean, toX: (x: number) => number, toY: (z: number) => number}}
 */
export function camera(places, here, stage) {
  const pad = { x: 26, top: 40, bottom: 40 };
  const width = Math.max(stage.width - 2 * pad.x, 50);
  const height = Math.max(stage.height - pad.top - pad.bottom, 50);
  const fit = (area) =>
    Math.min(width / (area.x1 - area.x0), height / (area.y1 - area.y0), MOST_SCALE);
  const all = places.map(rectangle).reduce(union, { x0: Infinity, y0: Infinity, x1: -Infinity, y1: -Infinity });
  const follows = Boolean(here) && fit(all) < LEAST_SCALE && places.length > 1;
  const shown = follows ? rectangle(here) : all;
  const scale = follows ? Math.max(fit(shown), LEAST_SCALE) : fit(shown);
  const midX = (shown.x0 + shown.x1) / 2;
  const midY = (shown.y0 + shown.y1) / 2;
  return {
    scale,
    follows,
    toX: (x) => stage.width / 2 + (x - midX) * scale,
    toY: (z) => pad.top + height / 2 + (z - midY) * scale,
  };
}

function rectangle({ position: [x, , z], size: [w, d] }) {
  return { x0: x - w / 2, y0: z - d / 2, x1: x + w / 2, y1: z + d / 2 };
}

function union(a, b) {
  return {
    x0: Math.min(a.x0, b.x0),
    y0: Math.min(a.y0, b.y0),
    x1: Math.max(a.x1, b.x1),
    y1: Math.max(a.y1, b.y1),
  };
}

/**
 * Push boxes apart until none covers another, each near where it belongs and inside its room.
 * @param {(Box & {room: Area})[]} boxes moved in place
 * @param {Box[]} fixed stay where they are
 */
export function separate(boxes, fixed) {
  for (let round = 0; round < 160; round++) {
    let moved = false;
    for (const [i, a] of boxes.entries()) {
      for (const b of fixed) moved = push(a, b, 1, 0, i) || moved;
      for (const [j, b] of boxes.slice(i + 1).entries()) moved = push(a, b, 0.5, 0.5, i + j) || moved;
      a.x = clamp(a.x, a.room.x0 + a.w / 2, a.room.x1 - a.w / 2);
      a.y = clamp(a.y, a.room.y0 + a.h / 2, a.room.y1 - a.h / 2);
    }
    if (!moved) return;
  }
}

function push(a, b, shareA, shareB, salt) {
  const overX = (a.w + b.w) / 2 - Math.abs(a.x - b.x);
  const overY = (a.h + b.h) / 2 - Math.abs(a.y - b.y);
  if (overX <= 0.5 || overY <= 0.5) return false;
  // The shorter way out; those on one spot go different ways.
  const along = overX < overY * (salt % 2 ? 1.1 : 0.9) ? "x" : "y";
  const over = along === "x" ? overX : overY;
  const sign = a[along] === b[along] ? (salt % 4 < 2 ? 1 : -1) : Math.sign(a[along] - b[along]);
  a[along] += sign * over * shareA * 0.9;
  b[along] -= sign * over * shareB * 0.9;
  return true;
}

/**
 * Find places for speech bubbles: above the speaker if possible, never over another bubble, over
 * faces only when there is no room left. A bubble stays where it was unless that has become bad.
 * @param {{w: number, h: number, anchor: {x: number, y: number, r: number},
 *   last?: {x: number, bottom: number}}[]} bubbles oldest first
 * @param {Box[]} faces
 * @param {Area} area
 * @returns {Box[]} in the order of the bubbles
 */
export function placeBubbles(bubbles, faces, area) {
  const placed = [];
  for (const bubble of bubbles) {
    let best;
    let least = Infinity;
    for (const spot of candidates(bubble, area)) {
      const cost = price(spot, bubble, placed, faces);
      if (cost < least) [best, least] = [spot, cost];
    }
    placed.push(best);
  }
  return placed;
}

function* candidates({ w, h, anchor, last }, area) {
  const inside = (x, y, kept) => ({
    x: clamp(x, area.x0 + w / 2, area.x1 - w / 2),
    y: clamp(y, area.y0 + h / 2, area.y1 - h / 2),
    w,
    h,
    kept,
  });
  if (last) yield inside(last.x, last.bottom - h / 2, true);
  const above = anchor.y - anchor.r - 16 - h / 2;
  for (const dx of [0, -0.3, 0.3, -0.45, 0.45]) yield inside(anchor.x + dx * w, above, false);
  for (let x = area.x0 + w / 2; x <= area.x1 - w / 2 + 29; x += 30) {
    for (let y = area.y0 + h / 2; y <= area.y1 - h / 2 + 19; y += 20) yield inside(x, y, false);
  }
}

function price(spot, { anchor }, placed, faces) {
  const dx = Math.max(Math.abs(spot.x - anchor.x) - spot.w / 2, 0);
  const gap = anchor.y - anchor.r - (spot.y + spot.h / 2);
  const dy = gap >= 0 ? gap : Math.abs(spot.y - anchor.y) + anchor.r + 40; // below is worse
  let cost = 3 * Math.hypot(dx, dy) + 0.4 * Math.abs(spot.x - anchor.x) - (spot.kept ? 90 : 0);
  for (const other of placed) {
    const covered = overlap(spot, other, 6);
    if (covered) cost += 4000 + covered;
  }
  for (const face of faces) {
    const covered = overlap(spot, face, 2);
    if (covered) cost += 120 + 0.35 * covered;
  }
  return cost;
}

function overlap(a, b, margin) {
  const x = (a.w + b.w) / 2 + margin - Math.abs(a.x - b.x);
  const y = (a.h + b.h) / 2 + margin - Math.abs(a.y - b.y);
  return x > 0 && y > 0 ? x * y : 0;
}

/**
 * The tail of a bubble: a bent wedge from its edge to the speaker.
 * @param {Box} box
 * @param {{x: number, y: number, r: number}} anchor
 * @returns {string} an SVG path, open at its base
 */
export function tail(box, anchor) {
  const sideways = Math.abs(anchor.y - box.y) < box.h / 2;
  const edge = sideways
    ? { x: box.x + (Math.sign(anchor.x - box.x) * box.w) / 2, y: clamp(anchor.y, box.y - box.h / 2 + 16, box.y + box.h / 2 - 16) }
    : { x: clamp(anchor.x, box.x - box.w / 2 + 22, box.x + box.w / 2 - 22), y: box.y + (Math.sign(anchor.y - box.y) * box.h) / 2 };
  const far = Math.hypot(anchor.x - edge.x, anchor.y - edge.y) || 1;
  const stop = Math.max(far - anchor.r - 5, 0) / far;
  if (stop * far < 6) return "";
  const tip = { x: edge.x + (anchor.x - edge.x) * stop, y: edge.y + (anchor.y - edge.y) * stop };
  const inward = 1.6;
  const [ox, oy] = sideways ? [0, 8] : [8, 0];
  const [ix, iy] = sideways ? [-Math.sign(anchor.x - box.x) * inward, 0] : [0, -Math.sign(anchor.y - box.y) * inward];
  const bend = sideways ? { x: (edge.x + tip.x) / 2, y: edge.y } : { x: edge.x, y: (edge.y + tip.y) / 2 };
  const p = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  return (
    `M${p(edge.x - ox + ix, edge.y - oy + iy)}Q${p(bend.x - ox / 2, bend.y - oy / 2)} ${p(tip.x, tip.y)}` +
    `Q${p(bend.x + ox / 2, bend.y + oy / 2)} ${p(edge.x + ox + ix, edge.y + oy + iy)}`
  );
}

/**
 * @param {number} value
 * @param {number} least
 * @param {number} most the middle is taken when there is no room between them
 * @returns {number}
 */
export function clamp(value, least, most) {
  return least > most ? (least + most) / 2 : Math.min(Math.max(value, least), most);
}
