/**
 * The page put together: what the server says goes to the world, the stage, the bubbles and the log;
 * what the player does goes to the server. The only module that knows all the others.
 */

import { Bubbles } from "./bubbles.js";
import { Client } from "./client.js";
import { Composer } from "./composer.js";
import { byId } from "./dom.js";
import { errorWords, language, listed, nearest, speak, t } from "./i18n.js";
import { Inspector } from "./inspector.js";
import { Log } from "./log.js";
import { Stage } from "./stage.js";
import { remember, remembered, Start } from "./start.js";
import { describe, Turns } from "./turns.js";
import { apply, emptyWorld, hearers, move, nameOf } from "./world.js";

const TOAST_MS = 6000;

let world = emptyWorld();
/** @type {Client | null} */
let client = null;
/** @type {{scene: string, instance: string, token?: string} | null} */
let visit = null;
let shownVoice = null;
let pointed = null;
const turns = new Turns();
const entries = new Map(); // log entries by turn
const name = (id) => nameOf(world, id);
const log = new Log(byId("log"), byId("log-count"), (entry, rating) => {
  client?.send({ type: "turn.rate", turn_id: entry.turn, rating });
}, (entry) => inspector.show(entry.turn, visit));
const inspector = new Inspector(byId("inspector"));

const stage = new Stage(byId("stage"), byId("map"), byId("ways"), {
  onPlace: goTo,
  onPerson: (id) => {
    composer.toggle(id);
    composer.input.focus();
  },
  onPoint: (id) => {
    pointed = id;
    showVoice();
  },
  onLayout: () => bubbles.arrange(),
});

const bubbles = new Bubbles(byId("bubbles"), byId("tails"), stage, {
  onHeard: (turn, chars) => {
    client?.send({ type: "turn.heard", turn_id: turn.id, chars });
    if (turn.done?.status === "interrupted") log.amend(entries.get(turn.id), { heard: chars });
  },
  onFeeling: wear,
  onDoing: (turn, doing, wasShown) => {
    if (!turn.to.includes(world.self)) return;
    // What was cut before it could be seen did not fail; nobody is told of it.
    if (wasShown) client?.send({ type: "action.result", action_id: doing.action_id, status: "done" });
  },
  onSpeaking: (id, speaks) => stage.setSpeaking(id, speaks),
  describe: (doing) => describe(doing, name),
  nameOf: name,
});

const composer = new Composer(
  {
    form: byId("say-form"),
    input: byId("say-input"),
    stop: byId("stop"),
    addressees: byId("addressees"),
  },
  {
    onSay: say,
    onTyping: (text) => client?.send({ type: "player.typing", text }),
    onStop: stop,
    onVoice: (volume) => {
      shownVoice = volume;
      showVoice();
    },
    onAddressed: (ids) => {
      stage.setAddressed(ids);
      showVoice();
    },
    nameOf: name,
  },
);

const start = new Start(enter);

// ---- what the player does -------------------------------------------------------------------

function enter({ scene, instance, token, player }) {
  leave();
  const url = new URL(`v1/scenes/${encodeURIComponent(scene)}/ws`, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("instance", instance);
  visit = { scene, instance, token };
  client = new Client({ url: url.href, token, player, onMessage: take, onState: showState });
  client.open();
  show("scene");
}

function leave() {
  client?.close();
  client = null;
  world = emptyWorld();
  turns.clear();
  entries.clear();
  bubbles.clear();
  log.clear();
  composer.write("");
  byId("connection").dataset.state = "idle";
  byId("connection").textContent = "";
  byId("scene-name").textContent = "npcserver";
}

async function say(text, volume) {
  const to = [...composer.to];
  if (/^[(*].+[)*]$/u.test(text)) return act(text.slice(1, -1), to[0]);
  bubbles.say(world.self, text, volume);
  const entry = log.add({
    kind: "line", speaker: world.self, name: name(world.self), to: to.map(name), volume, text, isSelf: true,
  });
  const ack = await client.ask({ type: "player.say", text, to, volume });
  if (ack.status === "ok") return;
  log.amend(entry, { status: "unsent", reason: errorWords(ack.error.code, ack.error.message) });
  refused(ack);
}

/** `*bows*` is something done. */
async function act(words, target) {
  const action = words.trim().toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_|_$/g, "");
  if (!action) return;
  bubbles.say(world.self, "", "talk", words);
  refused(await client.ask({ type: "player.act", action: action.slice(0, 64), ...(target && { target }) }));
}

function stop() {
  bubbles.cut(world.self);
  client?.ask({ type: "turn.cancel" }).then(refused);
}

async function goTo(place, position) {
  const me = world.bodies.get(world.self);
  if (!me) return;
  const to = position ? { position } : { place };
  const ack = await client.ask({ type: "player.move", ...to });
  refused(ack);
  if (ack.status !== "ok") return;
  move(world, world.self, to);
  stage.draw(world);
  showVoice();
}

// ---- what the server says -------------------------------------------------------------------

function take(message) {
  const changed = apply(world, message);
  if (message.type.startsWith("turn.")) takeTurn(message);
  else takeNews(message);
  if (changed === "all") stage.draw(world);
  if (changed === "bodies") stage.drawPeople();
  if (changed) {
    composer.keep((id) => world.bodies.has(id));
    showVoice();
  }
}

