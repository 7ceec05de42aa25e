"""Readers of worlds and played sessions: LIGHT, Synthetic-Persona-Chat, CPDC, journals."""

import csv
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from finetune.cleaning import Bounds, clean
from finetune.examples import stage_record
from finetune.formats import cpdc, journal, light, persona_chat
from finetune.formats.base import Faults, Reader
from finetune.formats.names import LONGEST, NAMES, fitting, invented, public, renaming, unused
from finetune.records import NONE, Act, Conversation, Dropped, Record, Turn
from finetune.replies import records
from npcserver.engines.base import Decision, Message, Prompt
from npcserver.engines.scripted import ScriptedEngine
from npcserver.floor import Rules
from npcserver.journal import Batch, Entry, Fact, Store, TurnRated
from npcserver.library import load_scenes
from npcserver.prompt import PromptBuilder
from npcserver.protocol import (
    ActionResult,
    PersonView,
    PlayerActed,
    PlayerJoined,
    PlayerLeft,
    PlayerSaid,
    SceneChanged,
    TurnAction,
    TurnDone,
    TurnEmotion,
    TurnStarted,
)
from tests.clock import run
from tests.stage import QUAY, Player, live

SCENES = Path(__file__).parent / "data"
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
Got = tuple[list[Conversation], list[Dropped], list[str]]


def got(reader: Reader, path: Path) -> Got:
    """All that a reader yields, and its faults."""
    faults = Faults()
    read = list(reader(path, faults))
    conversations = [each for each in read if isinstance(each, Conversation)]
    return conversations, [each for each in read if isinstance(each, Dropped)], faults.found


def shared(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there: the public data is not part of the project")
    return path


def replies(conversations: Sequence[Conversation]) -> list[Record]:
    """The records that cleaning leaves of conversations."""
    cleaned = [clean(each, Bounds())[0] for each in conversations]
    made = [each for kept in cleaned if kept for each in records(kept)]
    return [each for each in made if isinstance(each, Record)]


def said(conversation: Conversation) -> list[tuple[str, str]]:
    return [(turn.name, turn.text) for turn in conversation.turns]


BAD_BYTES = {
    "empty": (b"", "1: is empty"),
    "blank": (b" \n\n", "1: is empty"),
    "not_utf8": (b"[\n\xff]", "2: is not UTF-8"),
}
BAD_JSON = BAD_BYTES | {
    "cut": (b'[\n{"id": 1,', "2: is not JSON"),
    "deep": (b"[" * 100_000, "1: is not JSON"),
    "long_number": (b"[" + b"1" * 5000 + b"]", "1: is not JSON"),
    "object": (b"{}", "1: one JSON list"),
    "no_entries": (b"[]", "1: one JSON list"),
    "number": (b"[\n\n3]", "3: entry:"),
    "null": (b"[null]", "1: entry:"),
    "no_fields": (b"[\n{}]", "2: "),
    "half_a_letter": (rb'[{"name": "\ud800"}]', "1: "),
}


# ---- names -------------------------------------------------------------------------------------


def test_names_are_many_distinct_words_and_nobody_of_ours() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 60
    assert all(re.fullmatch(r"[A-Z][a-z]+", name) for name in NAMES)
    ours = load_scenes(Path(__file__).parent.parent / "scenes").values()
    assert not {name for loaded in ours for name in public(loaded)} & set(NAMES)


def test_a_seed_always_draws_the_same_name_and_none_that_is_taken() -> None:
    first = invented("row 1")
    assert first == invented("row 1")
    assert first != invented("row 1", taken=[first])
    assert len({invented(f"row {number}") for number in range(500)}) > 60


def test_names_never_run_out() -> None:
    taken: list[str] = []
    for _ in range(2 * len(NAMES) + 1):
        taken.append(unused(taken))
    assert len(set(taken)) == len(taken)
    assert taken[len(NAMES)] == f"{NAMES[0]} 2"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (" Orra  the \n Old ", "Orra the Old"),
        ("king, (mad); or: so", "king mad or so"),
        ("x" * 60, "x" * LONGEST),
        ("();:,", ""),
    ],
)
def test_a_name_is_made_to_fit_a_sheet(name: str, kept: str) -> None:
    assert fitting(name) == kept


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("Kit and Robin.", "Aiko and Omar."),
        ("KIT, kit's kite, toolkit", "Aiko, Aiko's kite, toolkit"),
        ("Kit Moss left Kit.", "Zoltan left Aiko."),
        ("Aiko saw Kit.", "Kenji saw Aiko."),
        ("I will, Will!", "I will, Petra!"),
        ("你好小明吗？", "你好Linh吗？"),
        ("a.b (x)", "a.b (x)"),
        ("José! Joséphine", "Enzo! Joséphine"),
    ],
)
def test_names_are_replaced_as_whole_words_all_at_once(text: str, changed: str) -> None:
    rename = renaming(
        {
            "Kit": "Aiko",
            "Robin": "Omar",
            "Kit Moss": "Zoltan",
            "Aiko": "Kenji",
            "Will": "Petra",
            "小明": "Linh",
            "José": "Enzo",
        }
    )
    assert rename(text) == changed
    assert renaming({})(text) == text


# ---- LIGHT -------------------------------------------------------------------------------------

COOK = "I am a cook in the salt mill.  I bake bread for the diggers. I hope to see the sea. Salt."


def someone(number: int = 1, **fields: Any) -> dict[str, Any]:
    whole = {
        "id": number,
        "char_type": "person",
        "name": "a cook",
        "description": "A woman with flour in her hair.",
        "persona": [COOK],
        "emojis": ["🍞"],
    }
    return whole | fields


ROOMS = [{"id": 1, "category": "Mill", "name": "Salt mill", "description": "White dust."}]


