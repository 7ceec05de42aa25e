"""What a character's words must never be: the mechanical signs that the illusion broke.

Each sign is a function of plain texts, so that tests of scenes, evaluations and readers of logs
mean the same by it. A sign is evidence and no proof: what it finds is shown with the words. Knows
nothing of engines or scenes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from npcserver import relevance

_AS_A_MODEL = re.compile(
    r"\b(?:as|i(?:'| a)m) (?:just |only |merely )?an? (?:ai|a\.i\.|artificial intelligence|"
    r"(?:large )?language model|chat ?bot|(?:virtual|ai|digital) assistant|(?:computer )?program)\b"
    r"|\b(?:openai|chatgpt|smollm|hugging ?face|anthropic)\b"
    r"|\bhow (?:can|may) i (?:assist|help) you today\b"
    r"|\bmy (?:training data|knowledge cut-?off|programming|system prompt)\b"
    r"|\bi (?:was|am) (?:trained on|programmed to|designed to)\b"
    r"|\b(?:this|the) (?:role-?play|prompt|conversation history|fictional character)\b"
    r"|作为(?:一[个名款])?(?:人工智能|AI|语言模型|大模型|聊天机器人)"
    r"|我(?:只)?是(?:一[个名款])?(?:人工智能|AI|语言模型|大模型|聊天机器人|智能助手)"
    r"|(?:我的|系统)(?:训练数据|提示词)|通义千问|文心一言",
    re.IGNORECASE,
)
_MARKS = re.compile(
    r"<\|?[a-z_/]|\|>|\[/?(?:INST|SYS)|\(looking\b|（[^）]{0,12}；|^\s*[\[(*#]|\*\w|```|\b(?:emotion|action|says):"
    r"|\{\{|\}\}|^\s*\{",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\bi(?:'m| am) (?:sorry|afraid),? (?:but )?i(?:'m| am)? ?(?:can(?:no|')t|not able|unable)"
    r"|\bi can(?:no|')t (?:assist|help|provide|answer|comply|fulfil|engage|discuss|talk about)"
    r"|\bi(?:'m| am) (?:not able|unable) to (?:assist|help|provide|answer|comply)"
    r"|\bi (?:will not|won't) (?:assist|help|provide|answer that)\b|\bagainst my (?:policy|rules)"
    r"|抱歉，?我(?:不能|无法)|我无法(?:提供|回答|帮助)",
    re.IGNORECASE,
)
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]")
_SPELLED = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred "
    "thousand million"
).split()
_NUMBER = re.compile(
    rf"\b(?:\d[\d.,:]*|{'|'.join(_SPELLED)})\b|[二三四五六七八九十百千万两]+", re.IGNORECASE
)
ALIKE = 0.8
"""Two replies are the same one if they share so much of their word triples."""
OFTEN = 3
"""Three words that stand in a reply so many times are a loop."""
SHORTEST_COPY = 8
"""So many words in a row are no accident."""
TOLD = 0.5
"""A secret is told by this share of the terms that only it holds."""


def as_a_model(text: str) -> str | None:
    """Words in which a language model speaks of itself."""
    return _found(_AS_A_MODEL, text)


def marks(text: str) -> str | None:
    """A prompt's own marks, tags, stage directions or markup."""
    return _found(_MARKS, text)


def refused(text: str) -> str | None:
    """A refusal in an assistant's words, which no character would use."""
    return _found(_REFUSED, text)


def _found(sign: re.Pattern[str], text: str) -> str | None:
    match = sign.search(text)
    return match[0].strip() if match else None


def speaks_for(text: str, names: Iterable[str]) -> str | None:
    """The name of somebody whose line is spoken within the text: `Kit: yes.`"""
    for name in names:
        edge = r"(?<!\w)" if name.isascii() else ""
        if re.search(rf"{edge}{re.escape(name)}\s*(?::|：|\((?:looking|angry|sad))", text):
            return name
    return None


def loops(text: str, before: Sequence[str]) -> str | None:
    """What is said again: a reply from before, or the text's own words over and over."""
    own = _triples(text)
    for past in before:
        theirs = _triples(past)
        if min(len(own), len(theirs)) > 1 and len(own & theirs) >= ALIKE * len(own | theirs):
            return past
    words = _words(text)
    for size in range(2, len(words) // 3 + 1):
        for at in range(len(words) - 3 * size + 1):
            part = words[at : at + size]
            if part == words[at + size : at + 2 * size] == words[at + 2 * size : at + 3 * size]:
                return " ".join(part)
    often = Counter(zip(words, words[1:], words[2:], strict=False))
    return next((" ".join(each) for each, count in often.items() if count >= OFTEN), None)


def other_language(text: str, language: str) -> str | None:
    """The text, where most of it is not in the scene's language (`en` or `zh`)."""
    chinese, latin = len(_CHINESE.findall(text)), len(_LATIN.findall(text))
    if language == "en":
        return text if chinese else None
    return text if latin > 2 * chinese and latin > 3 else None


def tells(text: str, secret: str, public: Iterable[str], lines: Iterable[str] = ()) -> bool:
    """Whether a text gives a secret away.

    Args:
        public: what may be said freely: the sheets' open facts.
        lines: what players said; whoever only repeats that tells nothing.
    """
    only = own_terms(secret, public)
    return is_told(only, text) and not only & relevance.terms(text) <= _terms(lines)


def own_terms(secret: str, public: Iterable[str]) -> frozenset[str]:
    """The terms that only a secret holds. Args: public: what may be said freely."""
    return relevance.meaning(secret) - _terms(public)


def is_told(only: frozenset[str], text: str) -> bool:
    """Whether a text gives away a secret that has these terms for its own."""
    return len(only) > 1 and len(only & relevance.terms(text)) >= TOLD * len(only)


def _terms(texts: Iterable[str]) -> frozenset[str]:
    return frozenset[str]().union(*map(relevance.terms, texts))


def made_up_numbers(text: str, known: Iterable[str]) -> list[str]:
    """Numbers in a text that nothing known holds: prices, times and counts out of thin air."""
    told = {_value(each) for source in known for each in _NUMBER.findall(source)}
    return [each for each in _NUMBER.findall(text) if _value(each) not in told]


def _value(number: str) -> str:
    spelled = {word: str(value) for value, word in enumerate(_SPELLED[:19], 2)}
    spelled |= {word: str(10 * value) for value, word in enumerate(_SPELLED[19:26], 3)}
    plain = number.lower().rstrip(".,:")
    return spelled.get(plain, plain)


def copied(text: str, source: str) -> str | None:
    """The words of the source that a text repeats, SHORTEST_COPY or more in a row."""
    said, read = _words(text), _words(source)
    held = {tuple(read[i : i + SHORTEST_COPY]) for i in range(len(read) - SHORTEST_COPY + 1)}
    for at in range(len(said) - SHORTEST_COPY + 1):
        if tuple(said[at : at + SHORTEST_COPY]) in held:
            return " ".join(said[at : at + SHORTEST_COPY])
    return None


def _words(text: str) -> list[str]:
    """Words in small letters; each Chinese character is one."""
    return re.findall(r"[\u3400-\u9fff]|[a-z0-9']+", text.lower())


def _triples(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}
