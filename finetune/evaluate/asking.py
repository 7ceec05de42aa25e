"""What to ask a character, made from the scene's own files and from lines of ordinary talk.

Nothing here knows how an answer is measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from npcserver import relevance
from npcserver.knowledge import open_facts, open_sheet
from npcserver.library import LoadedScene
from npcserver.sheets import Character

Language = Literal["en", "zh"]
ASKED_ABOUT = 2
"""So many words of a fact are named in the question for it; the rest is what may be told."""

NAME = {
    "en": ("What is your name?", "Who am I talking to?"),
    "zh": ("你叫什么名字？", "请问怎么称呼您？"),
}
WISH = {
    "en": ("What do you want most tonight?", "If you could have one thing, what would it be?"),
    "zh": ("你最想要的是什么？", "要是能如愿一件事，你要什么？"),
}
ABOUT = {"en": "What can you tell me about {}?", "zh": "“{}”是怎么回事？"}
AND = {"en": " and ", "zh": "、"}

ORDINARY: dict[Language, tuple[str, ...]] = {
    "en": (
        "Good evening to you.",
        "Is it always this quiet here?",
        "I have walked all day and my feet hurt.",
        "What would you do in my place?",
        "Who was here before me?",
        "That is a strange thing to say.",
        "Where could I sit for a while?",
        "I am not from around here.",
        "Do you ever get tired of this?",
        "What is that smell?",
        "I could use a friend tonight.",
        "Somebody told me you are hard to please.",
        "How long have you been doing this?",
        "What happens tomorrow?",
        "I do not believe a word of it.",
        "Which of them would you trust with your purse?",
        "My sister would like this place.",
        "Tell me something nobody asks you.",
        "hm",
        "Why?",
        "And then what?",
        "I think you are right about that.",
        "You look worried.",
        "Could you say that again, slower?",
        "I have nothing to give you for it.",
        "What are you afraid of?",
        "Were you ever a child?",
        "I should go soon.",
        "One more question.",
        "Will you remember me?",
    ),
    "zh": (
        "晚上好。",
        "这里一直这么安静吗？",
        "我走了一整天，脚疼。",
        "换了你，你会怎么办？",
        "我之前还有谁来过？",
        "你这话说得奇怪。",
        "我能在哪儿坐一会儿？",
        "我不是本地人。",
        "你做这个不腻吗？",
        "这是什么味道？",
        "今晚我想找个人说说话。",
        "有人说你脾气大。",
        "你干这行多久了？",
        "明天会怎么样？",
        "我一个字也不信。",
        "他们几个里，你信得过谁？",
        "我妹妹会喜欢这儿。",
        "说件没人问过你的事吧。",
        "嗯",
        "为什么？",
        "后来呢？",
        "这一点你说得对。",
        "你好像有心事。",
        "能慢点再说一遍吗？",
        "我没什么能给你的。",
        "你怕什么？",
        "你小时候什么样？",
        "我差不多该走了。",
        "再问一句。",
        "你会记得我吗？",
    ),
}


@dataclass(frozen=True)
class FactAsked:
    """A question for a fact, and the terms that only its answer holds."""

    question: str
    fact: str
    terms: frozenset[str]


def facts(loaded: LoadedScene, npc: str) -> Iterator[FactAsked]:
    """A question for each fact that a character knows."""
    sheet = loaded.characters[npc]
    yield from (_asked(loaded, fact, _named(sheet)) for fact in sheet.knows)


def others_facts(loaded: LoadedScene, npc: str) -> Iterator[FactAsked]:
    """A question for each fact that somebody else knows and this character does not."""
    own = frozenset[str]().union(*map(relevance.terms, open_sheet(loaded.characters[npc])))
    for other, sheet in loaded.characters.items():
        for fact in sheet.knows if other != npc else ():
            asked = _asked(loaded, fact, own)
            if len(asked.terms) > 1:
                yield asked


def wishes(sheet: Character) -> frozenset[str]:
    """The terms of everything a character wants."""
    return frozenset[str]().union(*map(relevance.meaning, sheet.wants)) - _named(sheet)


def _asked(loaded: LoadedScene, fact: str, known: frozenset[str]) -> FactAsked:
    """The fact's rarest words make the question."""
    language = loaded.scene.language
    named = (
        _rarest(loaded, fact) if language == "en" else [fact.partition("，")[0][:8].rstrip("。")]
    )
    question = ABOUT[language].format(AND[language].join(named))
    return FactAsked(question, fact, relevance.meaning(fact) - relevance.terms(question) - known)


def _rarest(loaded: LoadedScene, fact: str) -> list[str]:
    """Words of a fact that stand in the fewest others, in the fact's order."""
    every = [relevance.terms(each) for each in open_facts(loaded)]
    words = [word.strip(".,;:!?'\"") for word in fact.split()]
    telling = [word for word in dict.fromkeys(words) if relevance.meaning(word) and len(word) > 2]

    def common(word: str) -> int:
        return sum(bool(relevance.meaning(word) & terms) for terms in every)

    rare = sorted(telling, key=common)[:ASKED_ABOUT]
    return [word for word in telling if word in rare]


def _named(sheet: Character) -> frozenset[str]:
    return relevance.terms(sheet.name)
