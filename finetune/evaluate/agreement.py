"""Do our measures agree with people: rank correlation with human scores of characters' replies.

Read from CharacterBench: dialogues, one model's reply to the last line, and a person's score of
that reply in one dimension. A measure that correlates with no dimension is no measure of quality,
and is not used as one. Source of the data: J. Zhou et al., CharacterBench, 2024.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from finetune.errors import DataError
from finetune.evaluate import texts
from finetune.evaluate.likelihood import Likelihood
from finetune.evaluate.statistics import Estimate, spearman
from finetune.evaluate.voices import Voices
from npcserver import judging, relevance, slips
from npcserver.engines.base import Message, Prompt
from npcserver.judging import Judge

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
LAST_TURNS = 8
"""Turns of a dialogue that a model is shown before the reply."""
LEVELS = ("very bad", "bad", "fair", "good", "very good")
QUESTIONS = {
    "attribute_consistency_bot": "How well does the reply fit the character's profile?",
    "attribute_consistency_human": "How well does the reply fit the character's profile?",
    "behavior_consistency_human": "How well does the reply fit how the character speaks and acts?",
    "empathetic_responsiveness": "How well does the reply respond to the user's feelings?",
    "engagement": "How much does the reply make one want to go on talking?",
    "human_likeness": "How much does the reply sound like a living person?",
    "memory_consistency": "How well does the reply agree with what was said before?",
}
FEWEST = 5
"""So many replies must have another score than the most frequent one."""
UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))
Said = Annotated[str, Field(max_length=20_000)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Turn(_Value):
    speaker: str
    utterance: Said


class _Reply(_Value):
    response: Said
    reference_response: Said = ""


class _Dialogue(_Value):
    character_name: str
    character_profile: Said
    dialogue: list[_Turn] = Field(min_length=1)
    response_messages: _Reply

    @field_validator("character_profile", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """Some profiles are tables."""
        if isinstance(value, dict):
            return "\n".join(f"{name}: {told}" for name, told in value.items())
        return value


class _Entry(_Dialogue):
    annotation_score: float
    translation_en: _Dialogue


@dataclass(frozen=True)
class Judged:
    """A reply that a person scored."""

    dimension: str
    language: Language
    name: str
    profile: str
    turns: tuple[tuple[bool, str], ...]
    """Each with whether the character says it; the last one is the user's."""
    reply: str
    score: float
    written: str = ""
    """A reply that a person wrote in its place, where there is one."""

    @property
    def before(self) -> list[str]:
        """What the character said before."""
        return [text for own, text in self.turns if own]


def read(folder: Path) -> list[Judged]:
    """Every scored reply, in both languages.

    Raises:
        DataError: the folder holds none, or a file is not what it is named for.
    """
    files = sorted(folder.glob("*_dev.json"))
    if not files:
        raise DataError(f"{folder}:1: holds no *_dev.json of CharacterBench")
    return [each for file in files for each in _read(file)]


def _read(file: Path) -> Iterator[Judged]:
    try:
        entries = [_Entry.model_validate(each) for each in json.loads(file.read_text("utf-8"))]
    except (ValidationError, ValueError) as error:
        raise DataError(f"{file}:1: is not what CharacterBench holds: {error}") from None
    dimension = file.name.removesuffix("_dev.json")
    for entry in entries:
        yield _judged(dimension, "zh", entry, entry.annotation_score)
        yield _judged(dimension, "en", entry.translation_en, entry.annotation_score)


def _judged(dimension: str, language: Language, said: _Dialogue, score: float) -> Judged:
    users = ("user", "User", "用户")
    turns = tuple((turn.speaker not in users, turn.utterance) for turn in said.dialogue)
    reply, written = said.response_messages.response, said.response_messages.reference_response
    name, profile = said.character_name, said.character_profile
    return Judged(dimension, language, name, profile, turns, reply, score, written)


# ---- what we would measure quality with ----------------------------------------------------------

Scorer = Callable[[Judged], float | None]
"""Higher should be better; None where it cannot tell."""


