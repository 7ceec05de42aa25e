"""A player is erased for good: from journal, state, saves, memories and the bytes of the file."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from finetune.formats.base import Faults
from finetune.formats.journal import reader
from finetune.records import Conversation
from npcserver import erasing, tokens
from npcserver.cli import app
from npcserver.engines.scripted import ScriptedEngine
from npcserver.errors import Rejected
from npcserver.floor import Rules
from npcserver.initiative import GREETED_AFTER_S
from npcserver.journal import Batch, Cue, Entry, Erased, JournalError, Recording, Store
from npcserver.plot import When
from npcserver.protocol import PlayerInfo, PlayerJoined, PlayerSaid, SceneChanged
from npcserver.sheets import Direction
from npcserver.state import SceneState
from npcserver.story import Situation, Story
from tests.clock import run
from tests.quest import quest
from tests.server import SCENES, client, serving
from tests.stage import QUAY, Player, live

SECRET = "a secret of at least thirty-two characters"
RULES = Rules(history=lambda: 4, recall=lambda: 120)


def folded(entries: list[Entry]) -> SceneState:
    state = SceneState(QUAY)
    for entry in entries:
        state.apply(entry)
    return state


def whole(entries: list[Entry]) -> str:
    """Everything that an instance's journal and state hold, as text."""
    state = vars(folded(entries)) | {"loaded": None}
    facts = [(e.fact.model_dump_json(), sorted(e.audience), e.session_id) for e in entries]
    return f"{facts} {state}"


def erased(store: Store, player: str) -> tuple[list[Entry], list[Entry]]:
    """The journal before, and after."""
    before = store.entries("quay", "main")
    new = erasing.without(QUAY, before, store.speech("quay", "main"), player)
    store.replace("quay", "main", new.entries, new.speech)
    after = store.entries("quay", "main")
    assert after == erasing.applied(before, new.entries)
    return before, after


async def play(store: Store) -> None:
    """Rue, whose name is Rue, among others who speak of her; saved in between."""
    async with live(store, rules=RULES) as scene:
        kit = await Player(scene, "kit", host=True).join()
        rue = await Player(scene, "rue").join()
        for number, (who, line) in enumerate(
            [
                (rue, "I hid the amulet, I promise."),
                (kit, "Rue is a liar, and true to nobody."),
                (rue, "Ring the bell."),
                (kit, "Hello."),
            ]
        ):
            before = len(kit.of("turn.done"))
            await who.say(line, to=["ada"], id=f"m{number}")
            await kit.until("turn.done", before + 1)
            await kit.send("scene.save", save_id=f"s{number}")
        await rue.send("player.act", action="gives", target="kit", args={"what": "amulet"})
        await kit.send("player.act", action="takes", target="rue", args={"of": "Rue", "id": "rue"})
        await scene.leave("rue")
        await kit.say("Hello, Ada.", to=["ada", "rue"][:1])
        await kit.until("turn.done", 5)


def test_nothing_of_a_player_is_left_and_the_others_go_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    run(lambda: play(store))
    before, after = erased(store, "rue")
    assert "amulet" in whole(before)
    left = whole(after)
    for trace in ("Rue", "'rue'", '"rue"', "amulet", "s-rue"):
        assert trace not in left, trace
    assert "someone is a liar, and true to nobody." in left
    old, new = folded(before), folded(after)
    assert (new.number, new.turns) == (old.number, old.turns)
    assert new.saves.keys() == old.saves.keys()
    assert [e.at_ms for e in after] == [e.at_ms for e in before]
    kits = [past.number for past in old.happenings if past.speaker == "kit"]
    assert [past.number for past in new.happenings if past.speaker == "kit"] == kits
    store.scrub()
    assert traces(tmp_path, "amulet", "Rue is a liar") == []
    assert store.instances_of("rue") == []


def traces(folder: Path, *words: str) -> list[str]:
    files = [path.read_bytes() for path in folder.glob("journal.db*")]
    return [word for word in words if any(word.encode() in data for data in files)]


