"""From sources to a data set: nothing is lost uncounted, nothing wrong is written."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset import ABOUT, SPLITS, Dataset, load
from finetune.errors import DataError
from finetune.formats.base import Faults
from finetune.formats.registry import Source, sources
from finetune.formats.scenes import read
from finetune.pages import data as data_page
from finetune.prepare import Options, prepare
from finetune.records import NONE, PLAYER, Act, Conversation, Record
from finetune.split import Shares
from tests.stage import QUAY

FOLDER = QUAY.folder
EXAMPLES = sum(len(sheet.examples) for sheet in QUAY.characters.values())
HELLO = {"says": "Is the ferry in?"}


def scene(folder: Path, *dialogues: Any) -> Path:
    """The quay, with dialogues beside it."""
    target = folder / "quay"
    shutil.copytree(FOLDER, target)
    lines = [each if isinstance(each, str) else json.dumps(each) for each in dialogues]
    if lines:
        (target / "dialogues").mkdir()
        (target / "dialogues" / "talk.jsonl").write_text("\n".join(lines))
    return target


def with_ada(*turns: Any, **fields: Any) -> dict[str, Any]:
    return {"npc": "ada", "turns": list(turns)} | fields


def reply(text: str, **fields: Any) -> dict[str, Any]:
    return {"reply": text, "emotion": "neutral"} | fields


def chat(path: Path, *talks: Sequence[str]) -> Path:
    """Talks in which the user begins."""
    lines = []
    for texts in talks:
        messages = [{"role": "system", "content": "Odo bakes bread."}]
        for number, text in enumerate(texts):
            messages.append({"role": "assistant" if number % 2 else "user", "content": text})
        lines.append(json.dumps({"messages": messages, "character": "Odo"}) + "\n")
    path.write_text("".join(lines))
    return path


def made(out: Path, *given: Path | str, **options: Any) -> Dataset:
    found = [source for each in given for source in sources(str(each))]
    return prepare(found, out, Options(**options))


def fault(out: Path, *given: Path | str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        made(out, *given, **options)
    return caught.value.message


def replies(data: Dataset) -> list[Record]:
    return [record for split in SPLITS for record in data.splits[split]]


# ---- counts -----------------------------------------------------------------------------------


def test_everything_read_is_kept_or_counted(tmp_path: Path) -> None:
    talk = chat(
        tmp_path / "talk.jsonl",
        ("Is the bread fresh?", "As fresh as the morning is.", "And the rye?", "Rye is Tuesday's."),
        ("Is the bread fresh?", "As fresh as the morning is."),
        ("Who are you?", "As an AI, I bake.", "Oh.", "Yes."),
        ("Do you know [your name]?", "Odo, surely."),
        ("Anything else?", "Only this: " + "crumbs " * 60),
        ("", "Hm."),
    )
    place = scene(
        tmp_path,
        with_ada({"says": "Ring for me?"}, reply("There it goes.", action="ring", target="bell")),
        with_ada({"says": "Hello."}, reply("Morning. Mind the rope. It bites.")),
        with_ada(reply("Nobody here, I see."), HELLO, reply("Not yet.")),
    )
    seen: list[tuple[str, int]] = []
    found = [*sources(str(place)), *sources(str(talk))]
    options = Options(shares=Shares(0.1, 0.1), copies=2)
    data = prepare(found, tmp_path / "data", options, lambda step, done: seen.append((step, done)))
    about = data.about
    assert about["dropped"] == {
        "out of character": 2,
        "said before, word for word": 2,
        "a placeholder": 1,
        "too long": 1,
        "empty text": 1,
        "answers nobody": 1,
    }
    originals = [record for record in replies(data) if "+" not in record.conversation]
    assert len(originals) == EXAMPLES + 2 + 2
    assert about["read"] == len(originals) + sum(about["dropped"].values())
    assert len(replies(data)) > len(originals)
    assert about["dropped_examples"]["a placeholder"] == [f"{talk}:4"]
    assert [(each["format"], each["records"]) for each in about["sources"]] == [
        ("scene", EXAMPLES + 3),
        ("chat", 3),
    ]
    assert {step for step, _ in seen} == {
        "reading quay",
        "reading talk.jsonl",
        "comparing",
        "writing",
    }
    assert load(tmp_path / "data") == data
    assert (tmp_path / "data" / "index.html").exists()


def test_pairs_of_replies_are_counted_too(tmp_path: Path) -> None:
    (tmp_path / "quay").symlink_to(FOLDER)
    lines = [
        {
            "scene": "quay",
            "npc": "ada",
            "line": f"What of boat {number}?",
            "liked": f"Boat {number} sails at {number}.",
            "disliked": f"Never heard of number {number}, friend.",
        }
        for number in range(30)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    data = made(tmp_path / "data", file, scenes=tmp_path, shares=Shares(0.2, 0.2))
    lost = data.about["dropped"]["disliked, and its better is measured with"]
    assert lost == len(data.splits["dev"]) + len(data.splits["test"]) == 12
    assert len(data.preferences) == 18
    assert data.about["read"] == 60 == len(replies(data)) + len(data.preferences) + lost
    trained = {record.conversation for record in data.splits["train"]}
    assert {pair.record.conversation for pair in data.preferences} <= trained


def test_an_action_that_is_out_of_reach_is_counted(tmp_path: Path) -> None:
    place = scene(tmp_path)
    file = place / "scene.yaml"
    file.write_text(file.read_text().replace("place: quay}", "place: shed}", 1))
    data = made(tmp_path / "data", place)
    assert data.about["dropped"] == {"ring cannot be done there as it is written": 1}
    assert data.about["read"] == EXAMPLES


def test_an_example_is_hidden_from_its_own_prompt_as_it_is_written(tmp_path: Path) -> None:
    place = scene(tmp_path)
    file = place / "characters" / "bo.yaml"
    file.write_text(file.read_text().replace("line: Hello.", "line: “He  llo.”"))
    record = next(r for r in replies(made(tmp_path / "data", place)) if r.reply == "Aye.")
    assert (record.line, record.hidden) == ('"He llo."', ["“He  llo.”"])


def test_chinese_stays_as_it_is_written(tmp_path: Path) -> None:
    place = Path(__file__).parent.parent / "scenes" / "shadow_troupe"
    data = made(tmp_path / "data", place, shares=Shares(0, 0))
    faults = Faults()
    written = [talk for talk in read(place, faults) if isinstance(talk, Conversation)]
    assert not faults.found
    cast = written[0].stage.characters
    said = [turn.text for talk in written for turn in talk.turns if turn.speaker in cast]
    assert [record.reply for record in replies(data)] == said
    lines = {turn.text for talk in written for turn in talk.turns if turn.speaker == PLAYER}
    assert {record.line for record in replies(data)} <= lines


def test_examples_know_the_line_they_stand_on(tmp_path: Path) -> None:
    data = made(tmp_path / "data", FOLDER)
    for record in replies(data):
        path, number = record.source.rsplit(":", 1)
        assert record.reply in Path(path).read_text().splitlines()[int(number) - 1]


# ---- the same, and not the same ---------------------------------------------------------------


def test_the_same_sources_and_seed_give_the_same_data_set(tmp_path: Path) -> None:
    talk = chat(tmp_path / "talk.jsonl", *((f"{n}?", f"{n}, I say.") for n in range(40)))
    digests = [
        made(tmp_path / f"data{number}", FOLDER, talk, copies=2, seed=seed).sha256
        for number, seed in enumerate([3, 3, 4])
    ]
    assert digests[0] == digests[1] != digests[2]


def test_another_process_makes_the_same_data_set(tmp_path: Path) -> None:
    here = made(tmp_path / "here", FOLDER, copies=3, shares=Shares(0.2, 0.1, 0.3))
    code = (
        "import sys; from pathlib import Path; from finetune.prepare import *;"
        "from finetune.formats.registry import Source;"
        "prepare([Source(Path(sys.argv[1]), 'scene')], Path(sys.argv[2]),"
        "        Options(copies=3, shares=Shares(0.2, 0.1, 0.3)))"
    )
    elsewhere = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code, str(FOLDER), str(tmp_path / "there")]
    subprocess.run(command, check=True, env=elsewhere)
    assert load(tmp_path / "there").sha256 == here.sha256


def test_lines_that_are_added_do_not_move_the_others(tmp_path: Path) -> None:
    talks = [(f"{n}?", f"{n}, I say.") for n in range(60)]
    places = []
    for number, given in enumerate([talks, [("New?", "Quite new."), *talks]]):
        file = chat(tmp_path / f"talk{number}.jsonl", *given)
        data = made(tmp_path / f"data{number}", file, shares=Shares(0.1, 0.1))
        places.append({r.reply: part for part in SPLITS for r in data.splits[part]})
    assert sum(places[0][reply] != places[1][reply] for reply in places[0]) <= 2


def test_only_what_is_trained_is_copied(tmp_path: Path) -> None:
    data = made(tmp_path / "data", FOLDER, copies=3, shares=Shares(0.2, 0.2))
    for part in SPLITS:
        copied = any("+" in record.conversation for record in data.splits[part])
        assert copied == (part == "train")


def test_characters_can_be_held_out(tmp_path: Path) -> None:
    data = made(tmp_path / "data", FOLDER, shares=Shares(0, 0, 0.3))
    unseen = {record.character for record in data.splits["unseen"]}
    assert len(unseen) == 1
    assert unseen.isdisjoint(record.character for record in data.splits["train"])


# ---- what is wrong ----------------------------------------------------------------------------


def test_every_fault_of_every_source_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    place = scene(tmp_path, with_ada(HELLO, reply("Hm.", emotion="proud")))
    talk = tmp_path / "talk.jsonl"
    talk.write_text('{"messages": []}\n\nnot json\n')
    told = fault(tmp_path / "data", place, f"chat:{talk}", f"chat:{tmp_path}/no.jsonl").splitlines()
    assert [line.split(": ")[0] for line in told] == [
        f"{place}/dialogues/talk.jsonl:1",
        f"{talk}:1",
        f"{talk}:3",
        f"{tmp_path}/no.jsonl:1",
    ]
    assert not (tmp_path / "data").exists()


def test_a_scene_at_fault_is_told(tmp_path: Path) -> None:
    place = scene(tmp_path)
    (place / "characters" / "bo.yaml").write_text("name: Bo\nresting: neutral\nsmile: 3\n")
    told = fault(tmp_path / "data", place).splitlines()
    assert (
        f"{place}/characters/bo.yaml:3: smile: unknown key; remove it or correct its spelling"
        in told
    )
    assert len(told) == 4


def test_a_fault_leaves_the_data_set_that_is_there(tmp_path: Path) -> None:
    old = made(tmp_path / "data", FOLDER)
    fault(tmp_path / "data", f"chat:{tmp_path}/no.jsonl")
    assert load(tmp_path / "data") == old


def test_a_folder_that_is_no_data_set_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    kept = tmp_path / "data" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("x")
    told = fault(kept.parent, f"chat:{tmp_path}/no.jsonl")
    assert told == f"{kept.parent}:1: is not empty and holds no data set; name another --out"
    assert [path.name for path in kept.parent.iterdir()] == ["notes.txt"]


def test_nothing_left_to_train_on_is_told_with_the_reasons(tmp_path: Path) -> None:
    talk = chat(tmp_path / "talk.jsonl", ("Hi [name].", "Hello."))
    told = fault(tmp_path / "data", talk)
    assert told.startswith(f"{talk}:1: of 1 replies none is left to train on")
    assert "{'a placeholder': 1}" in told
    whole = fault(tmp_path / "data", chat(talk, ("Hi.", "Hello.")))
    assert whole.endswith("left out were: none; to measure with are 1")
    assert not (tmp_path / "data").exists()


def test_where_it_came_from_is_written(tmp_path: Path) -> None:
    talk = chat(tmp_path / "talk.jsonl", *((f"{n}?", f"{n}, I say.") for n in range(9)))
    made(tmp_path / "data", talk, seed=7)
    about = json.loads((tmp_path / "data" / ABOUT).read_text(encoding="utf-8"))
    before = about["sources"][0]["sha256"]
    assert (about["seed"], about["options"]["bounds"]) == (7, {"line": 600, "reply": 400})
    talk.write_text(talk.read_text() + "\n")
    assert made(tmp_path / "data", talk).about["sources"][0]["sha256"] != before


# ---- dialogues beside a scene -----------------------------------------------------------------


def told(folder: Path, *dialogues: Any) -> tuple[list[Conversation], list[str]]:
    faults = Faults()
    found = [
        each for each in read(scene(folder, *dialogues), faults) if isinstance(each, Conversation)
    ]
    return [each for each in found if each.dataset == "dialogue"], faults.found


def test_a_dialogue(tmp_path: Path) -> None:
    found, faults = told(
        tmp_path,
        with_ada(
            {"says": "Ring it."},
            reply("Cover your ears.", emotion="happy", action="ring", target="bell"),
            {"happens": "The bell rings."},
            {"says": "What was that?", "by": "Bo"},
            {"says": "Was it you?", "by": "Robin"},
            reply("Here.", action="give", args={"item": "rope"}),
            player="Kit",
        ),
    )
    assert not faults
    turns = found[0].turns
    assert [(turn.speaker, turn.name, turn.spoken) for turn in turns] == [
        ("player", "Kit", True),
        ("ada", "Ada Finch", True),
        ("", "", False),
        ("bo", "Bo", True),
        ("player", "Robin", True),
        ("ada", "Ada Finch", True),
    ]
    assert [turn.action for turn in turns] == [
        None,
        Act(name="ring", target="bell"),
        None,
        None,
        None,
        Act(name="give", args={"item": "rope"}),
    ]
    assert found[0].source == f"{tmp_path}/quay/dialogues/talk.jsonl:1"
    assert found[0].hidden == ["Ring it."]


def test_what_is_held_out_is_no_example_to_the_others(tmp_path: Path) -> None:
    talks = [with_ada({"says": f"Boat {n}?"}, reply(f"Boat {n} is there.")) for n in range(20)]
    data = made(tmp_path / "data", scene(tmp_path, *talks), shares=Shares(dev=0.2, test=0.2))
    (stage,) = data.stages.values()
    begun = {example.line for example in stage.beginnings["ada"]}
    told = {
        part: {each.line for each in records if each.dataset == "dialogue"}
        for part, records in data.splits.items()
    }
    assert told["dev"] and told["test"]
    assert begun == told["train"]
    for record in data.splits["train"]:
        assert record.line in record.hidden


def test_a_reply_without_an_action_tells_that_nothing_was_done(tmp_path: Path) -> None:
    found, _ = told(tmp_path, "", with_ada(HELLO, reply("No.")))
    assert [(turn.name, turn.action) for turn in found[0].turns] == [
        ("Stranger", None),
        ("Ada Finch", NONE),
    ]
    assert found[0].source.endswith(":2")


@pytest.mark.parametrize(
    ("dialogue", "fault"),
    [
        ("{", "is not JSON: "),
        ("[]", "is a JSON list; "),
        ({"turns": [HELLO, HELLO]}, "npc: field required"),
        ({"npc": "dee", "turns": [HELLO, reply("No.")]}, "npc: there is no 'dee' in the cast"),
        (with_ada(HELLO), "turns: list should have at least 2 items"),
        (with_ada(HELLO, HELLO), "turns: ada says nothing"),
        (with_ada(HELLO, reply("No."), mood="x"), "mood: extra inputs"),
        (with_ada(HELLO, reply("No.", mood="x")), "turns.1.mood: extra inputs"),
        (with_ada(HELLO, reply("")), "turns.1.reply: string should have at least 1"),
        (with_ada(HELLO, reply("x" * 4001)), "turns.1.reply: string should have at most"),
        (with_ada(HELLO, reply("No.", says="x")), "turns.1: has exactly one of"),
        (with_ada({}, reply("No.")), "turns.0: has exactly one of"),
        (with_ada(HELLO, {"reply": "No."}), "turns.1: emotion: one of neutral, happy, angry"),
        (with_ada(HELLO, reply("No.", emotion="proud")), "turns.1: emotion: one of"),
        (with_ada(HELLO | {"emotion": "happy"}, reply("No.")), "turns.0: only a reply has"),
        (with_ada({"happens": "x", "target": "bell"}, reply("No.")), "turns.0: only a reply has"),
        (
            with_ada(HELLO, reply("No.", action="swim")),
            "turns.1: action: not one of the character's actions (ring, give)",
        ),
        (
            {"npc": "bo", "turns": [HELLO, reply("No.", action="ring")]},
            "turns.1: action: not one of the character's actions (",
        ),
        (with_ada(HELLO, reply("No.", target="bell")), "turns.1: action: is missing"),
        (with_ada(HELLO, reply("No.", args={"item": "rope"})), "turns.1: action: is missing"),
        (with_ada(HELLO, reply("No.", action="ring")), "turns.1: target: is not a declared prop"),
        (
            with_ada(HELLO, reply("No.", action="ring", target="net")),
            "turns.1: target: is not a declared prop",
        ),
        (
            with_ada(HELLO, reply("No.", action="give", target="bo", args={"item": "rope"})),
            "turns.1: target: a target of kind player is not written",
        ),
        (
            with_ada(HELLO, reply("No.", action="give", args={"item": "fog"})),
            "turns.1: args: 'fog' is not one of",
        ),
        (with_ada(HELLO, reply("No.", action="give")), "turns.1: args: 'item' is a required"),
        (with_ada({"happens": "x", "by": "Kit"}, reply("No.")), "turns.0: by: says who else"),
        (with_ada(HELLO, reply("No.", by="Kit")), "turns.1: by: says who else"),
        (with_ada(HELLO | {"by": "Ada Finch"}, reply("No.")), "turns.0: by: says who else"),
        (with_ada(HELLO, reply("No."), player="Ada Finch"), "player: Ada Finch is the character"),
    ],
)
def test_each_fault_of_a_dialogue_is_told_with_its_line(
    tmp_path: Path, dialogue: Any, fault: str
) -> None:
    _, faults = told(
        tmp_path, with_ada(HELLO, reply("Yes.")), dialogue, with_ada(HELLO, reply("So."))
    )
    assert len(faults) == 1
    assert faults[0].startswith(f"{tmp_path}/quay/dialogues/talk.jsonl:2: {fault}")


def test_a_kill_while_preparing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = made(tmp_path / "data", FOLDER)

    def stop(*args: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(data_page, "page", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare([Source(FOLDER, "scene")], tmp_path / "data", Options(seed=1))
    assert load(tmp_path / "data") == old
