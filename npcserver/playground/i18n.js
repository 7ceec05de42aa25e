/**
 * The page's own words, in English and Chinese. Knows nothing of what is said in a scene: that has
 * the scene's language.
 */

const EN = {
  "leave": "Leave",
  "lang.other": "中文",
  "start.title": "Step into a scene",
  "start.lead": "You walk in, the characters are already there. Talk to them.",
  "start.name": "Your name",
  "start.name.default": "Traveller",
  "start.name.bad": "A name may not hold ()[]{}<>:;|\\\"`",
  "start.scene": "Scene",
  "start.cast": "Here: {names}",
  "start.more": "More",
  "start.instance": "Instance",
  "start.instance.hint": "Everybody in the same instance meets. Another name is another party, with memories of its own.",
  "start.enter": "Enter",
  "start.noscenes": "The server has no scenes.",
  "start.unreachable": "The list of scenes could not be fetched ({why}). Is the server running?",
  "stage.label": "Map of the scene",
  "composer.label": "Speak",
  "ways.label": "Places",
  "place.here": "{place}, you are here",
  "place.go": "go to {place}",
  "npc.address": "{name}, {emotion}, in {place}: address",
  "player.is": "{name}, player, in {place}",
  "you": "you",
  "say.label": "What you say",
  "say.placeholder": "Say something…",
  "say.talk": "Say",
  "say.talk.hint": "Enter",
  "say.whisper": "Whisper",
  "say.whisper.hint": "Only those you address hear it",
  "say.shout": "Shout",
  "say.shout.hint": "Carries four times as far, into other places too",
  "say.stop": "Stop",
  "say.stop.hint": "Escape: cut them short",
  "say.to": "to {name}",
  "say.unaddress": "stop addressing {name}",
  "hears.talk": "Heard by {names}",
  "hears.whisper": "Only {names} will hear",
  "hears.shout": "A shout reaches {names}",
  "hears.nobody": "Nobody is near enough to hear you",
  "log.title": "What was said",
  "log.copy": "Copy",
  "log.copied": "Copied.",
  "log.nocopy": "The browser did not let the page copy.",
  "log.ttft": "first word {ms} ms",
  "log.heard": "heard {n} of {of}",
  "log.why": "Why did they say that?",
  "why.asked": "The line",
  "why.speaker": "Why they spoke",
  "because.addressed": "was spoken to",
  "because.named": "was named",
  "because.pronoun": "was meant by a pronoun",
  "because.gaze": "was looked at",
  "because.attention": "was talked with last",
  "because.nearest": "stood nearest",
  "because.interest": "it concerns them",
  "because.model": "the model chose",
  "because.act": "something was done to them",
  "because.result": "what they did came to something",
  "because.exchange": "goes on after another character",
  "because.event": "of their own accord, after an event",
  "because.arrival": "of their own accord, somebody came in",
  "because.silence": "of their own accord, in a silence",
  "why.surprise": "How likely the model finds each word",
  "why.marked": "The stronger the colour, the less likely the piece was after all before it; point at one for its probability. Least likely: “{piece}”, {chance}.",
  "why.feeling": "Feeling",
  "why.doing": "Doing",
  "why.recalled": "Recalled for it",
  "why.remembered": "Remembered with it",
  "why.about": "it is about that",
  "why.back": "they are back",
  "why.named": "they were named",
  "why.heard": "heard",
  "why.seen": "seen",
  "why.said": "said by themselves",
  "why.summary": "summed up",
  "why.relevance": "relevance",
  "why.recency": "recency",
  "why.importance": "importance",
  "why.known": "Known to them",
  "why.withheld": "Kept from them, or hidden",
  "why.relation": "How they stand to the player, and what moved it",
  "why.beats": "Open beats",
  "why.authored": "A writer's line",
  "why.prompt": "What the model read",
  "why.close": "Close",
  "rate.good": "Like it: tuning may learn from it",
  "rate.bad": "Dislike it: tuning will not learn it",
  "log.joined": "{name} comes in",
  "log.left": "{name} leaves",
  "log.moved": "{name} goes to {place}",
  "log.event": "{name}",
  "log.saved": "The scene was saved",
  "log.restored": "The scene went back to a save",
  "log.again": "Connected anew; something may be missing here",
  "volume.whisper": "whispers",
  "volume.shout": "shouts",
  "status.completed": "completed",
  "status.interrupted": "interrupted",
  "status.silent": "says nothing",
  "status.timeout": "took too long",
  "status.blocked": "blocked",
  "status.failed": "failed",
  "status.unsent": "not said",
  "state.idle": "",
  "state.connecting": "Connecting…",
  "state.open": "Connected",
  "state.reconnecting": "Connection lost, trying again…",
  "state.closed": "Not connected",
  "close.4409": "You are connected in another window; that one goes on.",
  "close.1008": "The server did not let you in.",
  "close.4404": "There is no such scene.",
  "close.4400": "The server did not understand this page.",
  "refused": "Not done: {why}",
};

