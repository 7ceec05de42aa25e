/**
 * The connection: opens the socket, resumes it after a drop, and keeps what was not acknowledged yet.
 * Hands every server message on, once and in order. Knows nothing of scenes or of the page.
 */

const FINAL = new Set([1008, 4400, 4404, 4409]);
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const SETTLED_MS = 5_000;

/**
 * @typedef {"connecting" | "open" | "reconnecting" | "closed"} State
 * @typedef {{ref: string, status: "ok" | "rejected", error?: {code: string, message: string}}} Ack
 */

export class Client {
  /**
   * @param {{
   *   url: string, token?: string, player: {id: string, name: string},
   *   onMessage: (message: any) => void,
   *   onState: (state: State, closeCode?: number) => void,
   * }} options
   */
  constructor({ url, token, player, onMessage, onState }) {
    this.url = url;
    this.protocols = token ? ["npc.v1", `token.${token}`] : ["npc.v1"];
    this.player = player;
    this.onMessage = onMessage;
    this.onState = onState;
    this.sessionId = null;
    this.seq = 0;
    this.attempts = 0;
    this.ended = false;
    this.isOpen = false;
    /** @type {Map<string, {message: object, answer: (ack: Ack) => void}>} */
    this.pending = new Map();
    this.count = 0;
    this.prefix = Math.random().toString(36).slice(2, 8);
    this.wake = () => document.visibilityState === "visible" && this.retryNow();
    addEventListener("online", this.wake);
    document.addEventListener("visibilitychange", this.wake);
  }

  /** Connect, or connect again. */
  open() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.onState(this.sessionId ? "reconnecting" : "connecting");
    const socket = new WebSocket(this.url, this.protocols);
    this.socket = socket;
    socket.onopen = () => {
      const start = { type: "session.start", protocol: 1, player: this.player };
      if (this.sessionId) start.resume = { session_id: this.sessionId, after_seq: this.seq };
      socket.send(JSON.stringify(start));
    };
    socket.onmessage = (event) => socket === this.socket && this.receive(event.data);
    socket.onclose = (event) => socket === this.socket && this.closed(event.code);
  }

  /** Close for good. */
  close() {
    this.ended = true;
    this.isOpen = false;
    clearTimeout(this.timer);
    removeEventListener("online", this.wake);
    document.removeEventListener("visibilitychange", this.wake);
    if (this.socket) {
      this.socket.onclose = this.socket.onmessage = null;
      this.socket.close(1000);
    }
    this.pending.clear();
  }

  /**
   * Send something that may be lost, such as a draft.
   * @param {object} message
   */
  send(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
  }

  /**
   * Send something that must arrive once: it carries an id, and is sent again after a drop.
   * @param {object} message
   * @returns {Promise<Ack>}
   */
  ask(message) {
    const id = `${this.prefix}-${++this.count}`;
    const framed = { ...message, id };
    return new Promise((answer) => {
      this.pending.set(id, { message: framed, answer });
      this.send(framed);
    });
  }

  /** Do not wait for the next attempt. */
  retryNow() {
    if (this.timer !== undefined && !this.ended) this.open();
  }

  receive(frame) {
    const message = JSON.parse(frame);
    if (message.type === "session.started") {
      if (!message.resumed) this.seq = 0;
      this.sessionId = message.session_id;
      this.isOpen = true;
      this.openedAt = performance.now();
      this.seq = message.seq ?? this.seq;
      this.onState("open");
      this.onMessage(message);
      for (const { message: again } of this.pending.values()) this.send(again);
      return;
    }
    if (message.seq > 0) {
      if (message.seq <= this.seq) return; // seen before a resume
      this.seq = message.seq;
    }
    if (message.type === "ack") {
      const waiting = this.pending.get(message.ref);
      this.pending.delete(message.ref);
      waiting?.answer(message);
      return;
    }
    this.onMessage(message);
  }

  closed(code) {
    const settled = this.isOpen && performance.now() - this.openedAt > SETTLED_MS;
    this.isOpen = false;
    if (this.ended) return;
    if (FINAL.has(code)) {
      this.close();
      this.onState("closed", code);
      return;
    }
    if (settled) this.attempts = 0;
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.attempts++);
    this.onState("reconnecting", code);
    this.timer = setTimeout(() => this.open(), wait * (0.7 + 0.6 * Math.random()));
  }
}

/**
 * The player a token is for, where the token is readable; only the server can say if it is valid.
 * @param {string} token
 * @returns {string | null}
 */
export function subjectOf(token) {
  for (const part of token.split(".")) {
    try {
      const claims = JSON.parse(atob(part.replace(/-/g, "+").replace(/_/g, "/")));
      if (typeof claims.sub === "string") return claims.sub;
    } catch {
      // not this part
    }
  }
  return null;
}
