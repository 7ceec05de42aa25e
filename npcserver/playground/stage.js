/**
 * The scene from above: places, props and people as one SVG, in pixels of the stage. Reports what is
 * clicked or chosen by key. Knows nothing of the socket and of who says what.
 */

import { html, prefersStill, set, svg } from "./dom.js";
import { createFace, TINTS } from "./faces.js";
import { listed, t } from "./i18n.js";
import { camera, clamp, separate } from "./layout.js";
import { drawLand } from "./land.js";
import { nameOf, reach } from "./world.js";

/** @typedef {import("./world.js").World} World */

export class Stage {
  /**
   * @param {HTMLElement} root holds the map
   * @param {SVGSVGElement} map
   * @param {HTMLElement} ways buttons for places, when the map does not show them all
   * @param {{onPlace: (id: string, position?: number[]) => void, onPerson: (id: string) => void,
   *   onPoint: (id: string | null) => void, onLayout: () => void}} events
   */
  constructor(root, map, ways, events) {
    Object.assign(this, { root, map, ways, events });
    this.land = svg("g", { class: "land", "aria-hidden": "true" });
    this.places = svg("g", { class: "places" });
    this.voice = svg("g", { class: "voice", "aria-hidden": "true" });
    this.props = svg("g", { class: "props", "aria-hidden": "true" });
    this.people = svg("g", { class: "people" });
    map.append(this.land, this.places, this.voice, this.props, this.people);
    /** @type {Map<string, any>} */
    this.avatars = new Map();
    this.looks = new Map();
    this.addressed = new Set();
    this.world = null;
    new ResizeObserver(() => this.world && this.draw(this.world)).observe(root);
    map.addEventListener("keydown", (event) => this.key(event));
    map.addEventListener("click", (event) => this.click(event));
    ways.addEventListener("click", (event) => {
      const id = event.target.closest("[data-go]")?.dataset.go;
      if (id) events.onPlace(id);
    });
    for (const [type, on] of [["pointerover", 1], ["pointerout", 0], ["focusin", 1], ["focusout", 0]]) {
      this.people.addEventListener(type, (event) => events.onPoint(on ? idOf(event.target) : null));
    }
  }

  /**
   * Draw everything.
   * @param {World} world
   */
  draw(world) {
    this.world = world;
    const { width, height } = this.root.getBoundingClientRect();
    if (!width || !height) return;
    this.size = { width, height };
    set(this.map, { viewBox: `0 0 ${width} ${height}` });
    this.view = camera([...world.places.values()], world.places.get(this.here()), this.size);
    const rects = [...world.places.values()].map((place) => ({ place, ...this.rect(place) }));
    drawLand(this.land, rects, this.view.scale, this.size);
    this.drawPlaces(rects);
    this.drawProps();
    this.drawPeople();
    this.drawWays();
    this.showVoice(this.shownVoice ?? null);
  }

  here() {
    return this.world.bodies.get(this.world.self)?.place;
  }

  rect(place) {
    const { toX, toY, scale } = this.view;
    const [w, h] = place.size.map((metres) => metres * scale);
    return { x: toX(place.position[0]) - w / 2, y: toY(place.position[2]) - h / 2, w, h };
  }

  drawPlaces(rects) {
    const focused = document.activeElement?.getAttribute("data-place");
    const nodes = rects.map(({ place, x, y, w, h }) => {
      const here = place.id === this.here();
      const clip = svg("clipPath", { id: `clip-${place.id}` }, svg("rect", { x, y, width: w, height: h, rx: 14 }));
      const label = svg("text", { class: "place-name", x: clamp(x, 0, Infinity) + 14, y: Math.max(y, 0) + 23, text: place.name });
      const node = svg(
        "g",
        {
          class: here ? "place here" : "place",
          "data-place": place.id,
          tabindex: 0,
          role: "button",
          "aria-label": t(here ? "place.here" : "place.go", { place: place.name }),
        },
        clip,
        svg("rect", { class: "floor", x, y, width: w, height: h, rx: 14 }),
        svg("rect", { class: "inlay", x: x + 5, y: y + 5, width: w - 10, height: h - 10, rx: 10 }),
        label,
      );
      return node;
    });
    this.places.replaceChildren(...nodes);
    this.labels = nodes.map((node) => boxOf(node.querySelector("text")));
    if (focused) this.focus("place", focused);
  }

  drawProps() {
    const { toX, toY } = this.view;
    const nodes = [...this.world.props.values()].map((prop) => {
      const x = toX(prop.position[0]);
      const y = toY(prop.position[2]);
      return svg(
        "g",
        { class: "prop", "data-prop": prop.id },
        svg("path", { d: `M${x} ${y - 5}l5 5-5 5-5-5z` }),
        svg("text", { x, y: y + 17, text: prop.name }),
      );
    });
    this.props.replaceChildren(...nodes);
    // A mark's name may not stick out of its place or the stage.
    for (const [i, prop] of [...this.world.props.values()].entries()) {
      const text = nodes[i].querySelector("text");
      const room = this.rect(this.world.places.get(prop.place) ?? { position: [0, 0, 0], size: [1e4, 1e4] });
      const half = text.getComputedTextLength() / 2 + 6;
      set(text, { x: clamp(toX(prop.position[0]), Math.max(room.x, 0) + half, Math.min(room.x + room.w, this.size.width) - half) });
    }
    this.marks = nodes.map((node) => boxOf(node));
  }