def world(folder: Path, characters: Any, rooms: Any = ROOMS) -> Path:
    for name, value in (("characters", characters), ("rooms", rooms)):
        data = value if isinstance(value, bytes) else json.dumps(value, indent=1).encode()
        (folder / f"{name}.json").write_bytes(data)
    return folder


def test_light_characters_answer_with_their_own_sentences(tmp_path: Path) -> None:
    found, dropped, faults = got(light.read, world(tmp_path, [someone(1), someone(2)]))
    assert (dropped, faults) == ([], [])
    first = found[:3]
    assert [each.turns[1].text for each in first] == [
        "I am a cook in the salt mill.",
        "I bake bread for the diggers.",
        "I hope to see the sea.",
    ]
    sheet = first[0].stage.characters["cook"]
    assert sheet.name == "Cook"
    assert (
        sheet.about
        == f"A woman with flour in her hair. Cook, in their own words: {COOK}".replace("  ", " ")
    )
    assert first[0].stage.scene.places["here"].about == "Salt mill. White dust."
    for each in found:
        asked, answer = each.turns
        assert asked.name in NAMES
        assert (asked.speaker, answer.speaker, answer.name) == ("player", "cook", "Cook")
        assert (answer.emotion, answer.action) == (None, None)
        assert answer.text in sheet.about
    assert [each.turns[1].source.rsplit(":", 1)[1] for each in found] == ["2"] * 3 + ["14"] * 3
    assert len({each.source for each in found}) == 6


def test_light_is_read_alike_each_time_and_asks_in_many_ways(tmp_path: Path) -> None:
    folder = world(tmp_path, [someone(number) for number in range(200)], [*ROOMS, *ROOMS])
    found, _, _ = got(light.read, folder)
    assert found == got(light.read, folder)[0]
    for begins in ("I am", "I bake", "I hope"):
        asked = {each.turns[0].text for each in found if each.turns[1].text.startswith(begins)}
        assert len(asked) > 15
    for answers, questions in light.TOPICS.values():
        assert re.compile(answers)
        assert len({" ".join(each.split()) for each in questions.split("/")}) >= 20


def test_light_several_personas_of_one_name_are_several_people(tmp_path: Path) -> None:
    personas = ["I am a guard of the east gate.", "I am a guard of the well."]
    found, _, _ = got(light.read, world(tmp_path, [someone(persona=personas)]))
    assert [each.turns[1].text for each in found] == personas
    for each, persona in zip(found, personas, strict=True):
        about = each.stage.characters["cook"].about
        assert [other in about for other in personas] == [other == persona for other in personas]


@pytest.mark.parametrize(
    ("sentence", "topics"),
    [
        ("I'm the keeper of the lamp.", ["who"]),
        ("I’m Orra, the last of my house.", []),
        ("I am very small.", []),
        ("I often sell eels to sailors.", ["doing"]),
        ("I spend my days mending nets.", []),
        ("My job is to count the sheep.", ["doing"]),
        ("I love the sound of rain.", ["liking"]),
        ("I am afraid of the tall bird.", ["fearing"]),
        ("I don't trust the miller.", ["fearing"]),
        ("I want to go home.", ["wanting"]),
        ("I want them to go.", []),
        ("I hate", []),
        ("I fish.", []),
        ("I sell eels, rope and", []),
        ("The king sells eels to me.", []),
        ("I love " + "very " * 40 + "long walks.", []),
    ],
)
def test_light_only_sentences_that_fit_are_answers(
    tmp_path: Path, sentence: str, topics: list[str]
) -> None:
    found, dropped, faults = got(light.read, world(tmp_path, [someone(persona=[sentence])]))
    assert [each.source.split()[-1] for each in found] == topics
    assert [each.reason for each in dropped] == ([] if topics else ["answers no question"])
    assert not faults


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("another digger", "Another digger"),
        ("an organ player", "Organ player"),
        ("The guard that never sleeps", "Guard"),
        ("captain of the watch", "Captain of the watch"),
        ("Princess", "Princess"),
        ("player", "Player"),
        ("groom/stable hand", "Groom/stable hand"),
        ("miners", "a group"),
        ("guards of the gate", "a group"),
        ("two smiths", "a group"),
        ("townsfolk", "a group"),
        ("a royal family", "a group"),
        ("fishermen", "a group"),
        ("thin, hungry cook", "not a name"),
        ("the king's", "not a name"),
        ("one very old man so tired", "not a name"),
        (" ", "not a name"),
        ("...", "not a name"),
    ],
)
def test_light_names_of_one_person(tmp_path: Path, name: str, reads: str) -> None:
    found, dropped, faults = got(light.read, world(tmp_path, [someone(name=name)]))
    assert not faults
    if dropped:
        assert [each.reason for each in dropped] == [reads]
    else:
        assert {each.turns[1].name for each in found} == {reads}
        assert all(turn.speaker != "" for each in found for turn in each.turns)
        assert all(each.turns[0].speaker not in each.stage.characters for each in found)


def test_light_things_do_not_talk_and_long_personas_are_cut(tmp_path: Path) -> None:
    found, dropped, _ = got(light.read, world(tmp_path, [someone(char_type="object")]))
    assert (found, dropped[0].reason) == ([], "a thing")
    long = "I am a cook. " + "The dough is never done. " * 40 + "I hope to rest one day."
    found, _, _ = got(light.read, world(tmp_path, [someone(persona=[long])]))
    assert len(found[0].stage.characters["cook"].about) <= 600
    assert [each.turns[1].text for each in found] == ["I am a cook."]


