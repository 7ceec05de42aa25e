"""Character Card V2 and V3, as JSON or in a PNG: the example messages of one character.

`mes_example` holds dialogues parted by `<START>`, whose lines begin with `{{user}}:` and
`{{char}}:`. What stands between asterisks tells what somebody does; a reply keeps its words only.
"""

import base64
import binascii
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from finetune.formats.base import Faults, Read, character_id, json_file, validated
from finetune.formats.chat import (
    EMPTY,
    STRANGER,
    Outside,
    clean_name,
    together,
)
from finetune.records import (
    MAX_TEXT,
    MEETING,
    PLAYER,
    Dropped,
    Persona,
    Stage,
    Turn,
    language_of,
    plain_stage,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORDS = (b"ccv3", b"chara")
"""V3 first, where a picture holds both."""
START = re.compile(r"<START>", re.IGNORECASE)
SPEAKER = re.compile(r"^\s*\{\{(user|char)\}\}\s*:\s*", re.IGNORECASE)
ASIDE = re.compile(r"\*[^*]*\*")
MAX_PICTURE_BYTES = 64 * 2**20


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=200)
    description: Outside = ""
    personality: Outside = ""
    scenario: Outside = ""
    mes_example: Outside = ""


class _Card(BaseModel):
    model_config = ConfigDict(extra="ignore")

    data: _Data


def read(path: Path, faults: Faults) -> Read:
    """Read a card."""
    source = f"{path}:1"
    told = len(faults.found)
    value = _picture(path, faults) if path.suffix.lower() == ".png" else json_file(path, faults)
    if len(faults.found) > told:
        return
    # A V1 card is what later ones keep in `data`.
    whole = value if isinstance(value, dict) and "data" in value else {"data": value}
    card = validated(_Card, whole, source, faults)
    if card is None:
        return
    dialogues = [each for each in START.split(card.data.mes_example) if each.strip()]
    if not dialogues:
        faults.add(source, "mes_example: holds no dialogue, and nothing else can be trained on")
        return
    name = clean_name(card.data.name)
    npc = character_id(name)
    stage = _stage(card.data, npc, name)
    for dialogue in dialogues:
        said = list(_said(dialogue, npc, name, source))
        yield from together(stage, said, "card", source)


def _said(dialogue: str, npc: str, name: str, source: str) -> Iterator[Turn | Dropped]:
    for who, text in _lines(dialogue):
        said = " ".join(ASIDE.sub(" ", _filled(text, name)).replace('"', " ").split())
        own = who == "char"
        if said:
            yield Turn(
                speaker=npc if own else PLAYER,
                name=name if own else STRANGER,
                text=said[:MAX_TEXT],
                source=source,
            )
        else:
            yield Dropped(source=source, reason=EMPTY)


def _lines(dialogue: str) -> Iterator[tuple[str, str]]:
    """Who says what; a line without a name goes on with the one before it."""
    who, said = "", ""
    for line in dialogue.splitlines():
        if match := SPEAKER.match(line):
            if who:
                yield who, said
            who, said = match[1].lower(), line[match.end() :]
        else:
            said += " " + line
    if who:
        yield who, said


def _filled(text: str, name: str) -> str:
    text = re.sub(r"\{\{char\}\}", lambda _: name, text, flags=re.IGNORECASE)
    return re.sub(r"\{\{user\}\}", lambda _: STRANGER, text, flags=re.IGNORECASE)


def _stage(data: _Data, npc: str, name: str) -> Stage:
    told = (_filled(part.strip(), name) for part in (data.description, data.personality))
    about = " ".join(part for part in told if part)[:MAX_TEXT] or f"{name} is here."
    language = language_of(data.mes_example)
    scene, somewhere = MEETING[language]
    place = _filled(data.scenario.strip(), name) or somewhere
    persona = Persona(name=name, about=about, resting="calm")
    return plain_stage(scene, place, {npc: persona}, language=language)


def _picture(path: Path, faults: Faults) -> Any:
    """The card in a PNG; None, and a fault noted, where there is none."""
    source = f"{path}:1"
    if not path.is_file():
        faults.add(source, "there is no such file")
        return None
    if (size := path.stat().st_size) > MAX_PICTURE_BYTES:
        faults.add(source, f"has {size} bytes, more than {MAX_PICTURE_BYTES}")
        return None
    data = path.read_bytes()
    if not data.startswith(SIGNATURE):
        faults.add(source, "is no PNG picture")
        return None
    texts = dict(_texts(data))
    found = next((texts[keyword] for keyword in KEYWORDS if keyword in texts), None)
    if found is None:
        faults.add(source, "the picture holds no character card")
        return None
    try:
        return json.loads(base64.b64decode(found, validate=True).decode("utf-8-sig"))
    except (binascii.Error, ValueError, RecursionError):
        faults.add(source, "the card in the picture cannot be read: it is damaged")
        return None


def _texts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The `tEXt` chunks by keyword (PNG specification, 11.3.3.2), up to where the file is cut."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        if len(body) < size or kind == b"IEND":
            return
        if kind == b"tEXt":
            keyword, _, text = body.partition(b"\0")
            yield keyword.lower(), text
        at += 12 + size