  /** Draw the people where they stand, side by side where they would cover each other. */
  drawPeople() {
    const { world, view } = this;
    for (const [id, avatar] of this.avatars) {
      if (world.bodies.has(id)) continue;
      avatar.node.remove();
      this.avatars.delete(id);
    }
    this.radius = clamp(view.scale * 1.2, 19, 29);
    const boxes = [];
    for (const body of world.bodies.values()) {
      const avatar = this.avatars.get(body.id) ?? this.enter(body);
      this.relabel(avatar, body);
      const floor = this.rect(world.places.get(body.place) ?? { position: body.position, size: [8, 8] });
      const label = Math.max(avatar.label.getComputedTextLength() + 8, 2 * this.radius + 8);
      const room = { x0: floor.x + 4, y0: floor.y + 6, x1: floor.x + floor.w - 4, y1: floor.y + floor.h - 4 };
      const h = 2 * this.radius + 26;
      boxes.push({ id: body.id, x: view.toX(body.position[0]), y: view.toY(body.position[2]) + 9, w: label, h, room });
    }
    separate(boxes, [...this.labels, ...this.marks]);
    const jump = prefersStill() || this.lastScale !== view.scale;
    this.lastScale = view.scale;
    this.people.classList.toggle("jump", jump);
    for (const box of boxes) {
      const avatar = this.avatars.get(box.id);
      avatar.at = { x: box.x, y: box.y - 9, r: this.radius };
      avatar.box = box;
      avatar.node.style.transform = `translate(${avatar.at.x}px, ${avatar.at.y}px)`;
    }
    this.events.onLayout();
  }

  enter(body) {
    const isSelf = body.id === this.world.self;
    if (!this.looks.has(body.id)) this.looks.set(body.id, this.looks.size);
    const look = this.looks.get(body.id);
    const face = createFace(look);
    const label = svg("text", { class: "name" });
    const token = svg(
      "g",
      { class: "token" },
      svg("ellipse", { class: "shadow", cx: 2, cy: 22, rx: 21, ry: 7 }),
      svg("circle", { class: "ring", r: 28 }),
      svg("circle", { class: "card", r: 24.5 }),
      face.node,
    );
    if (body.glyph) {
      token.append(
        svg("g", { class: "badge" }, svg("circle", { cx: 18, cy: 16, r: 9.5 }), svg("text", { x: 18, y: 20.4, text: body.glyph })),
      );
    }
    const node = svg("g", {
      class: `person ${body.isNpc ? "npc" : "player"}${isSelf ? " self" : ""}`,
      [body.isNpc ? "data-npc" : "data-player"]: body.id,
    }, token, label);
    if (!isSelf) set(node, { tabindex: 0, role: "button" });
    node.style.setProperty("--tint", `var(--tint-${isSelf ? "self" : look % TINTS})`);
    this.people.append(node);
    const avatar = { node, token, face, label };
    this.avatars.set(body.id, avatar);
    return avatar;
  }

  relabel(avatar, body) {
    const isSelf = body.id === this.world.self;
    const place = nameOf(this.world, body.place);
    avatar.face.wear(body.face, body.intensity);
    set(avatar.token, { transform: `scale(${this.radius / 24.5})` });
    set(avatar.label, { y: this.radius + 16 });
    const shown = body.name.length > 16 ? `${body.name.slice(0, 15)}…` : body.name;
    avatar.label.textContent = shown;
    const { name, emotion } = body;
    set(avatar.node, {
      "data-face": body.face,
      "data-emotion": emotion,
      "aria-label": isSelf
        ? t("place.here", { place: `${name}: ${place}` })
        : body.isNpc ? t("npc.address", { name, emotion, place }) : t("player.is", { name, place }),
    });
    if (!isSelf) set(avatar.node, { "aria-pressed": String(this.addressed.has(body.id)) });
  }

  drawWays() {
    const { world } = this;
    this.ways.hidden = !this.view.follows;
    if (this.ways.hidden) return this.ways.replaceChildren();
    const focused = document.activeElement?.getAttribute("data-go");
    const buttons = [...world.places.values()].map((place) => {
      const there = [...world.bodies.values()].filter((b) => b.place === place.id && b.id !== world.self);
      const here = place.id === this.here();
      const button = html("button", {
        type: "button",
        "data-go": place.id,
        title: listed(there.map((body) => body.name)),
        "aria-current": here ? "location" : "false",
      }, html("span", { text: place.name }));
      if (there.length) button.append(html("span", { class: "heads", text: there.length }));
      return button;
    });
    this.ways.replaceChildren(...buttons);
    const button = buttons.find((b) => b.dataset.go === (focused ?? this.here()));
    if (focused) button?.focus();
    if (button) this.ways.scrollLeft = button.offsetLeft - this.ways.clientWidth / 3;
  }