@pytest.mark.parametrize("which", ["characters", "rooms"])
@pytest.mark.parametrize("case", BAD_JSON)
def test_light_tells_what_is_wrong_where(tmp_path: Path, which: str, case: str) -> None:
    data, fault = BAD_JSON[case]
    files = {"characters": [someone()], "rooms": ROOMS} | {which: data}
    found, _, faults = got(light.read, world(tmp_path, **files))
    assert found == []
    assert faults[0].startswith(f"{tmp_path}/{which}.json:{fault}")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"persona": "I am a cook."}, "persona: input should be a valid list"),
        ({"persona": [3]}, "persona.0: input should be a valid string"),
        ({"id": "x"}, "id: input should be a valid integer"),
        ({"name": None}, "name: input should be a valid string"),
        ({"description": "\ud800"}, "description: input should be a valid string"),
    ],
)
def test_light_tells_of_wrong_fields_and_reads_on(
    tmp_path: Path, fields: dict[str, Any], fault: str
) -> None:
    folder = world(tmp_path, [someone(**fields), someone()])
    found, _, faults = got(light.read, folder)
    assert len(found) == 3
    assert len(faults) == 1
    assert faults[0].startswith(f"{folder}/characters.json:2: {fault}")


def test_light_without_a_folder(tmp_path: Path) -> None:
    found, _, faults = got(light.read, tmp_path / "nowhere")
    assert found == []
    assert [fault.endswith("there is no such file") for fault in faults] == [True, True]


def test_light_as_it_is() -> None:
    found, dropped, faults = got(light.read, shared("light"))
    assert faults == []
    assert 900 < len(found) < 1800
    kinds = Counter(each.source.split()[-1] for each in found)
    assert set(kinds) == set(light.TOPICS)
    assert min(kinds.values()) > 30
    assert Counter(each.reason for each in dropped)["a thing"] == 49
    assert len(replies(found)) > 0.95 * len(found)


# ---- Synthetic-Persona-Chat --------------------------------------------------------------------

ROW = (
    "I keep bees.\nI am tall.",
    "I paint signs.",
    "User 1: Hi!\nUser 2: Hello.\nAre you well?\nUser 1: Yes.\nUser 1: And you?\nUser 2: I paint.",
)


def table(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header or persona_chat.COLUMNS)
        writer.writerows(rows)
    return path


def test_persona_chat_two_people_with_names_of_their_own(tmp_path: Path) -> None:
    path = table(tmp_path / "chat.csv", [ROW, (*ROW[:2], ROW[2] + "\nUser 1: Oh!")])
    found, dropped, faults = got(persona_chat.read, path)
    assert (dropped, faults) == ([], [])
    one, two = found[0].stage.characters.values()
    assert {one.name, two.name} <= set(NAMES)
    assert one.name != two.name
    assert one.about == f"{one.name}, in their own words: I keep bees. I am tall."
    assert two.about == f"{two.name}, in their own words: I paint signs."
    assert said(found[0]) == [
        (one.name, "Hi!"),
        (two.name, "Hello. Are you well?"),
        (one.name, "Yes. And you?"),
        (two.name, "I paint."),
    ]
    assert {turn.speaker for turn in found[0].turns} == set(found[0].stage.characters)
    assert all((turn.emotion, turn.action) == (None, None) for turn in found[0].turns)
    assert [turn.source.rsplit(":", 1)[1] for turn in found[0].turns] == ["3", "4", "6", "8"]
    assert [each.source for each in found] == [f"{path}:2", f"{path}:9"]
    assert len(replies(found)) == 3 + 4
    assert found == got(persona_chat.read, path)[0]


def test_persona_chat_names_stand_for_labels_and_placeholders_stay(tmp_path: Path) -> None:
    talk = "User 1: Hi, I'm User 1.\nUser 2: I'm [User 2's name], user 1.\nUser 1: (User 2)? Ok."
    found, _, _ = got(persona_chat.read, table(tmp_path / "chat.csv", [(*ROW[:2], talk)]))
    one = found[0].turns[0].name
    assert [turn.text for turn in found[0].turns] == [
        f"Hi, I'm {one}.",
        f"I'm [User 2's name], {one}.",
        "(User 2)? Ok.",
    ]
    assert clean(found[0], Bounds()) == (None, "a placeholder")


def test_persona_chat_stars_are_not_speech_and_brackets_are_what_happens(tmp_path: Path) -> None:
    talk = (
        "* * *\nNobody yet.\n*User 1:* Hi! *\n\n* User 2: Hello.\n[User 1 and User 2 walk.\n"
        "(Later)\n* * *\nUser 2:\nand then\nUser 1: Bye *now*."
    )
    found, _, _ = got(persona_chat.read, table(tmp_path / "chat.csv", [(*ROW[:2], talk)]))
    one, two = (sheet.name for sheet in found[0].stage.characters.values())
    assert said(found[0]) == [
        (one, "Hi!"),
        (two, "Hello."),
        ("", f"{one} and {two} walk."),
        ("", "Later"),
        (two, "and then"),
        (one, "Bye *now*."),
    ]
    assert [turn.spoken for turn in found[0].turns] == [True, True, False, False, True, True]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((*ROW[:2], "Hello, I am a gym teacher."), "not two people talking"),
        ((*ROW[:2], ""), "not two people talking"),
        ((*ROW[:2], "User 1: Hm?\nUser 1: Anybody?"), "not two people talking"),
        (("", *ROW[1:]), "no persona"),
        ((ROW[0], " \n", ROW[2]), "no persona"),
    ],
)
def test_persona_chat_says_what_it_leaves_out(
    tmp_path: Path, row: Sequence[str], reason: str
) -> None:
    path = table(tmp_path / "chat.csv", [row, ROW])
    found, dropped, faults = got(persona_chat.read, path)
    assert len(found) == 1
    assert dropped == [Dropped(source=f"{path}:2", reason=reason)]
    assert faults == []