function takeTurn(message) {
  const turn = turns.take(message);
  if (!turn) return;
  if (message.type === "turn.started") bubbles.open(turn);
  if (message.type === "turn.done") logTurn(turn);
}

function logTurn(turn) {
  const { status, reason, timing, text } = turn.done;
  const entry = log.add({
    kind: "line",
    speaker: turn.npc,
    name: name(turn.npc),
    to: turn.to.map(name),
    volume: turn.volume,
    text,
    turn: turn.id,
    emotion: turn.feelings.at(-1)?.emotion,
    actions: turn.doings.map((doing) => describe(doing, name)),
    ...(status !== "completed" && { status, reason }),
    ...(text && { ttft: timing.ttft_ms, rating: "none" }),
  });
  entries.set(turn.id, entry);
}

function takeNews(message) {
  switch (message.type) {
    case "session.started":
      if (!message.resumed) turns.clear();
      break;
    case "scene.snapshot":
      byId("scene-name").textContent = message.name;
      log.recall(message.recent.map(recalled));
      break;
    case "player.said":
      bubbles.say(message.player, message.text, message.volume);
      log.add({
        kind: "line", speaker: message.player, name: message.name, to: message.to.map(name),
        volume: message.volume, text: message.text,
      });
      break;
    case "player.acted": {
      const words = describe(message, name);
      bubbles.say(message.player, "", "talk", words);
      log.add({ kind: "note", text: `${name(message.player)} ${words}` });
      break;
    }
    case "player.joined":
      log.add({ kind: "note", text: t("log.joined", { name: message.player.name }) });
      break;
    case "player.left":
      log.add({ kind: "note", text: t("log.left", { name: name(message.player) }) });
      break;
    case "player.moved":
      log.add({
        kind: "note",
        text: t("log.moved", { name: name(message.player), place: name(message.place) }),
      });
      break;
    case "scene.changed":
      if (message.what === "event") tellEvent(message);
      break;
    case "error":
      toast(errorWords(message.code, message.message));
      break;
  }
}

function recalled({ speaker, name: who, text, to, volume, status, at_ms: at, turn_id: turn }) {
  const rest = { ...(status && status !== "completed" && { status }), ...(turn && { turn }) };
  return { speaker, name: who, text, to: to.map(name), volume, at, isSelf: speaker === world.self, ...rest };
}

function tellEvent(message) {
  const words = describe({ name: message.name, args: message.args }, name);
  log.add({ kind: "note", text: words });
  const place = byId("event");
  place.textContent = words;
  place.hidden = false;
  clearTimeout(tellEvent.timer);
  tellEvent.timer = setTimeout(() => (place.hidden = true), TOAST_MS);
}

function wear(turn, feeling) {
  const body = world.bodies.get(turn.npc);
  if (!body) return;
  Object.assign(body, { face: feeling.face, emotion: feeling.emotion, intensity: feeling.intensity });
  stage.refresh(turn.npc);
}

// ---- what is shown --------------------------------------------------------------------------

function show(view) {
  document.body.dataset.view = view;
  byId("start").hidden = view !== "start";
  byId("scene").hidden = view !== "scene";
  byId("leave").hidden = view !== "scene";
  byId(view === "scene" ? "say-input" : "player-name").focus();
}

function showState(state, code) {
  const place = byId("connection");
  place.dataset.state = state;
  place.textContent = t(`state.${state}`);
  if (state === "closed") toast(t(`close.${code}`));
}

/** The voice meant: of a pointed-at button, else talk while something is written or pointed at. */
function showVoice() {
  const volume = shownVoice ?? (composer.isWriting || pointed === world.self ? "talk" : null);
  const to = [...composer.to];
  const would = volume ?? "talk";
  const heard = hearers(world, world.self, would, to);
  stage.showVoice(volume && { volume, heard });
  const names = listed([...heard].map(name));
  byId("hearers").textContent = names ? t(`hears.${would}`, { names }) : t("hears.nobody");
}

function refused(ack) {
  if (ack.status === "rejected") toast(t("refused", { why: errorWords(ack.error.code, ack.error.message) }));
}

function toast(words) {
  const place = byId("toast");
  place.textContent = words;
  place.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => (place.hidden = true), TOAST_MS);
}

async function copyLog() {
  try {
    await navigator.clipboard.writeText(log.text());
    toast(t("log.copied"));
  } catch {
    toast(t("log.nocopy"));
  }
}

byId("lang").addEventListener("click", () => {
  const to = language() === "zh" ? "en" : "zh";
  remember({ lang: to });
  speak(to);
  byId("lang").textContent = t("lang.other");
  start.describe();
  log.redraw();
  if (client) stage.draw(world);
  composer.showAddressed();
  showVoice();
});
byId("leave").addEventListener("click", () => {
  leave();
  show("start");
});
byId("log-toggle").addEventListener("click", () => {
  const panel = byId("log-panel");
  const open = panel.dataset.open !== "yes";
  panel.dataset.open = open ? "yes" : "no";
  byId("log-toggle").setAttribute("aria-expanded", String(open));
});
byId("copy-log").addEventListener("click", copyLog);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && client) stop();
});

speak(/** @type {"en" | "zh"} */ (remembered().lang ?? nearest(navigator.language)));
byId("lang").textContent = t("lang.other");
start.load();
