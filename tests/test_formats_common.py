"""Readers of common formats: what they read, and what they say of what they cannot."""

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.formats import card, chat, kdconv, sharegpt, table
from finetune.formats.base import Faults, Reader
from finetune.formats.registry import detect, sources
from finetune.records import Conversation, Dropped, Turn

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
READERS: dict[str, tuple[Reader, str]] = {
    "chat": (chat.read, "talk.jsonl"),
    "sharegpt": (sharegpt.read, "talk.json"),
    "csv": (table.read, "talk.csv"),
    "card": (card.read, "card.json"),
    "png": (card.read, "card.png"),
    "kdconv": (kdconv.read, "film.json"),
}


FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
KEYS = ["messages", "role", "content", "conversations", "from", "value", "data"]


def read(reader: Reader, path: Path) -> tuple[list[Conversation], list[Dropped], list[str]]:
    faults = Faults()
    found = list(reader(path, faults))
    kept = [each for each in found if isinstance(each, Conversation)]
    return kept, [each for each in found if isinstance(each, Dropped)], faults.found


def said(turns: list[Turn]) -> list[tuple[str, str]]:
    return [(turn.name, turn.text) for turn in turns]


def test_chat(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Mira mends nets and grudges."},
        {"role": "user", "content": "Morning."},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Is it?"}],
            "name": "Mira (old)",
        },
    ]
    path.write_text("\n" + json.dumps({"messages": messages, "extra": 1}) + "\n")
    (talk,), dropped, faults = read(chat.read, path)
    assert (dropped, faults) == ([], [])
    assert said(talk.turns) == [("Stranger", "Morning."), ("Mira old", "Is it?")]
    assert talk.stage.characters["mira_old"].about == "Mira mends nets and grudges."
    assert talk.source == f"{path}:2"
    assert talk.turns[1].emotion is None


@pytest.mark.parametrize("lines", [True, False])
def test_sharegpt(tmp_path: Path, lines: bool) -> None:
    path = tmp_path / ("talk.jsonl" if lines else "talk.json")
    talk = {
        "conversations": [
            {"from": "human", "value": "Who are you?"},
            {"from": "gpt", "value": "The one with the keys."},
        ],
        "system": "A gatekeeper.",
    }
    path.write_text(json.dumps(talk) if lines else json.dumps([talk]))
    (found,), _, faults = read(sharegpt.read, path)
    assert not faults
    assert said(found.turns)[1] == ("Companion", "The one with the keys.")
    assert found.stage.characters["companion"].about == "A gatekeeper."


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "talk.csv"
    path.write_text(
        "conversation,character,line,reply,emotion,action\n"
        'a,Mira,"Two\nlines",Fine.,Very sad,\n'
        "a,Mira,Again?,No.,happy,shut_door\n"
        ",Tam,Hello.,Go.,,none\n"
    )
    kept, _, faults = read(table.read, path)
    assert not faults
    first, second = kept
    assert [turn.source for turn in first.turns] == [f"{path}:2"] * 2 + [f"{path}:4"] * 2
    assert [turn.emotion for turn in first.turns] == [None, "very_sad", None, "happy"]
    assert first.stage.scene.emotions["very_sad"].word == "Very-sad"
    assert first.stage.scene.actions["shut_door"].words == "shut door"
    assert second.turns[1].action == "none"
    assert second.turns[1].emotion is None


CARD = {
    "spec": "chara_card_v2",
    "data": {
        "name": "Nia: the Loud",
        "description": "{{char}} sells bells.",
        "scenario": "A stall.",
        "mes_example": "<START>\n{{user}}: How much?\n{{Char}}: *rings* Too much, {{user}}.\nYes.\n"
        "<start>\n{{user}}: Hm.\n{{char}}: *leaves*",
    },
}