def test_persona_chat_columns_in_another_order_and_line_ends_of_windows(tmp_path: Path) -> None:
    path = table(
        tmp_path / "chat.csv", [("7", ROW[2], *ROW[:2])], ["id", persona_chat.COLUMNS[2], *COLUMNS]
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n") + b"\r\n\r\n")
    found, _, faults = got(persona_chat.read, path)
    assert faults == []
    assert [turn.text for turn in found[0].turns][:2] == ["Hi!", "Hello. Are you well?"]


COLUMNS = persona_chat.COLUMNS[:2]
HEAD = ",".join(persona_chat.COLUMNS).encode()


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        *BAD_BYTES.values(),
        (b"a,b,c\n1,2,3\n", "1: there is no column 'user 1 personas'"),
        (HEAD + b"\nx,y\n", "2: has 2 columns; 3 are wanted"),
        (HEAD + b'\nx,y,"' + b"long " * 40_000 + b'"\n', "2: is not CSV"),
    ],
)
def test_persona_chat_tells_what_is_wrong_where(tmp_path: Path, data: bytes, fault: str) -> None:
    path = tmp_path / "chat.csv"
    path.write_bytes(data)
    found, _, faults = got(persona_chat.read, path)
    assert found == []
    assert len(faults) >= 1
    assert faults[0].startswith(f"{path}:{fault}")


def test_persona_chat_words_without_end_are_cut(tmp_path: Path) -> None:
    talk = "User 1: Hi!\nUser 2: " + "and so on " * 3000 + "\n(" + "x" * 5000 + ")"
    found, _, faults = got(persona_chat.read, table(tmp_path / "c.csv", [(*ROW[:2], talk)]))
    assert faults == []
    assert max(len(turn.text) for turn in found[0].turns) == 4000


def test_persona_chat_as_it_is() -> None:
    found, dropped, faults = got(persona_chat.read, shared("synthetic_persona_chat", "valid.csv"))
    assert faults == []
    assert len(found) + len(dropped) == 1000
    assert len(found) > 990
    cut = Counter(clean(each, Bounds())[1] for each in found)
    assert 250 < cut["a placeholder"] < 400
    assert len(replies(found)) > 15_000
    assert not any(
        re.search(r"(?<![\[({])\bUser [12]\b", turn.text) for each in found for turn in each.turns
    )


# ---- CPDC --------------------------------------------------------------------------------------

TALK = ["Have you rope?", "Plenty of it.", "Then one, please.", "Here you are."]


def step(number: int, functions: list[str] | None) -> dict[str, Any]:
    """Reply number `number` of TALK, with all that was said before it."""
    before = TALK[: 2 * number + 1]
    dialogue: list[dict[str, Any]] = [
        {"speaker": ("player", "npc")[at % 2], "text": text, "target_item": []}
        for at, text in enumerate(before)
    ]
    made: dict[str, Any] = {"dialogue": dialogue, "gold_response": TALK[2 * number + 1]}
    if functions is not None:
        made["gold_functions"] = [
            {"name": name, "parameters": {"what": "rope"}, "return": []} for name in functions
        ]
    return made


def entry(**fields: Any) -> dict[str, Any]:
    whole = {
        "data_id": "x",
        "worldview": "A coast of wreckers.",
        "player": {"persona": {"name": "Dag", "age": "30"}},
        "npc": {
            "role": "Sell rope.",
            "persona": {
                "name": "Old Merel; (of the quay)",
                "appearance": "I am grey.",
                "age": "70",
                "background": "I was born at sea.",
            },
        },
        "state": {"weather": "Rain", "place": "Rope shop."},
        "knowledge": {
            "knowledge_info": [{"name": "Tarred rope", "description": "It does not rot."}],
            "general_info": "### The quay\n- The tide turns at noon.\n\nEels bite.",
        },
        "turn_0": step(0, ["check_stock", "greet"]),
        "turn_1": step(1, []),
    }
    return whole | fields


def dialogues(folder: Path, *entries: Any) -> Path:
    path = folder / "task.json"
    path.write_text(json.dumps(entries, indent=1))
    return path


def test_cpdc_one_conversation_an_entry_with_what_was_called(tmp_path: Path) -> None:
    path = dialogues(tmp_path, entry(), entry(turn_1=step(1, ["sell"])))
    found, dropped, faults = got(cpdc.read, path)
    assert (dropped, faults, len(found)) == ([], [], 2)
    name = "Old Merel of the quay"
    assert said(found[0]) == [
        ("Dag", TALK[0]),
        (name, TALK[1]),
        ("Dag", TALK[2]),
        (name, TALK[3]),
    ]
    assert [turn.action for turn in found[0].turns] == [None, Act(name="check_stock"), None, NONE]
    assert found[1].turns[3].action == Act(name="sell")
    assert all(turn.emotion is None for each in found for turn in each.turns)
    assert found[0].source == f"{path}:2"
    assert all(turn.source == found[1].source for turn in found[1].turns)
    assert json.loads(path.read_text())[1] == entry(turn_1=step(1, ["sell"]))
    line = int(found[1].source.rsplit(":", 1)[1])
    assert path.read_text().split("\n")[line - 1].strip() == "{"


def test_cpdc_sheet_holds_persona_state_and_knowledge(tmp_path: Path) -> None:
    found, _, _ = got(cpdc.read, dialogues(tmp_path, entry()))
    stage = found[0].stage
    (sheet,) = stage.characters.values()
    assert sheet.about == (
        "Old Merel of the quay: Sell rope. Age: 70. I was born at sea. I am grey."
    )
    assert sheet.knows == [
        "Tarred rope. It does not rot.",
        "The tide turns at noon.",
        "Eels bite.",
    ]
    assert stage.scene.about == "A coast of wreckers."
    assert stage.scene.places["here"].about == "Rain. Rope shop."
    assert {name: action.words for name, action in stage.scene.actions.items()} == {
        "check_stock": "check stock",
        "greet": "greet",
    }
    assert sheet.actions == ["check_stock", "greet"]
    for record in replies(found):
        builder = PromptBuilder(stage.loaded(), record.character, 1200, 8)
        assert stage_record(builder, record).can_act


