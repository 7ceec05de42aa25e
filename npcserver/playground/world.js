/**
 * What this player knows of the scene: who stands where, and who hears whom. Plain values changed by
 * the server's messages. Knows nothing of drawing or of the socket.
 *
 * @typedef {[number, number, number]} Position metres; x to the right, y up, z down the map
 * @typedef {{id: string, name: string, position: Position, size: [number, number], earshot: number}} Place
 * @typedef {{id: string, name: string, place: string, position: Position, isNpc: boolean,
 *   face: string, emotion: string, intensity: number, glyph: string}} Body
 * @typedef {{id: string, name: string, place: string, position: Position}} Prop
 * @typedef {{self: string, name: string, language: string, places: Map<string, Place>,
 *   props: Map<string, Prop>, bodies: Map<string, Body>}} World
 * @typedef {"whisper" | "talk" | "shout"} Volume
 */

const SHOUT = 4; // how many times farther than talk

/** @returns {World} a world of which nothing is known yet */
export function emptyWorld() {
  return { self: "", name: "", language: "", places: new Map(), props: new Map(), bodies: new Map() };
}

/**
 * Take in a message, where it tells of people and places.
 * @param {World} world
 * @param {any} message
 * @returns {"all" | "bodies" | null} what has to be drawn again
 */
export function apply(world, message) {
  switch (message.type) {
    case "session.started":
      world.self = message.player_id;
      return null;
    case "scene.snapshot":
      world.name = message.name;
      world.language = message.language;
      world.places = keyed(message.places);
      world.props = keyed(message.props);
      world.bodies = keyed([...message.npcs.map(npc), ...message.players.map(player)]);
      return "all";
    case "player.joined":
      world.bodies.set(message.player.id, player(message.player));
      return "bodies";
    case "player.left":
      return world.bodies.delete(message.player) ? "bodies" : null;
    case "player.moved":
      return move(world, message.player, message);
    case "scene.changed":
      if (message.what !== "npc_moved") return null;
      return move(world, message.name ?? message.args.npc, message.args);
    default:
      return null;
  }
}

/**
 * Put somebody elsewhere.
 * @param {World} world
 * @param {string} id
 * @param {{place?: string, position?: Position}} to
 * @returns {"bodies" | null}
 */
export function move(world, id, to) {
  const body = world.bodies.get(id);
  const place = to.place ?? (to.position && placeAt(world, to.position));
  if (!body || !world.places.has(place)) return null;
  body.place = place;
  body.position = to.position ?? world.places.get(place).position;
  return "bodies";
}

/**
 * @param {World} world
 * @param {string} id of a person, prop or place
 * @returns {string} what it is called
 */
export function nameOf(world, id) {
  const known = world.bodies.get(id) ?? world.props.get(id) ?? world.places.get(id);
  return known?.name ?? id;
}

/**
 * Who hears a speaker: talk reaches the same place within its earshot, a shout four times as far and
 * anywhere, a whisper only those it is meant for (else whom the server takes: most likely the nearest).
 * @param {World} world
 * @param {string} speaker
 * @param {Volume} volume
 * @param {string[]} to
 * @returns {Set<string>} ids, the speaker's not among them
 */
export function hearers(world, speaker, volume, to) {
  const me = world.bodies.get(speaker);
  const place = me && world.places.get(me.place);
  if (!me || !place) return new Set();
  const others = [...world.bodies.values()].filter((body) => body.id !== speaker);
  if (volume === "shout") {
    return ids(others.filter((body) => distance(me, body) <= SHOUT * place.earshot));
  }
  const near = others.filter((b) => b.place === me.place && distance(me, b) <= place.earshot);
  if (volume === "talk") return ids(near);
  if (to.length) return ids(near.filter((body) => to.includes(body.id)));
  const npcs = near.filter((body) => body.isNpc);
  return ids(npcs.sort((a, b) => distance(me, a) - distance(me, b)).slice(0, 1));
}

/**
 * @param {World} world
 * @param {Volume} volume
 * @returns {number} how many metres the player's own voice carries
 */
export function reach(world, volume) {
  const place = world.places.get(world.bodies.get(world.self)?.place);
  return place ? place.earshot * (volume === "shout" ? SHOUT : 1) : 0;
}

/**
 * @param {World} world
 * @param {Position} position
 * @returns {string | undefined} the place it lies in, else the nearest
 */
export function placeAt(world, position) {
  let best;
  let least = Infinity;
  for (const place of world.places.values()) {
    const x = Math.max(Math.abs(position[0] - place.position[0]) - place.size[0] / 2, 0);
    const z = Math.max(Math.abs(position[2] - place.position[2]) - place.size[1] / 2, 0);
    if (Math.hypot(x, z) < least) [best, least] = [place.id, Math.hypot(x, z)];
  }
  return best;
}

function distance(a, b) {
  return Math.hypot(...a.position.map((value, axis) => value - b.position[axis]));
}

function ids(bodies) {
  return new Set(bodies.map((body) => body.id));
}

function keyed(values) {
  return new Map(values.map((value) => [value.id, value]));
}

function npc(view) {
  return { ...view, isNpc: true, intensity: 0.6 };
}

function player(view) {
  return { ...view, isNpc: false, face: "neutral", emotion: "", intensity: 0, glyph: "" };
}