def _length(each: Judged) -> float:
    return float(len(texts.words(each.reply)))


def _new(each: Judged) -> float:
    """The share of its words in a row that were not said before in the dialogue."""
    return 1 - texts.copied_share(each.reply, "\n".join(text for _, text in each.turns), 2)


def _variety(each: Judged) -> float:
    different, whole = texts.distinct([each.reply], 2)
    return different / whole if whole else 0.0


def _answering(each: Judged) -> float:
    """Words shared with the line that is answered."""
    return texts.f1(each.reply, each.turns[-1][1])


def _profiled(each: Judged) -> float:
    """How many of its telling terms stand in the profile."""
    said = relevance.meaning(each.reply)
    return len(said & relevance.terms(each.profile)) / len(said) if said else 0.0


def _remembering(each: Judged) -> float:
    """How many of its telling terms were said before."""
    said = relevance.meaning(each.reply)
    past = relevance.terms(" ".join(text for _, text in each.turns))
    return len(said & past) / len(said) if said else 0.0


def _in_character(each: Judged) -> float:
    """1 where no sign says that the illusion broke."""
    signs = (slips.as_a_model(each.reply), slips.refused(each.reply))
    again = slips.loops(each.reply, each.before)
    return float(not any(signs) and not again)


def _sounding(each: Judged) -> float:
    """1 where it sounds like the character's other lines rather than like the user's."""
    users = [text for own, text in each.turns if not own]
    return float(Voices({"own": each.before, "user": users}).of(each.reply) == "own")


def _like_written(measure: Callable[[str, str], float]) -> Scorer:
    """How much it shares with the reply that a person wrote."""
    return lambda each: measure(each.reply, each.written) if each.written else None


SCORERS: Mapping[str, Scorer] = {
    "length": _length,
    "new words": _new,
    "variety": _variety,
    "answers the line": _answering,
    "profile terms": _profiled,
    "terms said before": _remembering,
    "in character": _in_character,
    "voice": _sounding,
    "f1": _like_written(texts.f1),
    "chrf": _like_written(texts.chrf),
    "rouge_l": _like_written(texts.rouge_l),
    "bleu": _like_written(texts.bleu),
}


def _prompt(each: Judged) -> Prompt:
    """The dialogue as a transcript, up to the character's name."""
    lines = [f"{each.name if own else 'User'}: {text}" for own, text in each.turns[-LAST_TURNS:]]
    sheet = Message("system", each.profile)
    return Prompt((sheet, Message("user", "\n".join(lines))), f"{each.name}:")


def likelihood_scorer(likelihood: Likelihood) -> Scorer:
    """The mean log-probability of the reply's tokens."""

    def score(each: Judged) -> float:
        (found,) = likelihood.scores(_prompt(each), [f" {' '.join(each.reply.split())}"])
        return sum(found) / len(found)

    return score


async def judge_scores(
    judge: Judge, replies: Sequence[Judged], tell: Callable[[int, int], None]
) -> list[tuple[float, float]]:
    """What a judge gives each reply, as a level from 0, and how much it agreed with itself."""
    found = []
    for done, each in enumerate(replies):
        tell(done, len(replies))
        prompt = _prompt(each)
        text = "\n".join(message.text for message in prompt.messages)
        asked = f"{text}\n\nThe reply to rate is this.\n{each.name}: {each.reply}"
        verdict = await judging.ask(judge, asked, QUESTIONS[each.dimension], LEVELS)
        found.append((verdict.level, verdict.agreement))
    return found


# ---- the table -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """A scorer's rank correlation with people. Args: replies: how many it is over."""

    scorer: str
    language: Language
    dimension: str
    estimate: Estimate
    replies: int

    @property
    def correlates(self) -> bool:
        """The interval holds nothing below or at 0."""
        return self.estimate.low > 0