def test_cpdc_what_does_not_fit_the_sheet_is_known(tmp_path: Path) -> None:
    persona = {"name": "Merel", "age": "70", "past": "I have sailed far. " * 40, "joy": "I sing."}
    npc = {"role": "Sell rope.", "persona": persona}
    found, _, faults = got(cpdc.read, dialogues(tmp_path, entry(npc=npc)))
    assert faults == []
    (sheet,) = found[0].stage.characters.values()
    assert len(sheet.about) <= 600
    assert "I sing." in sheet.knows
    assert all(len(fact) <= 600 for fact in sheet.knows)


def test_cpdc_what_the_data_does_not_tell_is_not_told(tmp_path: Path) -> None:
    path = dialogues(tmp_path, entry(turn_0=step(0, None), turn_1=step(1, None)))
    found, _, _ = got(cpdc.read, path)
    assert [turn.action for turn in found[0].turns] == [None] * 4
    assert found[0].stage.scene.actions == {}
    other = step(0, ["sell"]) | {"gold_response": "Something else."}
    found, _, _ = got(cpdc.read, dialogues(tmp_path, entry(turn_0=other)))
    assert found[0].turns[1].action is None


def test_cpdc_more_functions_than_a_scene_may_declare(tmp_path: Path) -> None:
    many = [entry(turn_1=step(1, [f"call {number}"])) for number in range(40)]
    found, _, faults = got(cpdc.read, dialogues(tmp_path, *many))
    assert faults == []
    assert len(found[0].stage.scene.actions) == cpdc.MOST_ACTIONS
    told = [each.turns[3].action for each in found]
    assert told[0] == Act(name="call_0")
    assert told[-1] is None


@pytest.mark.parametrize("player", ["Old Merel (of the quay)", "", ":"])
def test_cpdc_a_player_without_a_name_of_their_own(tmp_path: Path, player: str) -> None:
    path = dialogues(tmp_path, entry(player={"persona": {"name": player}}))
    assert got(cpdc.read, path)[0][0].turns[0].name == "Stranger"


def test_cpdc_a_character_called_player(tmp_path: Path) -> None:
    npc = {"role": "Sell rope.", "persona": {"name": "Player"}}
    found, _, _ = got(cpdc.read, dialogues(tmp_path, entry(npc=npc)))
    assert len(replies(found)) == 2


@pytest.mark.parametrize("case", BAD_JSON)
def test_cpdc_tells_what_is_wrong_where(tmp_path: Path, case: str) -> None:
    data, fault = BAD_JSON[case]
    path = tmp_path / "task.json"
    path.write_bytes(data)
    found, _, faults = got(cpdc.read, path)
    assert found == []
    assert faults[0].startswith(f"{path}:{fault}")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"worldview": " "}, "worldview: string should have at least 1 character"),
        ({"turn_0": None}, "steps.0: input should be"),
        ({"turn_1": {"dialogue": []}}, "steps.1.gold_response: field required"),
        ({"turn_1": step(1, []) | {"dialogue": [{"speaker": "x", "text": "y"}]}}, "steps.1.dia"),
        ({"turn_1": step(1, []) | {"gold_response": ""}}, "steps.1.gold_response: string"),
        ({"turn_1": step(1, []) | {"gold_functions": [{"name": ""}]}}, "steps.1.gold_functions.0"),
        ({"npc": {"role": "x", "persona": {}}}, "npc.persona.name: is missing"),
        ({"npc": []}, "npc: input should be"),
        ({"state": {"place": ["x"]}}, "state.place"),
        ({"knowledge": {"knowledge_info": "x"}}, "knowledge.knowledge_info: input should be"),
    ],
)
def test_cpdc_tells_of_wrong_fields_and_reads_on(
    tmp_path: Path, fields: dict[str, Any], fault: str
) -> None:
    path = dialogues(tmp_path, entry(**fields), entry())
    found, _, faults = got(cpdc.read, path)
    assert len(found) == 1
    assert faults[0].startswith(f"{path}:2: {fault}")


def test_cpdc_an_entry_without_turns(tmp_path: Path) -> None:
    bare = {name: value for name, value in entry().items() if not name.startswith("turn_")}
    path = dialogues(tmp_path, bare)
    assert got(cpdc.read, path)[2] == [
        f"{path}:2: steps: list should have at least 1 item after validation, not 0"
    ]


@pytest.mark.parametrize(("task", "count", "functions"), [(1, 167, 15), (2, 140, 0)])
def test_cpdc_as_it_is(task: int, count: int, functions: int) -> None:
    found, dropped, faults = got(cpdc.read, shared("cpdc2025", f"task{task}_dev.json"))
    assert (dropped, faults, len(found)) == ([], [], 20)
    own = [turn for each in found for turn in each.turns if turn.speaker != "player"]
    assert len(own) == count
    assert sum(turn.action == NONE for turn in own) == (18 if task == 1 else 140)
    assert all(turn.action for turn in own)
    assert {len(each.stage.scene.actions) for each in found} == {functions}
    assert len(replies(found)) == count
    assert len({each.source for each in found}) == 20


# ---- journals ----------------------------------------------------------------------------------

read = journal.reader(SCENES)
EVERYONE = frozenset({"ada", "bo", "p1", "p2"})