def test_the_bytes_are_there_until_the_file_is_written_anew(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    run(lambda: play(store))
    erased(store, "rue")
    assert traces(tmp_path, "amulet") == ["amulet"], "else the scrubbing would test nothing"


def test_the_scene_goes_on_from_there() -> None:
    store = Store(":memory:")
    run(lambda: play(store))
    erased(store, "rue")

    async def on() -> None:
        async with live(store, rules=RULES) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await kit.say("Hello.", to=["ada"])
            done = await kit.until("turn.done")
            assert done.status == "completed"
            assert done.turn_id == "t6", "a turn that was erased keeps its number"
            assert not {who for _, who in scene.state.memories.acquaintances} & {"rue"}
            await kit.send("scene.restore", save_id="s2")
            assert "amulet" not in repr(scene.state)

    run(on)


def joined(player: str, name: str) -> Entry:
    view = {"id": player, "name": name, "place": "quay", "position": (0, 0, 0)}
    fact = PlayerJoined.model_validate({"type": "player.joined", "player": view})
    return Entry(fact, 0, frozenset({"ada", player}), f"s-{player}")


def line(player: str, text: str) -> Entry:
    said = PlayerSaid(
        line_id="l1", player=player, name=player.title(), text=text, to=["ada"], volume="talk"
    )
    return Entry(said, 0, frozenset({"ada", "kit", player}), f"s-{player}", f"m-{text}")


@pytest.mark.parametrize(
    ("name", "text", "left"),
    [
        ("Rue", "rue, Rues and RUE's true rue", "someone, Rues and someone's true someone"),
        ("Will", "Will you, Will?", "Will you, Will?"),
        ("小雨", "小雨来过，下小雨", "someone来过，下someone"),
        ("C.3+", "ask C.3+!", "ask someone!"),
        ("Иван", "Иван ушёл", "someone ушёл"),
        (
            "Rue Marsh",
            "Rue hid it, MARSH is a thief by the marsh, rue marsh did it.",
            "someone hid it, someone is a thief by the marsh, someone did it.",
        ),
        ("Will of Ado", "Will you, Ado? Of course.", "Will you, someone? Of course."),
        ("Will Finch", "Ada Finch and Will, or Will Finch", "Ada Finch and Will, or someone"),
    ],
)
def test_names_are_taken_out_of_what_others_said(name: str, text: str, left: str) -> None:
    entries = [joined("x1", name), line("kit", text)]
    changed = erasing.without(QUAY, entries, {}, "x1").entries
    (fact,) = [erasing.applied(entries, changed)[1].fact]
    assert isinstance(fact, PlayerSaid)
    assert fact.text == left


def test_a_part_of_a_name_that_is_the_id_too_goes_however_it_is_written() -> None:
    entries = [joined("rue", "Rue Marsh"), line("kit", "rue hid it, not the marsh")]
    changed = erasing.without(QUAY, entries, {}, "rue").entries
    fact = changed[1].fact
    assert isinstance(fact, PlayerSaid)
    assert fact.text == "someone hid it, not the marsh"


def test_keys_and_the_ids_of_saves_name_nobody() -> None:
    names = ["rue", "with-rue", "RUE_2", "marsh.1", "prudent", "with-someone"]

    async def main() -> Store:
        store = Store(":memory:")
        async with live(store, rules=RULES) as scene:
            kit = await Player(scene, "kit", host=True).join()
            rue = Player(scene, "rue")
            await scene.join(PlayerInfo(id="rue", name="Rue Marsh"), rue._listen, rue._sender)
            owed = {"rue": "ten", "of": {"Rue Marsh": 10, "rue": [{"Marsh": 1}]}}
            await kit.send("player.act", action="writes", args=owed)
            for name in names:
                await kit.send("scene.save", save_id=name)
            await kit.send("scene.restore", save_id="with-rue")
            await scene.leave("rue")
        return store

    before, after = erased(run(main), "rue")
    left = whole(after)
    assert not {"ten", "prudent"} - {word for word in ("ten", "prudent") if word in left}
    for trace in ("'rue'", '"rue"', "Rue", "-rue", "RUE", "Marsh", "marsh"):
        assert trace not in left, trace
    saves = ["prudent", "someone", "someone.1", "someone_2", "with-someone", "with-someone-2"]
    assert sorted(folded(after).saves) == saves
    assert folded(after).number == folded(before).number
    assert erasing.without(QUAY, after, {}, "rue").entries == {}


def test_a_number_in_the_id_of_a_save_is_nobody() -> None:
    entries = [joined("7", "Tal")]
    for name in ("chapter-7", "7"):
        saved = SceneChanged(what="saved", name=name)
        entries.append(Entry(saved, 0, frozenset({"ada"})))
    changed = erasing.without(QUAY, entries, {}, "7").entries
    assert changed.keys() == {0, 2}


def test_what_the_scene_calls_an_argument_stays() -> None:
    loaded = quest()
    flag = SceneChanged(what="flag", name="boat", args={"value": True})
    entries = [joined("value", "Val"), Entry(flag, 0)]
    assert erasing.without(loaded, entries, {}, "value").entries.keys() == {0}


def test_an_id_that_is_a_word_of_the_protocol_harms_nobody_else() -> None:
    entries = [joined("talk", "Tal"), line("kit", "Talk to me.")]
    changed = erasing.without(QUAY, entries, {}, "talk").entries
    assert changed.keys() == {0}


def test_speech_under_way_goes_too() -> None:
    async def main() -> Store:
        store = Store(":memory:")
        async with live(store, rules=RULES) as scene:
            for name in ("kit", "rue"):
                await (await Player(scene, name).join()).say("Hello.", to=["ada"], id="m1")
            await asyncio.sleep(0.1)
            store.write([Batch("quay", "main", speech=[("t1", "Well, Rue, "), ("t9", "Ah, rue.")])])
        return store

    store = run(main)
    entries = store.entries("quay", "main")
    new = erasing.without(QUAY, entries, {"t1": "Well, Rue, ", "t2": "Aye"}, "rue")
    assert new.speech == {"t1": "Well, someone, "}


def test_relations_and_cues_go_and_what_the_story_came_to_stands() -> None:
    asked = "What happened to the rope?"
    direction = Direction(own_lines=12, exchanges=2, cooldown_s=0)
    loaded = quest(director=direction.model_dump())
    beats = ("the_rope", "suspicion")

    async def main() -> Store:
        store = Store(":memory:")
        engine = ScriptedEngine({"quay": loaded})
        async with live(store, engine, loaded=loaded, rules=RULES) as scene:
            await Player(scene, "kit", host=True).join()
            rue = await Player(scene, "rue", host=True).join()
            await asyncio.sleep(GREETED_AFTER_S)
            await scene.floor.quiet()
            for line in (asked, "The rope was cut with a herring knife.", "Thank you."):
                await rue.say(line, to=["ada"])
                await scene.floor.quiet()
            await rue.send("scene.event", name="mended", args={"by": "rue", "how": "well"})
            await rue.send("scene.set", name="rope", value="Rue's")
            await scene.floor.quiet()
            await rue.send("scene.lock")
            await scene.leave("rue")
            assert {player for _, player in scene.state.story.relations} >= {"rue"}
            assert all(beat in scene.state.story.opened for beat in beats)
        return store

    store = run(main)
    before = store.entries("quay", "main")
    assert any(isinstance(entry.fact, Cue) and entry.fact.player == "rue" for entry in before)
    new = erasing.without(loaded, before, {}, "rue")
    after = erasing.applied(before, new.entries)
    old, left = SceneState(loaded), SceneState(loaded)
    for entry, other in zip(before, after, strict=True):
        old.apply(entry)
        left.apply(other)
        assert old.story.opened.keys() == left.story.opened.keys()
    facts = [(each.fact.model_dump_json(), sorted(each.audience)) for each in after]
    everything = f"{facts} {vars(left) | {'loaded': None}}"
    for trace in ("Rue", "'rue'", '"rue"'):
        assert trace not in everything, trace
    assert "" not in {player for _, player in left.story.relations}
    assert left.story.closed.keys() == old.story.closed.keys() == {"the_rope"}
    assert not left.pace.locked_by
    assert (left.number, left.turns) == (old.number, old.turns)
    assert erasing.without(loaded, after, {}, "rue").entries == {}


def test_a_written_line_stays_said_and_the_others_do_not_hear_it_again() -> None:
    loaded = quest(beats={})  # a beat would stand by itself
    players = ("rue", "kit", "far")

    async def main() -> Store:
        store = Store(":memory:")
        engine = ScriptedEngine({"quay": loaded})
        async with live(store, engine, loaded=loaded, rules=RULES) as scene:
            rue, _, far = [await Player(scene, who).join() for who in players]
            await far.send("player.move", place="shed")
            await rue.say("What happened to the rope?", to=["ada"])
            assert (await rue.until("turn.done")).authored == "ada_asks"
        return store

    def story(entries: list[Entry]) -> Story:
        state = SceneState(loaded)
        for entry in entries:
            state.apply(entry)
        return state.story

    entries = run(main).entries("quay", "main")
    since = story(entries).said["ada_asks"]["rue"]
    for player, heard_by in (("rue", {"kit"}), ("kit", set())):
        entries = erasing.applied(entries, erasing.without(loaded, entries, {}, player).entries)
        left = story(entries)
        assert {who for who in players if left.has_heard(who, "ada_asks")} == heard_by
        for number, holds in ((since, False), (since + 1, True)):
            at = Situation("bo", "far", "", number)
            assert (left.unmet(When(said="ada_asks"), at, {}) is None) is holds
        assert f"'{player}'" not in f"{[vars(entry) for entry in entries]} {left}"


def test_a_written_line_that_was_not_heard_does_not_stay_said() -> None:
    loaded = quest(beats={})

    async def main(lee_too: bool) -> dict[str, Any]:
        store = Store(":memory:")
        async with live(store, ScriptedEngine({"quay": loaded}), loaded=loaded) as scene:
            rue, lee = [await Player(scene, who).join() for who in ("rue", "lee")]
            await rue.say("What happened to the rope?", to=["ada"])
            turn = (await rue.until("turn.done")).turn_id
            for player in (rue, lee)[: 1 + lee_too]:
                await player.send("turn.heard", turn_id=turn, chars=1)
        entries = store.entries("quay", "main")
        state = SceneState(loaded)
        for entry in erasing.applied(entries, erasing.without(loaded, entries, {}, "rue").entries):
            state.apply(entry)
        return dict(state.story.said.get("ada_asks", {}))

    assert run(lambda: main(False)).keys() == {"", "lee"}
    assert run(lambda: main(True)) == {}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["kit", "rue"]),
        st.sampled_from(
            ["say", "whisper", "act", "leave", "save", "restore", "event", "lock", "unlock"]
        ),
    ),
    max_size=20,
)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_whatever_was_played_nothing_is_left_and_counts_stay(steps: list[tuple[str, str]]) -> None:
    async def main() -> Store:
        store = Store(":memory:")
        async with live(store, rules=RULES) as scene:
            players = {name: await Player(scene, name, host=True).join() for name in ("kit", "rue")}
            for who, what in steps:
                try:
                    await step(players[who], who, what)
                except Rejected:
                    players[who] = await players[who].join()
                if what == "leave":
                    await scene.leave(who)
        return store

    async def step(player: Player, who: str, what: str) -> None:
        other = "rue" if who == "kit" else "kit"
        match what:
            case "say":
                await player.say(f"Hello {other}, zebra {who}.", to=["ada"])
            case "whisper":
                await player.say("Hello.", to=["bo", other], volume="whisper")
            case "act":
                await player.send("player.act", action="nudges", target=other)
            case "save" | "restore":
                await player.send(f"scene.{what}", save_id="one")
            case "lock" | "unlock":
                await player.send(f"scene.{what}")
            case "event":
                await player.send("scene.event", name="fog", seen_by=[other])

    store = run(main)
    before, after = erased(store, "rue")
    left = whole(after)
    assert "zebra rue" not in left
    assert not {"'rue'", '"rue"', "Rue"} & {t for t in ("'rue'", '"rue"', "Rue") if t in left}
    old, new = folded(before), folded(after)
    assert (old.number, old.turns) == (new.number, new.turns)
    assert erasing.without(QUAY, after, {}, "rue").entries == {}