const ZH = {
  "leave": "离开",
  "lang.other": "English",
  "start.title": "走进一个场景",
  "start.lead": "你推门进来，人物们已经在那里了。跟他们聊聊吧。",
  "start.name": "你的名字",
  "start.name.default": "旅人",
  "start.name.bad": "名字里不能有 ()[]{}<>:;|\\\"`",
  "start.scene": "场景",
  "start.cast": "在场：{names}",
  "start.more": "更多",
  "start.instance": "实例",
  "start.instance.hint": "同一实例里的人会相遇；换一个名字就是另一局，记忆各自独立。",
  "start.enter": "进入",
  "start.noscenes": "服务器上没有场景。",
  "start.unreachable": "取不到场景列表（{why}）。服务器在运行吗？",
  "stage.label": "场景地图",
  "composer.label": "说话",
  "ways.label": "地点",
  "place.here": "{place}，你在这里",
  "place.go": "前往{place}",
  "npc.address": "{name}，{emotion}，在{place}：对其说话",
  "player.is": "{name}，玩家，在{place}",
  "you": "你",
  "say.label": "你要说的话",
  "say.placeholder": "说点什么……",
  "say.talk": "说",
  "say.talk.hint": "回车键",
  "say.whisper": "耳语",
  "say.whisper.hint": "只有你对着说的人听得见",
  "say.shout": "喊",
  "say.shout.hint": "传得四倍远，别处也听得见",
  "say.stop": "停",
  "say.stop.hint": "Esc 键：打断他们",
  "say.to": "对{name}",
  "say.unaddress": "不再对{name}说",
  "hears.talk": "{names}听得见",
  "hears.whisper": "只有{names}听得见",
  "hears.shout": "喊声传到{names}",
  "hears.nobody": "附近没有人听得见你",
  "log.title": "对话记录",
  "log.copy": "复制",
  "log.copied": "已复制。",
  "log.nocopy": "浏览器不允许复制。",
  "log.ttft": "首字 {ms} 毫秒",
  "log.heard": "听到 {n}/{of} 字",
  "log.why": "为什么这么说？",
  "why.asked": "问的话",
  "why.speaker": "为何是其开口",
  "because.addressed": "被指名",
  "because.named": "被叫到名字",
  "because.pronoun": "被代词指到",
  "because.gaze": "被看着",
  "because.attention": "刚才在交谈",
  "because.nearest": "站得最近",
  "because.interest": "话题与其有关",
  "because.model": "由模型选出",
  "because.act": "有人对其做了什么",
  "because.result": "所做的事有了结果",
  "because.exchange": "接另一角色的话",
  "because.event": "因事件主动开口",
  "because.arrival": "有人来而主动开口",
  "because.silence": "久静而主动开口",
  "why.surprise": "模型认为每个词的可能性",
  "why.marked": "颜色越深，这一段在前文之后越不可能；指向它可见其概率。最不可能的是“{piece}”，{chance}。",
  "why.feeling": "情绪",
  "why.doing": "动作",
  "why.recalled": "为此想起的",
  "why.remembered": "一起记起的往事",
  "why.about": "与此有关",
  "why.back": "来人回来了",
  "why.named": "提到了名字",
  "why.heard": "听说",
  "why.seen": "亲见",
  "why.said": "自己说过",
  "why.summary": "归纳",
  "why.relevance": "相关",
  "why.recency": "新近",
  "why.importance": "重要",
  "why.known": "角色知道的",
  "why.withheld": "角色不知道或隐瞒的",
  "why.relation": "与玩家的关系，以及变化的原因",
  "why.beats": "已开启的情节",
  "why.authored": "作者写的台词",
  "why.prompt": "模型读到的",
  "why.close": "关闭",
  "rate.good": "喜欢：微调时可以学",
  "rate.bad": "不喜欢：微调时不学",
  "log.joined": "{name}进来了",
  "log.left": "{name}离开了",
  "log.moved": "{name}去了{place}",
  "log.event": "{name}",
  "log.saved": "场景已保存",
  "log.restored": "场景回到了存档",
  "log.again": "已重新连接，这里可能缺了几句",
  "volume.whisper": "耳语",
  "volume.shout": "喊道",
  "status.completed": "说完",
  "status.interrupted": "被打断",
  "status.silent": "没有作声",
  "status.timeout": "超时",
  "status.blocked": "被拦下",
  "status.failed": "出错",
  "status.unsent": "没说出口",
  "state.idle": "",
  "state.connecting": "连接中……",
  "state.open": "已连接",
  "state.reconnecting": "连接断开，正在重连……",
  "state.closed": "未连接",
  "close.4409": "你已在另一个窗口连接，这里就此停下。",
  "close.1008": "服务器没有让你进来。",
  "close.4404": "没有这个场景。",
  "close.4400": "服务器听不懂这个页面。",
  "refused": "没有做成：{why}",
  // What servers refuse most often; anything else is shown in the server's own words.
  "error.too_fast": "你说得太快了，稍等一会儿。",
  "error.rate_limited": "消息太密，请慢一点。",
  "error.too_long": "这句话太长了。",
  "error.nobody_near": "附近没有人可以耳语。",
  "error.unknown_id": "这里没有这个人或物。",
  "error.no_such_scene": "没有这个场景。",
  "error.no_token": "需要令牌才能进入。",
  "error.wrong_player": "令牌属于另一位玩家。",
  "error.wrong_scene": "令牌属于另一个场景。",
  "error.taken": "这个名字属于一个人物，换一个吧。",
  "error.not_here": "你已不在场景中，请重新进入。",
  "error.too_many_connections": "打开的连接太多了。",
  "error.too_slow": "连接太慢，正在重连。",
};