class Listening(ScriptedEngine):
    """The scripted engine, keeping what was asked for each character's turns."""

    def __init__(self) -> None:
        super().__init__({"quay": QUAY}, pace_s=0.05)
        self.asked: dict[str, list[tuple[Message, ...]]] = {}

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        if prompt.opening.endswith(" (looking"):
            self.asked.setdefault(prompt.speaker, []).append(prompt.messages)
        return await super().decide(prompt, options)


def played(path: Path) -> Listening:
    """A session of Kit's and Robin's: talk, a barge-in, an act, an event, ratings."""
    engine, store = Listening(), Store(path)

    async def main() -> None:
        rules = Rules(history=lambda: 40, prompt_tokens=100_000)
        async with live(store, engine, rules) as scene:
            kit, robin = await Player(scene, "kit").join(), await Player(scene, "robin").join()
            host = await Player(scene, "host", host=True).join()
            await kit.say("Hello, I am Kit. Robin told me of you.", to=["ada"])
            first = await kit.until("turn.done")
            await robin.say("Ring the bell for kit.", to=["ada", "bo"])
            await robin.until("turn.done", 3)
            await kit.send("turn.rate", turn_id=first.turn_id, rating="good")
            await kit.say("Give me a herring.", to=["ada"])
            await kit.until("turn.text", len(kit.of("turn.text")) + 3)
            await kit.send("turn.cancel")
            await robin.send("player.act", action="wave", args={"at": "Kit"})
            await host.send("scene.event", name="fog", args={"thick": True})
            await kit.say("Give me a herring, a kitten and a kit.", to=["ada"])
            await kit.until("turn.done", 5)
            await kit.say("Psst. You are a fool.", to=["bo"], volume="whisper")
            await kit.until("turn.done", 6)

    run(main)
    store.close()
    return engine


def test_journal_a_played_session_as_each_character_perceived_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    played(path)
    found, dropped, faults = got(read, path)
    assert (dropped, faults) == ([], [])
    assert [each.source.split()[1] for each in found] == ["ada", "bo"]
    kit, robin = NAMES[:2]
    own = [turn for turn in found[0].turns if turn.speaker == "ada" and turn.spoken]
    assert [(turn.text, turn.emotion, turn.action, turn.rating) for turn in own] == [
        ("Morning. Mind the rope. It bites.", "neutral", NONE, "good"),
        ("Cover your ears.", "happy", Act(name="ring", target="bell"), None),
        ("Take it, then. One only.", "happy", Act(name="give", args={"item": "herring"}), None),
    ]
    heard = [(turn.name, turn.text, turn.spoken) for turn in found[0].turns]
    assert heard[0] == (kit, f"Hello, I am {kit}. {robin} told me of you.", True)
    assert (robin, f"wave {kit}", False) in heard
    assert ("", "Fog rolls in from the sea.", False) in heard
    assert (kit, f"Give me a herring, a kitten and a {kit}.", True) in heard
    assert not any("Psst" in text for _, text, _ in heard)
    assert (kit, "Psst. You are a fool.", True) in [
        (turn.name, turn.text, turn.spoken) for turn in found[1].turns
    ]
    every = json.dumps([[turn.model_dump() for turn in each.turns] for each in found])
    assert not re.search(r"\b(?:kit|robin)\b", every, re.IGNORECASE)
    assert "lamp" not in every
    cut = [turn for turn in found[0].turns if turn.speaker == "ada" and not turn.spoken]
    assert len(cut) == 1
    rows = [int(turn.source.rsplit(":", 1)[1]) for turn in own]
    assert rows == sorted(set(rows))