def test_a_file_that_another_process_reads_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    store.write([Batch("quay", "main", [joined("kit", "Kit"), joined("rue", "Rue")])])
    store._db.execute("PRAGMA busy_timeout = 10")
    recording = Recording(tmp_path / "journal.db")
    rows = recording.entries("quay", "main")
    next(rows)
    with pytest.raises(JournalError, match="journal"):
        store.scrub()
    rows.close()  # type: ignore[attr-defined]
    recording.close()
    store.scrub()


def test_what_is_left_can_be_learned_from(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    run(lambda: play(store))
    erased(store, "rue")
    store.close()
    faults = Faults()
    found = [
        each
        for each in reader(SCENES)(tmp_path / "journal.db", faults)
        if isinstance(each, Conversation)
    ]
    assert not faults.found
    turns = [turn for each in found for turn in each.turns]
    assert "Hello, Ada." in {turn.text for turn in turns}
    assert "amulet" not in repr(found)
    for each in found:
        texts = [turn.text for turn in each.turns]
        assert all(one != other for one, other in pairwise(texts)), "a line stands there twice"


def bearer(role: Any) -> dict[str, str]:
    signed = tokens.issue(SECRET, player="kit", role=role, scene="*", hours=1)
    return {"Authorization": f"Bearer {signed}"}


def test_over_http_while_others_play(tmp_path: Path) -> None:
    async def main(address: str) -> None:
        async with client(address, "kit") as kit, client(address, "rue") as rue:
            await rue.send("player.say", text="I hid the amulet.", to=["ada"])
            await rue.until("turn.done")
            await kit.send("player.say", text="Hello.", to=["bo"])
            await kit.until("turn.done", npc="bo")
            told = await asyncio.to_thread(
                CliRunner().invoke, app, ["erase", "rue", "--url", f"http://{address}"]
            )
            assert told.exit_code == 0, told.output
            assert told.output.startswith("quay/main: ")
            shown = await kit.until("scene.snapshot")
            while len(shown["players"]) > 1 or "amulet" in str(shown["recent"]):
                shown = await kit.until("scene.snapshot")
            assert shown["recent"][0]["text"] == "Hello."
            await kit.send("player.say", text="Ring the bell.", to=["ada"])
            assert (await kit.until("turn.done", npc="ada"))["status"] == "completed"
            again = await asyncio.to_thread(
                CliRunner().invoke, app, ["erase", "rue", "--url", f"http://{address}"]
            )
            assert again.output == "rue is nowhere in the journal\n"

    with serving(tmp_path) as address:
        asyncio.run(main(address))
        assert traces(tmp_path, "amulet", "Rue") == []


def test_admins_alone_may(tmp_path: Path) -> None:
    with serving(tmp_path, secret=SECRET) as address:
        url = f"http://{address}/v1/admin/players/rue"
        assert httpx.delete(url).status_code == 401
        assert httpx.delete(url, headers=bearer("player")).status_code == 403
        assert httpx.delete(url, headers=bearer("host")).status_code == 403
        admin = bearer("admin")
        assert httpx.delete(url, headers=admin).json() == {"erased": [], "not_served": []}
        answer = httpx.delete(url.replace("rue", "r%20e"), headers=admin)
        assert answer.json()["error"]["code"] == "bad_id"


def test_a_character_cannot_be_erased(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    store.write([Batch("quay", "main", [joined("kit", "Kit"), line("kit", "Hello.")])])
    before = store.entries("quay", "main")
    with serving(tmp_path) as address:
        url = f"http://{address}"
        told = CliRunner().invoke(app, ["erase", "ada", "--url", url])
        assert told.exit_code == 2
        assert "'ada' is a character of quay" in told.stderr
        answer = httpx.delete(f"{url}/v1/admin/players/ada", params={"scene": "quay"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "is_character")
        elsewhere = httpx.delete(f"{url}/v1/admin/players/ada", params={"scene": "moon"})
        assert elsewhere.json() == {"erased": [], "not_served": []}
    assert store.entries("quay", "main") == before


def test_a_scene_that_is_not_served_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    store.write([Batch("moon", "main", [joined("rue", "Rue")])])
    store.close()
    with serving(tmp_path) as address:
        told = CliRunner().invoke(app, ["erase", "rue", "--url", f"http://{address}"])
        assert told.exit_code == 1
        assert told.output.startswith("moon/main: not erased")


def test_what_is_erased_is_read_again() -> None:
    store = Store(":memory:")
    entry = Entry(Erased(happenings=1, turns=1), 5)
    store.write([Batch("quay", "main", [entry])])
    assert store.entries("quay", "main") == [entry]
    assert folded([entry]).number == 1