const WORDS = { en: EN, zh: ZH };
let current = "en";

/**
 * @param {string} tag a language tag, such as navigator.language
 * @returns {"en" | "zh"} the nearest language the page speaks
 */
export function nearest(tag) {
  return /^zh\b/i.test(tag) ? "zh" : "en";
}

/** @returns {"en" | "zh"} */
export function language() {
  return /** @type {"en" | "zh"} */ (current);
}

/**
 * Speak a language from now on, and say everything on the page in it.
 * @param {"en" | "zh"} to
 */
export function speak(to) {
  current = to;
  document.documentElement.lang = to === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-i18n]")) {
    element.textContent = t(element.getAttribute("data-i18n"));
  }
  for (const name of ["label", "title", "placeholder"]) {
    for (const element of document.querySelectorAll(`[data-i18n-${name}]`)) {
      const words = t(element.getAttribute(`data-i18n-${name}`));
      element.setAttribute(name === "label" ? "aria-label" : name, words);
    }
  }
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values] for the `{slots}`
 * @returns {string} the words for a key, in the current language
 */
export function t(key, values = {}) {
  const words = WORDS[current][key] ?? EN[key] ?? key;
  return words.replace(/\{(\w+)\}/g, (_, slot) => String(values[slot] ?? ""));
}

/**
 * @param {string} code the server's error code
 * @param {string} message the server's own words
 * @returns {string} the error in the reader's language where the page has it
 */
export function errorWords(code, message) {
  return WORDS[current][`error.${code}`] ?? (message || code);
}

/**
 * @param {string[]} names
 * @returns {string} the names as one list
 */
export function listed(names) {
  return names.join(current === "zh" ? "、" : ", ");
}
