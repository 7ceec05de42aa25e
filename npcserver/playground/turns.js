/**
 * The turns of the characters, put together from their parts. Offsets count code points, so text is
 * kept as an array of them. Knows nothing of drawing.
 *
 * @typedef {{at: number, emotion: string, face: string, intensity: number}} Feeling
 * @typedef {{at: number, action_id: string, name: string, target?: string, args: object}} Doing
 * @typedef {{id: string, npc: string, to: string[], volume: string, points: string[],
 *   feelings: Feeling[], doings: Doing[], done: any | null}} Turn
 */

export class Turns {
  constructor() {
    /** @type {Map<string, Turn>} turns that are not over */
    this.running = new Map();
  }

  /**
   * Take in one part of a turn.
   * @param {any} message
   * @returns {Turn | null} the turn it belongs to, if its start was seen
   */
  take(message) {
    if (message.type === "turn.started") {
      const { turn_id: id, npc, to, volume } = message;
      const turn = { id, npc, to, volume, points: [], feelings: [], doings: [], done: null };
      this.running.set(id, turn);
      return turn;
    }
    const turn = this.running.get(message.turn_id) ?? null;
    if (message.type === "turn.done") return this.finish(turn, message);
    if (!turn) return null;
    if (message.type === "turn.text") turn.points.splice(message.at, Infinity, ...message.delta);
    if (message.type === "turn.emotion") turn.feelings.push(message);
    if (message.type === "turn.action") turn.doings.push(message);
    return turn;
  }

  finish(turn, done) {
    this.running.delete(done.turn_id);
    turn ??= { id: done.turn_id, npc: done.npc, to: [], volume: "talk", feelings: [], doings: [] };
    turn.points = Array.from(done.text);
    turn.done = done;
    return turn;
  }

  /** Forget what was under way: the session is a new one. */
  clear() {
    this.running.clear();
  }
}

/**
 * An action in words: what, to whom, with what.
 * @param {{name?: string, action?: string, target?: string, args?: object}} doing
 * @param {(id: string) => string} nameOf
 * @returns {string}
 */
export function describe(doing, nameOf) {
  const parts = [(doing.name ?? doing.action ?? "").replaceAll("_", " ")];
  const args = Object.entries(doing.args ?? {});
  if (args.length) {
    const said = args.map(([key, value]) => `${key.replaceAll("_", " ")}: ${plain(value)}`);
    parts.push(`(${said.join(", ")})`);
  }
  if (doing.target) parts.push(`→ ${nameOf(doing.target)}`);
  return parts.join(" ");
}

function plain(value) {
  return typeof value === "string" ? value.replaceAll("_", " ") : JSON.stringify(value);
}