def agreements(
    replies: Sequence[Judged], scores: Mapping[str, Sequence[float | None]], seed: int = 0
) -> list[Agreement]:
    """Every scorer in every dimension and language.

    Args:
        scores: of each reply, by scorer; None where it was not scored.
    """
    found = []
    for scorer, given in scores.items():
        for language in LANGUAGES:
            for dimension in QUESTIONS:
                pairs = [
                    (score, each.score)
                    for score, each in zip(given, replies, strict=True)
                    if score is not None
                    and (each.language, each.dimension) == (language, dimension)
                ]
                if pairs:
                    ours, theirs = zip(*pairs, strict=True)
                    value = spearman(ours, theirs, seed) if _varies(ours) else UNKNOWN
                    found.append(Agreement(scorer, language, dimension, value, len(pairs)))
    return found


def _varies(scores: Sequence[float]) -> bool:
    """Whether enough replies got another score than most did, for a correlation to mean much."""
    (_, most), *_ = Counter(scores).most_common(1)
    return len(scores) - most >= FEWEST


def table(found: Sequence[Agreement], language: Language) -> str:
    """The correlations as a table in Markdown; what is clearly above nothing is bold."""
    dimensions = list(dict.fromkeys(each.dimension for each in found))
    lines = [
        f"| measure | {' | '.join(name.replace('_', ' ') for name in dimensions)} |",
        f"|---{'|---' * len(dimensions)}|",
    ]
    for scorer in dict.fromkeys(each.scorer for each in found):
        cells = {
            each.dimension: _cell(each)
            for each in found
            if (each.scorer, each.language) == (scorer, language)
        }
        if cells:
            row = " | ".join(cells.get(dimension, "") for dimension in dimensions)
            lines.append(f"| {scorer} | {row} |")
    return "\n".join(lines)


def _cell(each: Agreement) -> str:
    value = each.estimate
    if isnan(value.value):  # it gave everything the same
        return "–"
    told = f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})"
    return f"**{told}**" if each.correlates else told


def told(found: Sequence[Agreement]) -> list[dict[str, Any]]:
    """The correlations as JSON."""
    return [
        {
            "scorer": each.scorer,
            "language": each.language,
            "dimension": each.dimension,
            "spearman": _rounded(each.estimate.value),
            "low": _rounded(each.estimate.low),
            "high": _rounded(each.estimate.high),
            "replies": each.replies,
        }
        for each in found
    ]


def _rounded(value: float) -> float | None:
    return None if isnan(value) else round(value, 4)


async def run(
    replies: Sequence[Judged],
    likelihood: Likelihood | None,
    judge: Judge | None,
    languages: Sequence[Language],
    tell: Callable[[str, int, int], None],
) -> tuple[list[Agreement], float | None]:
    """Score every reply in every way.

    Args:
        languages: those the model and the judge speak; only in these are they asked.

    Returns:
        The correlations, and the judge's agreement with itself.
    """
    scores: dict[str, list[float | None]] = {
        name: [score(each) for each in replies] for name, score in SCORERS.items()
    }
    asked = [at for at, each in enumerate(replies) if each.language in languages]
    if likelihood is not None:
        likely = likelihood_scorer(likelihood)
        column: list[float | None] = [None] * len(replies)
        for done, at in enumerate(asked):
            tell("likelihood", done, len(asked))
            column[at] = likely(replies[at])
        scores["likelihood"] = column
    own = None
    if judge is not None:
        heard = [replies[at] for at in asked]
        told_each = await judge_scores(judge, heard, lambda done, of: tell("judge", done, of))
        column = [None] * len(replies)
        for at, (level, _) in zip(asked, told_each, strict=True):
            column[at] = level
        scores[f"judge {judge.name}"] = column
        own = sum(agreed for _, agreed in told_each) / len(told_each)
    return agreements(replies, scores), own


def first(replies: Sequence[Judged], most: int | None) -> list[Judged]:
    """As many replies of each dimension and language, the first ones; all where `most` is None."""
    counts: dict[tuple[str, str], int] = {}
    kept = []
    for each in replies:
        key = (each.dimension, each.language)
        counts[key] = counts.get(key, 0) + 1
        if most is None or counts[key] <= most:
            kept.append(each)
    return kept
