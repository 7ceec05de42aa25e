"""KdConv: two people talk about a film, a song or a journey, in Chinese, with the facts they use.

The second of them is the character; what the facts beside their messages say is what they know.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from finetune.formats.base import Faults, Read, json_list, validated
from finetune.records import (
    MAX_TEXT,
    PLAYER,
    Conversation,
    Dropped,
    Persona,
    Stage,
    Turn,
    plain_stage,
    sentences,
)

NPC, NAME = "zhixia", "知夏"
ASKER = "来客"
ABOUT = "知夏在书吧里看店，电影、音乐和各地的去处都记得清楚，别人问什么就答什么，不知道的就直说。"
MAX_FACTS = 40

# Only where text is bounded are halves of surrogate pairs refused.
Told = Annotated[str, Field(max_length=100_000)]


class _Fact(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: Told
    attrname: Told
    attrvalue: Told


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    message: str = Field(max_length=MAX_TEXT)
    attrs: list[_Fact] = []


class _Talk(BaseModel):
    model_config = ConfigDict(extra="ignore")

    messages: list[_Said] = Field(min_length=2)


def read(path: Path, faults: Faults) -> Read:
    """Read a JSON file."""
    for source, value in json_list(path, faults):
        talk = validated(_Talk, value, source, faults)
        if talk is None:
            continue
        yield from (
            Dropped(source=source, reason="empty text")
            for said in talk.messages
            if not said.message
        )
        turns = list(_turns(talk, source))
        if len({turn.speaker for turn in turns}) == 2:
            yield Conversation(stage=_stage(talk), turns=turns, dataset="kdconv", source=source)


def _turns(talk: _Talk, source: str) -> Iterator[Turn]:
    """What is said; who says it goes by its place, also after an empty message."""
    for number, said in enumerate(talk.messages):
        own = number % 2 == 1
        if said.message:
            yield Turn(
                speaker=NPC if own else PLAYER,
                name=NAME if own else ASKER,
                text=said.message,
                source=source,
            )


def _stage(talk: _Talk) -> Stage:
    facts = [
        sentences(f"{fact.name}：{fact.attrname}，{fact.attrvalue}")
        for said in talk.messages
        for fact in said.attrs
        if fact.attrvalue.strip()
    ]
    persona = Persona(
        name=NAME, about=ABOUT, resting="calm", knows=list(dict.fromkeys(facts))[:MAX_FACTS]
    )
    about, place = "一家安静的书吧，客人来闲谈。", "靠窗的长桌，窗外是老街。"
    return plain_stage(about, place, {NPC: persona}, name="书吧", language="zh")
