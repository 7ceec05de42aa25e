"""Written lines: which fit, who chooses, that nobody hears one twice, and that they are told."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from npcserver import authored
from npcserver.engines.base import Decision, Piece, Prompt, Sampling
from npcserver.engines.scripted import ScriptedEngine
from npcserver.explaining import explain
from npcserver.journal import Store
from npcserver.prompt import PromptBuilder
from npcserver.state import SceneState
from tests.clock import run
from tests.quest import QUEST, quest
from tests.stage import Player, live

ASKS = "Somebody cut it. Will you mend it?"


class Choosing(ScriptedEngine):
    """Prefers options with some words in them, and keeps what it was asked."""

    prefers = ""

    def __init__(self, loaded: Any = QUEST, pace_s: float = 0.0) -> None:
        super().__init__({"quay": loaded}, pace_s)
        self.asked: list[tuple[Prompt, tuple[str, ...]]] = []
        self.generated = 0

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        self.asked.append((prompt, tuple(options)))
        wanted = [self.prefers and self.prefers in option for option in options]
        if sum(map(bool, wanted)) == 1:
            rest = 0.1 / max(len(options) - 1, 1)
            return Decision(tuple(0.9 if each else rest for each in wanted))
        return await super().decide(prompt, options)

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        self.generated += 1
        return super().generate(prompt, sampling)


def playing(main: Any, engine: ScriptedEngine | None = None, store: Store | None = None) -> None:
    async def whole() -> None:
        async with live(store, loaded=QUEST, engine=engine or Choosing()) as scene:
            kit = await Player(scene, "kit", host=True).join()
            await main(scene, kit)

    run(whole)


async def told(player: Player, line: str, **fields: Any) -> Any:
    before = len(player.of("turn.done"))
    await player.say(line, **{"to": ["ada"], **fields})
    return await player.until("turn.done", before + 1)


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("Who cut the rope?", ["ada_asks"]),
        ("Ada Finch, what happened to this rope?", ["ada_asks"]),
        ("Ring the bell.", []),
        ("Hello.", []),
        ("What is the weather like?", []),
    ],
)
def test_a_line_fits_what_is_asked_more_like_it_than_like_any_example(
    line: str, fits: list[str]
) -> None:
    async def main(scene: Any, kit: Player) -> None:
        await told(kit, line)
        number = next(p.number for p in scene.state.happenings if p.speaker == "kit")
        state = SceneState(QUEST)
        state.bodies["kit"] = scene.state.bodies["kit"]
        state.happenings.extend(p for p in scene.state.happenings if p.number <= number)
        found = authored.fitting(PromptBuilder(QUEST, "ada", 900), state, number, "kit")
        assert [each.id for each in found] == fits

    playing(main)


def test_the_models_scores_choose() -> None:
    async def main(scene: Any, kit: Player) -> None:
        engine = scene.floor._engine
        engine.prefers = "Somebody cut it"
        assert (await told(kit, "Who cut the rope?")).authored == "ada_asks"
        (asked,) = [options for _, options in engine.asked if f" {ASKS}" in options]
        assert len(asked) == 2
        assert engine.generated == 0

    playing(main)


def test_the_model_may_prefer_words_of_its_own() -> None:
    async def main(scene: Any, kit: Player) -> None:
        engine = scene.floor._engine
        engine.prefers = "Say that again"  # the example that the prompt does not show
        done = await told(kit, "Who cut the rope?")
        assert done.authored is None
        assert done.text != ASKS
        assert engine.generated == 1
        # It is still there to be said.
        engine.prefers = "Somebody cut it"
        assert (await told(kit, "Who cut the rope?")).authored == "ada_asks"

    playing(main)


def test_it_streams_as_any_words_do_and_is_never_said_twice_to_whoever_heard_it() -> None:
    async def main(scene: Any, kit: Player) -> None:
        rue = await Player(scene, "rue").join()
        far = await Player(scene, "far").join()
        await far.send("player.move", place="shed")
        done = await told(kit, "Who cut the rope?")
        assert done.wire().count('"authored":"ada_asks"') == 1
        assert "".join(part.delta for part in kit.of("turn.text")) == ASKS
        assert len(kit.of("turn.text")) > 3
        spans = [(s.start, s.end) for s in kit.of("turn.sentence")]
        assert [ASKS[a:b] for a, b in spans] == ["Somebody cut it.", "Will you mend it?"]
        feeling = kit.of("turn.emotion")[0]
        assert (feeling.emotion, feeling.probabilities) == ("angry", {"angry": 1.0})
        assert scene.state.happenings[-1].deed == "rings the bell"
        for again in (kit, rue):
            assert (await told(again, "Who cut the rope?")).authored is None
        await far.send("player.move", place="quay")
        assert (await told(far, "Who cut the rope?")).authored == "ada_asks"
        plain = await told(far, "Hello.")
        assert "authored" not in plain.wire()

    playing(main)


def test_what_was_cut_short_may_be_said_again() -> None:
    async def main(scene: Any, kit: Player) -> None:
        await kit.say("Who cut the rope?", to=["ada"])
        await kit.until("turn.text")
        await kit.send("turn.cancel")
        done = await kit.until("turn.done")
        assert (done.status, done.authored) == ("interrupted", "ada_asks")
        assert 0 < len(done.text) < len(ASKS)
        assert (await told(kit, "Who cut the rope?")).authored == "ada_asks"

    playing(main, Choosing(pace_s=0.5))


def test_a_line_demanded_word_for_word_asks_no_model() -> None:
    line = {"id": "hail", "asked": ["Hello."], "says": "Kit: is that you?", "emotion": "happy"}
    ada = QUEST.characters["ada"].model_copy(
        update={"lines": quest_lines([{**line, "always": True}, {**line, "id": "b", "says": "B."}])}
    )
    loaded = type(QUEST)(QUEST.id, QUEST.scene, {**QUEST.characters, "ada": ada}, QUEST.folder)

    async def main() -> None:
        engine = Choosing(loaded)
        engine.prefers = "B."
        async with live(loaded=loaded, engine=engine) as scene:
            kit = await Player(scene, "kit").join()
            done = await told(kit, "Hello.")
            assert (done.authored, done.text) == ("hail", "Kit: is that you?")
            assert not [options for _, options in engine.asked if " B." in options]
            assert (await told(kit, "Hello.")).authored == "b"

    run(main)


def quest_lines(lines: list[dict[str, Any]]) -> list[Any]:
    kind = type(QUEST.characters["ada"].lines[0])
    return [kind.model_validate(each) for each in lines]


def test_a_draft_is_of_use_and_changes_nothing() -> None:
    async def main(scene: Any, kit: Player) -> None:
        await kit.send("player.typing", text="Who cut the rope?")
        done = await told(kit, "Who cut the rope?")
        assert done.authored == "ada_asks"
        await kit.send("player.typing", text="Ring the bell.")
        assert (await told(kit, "Ring the bell.")).text == "Cover your ears."

    playing(main)


def test_the_explanation_tells_it() -> None:
    store = Store(":memory:")

    async def main(scene: Any, kit: Player) -> None:
        await told(kit, "Thank you.")
        await told(kit, "Who cut the rope?")
        await told(kit, "Hello.")

    playing(main, store=store)
    entries = store.entries("quay", "main")
    second, third = (explain(QUEST, entries, turn, 1200, 0) for turn in ("t2", "t3"))
    assert second is not None and third is not None
    assert (second.authored, second.beats) == ("ada_asks", [])
    assert (third.authored, third.beats) == (None, ["the_rope"])
    assert third.beside == ["Ada wants the rope mended."]
    assert (third.relation.trust, third.relation.familiarity) == (5, 2)
    assert third.relation.moves == ["trust +5: talk: Thank you."]
    why = {each.fact: each.why for each in third.withheld}
    assert why["The boat sails at dusk."] == "beat sailing is not open"


def test_a_quest_without_lines_has_none() -> None:
    state = SceneState(quest())
    assert authored.fitting(PromptBuilder(QUEST, "bo", 900), state, 1, "kit") == []
