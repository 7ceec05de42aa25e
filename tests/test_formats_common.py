"""Readers of common formats: what they read, and what they say of what they cannot."""

import base64
import csv
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
KEYS = (
    "messages role content conversations from value system character data name description "
    "scenario mes_example message attrs attrname attrvalue"
).split()
WORDS = ["user", "assistant", "human", "gpt", "{{user}}: a\n{{char}}: b", "\ud800"]


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


def chat_of(path: Path, *said: tuple[str, Any], **beside: Any) -> Path:
    messages = [{"role": role, "content": content} for role, content in said]
    path.write_text(json.dumps({"messages": messages, **beside}))
    return path


def test_a_chat_names_its_character_beside_the_messages(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    for key in ("character", "npc"):
        chat_of(path, ("user", "Hi."), ("assistant", "Ho."), **{key: "Old Bex"})
        (talk,), _, _ = read(chat.read, path)
        assert talk.turns[1].speaker == "old_bex"
    chat_of(path, ("user", "Hi."), ("assistant", "Ho."))
    (talk,), _, _ = read(chat.read, path)
    assert talk.turns[1].name == "Companion"


def test_a_character_called_player_is_not_the_player(tmp_path: Path) -> None:
    path = chat_of(tmp_path / "a.jsonl", ("user", "Hi."), ("assistant", "Ho."), npc="Player")
    (talk,), _, _ = read(chat.read, path)
    assert [turn.speaker for turn in talk.turns] == ["player", "npc_player"]


@pytest.mark.parametrize("nothing", ["", " \n", None, [], [{"type": "text", "text": " "}]])
def test_a_chat_message_without_text_is_dropped(tmp_path: Path, nothing: Any) -> None:
    two = [("user", "Hi."), ("assistant", nothing)]
    path = chat_of(tmp_path / "a.jsonl", *two)
    assert read(chat.read, path) == ([], [Dropped(source=f"{path}:1", reason="empty text")], [])
    chat_of(path, *two, ("user", "Well?"), ("assistant", "Ho."))
    (talk,), (dropped,), faults = read(chat.read, path)
    assert [turn.text for turn in talk.turns] == ["Hi.", "Well?", "Ho."]
    assert (dropped.reason, faults) == ("empty text", [])


def test_a_chat_that_nobody_asks_in_is_dropped(tmp_path: Path) -> None:
    path = chat_of(tmp_path / "a.jsonl", ("system", "A clock."), ("assistant", "Ho."))
    kept, (dropped,), faults = read(chat.read, path)
    assert (kept, dropped.reason, faults) == ([], "not two people talking", [])


def test_entries_of_a_list_are_found_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    talk = {"conversations": [{"from": "human", "value": "[1\n]"}, {"from": "bot", "value": "]"}]}
    whole = json.dumps([talk] * 3, indent=1)
    path.write_text("\n" + whole, encoding="utf-8-sig")
    kept, _, faults = read(sharegpt.read, path)
    begins = [at for at, line in enumerate(f"\n{whole}".split("\n"), 1) if line == " {"]
    assert not faults
    assert [talk.source for talk in kept] == [f"{path}:{line}" for line in begins]


@pytest.mark.parametrize("end", ["", "\n,", "\n,]", "\n] 3", "\n 3]", "\n}"])
def test_a_list_that_does_not_end_is_told(tmp_path: Path, end: str) -> None:
    path = tmp_path / "talk.json"
    path.write_text(f'[{{"conversations": [{{"from": "gpt", "value": ""}}]}}{end}')
    _, _, faults = read(sharegpt.read, path)
    line = 1 + end.count("\n")
    assert faults == [f for f in faults if f.startswith(f"{path}:{line}: is not JSON: ")] != []


def test_words_of_a_table_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "talk.csv"
    path.write_text(
        "line,reply,emotion,action\na,b,开心,\na,b,难过,挥手\na,b,Happy,摇头\na,b,relaxed,None\n",
        encoding="utf-8",
    )
    kept, _, faults = read(table.read, path)
    assert not faults
    scene = kept[0].stage.scene
    felt = [talk.turns[1].emotion or "" for talk in kept]
    assert [scene.emotions[each].word for each in felt] == ["开心", "难过", "happy", "relaxed"]
    assert [scene.emotions[each].face for each in felt[2:]] == ["happy", "relaxed"]
    done = [talk.turns[1].action for talk in kept]
    assert done[0] == done[3] == "none"
    assert [each.words for each in scene.actions.values()] == ["挥手", "摇头"]
    assert done[1] != done[2]


def test_one_conversation_of_a_table_has_one_character(tmp_path: Path) -> None:
    path = tmp_path / "talk.csv"
    path.write_text(
        "conversation,character,about,line,reply\n"
        "a,Mira,Mends nets.,Hi.,Ho.\nb,Tam,,Hi.,Hm.\na,,,And?,Out.\n"
    )
    (first, second), _, faults = read(table.read, path)
    assert not faults
    assert [turn.text for turn in first.turns] == ["Hi.", "Ho.", "And?", "Out."]
    assert first.stage.characters["mira"].about == "Mends nets."
    assert second.source == f"{path}:3"
    path.write_text("conversation,character,line,reply\na,Mira,Hi.,Ho.\na,Tam,Hi.,Ho.\n")
    kept, _, faults = read(table.read, path)
    assert (kept, faults) == (
        [],
        [f"{path}:3: character: is not Mira, who speaks in this conversation"],
    )


@pytest.mark.parametrize("row", ["a,", ",b", " ,b", '"a\n\n",'])
def test_a_row_without_text_is_dropped(tmp_path: Path, row: str) -> None:
    path = tmp_path / "talk.csv"
    path.write_text(f"line,reply\nHi.,Ho.\n{row}\n")
    kept, dropped, faults = read(table.read, path)
    assert (len(kept), faults) == (1, [])
    assert dropped == [Dropped(source=f"{path}:3", reason="empty text")]


@pytest.mark.parametrize(
    ("column", "words", "told"),
    [
        ("emotion", ["x" * 21], ":2: emotion: word: string should have at most 20"),
        ("emotion", ["calm", '"sad, very"'], ":3: emotion: word: string should match"),
        ("emotion", [f"felt{n}" for n in range(12)], ":13: emotion: felt11 is one too many"),
        ("action", ["", "x" * 41], ":3: action: words: string should have at most 40"),
        ("action", [f"does{n}" for n in range(25)], ":26: action: does24 is one too many"),
        ("about", ["Old.", "x" * 4001], ":3: about: string should have at most 4000"),
        ("player", ["x" * 4001, ""], None),
    ],
)
def test_cells_that_no_scene_allows_are_told(
    tmp_path: Path, column: str, words: list[str], told: str | None
) -> None:
    path = tmp_path / "talk.csv"
    path.write_text(f"line,reply,{column}\n" + "".join(f"a,b,{word}\n" for word in words))
    _, _, faults = read(table.read, path)
    assert len(faults) == (told is not None)
    assert all(fault.startswith(f"{path}{told}") for fault in faults)


def test_a_line_of_a_table_that_is_too_long_is_told_with_its_own_row(tmp_path: Path) -> None:
    path = tmp_path / "talk.csv"
    path.write_text(f"conversation,line,reply\n1,a,b\n1,c,{'x' * 4001}\n")
    _, _, faults = read(table.read, path)
    assert faults == [f"{path}:3: text: string should have at most 4000 characters"]


def test_a_table_without_columns_for_them_tells_no_emotion_or_action(tmp_path: Path) -> None:
    path = tmp_path / "talk.csv"
    path.write_text("Reply,LINE\nHo.,Hi.\n")
    (talk,), _, _ = read(table.read, path)
    assert said(talk.turns) == [("Stranger", "Hi."), ("Companion", "Ho.")]
    assert (talk.turns[1].emotion, talk.turns[1].action) == (None, None)


CARD: dict[str, Any] = {
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
    assert [each.reason for each in dropped] == ["empty text"]


def test_a_card_without_an_envelope_and_v3_before_v2(tmp_path: Path) -> None:
    flat = tmp_path / "card.json"
    flat.write_text(json.dumps(CARD["data"]))
    (talk,), _, faults = read(card.read, flat)
    assert (talk.turns[1].name, faults) == ("Nia the Loud", [])
    newer = png(json.dumps({"data": {**CARD["data"], "name": "Newer"}}).encode(), b"ccv3")
    picture = tmp_path / "card.png"
    older = png(json.dumps(CARD).encode())
    end = older.index(b"IEND") - 4
    picture.write_bytes(older[:end] + newer[len(card.SIGNATURE) + 25 :])
    (talk,), _, faults = read(card.read, picture)
    assert (talk.turns[1].name, faults) == ("Newer", [])


def test_a_reply_of_directions_only_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    said_so = "{{user}}: a\n{{char}}: *nods*\n{{user}}: b *waits\nlong*\n{{char}}: c"
    path.write_text(json.dumps({"data": {"name": "A", "mes_example": said_so}}))
    (talk,), (dropped,), _ = read(card.read, path)
    assert [turn.text for turn in talk.turns] == ["a", "b", "c"]
    assert dropped == Dropped(source=f"{path}:1", reason="empty text")


@pytest.mark.parametrize("text", ["Just words.", "{{char}}: Alone.", "{{char}}: A\n{{char}}: B"])
def test_a_card_in_which_nobody_asks_is_dropped(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps({"data": {"name": "A", "first_mes": "Hi.", "mes_example": text}}))
    kept, (dropped,), faults = read(card.read, path)
    assert (kept, dropped.reason, faults) == ([], "not two people talking", [])


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


def test_an_empty_message_of_kdconv_is_dropped_and_nobody_changes_places(tmp_path: Path) -> None:
    path = tmp_path / "film.json"
    fact = {"name": "桥", "attrname": "长度", "attrvalue": "很长。" * 400}
    messages = [{"message": "甲", "attrs": [fact]}, {"message": " "}, {"message": "丙"}]
    path.write_text(json.dumps([{"messages": [*messages, {"message": "丁"}]}]))
    (talk,), (dropped,), faults = read(kdconv.read, path)
    assert not faults
    assert said(talk.turns) == [("来客", "甲"), ("来客", "丙"), ("知夏", "丁")]
    assert dropped == Dropped(source=f"{path}:1", reason="empty text")
    (known,) = talk.stage.characters["zhixia"].knows
    assert known.endswith("很长。")
    assert len(known) <= 600


BAD = {
    "chat": {
        "{}": ":1: messages: field required",
        '{"messages": [{"role": "user"}, {"role": "assistant", "content": "b"}]}': (
            ":1: messages.0.content: field required"
        ),
        '{"messages": [{"role": "cat", "content": "a"}, {"role": "user", "content": "b"}]}': (
            ":1: messages.0.role: input should be"
        ),
        '{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "user"}]}': (
            ":1: messages.0.content"
        ),
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
        "3": ":1: is a JSON int; one object a line is wanted",
        "null": ":1: is a JSON NoneType",
        "[]": ":1: one JSON list with entries in it is wanted",
        "[\n\n3]": ":3: entry: input should be a valid dictionary",
        '[\n{"conversations": [{"from": "cat", "value": "m"}]}]': ":2: conversations.0.from: ",
        '[{"conversations": []}]': ":1: conversations: list should have at least 1 item",
        '[{"conversations": [{"from": "gpt"}]}]': ":1: conversations.0.value: field required",
        '[{"conversations": [{"from": "human", "value": "a"}]}]': ":1: messages: no assistant",
        "[\n{]": ":2: is not JSON",
        "[" * 100_000: ":1: is not JSON",
        "[1" + "0" * 9999 + "]": ":1: is not JSON",
    },
    "csv": {
        "line\na\n": ":1: the header lacks reply",
        "line,reply,mood\n": ":1: unknown columns mood",
        "line,reply\n\na,b,c\n": ":3: has 3 cells; the header has 2",
        "line,reply,line\n": ":1: the header repeats line",
        "line,reply,\n": ":1: unknown columns (without a name)",
        "\nline,reply\n": ":1: has no rows below its header",
        'line,reply\n"a': ":2: is not CSV",
    },
    "card": {
        '{"data": {}}': ":1: data.name: field required",
        '{"data": {"name": "A"}}': ":1: mes_example: holds no dialogue",
        '{"data": {"name": "A", "mes_example": 3}}': ":1: data.mes_example: input should be",
        '{"data": {"name": "A", "description": "\\ud800"}}': ":1: data.description",
        "null": ":1: data: input should be",
        "[]": ":1: data: input should be",
        "{": ":1: is not JSON",
        "[" * 100_000: ":1: ",
    },
    "kdconv": {
        "{}": ":1: one JSON list with entries in it is wanted",
        "null": ":1: one JSON list with entries in it is wanted",
        '[\n{"messages": [{"message": "a"}]}]': ":2: messages: list should have at least 2",
        '[{"messages": [{"message": 3}, {"message": "a"}]}]': ":1: messages.0.message: input",
        '[{"messages": [{"attrs": []}, {"message": "a"}]}]': ":1: messages.0.message: field",
        '[{"messages": 3},\n 3\n 4]': ":1: messages: input should be a valid list",
        '[{"messages": 3}': ":1: messages: input should be a valid list",
        "[" * 100_000: ":1: is not JSON",
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
        png(b"null"),
        png(b"[" * 100_000),
        png(b"\xff"),
        card.SIGNATURE,
        b"GIF89a",
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
@FUZZ
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_break_a_reader(tmp_path: Path, kind: str, data: bytes) -> None:
    reader, name = READERS[kind]
    path = tmp_path / name
    for whole in (data, card.SIGNATURE + data):
        path.write_bytes(whole)
        read(reader, path)


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(WORDS)


@FUZZ
@given(
    value=st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
        ),
    )
)
def test_no_json_breaks_a_reader(tmp_path: Path, value: Any) -> None:
    for kind in ("chat", "sharegpt", "card", "kdconv"):
        reader, name = READERS[kind]
        for whole in (value, [value]):
            (tmp_path / name).write_text(json.dumps(whole))
            read(reader, tmp_path / name)
    (tmp_path / "card.png").write_bytes(png(json.dumps(value).encode()))
    read(card.read, tmp_path / "card.png")


ODD = st.text(max_size=9) | st.sampled_from(["\ud800", "Player", " ", "*a*", "(", "\n"])


@FUZZ
@given(one=ODD, other=ODD, name=ODD)
def test_no_words_break_a_reader(tmp_path: Path, one: str, other: str, name: str) -> None:
    roles = [("user", one), ("assistant", other)]
    whole: dict[str, Any] = {
        "chat": {
            "messages": [{"role": by, "content": text} for by, text in roles],
            "character": name,
        },
        "sharegpt": [
            {
                "conversations": [{"from": by, "value": text} for by, text in roles],
                "character": name,
            }
        ],
        "card": {
            "name": name,
            "scenario": one,
            "description": other,
            "mes_example": f"{{{{user}}}}: {one}\n{{{{char}}}}: {other}",
        },
        "kdconv": [
            {
                "messages": [
                    {"message": one},
                    {
                        "message": other,
                        "attrs": [{"name": name, "attrname": one, "attrvalue": other}],
                    },
                ]
            }
        ],
    }
    for kind, value in whole.items():
        reader, file = READERS[kind]
        (tmp_path / file).write_text(json.dumps(value))
        kept, dropped, faults = read(reader, tmp_path / file)
        assert kept or dropped or faults
        for talk in kept:
            assert [turn.speaker == "player" for turn in talk.turns] == [True, False]


CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@FUZZ
@given(rows=st.lists(st.tuples(*[CELL] * len(table.KNOWN)), max_size=4))
def test_no_cells_break_a_table(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    path = tmp_path / "talk.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([table.KNOWN, *rows])
    kept, dropped, faults = read(table.read, path)
    assert kept or dropped or faults
    assert all(fault.startswith(f"{path}:") for fault in faults)


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


@pytest.mark.parametrize("name", ["film_dev.json", "travel_dev.json"])
def test_the_real_kdconv_is_read(name: str) -> None:
    path = DATA / "kdconv" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    kept, dropped, faults = read(kdconv.read, path)
    assert not faults
    assert not dropped
    assert len(kept) > 100
    assert len({talk.source for talk in kept}) == len(kept)
    lines = path.read_text(encoding="utf-8").split("\n")
    for talk in kept:
        begins = int(talk.source.rsplit(":", 1)[1])
        assert lines[begins - 1].strip() == "{"
        assert len(talk.turns) >= 2
        assert [turn.speaker for turn in talk.turns[:2]] == ["player", "zhixia"]
        assert len(talk.stage.characters["zhixia"].knows) <= kdconv.MAX_FACTS


def test_chinese_chat_is_staged_in_chinese(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    messages = [
        {"role": "user", "content": "渡口开吗？"},
        {"role": "assistant", "content": "今晚不开。"},
    ]
    path.write_text(json.dumps({"messages": messages}, ensure_ascii=False))
    (talk,), _, faults = read(chat.read, path)
    assert not faults
    assert talk.stage.scene.language == "zh"
    assert talk.stage.scene.emotions["calm"].word == "平静"