def png(card_text: bytes, keyword: bytes = b"chara") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    text = keyword + b"\0" + base64.b64encode(card_text)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return card.SIGNATURE + head + chunk(b"tEXt", text) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["json", "chara", "CCV3"])
def test_a_card(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("card.json" if kind == "json" else "card.png")
    if kind == "json":
        path.write_text(json.dumps(CARD))
    else:
        path.write_bytes(png(json.dumps(CARD).encode(), kind.encode()))
    (talk,), dropped, faults = read(card.read, path)
    assert not faults
    assert said(talk.turns)[1] == ("Nia the Loud", "Too much, Stranger. Yes.")
    assert talk.stage.characters["nia_the_loud"].about == "Nia the Loud sells bells."
    assert [each.reason for each in dropped] == ["not two people talking"]


def test_kdconv(tmp_path: Path) -> None:
    path = tmp_path / "film.json"
    fact = {"name": "钟", "attrname": "材料", "attrvalue": "青铜"}
    talk = {"messages": [{"message": "这口钟呢？"}, {"message": "青铜的。", "attrs": [fact]}]}
    path.write_text(json.dumps([talk], ensure_ascii=False))
    (found,), _, faults = read(kdconv.read, path)
    assert not faults
    assert found.stage.scene.language == "zh"
    assert found.stage.characters["zhixia"].knows == ["钟：材料，青铜"]
    assert said(found.turns)[1] == ("知夏", "青铜的。")


BAD = {
    "chat": {
        '{"messages": []}': ":1: messages: list should have at least 2 items",
        '{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}': (
            ":1: messages: no assistant says anything"
        ),
        '\n{"messages": 3}': ":2: messages: ",
        "\n[1]": ":2: is a JSON list",
        '{"messages"': ":1: is not JSON",
        "[" * 100_000: ":1: is not JSON",
    },
    "sharegpt": {
        "3": ":1: is no list of conversations",
        "[3]": ":1: entry 1: is no object",
        '[{"conversations": [{"from": "cat", "value": "m"}]}]': ":1 entry 1: conversations.0",
        "[\n{]": ":2: is not JSON",
    },
    "csv": {
        "line\na\n": ":1: the header lacks reply",
        "line,reply,mood\n": ":1: unknown columns mood",
        "line,reply\n\na,b,c\n": ":3: has 3 cells; the header has 2",
        'line,reply\n"a\n\n",\n': ":2: reply: nothing is there",
        'line,reply\n"a': ":2: is not CSV",
    },
    "card": {
        '{"data": {}}': ":1: data.name: field required",
        '{"data": {"name": "A"}}': ":1: mes_example: holds no dialogue",
        "{": ":1: is not JSON",
    },
    "kdconv": {
        "{}": ":1: is no list of dialogues",
        '[{"messages": [{"message": "a"}]}]': ":1 entry 1: messages: list should have at least 2",
    },
}


@pytest.mark.parametrize(
    ("kind", "text"),
    [(kind, text) for kind in BAD for text in BAD[kind]],
    ids=lambda value: value[:40],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, kind: str, text: str) -> None:
    reader, name = READERS[kind]
    path = tmp_path / name
    path.write_text(text)
    kept, _, faults = read(reader, path)
    assert not kept
    assert faults[0].startswith(f"{path}{BAD[kind][text]}")


@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_text_is_told(tmp_path: Path, kind: str) -> None:
    reader, name = READERS[kind]
    path = tmp_path / name
    for data in (None, b"", b" \n", b"\n\xff\xfe"):
        if data is not None:
            path.write_bytes(data)
        kept, _, faults = read(reader, path)
        assert not kept
        assert faults
        assert faults[0].startswith(f"{path}:")


@pytest.mark.parametrize(
    "data",
    [
        png(b"{")[:-30],
        png(b"not json"),
        png(b"{}", b"other"),
        card.SIGNATURE + b"\xff\xff\xff\xfftEXt",
        png(b"").replace(b"chara\0", b"chara\0!!"),
    ],
)
def test_a_damaged_picture_is_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "card.png"
    path.write_bytes(data)
    kept, _, faults = read(card.read, path)
    assert not kept
    assert faults[0].startswith(f"{path}:1: ")


@pytest.mark.parametrize("kind", READERS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_break_a_reader(tmp_path: Path, kind: str, data: bytes) -> None:
    reader, name = READERS[kind]
    path = tmp_path / name
    for whole in (data, card.SIGNATURE + data):
        path.write_bytes(whole)
        read(reader, path)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["messages", "role", "content", "conversations", "from", "value", "data"]
                ),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_no_json_breaks_a_reader(tmp_path: Path, value: Any) -> None:
    for kind in ("chat", "sharegpt", "card", "kdconv"):
        reader, name = READERS[kind]
        (tmp_path / name).write_text(json.dumps(value))
        read(reader, tmp_path / name)


def test_formats_are_known_by_their_look(tmp_path: Path) -> None:
    looks = {
        "a.jsonl": ('{"messages": []}', "chat"),
        "b.json": ('[{"conversations": []}]', "sharegpt"),
        "c.json": (json.dumps(CARD), "card"),
        "d.json": ('[{"messages": [{"message": "x"}]}]', "kdconv"),
        "e.json": ('[{"worldview": ""}]', "cpdc"),
        "f.csv": ("line,reply\n", "csv"),
        "g.csv": ("user 1 personas,user 2 personas,Best Generated Conversation\n", "persona_chat"),
        "h.jsonl": ('{"scene": "", "disliked": ""}', "preference"),
        "i.db": ("", "journal"),
        "j.txt": ("hello", None),
        "k.json": ("{", None),
    }
    for name, (text, found) in looks.items():
        (tmp_path / name).write_text(text)
        assert detect(tmp_path / name) == found, name
    assert sources(f"chat:{tmp_path / 'j.txt'}")[0].format == "chat"
    with pytest.raises(DataError, match="is no format that is known by its look"):
        sources(str(tmp_path / "j.txt"))
    with pytest.raises(DataError, match="there is no such file"):
        sources(str(tmp_path / "nowhere"))


def test_the_real_kdconv_is_read() -> None:
    path = DATA / "kdconv" / "film_dev.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    kept, dropped, faults = read(kdconv.read, path)
    assert not faults
    assert not dropped
    assert len(kept) > 100
    assert all(len(talk.turns) > 1 for talk in kept)