def test_journal_is_trained_as_it_was_served(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    engine = played(path)
    found, _, _ = got(read, path)
    rename = renaming({"Kit": NAMES[0], "Robin": NAMES[1]})
    for each in found:
        (npc,) = {record.character for record in replies([each])}
        asked = [
            tuple(Message(message.role, rename(message.text)) for message in messages)
            for messages in engine.asked[npc]
        ]
        builder = PromptBuilder(each.stage.loaded(), npc, 100_000, 40)
        made = [stage_record(builder, record).prompt.messages for record in replies([each])]
        assert made
        if npc == "ada":
            # The turn that was cut short is the only one that was asked for and is not learned.
            assert [messages for messages in asked if messages in made] == made
            assert len(asked) == len(made) + 1
        else:
            # A line that Ada answered first stands where Bo answers it, in what follows too.
            assert [lines(messages) for messages in asked] == [lines(messages) for messages in made]
            assert asked[0] == made[0]


def lines(messages: Sequence[Message]) -> Counter[str]:
    return Counter(line for message in messages for line in message.text.split("\n"))


def test_journal_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    played(path)
    before = path.read_bytes()
    assert len(got(read, path)[0]) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["journal.db"]
    assert path.read_bytes() == before


def join(player: str, name: str) -> PlayerJoined:
    view = PersonView(id=player, name=name, place="quay", position=(0, 0, 0))
    return PlayerJoined(player=view)


def line(number: int, player: str, text: str, name: str = "Kit") -> PlayerSaid:
    return PlayerSaid(
        line_id=f"l{number}", player=player, name=name, text=text, to=["ada"], volume="talk"
    )


def started(turn: str, npc: str, to: str, reply_to: str | None = None) -> TurnStarted:
    return TurnStarted(turn_id=turn, npc=npc, in_reply_to=reply_to, to=[to], volume="talk")


def felt(turn: str, emotion: str = "happy") -> TurnEmotion:
    return TurnEmotion(
        turn_id=turn, emotion=emotion, face="happy", intensity=1, at=0, probabilities={}
    )


def did(turn: str, name: str = "ring", target: str | None = "bell", **args: Any) -> TurnAction:
    return TurnAction(
        turn_id=turn, action_id=f"a-{turn}", name=name, target=target, args=args, at=0,
        probabilities={},
    )  # fmt: skip


def done(turn: str, text: str, npc: str = "ada", status: Any = "completed") -> TurnDone:
    return TurnDone(turn_id=turn, npc=npc, status=status, text=text)


def written(path: Path, facts: Sequence[Fact], scene: str = "quay", instance: str = "main") -> Path:
    store = Store(path)
    entries = [Entry(fact, at, EVERYONE) for at, fact in enumerate(facts)]
    store.write([Batch(scene, instance, entries)])
    store.close()
    return path


def exchange(number: int = 1, name: str = "Kit", player: str = "p1") -> list[Fact]:
    turn = f"t{number}"
    return [
        join(player, name),
        line(number, player, f"I am {name}.", name),
        started(turn, "ada", player, f"l{number}"),
        felt(turn),
        done(turn, f"So you are {name}."),
    ]


def test_journal_a_line_said_meanwhile_is_not_known_yet(tmp_path: Path) -> None:
    facts: list[Fact] = [
        join("p1", "Kit"),
        line(1, "p1", "First?"),
        started("t1", "ada", "p1", "l1"),
        felt("t1"),
        line(2, "p1", "Second?"),
        done("t1", "First."),
        started("t2", "ada", "p1", "l2"),
        felt("t2"),
        done("t2", "Second."),
    ]
    found, _, _ = got(read, written(tmp_path / "j.db", facts))
    texts = ["First?", "First.", "Second?", "Second."]
    assert [turn.text for turn in found[0].turns] == texts


def test_journal_who_answers_second_still_answers_the_player(tmp_path: Path) -> None:
    facts: list[Fact] = [
        join("p1", "Kit"),
        line(1, "p1", "Who is there?"),
        started("t1", "ada", "p1", "l1"),
        felt("t1"),
        done("t1", "Ada Finch."),
        started("t2", "bo", "p1", "l1"),
        felt("t2"),
        done("t2", "Bo.", npc="bo"),
    ]
    found, _, _ = got(read, written(tmp_path / "j.db", facts))
    assert said(found[1]) == [
        ("Ada Finch", "Ada Finch."),
        (NAMES[0], "Who is there?"),
        ("Bo", "Bo."),
    ]
    assert [(record.character, record.line) for record in replies(found)] == [
        ("ada", "Who is there?"),
        ("bo", "Who is there?"),
    ]


@pytest.mark.parametrize("status", ["interrupted", "silent", "timeout", "blocked", "failed"])
def test_journal_a_turn_that_was_not_completed_is_not_learned(tmp_path: Path, status: Any) -> None:
    cut = [*exchange()[:-1], done("t1", "So you", status=status)]
    path = written(tmp_path / "j.db", cut)
    assert got(read, path) == ([], [], [])
    path = written(tmp_path / "two.db", cut + exchange(2))
    found, _, _ = got(read, path)
    assert [record.reply for record in replies(found)] == [f"So you are {NAMES[0]}."]
    assert [turn.text for turn in replies(found)[0].history][-1] == "So you"


def test_journal_every_player_gets_one_name(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, [*exchange(1), *exchange(2, "Robin", "p2")])
    written(path, [*exchange(1, "Kitty", "p1"), PlayerLeft(player="p1")], instance="two")
    found, _, faults = got(read, path)
    assert faults == []
    one, two = NAMES[:2]
    assert [turn.text for turn in found[0].turns] == [
        f"I am {one}.",
        f"So you are {one}.",
        f"I am {two}.",
        f"So you are {two}.",
    ]
    assert said(found[1]) == [(one, f"I am {one}."), ("Ada Finch", f"So you are {one}.")]


def test_journal_names_of_the_cast_stay(tmp_path: Path) -> None:
    found, _, _ = got(read, written(tmp_path / "j.db", exchange(1, "Ada")))
    assert said(found[0]) == [(NAMES[0], "I am Ada."), ("Ada Finch", "So you are Ada.")]


def test_journal_an_action_that_failed_names_nobody(tmp_path: Path) -> None:
    facts = [
        *exchange()[:-1],
        did("t1", "give", "p1", item="rope"),
        done("t1", "There."),
        PlayerLeft(player="p1"),
        ActionResult(
            type="action.result", action_id="a-t1", status="refused", detail="Kit is gone"
        ),
        *exchange(2, "Robin", "p2"),
    ]
    found, _, _ = got(read, written(tmp_path / "j.db", facts))
    assert found[0].turns[1].action == Act(name="give", args={"item": "rope"})
    happened = [turn.text for turn in found[0].turns if not turn.spoken]
    assert happened == [
        f"Ada Finch gives rope to {NAMES[0]}, but it is refused: {NAMES[0]} is gone."
    ]


def test_journal_ratings_that_disagree_are_none(tmp_path: Path) -> None:
    def rated(turn: str, **given: Any) -> list[Fact]:
        return [TurnRated(turn_id=turn, player=who, rating=rating) for who, rating in given.items()]

    facts = [*exchange(1), *exchange(2), *exchange(3), *exchange(4)]
    facts += rated("t1", p1="bad") + rated("t1", p1="good") + rated("t1", p2="none")
    facts += rated("t2", p1="bad", p2="good") + rated("t3", p1="bad") + rated("gone", p1="bad")
    found, _, _ = got(read, written(tmp_path / "j.db", facts))
    own = [turn.rating for turn in found[0].turns if turn.speaker == "ada"]
    assert own == ["good", None, "bad", None]


def test_journal_of_a_scene_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    for scene in ("moon", "../quay", "Quay", ""):
        written(path, exchange(), scene=scene)
    written(path, exchange())
    found, dropped, faults = got(read, path)
    assert faults == []
    assert len(found) == 1
    assert {each.reason for each in dropped} == {"its scene is not there"}
    assert [each.source for each in dropped] == [f"{path}:{row}" for row in (1, 6, 11, 16)]


def test_journal_of_a_scene_that_has_changed(tmp_path: Path) -> None:
    facts = [
        *exchange(1),
        line(2, "p1", "Dance!"),
        started("t2", "ada", "p1", "l2"),
        felt("t2", "smug"),
        did("t2", "ring", "gong"),
        done("t2", "Never."),
        line(3, "p1", "Zoe?"),
        started("t3", "zoe", "p1", "l3"),
        felt("t3"),
        done("t3", "Yes?", npc="zoe"),
        line(4, "p1", "Fly!"),
        started("t4", "ada", "p1", "l4"),
        felt("t4"),
        did("t4", "fly", None),
        done("t4", "I flew."),
        SceneChanged(what="event", name="eclipse"),
        PlayerActed(player="p9", action="wave", args={}),
        *exchange(5),
    ]
    path = written(tmp_path / "j.db", facts)
    found, dropped, faults = got(read, path)
    assert faults == []
    assert {each.reason for each in dropped} == {"does not fit its scene any more"}
    assert [each.source for each in dropped] == [f"{path}:{row}" for row in (13, 14, 18, 19, 21)]
    own = [turn for turn in found[0].turns if turn.speaker == "ada"]
    assert [(turn.text, turn.emotion, turn.action) for turn in own][1] == ("Never.", None, None)
    assert "I flew." not in [turn.text for turn in own]
    for record in replies(found):
        stage_record(PromptBuilder(found[0].stage.loaded(), "ada", 1200, 40), record)


def test_journal_with_a_scene_at_fault(tmp_path: Path) -> None:
    (tmp_path / "scenes" / "quay").mkdir(parents=True)
    (tmp_path / "scenes" / "quay" / "scene.yaml").write_text("name: [")
    path = written(tmp_path / "j.db", exchange())
    found, _, faults = got(journal.reader(tmp_path / "scenes"), path)
    assert found == []
    assert "scene.yaml:" in faults[0]
    assert got(journal.reader(tmp_path / "nowhere"), path)[1] != []


def test_journal_an_entry_that_is_none_is_told_and_the_rest_read(tmp_path: Path) -> None:
    path = written(tmp_path / "j.db", [*exchange(1), *exchange(2)])
    with sqlite3.connect(path) as db:
        db.execute('UPDATE entries SET fact = \'{"type": "player.flew"}\' WHERE id = 6')
        db.execute("UPDATE entries SET fact = 'no json' WHERE id = 1")
    db.close()
    found, _, faults = got(read, path)
    assert len(found) == 1
    assert [fault.split(": ")[0] for fault in faults] == [f"{path}:1", f"{path}:6"]


def bad_journal(path: Path, case: str) -> None:
    if case == "empty":
        path.write_bytes(b"")
    elif case == "text":
        path.write_text("this is not a database " * 100)
    elif case == "folder":
        path.mkdir()
    elif case == "cut":
        written(path, [fact for number in range(200) for fact in exchange(number)])
        path.write_bytes(path.read_bytes()[:20_000])
    elif case != "missing":
        scripts = {
            "other": "CREATE TABLE songs (id INTEGER)",
            "columns": "CREATE TABLE entries (id INTEGER, words TEXT);"
            "CREATE TABLE migrations (name TEXT)",
            "newer": "CREATE TABLE entries (id INTEGER); CREATE TABLE migrations (name TEXT);"
            "INSERT INTO migrations VALUES ('9999_future')",
        }
        db = sqlite3.connect(path)
        db.executescript(scripts[case])
        db.close()


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        ("missing", "cannot be read as a journal: unable to open"),
        ("folder", "cannot be read as a journal: "),
        ("empty", "is no journal of npcserver"),
        ("text", "cannot be read as a journal: file is not a database"),
        ("cut", "cannot be read as a journal: database disk image is malformed"),
        ("other", "is no journal of npcserver"),
        ("columns", "cannot be read as a journal: no such column"),
        ("newer", "the journal was written by a newer version (9999_future)"),
    ],
)
def test_journal_that_is_none(tmp_path: Path, case: str, fault: str) -> None:
    path = tmp_path / "odd # name?.db"
    bad_journal(path, case)
    found, _, faults = got(read, path)
    assert found == []
    assert len(faults) == 1
    assert faults[0].startswith(f"{path}:1: {fault}")


