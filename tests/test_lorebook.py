"""Lorebooks: every field of the Character Book, files of every form, and what is refused."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from npcserver.errors import SceneError
from npcserver.happening import Happening
from npcserver.library import LoadedScene, load_scene
from npcserver.lorebook import Entry, Lorebook, _alike, pattern_fault
from npcserver.prompt import PromptBuilder, estimate_tokens
from npcserver.state import SceneState
from tests.server import SCENES


def book(*entries: dict[str, Any], **fields: Any) -> Lorebook:
    whole = [{"content": f"E{at}", "keys": ["none"], **each} for at, each in enumerate(entries)]
    return Lorebook.model_validate({"entries": whole, **fields})


def told(book: Lorebook, *lines: str) -> list[str]:
    return [entry.content for entry in book.told(lines, len)]


@pytest.mark.parametrize(
    ("entry", "line", "comes_up"),
    [
        ({"keys": ["reef", "wreck"]}, "The WRECK is near.", True),
        ({"keys": ["reef"]}, "The reefs are near.", False),
        ({"keys": ["Ada"]}, "请问Ada在吗", True),
        ({"keys": ["皮影"]}, "我想看皮影戏", True),
        ({"keys": ["Reef"], "case_sensitive": True}, "the reef", False),
        ({"keys": ["reef"], "secondary_keys": ["north"], "selective": True}, "the reef", False),
        ({"keys": ["reef"], "secondary_keys": ["north"], "selective": True}, "north reef", True),
        ({"keys": ["reef"], "secondary_keys": ["north"]}, "the reef", True),
        ({"keys": ["reef"], "selective": True}, "the reef", True),
        ({"keys": [], "constant": True}, "anything", True),
        ({"keys": ["reef"], "enabled": False}, "the reef", False),
        ({"constant": True, "enabled": False}, "x", False),
        ({"keys": [r"ree(f|ves)\b"], "use_regex": True}, "two reeves", True),
        ({"keys": ["r.ef"], "use_regex": False}, "the reef", False),
        ({"keys": ["R.ef"], "use_regex": True, "case_sensitive": True}, "the reef", False),
        ({"keys": []}, "x", False),
    ],
)
def test_when_an_entry_comes_up(entry: dict[str, Any], line: str, comes_up: bool) -> None:
    assert told(book(entry), line) == (["E0"] if comes_up else [])


def test_depth_order_budget_and_recursion() -> None:
    deep = book({"keys": ["reef"]}, scan_depth=2)
    assert told(deep, "reef", "b") == ["E0"]
    assert told(deep, "reef", "b", "c") == []
    reef = {"keys": ["reef"]}
    order = book({**reef, "insertion_order": 2}, {**reef, "insertion_order": 1}, reef)
    assert told(order, "reef") == ["E1", "E0", "E2"]
    tight = book({**reef, "priority": 1}, {**reef, "priority": 9}, reef, token_budget=4)
    assert told(tight, "reef") == ["E0", "E1"]
    chain = [{"content": "a wreck", "keys": ["reef"]}, {"content": "gold", "keys": ["wreck"]}]
    assert told(book(*chain), "reef") == ["a wreck"]
    assert told(book(*chain, recursive_scanning=True), "reef") == ["a wreck", "gold"]


def test_what_comes_from_elsewhere() -> None:
    """Nulls say nothing, and unknown fields are left alone."""
    loaded = Lorebook.model_validate(
        {
            "name": None,
            "scan_depth": None,
            "extensions": {"x": 1},
            "entries": [
                {"keys": ["a"], "content": "A", "priority": None, "extensions": {}, "id": 3}
            ],
        }
    )
    assert told(loaded, "a") == ["A"]


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("(a+)+b", "repeats a group"),
        ("(a|aa)*b", "repeats a group"),
        (r"(\w+) \1", "refers back"),
        ("(?=a)b", "looks around"),
        (".*a.*b", "more than 1"),
        ("a{1,900}a{1,900}", "more than 1"),
        ("a?a?a?a?aaaa", r"more than 3 \?"),
        ("(a|ab)(a|ab)(a|ab)", "more than 2 groups"),
        ("(", "no regular expression"),
        (r"\d+ crowns?", None),
        (r"[*+?()]x\+\)*", None),
        ("(?:reef|wreck)s?", None),
    ],
)
def test_a_pattern_that_may_take_long_is_refused(pattern: str, fault: str | None) -> None:
    assert (pattern_fault(pattern) is None) is (fault is None)
    if fault:
        with pytest.raises(ValidationError, match=fault):
            book({"keys": [pattern], "use_regex": True})


@given(st.text(max_size=60), st.text(max_size=200))
def test_no_key_and_no_line_breaks_it(key: str, line: str) -> None:
    if key and len(key) <= 200:
        assert told(book({"keys": [key]}), line) in ([], ["E0"])
        if pattern_fault(key) is None:
            assert told(book({"keys": [key], "use_regex": True}), line) in ([], ["E0"])


WORDS = st.sampled_from(["s", "ſ", "S", "is", "İs", "ıS", "s.", "皮", "皮s"])
LINES = st.lists(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=4)
ENTRY = st.fixed_dictionaries(
    {
        "content": WORDS,
        "keys": st.lists(WORDS, max_size=3),
        "secondary_keys": st.lists(WORDS, max_size=2),
        **dict.fromkeys(("selective", "case_sensitive"), st.booleans()),
    }
)


@given(st.lists(ENTRY, max_size=6), LINES, st.booleans())
def test_a_book_tells_what_its_keys_say_one_by_one(
    entries: list[dict[str, Any]], lines: list[str], recursive: bool
) -> None:
    """However its keys are looked up, it is as if each were searched for in each line."""
    whole = book(*entries, recursive_scanning=recursive, scan_depth=3, token_budget=2000)

    def stands(keys: list[str], entry: Entry, scanned: list[str]) -> bool:
        flags, latin = 0 if entry.case_sensitive else re.IGNORECASE, "[A-Za-z0-9]"
        edged = (
            (f"(?<!{latin})" if re.match(latin, key) else "")
            + re.escape(key)
            + (f"(?!{latin})" if re.match(latin, key[-1]) else "")
            for key in keys
        )
        return any(re.search(key, line, flags) for key in edged for line in scanned)

    def comes_up(entry: Entry, scanned: list[str]) -> bool:
        second = not (entry.selective and entry.secondary_keys)
        return stands(entry.keys, entry, scanned) and (
            second or stands(entry.secondary_keys, entry, scanned)
        )

    expected: set[int] = set()
    scanned = lines[-3:]
    while scanned:
        rest = set(range(len(entries))) - expected
        new = {at for at in rest if comes_up(whole.entries[at], scanned)}
        expected |= new
        scanned = [whole.entries[at].content for at in new] if recursive else []
    for _ in range(2):  # found, then remembered
        found = whole.told(lines, len)
        assert [id(entry) for entry in found] == [id(whole.entries[at]) for at in sorted(expected)]


def test_keys_are_looked_up_the_same_wherever_case_does_not_count() -> None:
    every = map(chr, range(sys.maxunicode + 1))
    cased = "".join(char for char in every if {char.lower(), char.upper()} != {char})
    for char in cased:
        same = re.findall(re.escape(char), cased, re.IGNORECASE)
        assert {_alike(each) for each in same} == {_alike(char)}


def test_a_line_asks_only_the_keys_that_may_stand_in_it() -> None:
    whole = book(*({"keys": [f"key{at}", f"other{at}"]} for at in range(2000)))
    assert told(whole, "Is key7 here, or key1234?") == ["E7", "E1234"]
    asked = [
        key.text for keys in whole.index._plain.values() for key in keys if "pattern" in vars(key)
    ]
    assert set(asked) <= {"key7", "key1", "key12", "key123", "key1234"}


# ---- beside a scene ------------------------------------------------------------------------------

ENTRIES = [
    {"keys": ["reef"], "content": "{{char}} told {{user}}:\nthe reef has teeth."},
    {"keys": ["reef"], "content": "Ships go round.", "position": "after_char"},
]


@pytest.fixture
def quay(tmp_path: Path) -> Path:
    folder = tmp_path / "quay"
    shutil.copytree(SCENES / "quay", folder)
    return folder


def add(file: Path, line: str) -> int:
    """Append a line to a file; returns its number."""
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}{line}\n", encoding="utf-8")
    return len(text.splitlines()) + 1


def asked(loaded: LoadedScene, npc: str, *lines: str) -> str:
    """The last block of the prompt for the last of some lines."""
    state = SceneState(loaded)
    for number, line in enumerate(lines, 1):
        state.happenings.append(
            Happening(number, "kit", "Kit", line, True, (), "talk", frozenset({npc, "kit"}), 0)
        )
    return PromptBuilder(loaded, npc, 2000).build(state, len(lines)).messages[-1].text


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("sea.yaml", {"entries": ENTRIES}),
        ("sea.json", {"entries": ENTRIES}),
        ("sea.json", {"spec": "lorebook_v3", "data": {"entries": ENTRIES}}),
        ("card.json", {"spec": "chara_card_v2", "data": {"character_book": {"entries": ENTRIES}}}),
    ],
)
def test_books_stand_beside_a_scene_in_any_form(quay: Path, name: str, whole: Any) -> None:
    (quay / name).write_text(json.dumps(whole), encoding="utf-8")
    add(quay / "characters" / "ada.yaml", f"lore: [{name}]")
    loaded = load_scene(quay)
    assert asked(loaded, "ada", "Is the tide in at the reef?") == (
        "Kit: Is the tide in at the reef?\n"
        "[Ada Finch told Kit: the reef has teeth.]\n"
        "[The tide turns at noon.]\n"
        "[Ships go round.]"
    )
    assert "teeth" in asked(loaded, "ada", "A reef?", "Hello.")
    assert "teeth" not in asked(loaded, "bo", "A reef?")


def test_a_scenes_book_is_everybodys(quay: Path) -> None:
    (quay / "sea.yaml").write_text("entries: [{keys: [reef], content: Teeth.}]", encoding="utf-8")
    add(quay / "scene.yaml", "lore: [sea.yaml]")
    loaded = load_scene(quay)
    assert all("[Teeth.]" in asked(loaded, npc, "A reef?") for npc in loaded.characters)


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("sea.yaml", "entries:\n  - {keys: [a]}", "sea.yaml:2: entries.0.content: is missing"),
        (
            "sea.yaml",
            "entries:\n  - content: x\n    use_regex: true\n    keys: ['(a+)+']",
            "sea.yaml:2: entries.0: .*repeats a group",
        ),
        ("sea.json", '{"entries": [\n}', "sea.json:2: file: is not JSON"),
        ("../sea.yaml", "entries: []", "lore.0: lies outside the scene's folder"),
        ("gone.yaml", None, "gone.yaml:1: file: is missing"),
    ],
)
def test_a_wrong_book_is_told_by_line(quay: Path, name: str, text: str | None, fault: str) -> None:
    if text is not None:
        (quay / name).write_text(text, encoding="utf-8")
    add(quay / "scene.yaml", f"lore: [{name}]")
    with pytest.raises(SceneError, match=fault):
        load_scene(quay)


def test_the_estimate_bounds_what_is_told(quay: Path) -> None:
    entries = [{"constant": True, "content": f"Fact {at} of the sea."} for at in range(200)]
    (quay / "sea.json").write_text(json.dumps({"entries": entries}), encoding="utf-8")
    add(quay / "scene.yaml", "lore: [sea.json]")
    block = asked(load_scene(quay), "ada", "Hm?")
    assert estimate_tokens(block) <= 260