  /**
   * Change the look of somebody.
   * @param {string} id
   */
  refresh(id) {
    const avatar = this.avatars.get(id);
    if (avatar) this.relabel(avatar, this.world.bodies.get(id));
  }

  /**
   * @param {string} id
   * @param {boolean} speaks
   */
  setSpeaking(id, speaks) {
    this.avatars.get(id)?.node.classList.toggle("speaks", speaks);
  }

  /** @param {Set<string>} ids whom the player speaks to */
  setAddressed(ids) {
    this.addressed = ids;
    for (const [id, avatar] of this.avatars) {
      avatar.node.classList.toggle("addressed", ids.has(id));
      if (avatar.node.hasAttribute("role")) set(avatar.node, { "aria-pressed": String(ids.has(id)) });
    }
  }

  /**
   * Show how far the player's voice carries, and whom it reaches.
   * @param {{volume: string, heard: Set<string>} | null} voice
   */
  showVoice(voice) {
    this.shownVoice = voice;
    this.root.toggleAttribute("data-voice", Boolean(voice));
    for (const [id, { node }] of this.avatars) {
      if (voice && id !== this.world.self) set(node, { "data-hears": voice.heard.has(id) ? "yes" : "no" });
      else node.removeAttribute("data-hears");
    }
    const me = this.world?.bodies.get(this.world.self);
    if (!voice || !me || !this.view) return this.voice.replaceChildren();
    const at = { cx: this.view.toX(me.position[0]), cy: this.view.toY(me.position[2]) };
    const r = reach(this.world, voice.volume) * this.view.scale;
    const clip = voice.volume === "shout" ? {} : { "clip-path": `url(#clip-${me.place})` };
    this.voice.replaceChildren(
      svg("circle", { class: "heard", ...at, r, ...clip }),
      svg("circle", { class: `earshot ${voice.volume}`, ...at, r }),
    );
  }

  /**
   * Where a bubble of somebody points to: their head, or the edge of the stage nearest to it.
   * @param {string} id
   * @returns {{x: number, y: number, r: number} | null}
   */
  anchor(id) {
    const at = this.avatars.get(id)?.at;
    if (!at || !this.size) return null;
    const { width, height } = this.size;
    return { x: clamp(at.x, 6, width - 6), y: clamp(at.y, 6, height - 6), r: at.r };
  }

  /** @returns {import("./layout.js").Box[]} what bubbles should not cover */
  faces() {
    return [...this.avatars.values()].filter((avatar) => avatar.box).map((avatar) => avatar.box);
  }

  click(event) {
    const person = event.target.closest("[data-npc], [data-player]");
    if (person) {
      const id = idOf(person);
      if (id !== this.world.self) return this.events.onPerson(id);
    }
    const placeId = event.target.closest("[data-place]")?.dataset.place;
    const place = this.world.places.get(placeId);
    if (!place) return;
    if (placeId !== this.here()) return this.events.onPlace(placeId);
    // Within the own place: a step to where it was clicked.
    const box = this.map.getBoundingClientRect();
    const metres = (px, to, zero) => Math.round(((px - to(zero)) / this.view.scale + zero) * 10) / 10;
    const x = metres(event.clientX - box.left, this.view.toX, 0);
    const z = metres(event.clientY - box.top, this.view.toY, 0);
    this.events.onPlace(placeId, [x, place.position[1], z]);
  }

  key(event) {
    const target = event.target.closest("[tabindex]");
    if (!target) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (target.dataset.place) this.events.onPlace(target.dataset.place);
      else this.events.onPerson(idOf(target));
    }
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const group = target.dataset.place ? this.places : this.people;
    const from = middle(target);
    let best;
    let least = Infinity;
    for (const other of group.querySelectorAll("[tabindex]")) {
      const to = middle(other);
      const along = (to.x - from.x) * way[0] + (to.y - from.y) * way[1];
      const aside = Math.abs((to.x - from.x) * way[1]) + Math.abs((to.y - from.y) * way[0]);
      if (other === target || along <= 4) continue;
      if (along + 2 * aside < least) [best, least] = [other, along + 2 * aside];
    }
    best?.focus();
  }

  focus(kind, id) {
    for (const node of this.map.querySelectorAll(`[data-${kind}]`)) {
      if (node.dataset[kind] === id) node.focus();
    }
  }
}

function idOf(target) {
  const node = target.closest?.("[data-npc], [data-player]");
  return node ? (node.dataset.npc ?? node.dataset.player) : null;
}

function boxOf(node) {
  const { x, y, width, height } = node.getBBox();
  return { x: x + width / 2, y: y + height / 2, w: width + 6, h: height + 2 };
}

function middle(node) {
  const { left, top, width, height } = node.getBoundingClientRect();
  return { x: left + width / 2, y: top + height / 2 };
}