def test_journal_of_loose_types_is_told_not_thrown(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    db = sqlite3.connect(path)
    db.executescript(
        "CREATE TABLE migrations (name);"
        "CREATE TABLE entries (id, scene, instance, at_ms, fact, audience);"
        "INSERT INTO entries VALUES (1, 'quay', 'main', 'x', NULL, NULL), (2, 3, 4, 5, 6, 7),"
        "(3, 'quay', x'ff', 1, x'ff', 2)"
    )
    db.close()
    found, dropped, faults = got(read, path)
    assert found == []
    assert len(faults) + len(dropped) == 3


def test_journal_that_a_server_has_open(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = Store(path)
    store.write([Batch("quay", "main", [Entry(fact, 1, EVERYONE) for fact in exchange()])])
    assert len(got(read, path)[0]) == 1
    store.write([Batch("quay", "two", [Entry(fact, 1, EVERYONE) for fact in exchange()])])
    assert len(got(read, path)[0]) == 2
    store.close()


def test_journal_text_without_end_is_cut(tmp_path: Path) -> None:
    facts = [*exchange()[:-1], done("t1", "and so on " * 1000)]
    found, _, _ = got(read, written(tmp_path / "j.db", facts))
    assert isinstance(found[0].turns[1], Turn)
    assert len(found[0].turns[1].text) == 4000
