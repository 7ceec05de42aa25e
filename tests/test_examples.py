"""What is trained is what is served: ids before every trained span, token for token."""

from collections.abc import AsyncGenerator, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Bpe
from tokenizers import decoders, models, pre_tokenizers, trainers

from finetune.examples import Misfit, Shape, Span, Staging, conversations, weave
from finetune.records import NONE, Act, Conversation, Persona, Record, Stage, Turn
from finetune.replies import records
from npcserver.engines.base import Decision, Piece, Prompt, Sampling
from npcserver.engines.render import TEMPLATES, prompt_ids
from npcserver.engines.scripted import ScriptedEngine
from npcserver.floor import Rules
from npcserver.journal import Store
from npcserver.protocol import PlayerSaid, TurnAction, TurnDone, TurnEmotion
from npcserver.scene import LiveScene
from tests.clock import run
from tests.stage import QUAY, Player, live

LINES = [
    "Hello.",
    "Ring the bell.",
    "Give me a herring, would you?",
    "You are a fool.",
    "  Why is that?! 为什么 🐟",
    "When does the tide turn?",
    "<b>  obey &amp; ﬁx { it }",
]


class SmallBpe:
    """A byte-level tokenizer of the kind models have, trained on the scene itself."""

    specials = ("<|im_end|>", "<|im_start|>")

    def __init__(self) -> None:
        self._bpe = Bpe(models.BPE())
        self._bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=list(self.specials),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        sheets = [sheet.model_dump_json() for sheet in QUAY.characters.values()]
        self._bpe.train_from_iterator([*sheets, QUAY.scene.model_dump_json(), *LINES], trainer)

    def encode(self, text: str) -> list[int]:
        return list(self._bpe.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._bpe.decode(list(ids), skip_special_tokens=False))


@cache
def tokenizer() -> SmallBpe:
    return SmallBpe()


@cache
def stage() -> Stage:
    sheets = {npc: Persona(**dict(sheet)) for npc, sheet in QUAY.characters.items()}
    return Stage(scene=QUAY.scene, characters=sheets)


class Listening(ScriptedEngine):
    """The scripted engine, keeping every prompt it is asked to go on from."""

    def __init__(self) -> None:
        super().__init__({"quay": QUAY})
        self.asked: list[Prompt] = []

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        async for piece in super().generate(prompt, sampling):
            yield piece
        self.asked.append(prompt)  # begun beside a decision, it may not be read to its end

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        self.asked.append(prompt)
        return await super().decide(prompt, options)


def played(steps: Sequence[tuple[str, str]], history: int) -> tuple[list[Prompt], list[Turn]]:
    """Play lines to Ada in a live scene: what the engine was asked, and what was said."""

    async def main() -> tuple[list[Prompt], list[Turn]]:
        engine = Listening()
        rules = Rules(history=lambda: history, prompt_tokens=100_000)
        store = Store(":memory:")
        async with live(store, engine, rules) as scene:
            people = {name: await Player(scene, name).join() for name in ("kit", "robin")}
            for number, (who, line) in enumerate(steps, 1):
                await people[who].say(line, to=["ada"])
                await people["kit"].until("turn.done", number)
            return engine.asked, told(scene, store)

    return run(main)


def told(scene: LiveScene, store: Store) -> list[Turn]:
    """What was said, as a data set has it."""
    slots: dict[str, dict[str, Any]] = {}
    turns = []
    for entry in store.entries("quay", "main"):
        match entry.fact:
            case TurnEmotion() as felt:
                slots[felt.turn_id] = {"emotion": felt.emotion, "action": NONE}
            case TurnAction() as did:
                act = Act(name=did.name, target=did.target, args=did.args)
                slots[did.turn_id]["action"] = act
            case PlayerSaid() as said:
                turns.append(Turn(speaker="player", name=said.name, text=said.text))
            case TurnDone() as done:
                name = scene.state.bodies[done.npc].name
                fields = slots[done.turn_id] | {"text": done.text}
                turns.append(Turn(speaker=done.npc, name=name, **fields))
    return turns


STEPS = st.lists(
    st.tuples(st.sampled_from(["kit", "robin"]), st.sampled_from(LINES)), min_size=1, max_size=6
)


@settings(max_examples=40, deadline=None)
@given(
    steps=STEPS,
    history=st.sampled_from([0, 1, 4, 40]),
    template=st.sampled_from(["script", "chatml"]),
)
def test_what_stands_before_a_trained_span_is_what_the_server_sends(
    steps: list[tuple[str, str]], history: int, template: str
) -> None:
    asked, turns = played(steps, history)
    staging = Staging([stage()], Shape(history, 100_000), TEMPLATES[template], tokenizer())
    conversation = Conversation(stage=stage(), turns=turns, dataset="test", source="test:1")
    spans = [
        span
        for record in records(conversation)
        if isinstance(record, Record)
        for span in staging.spans(record)
    ]
    sent = [prompt_ids(prompt, TEMPLATES[template], tokenizer()) for prompt in asked]
    assert [span.before for span in spans] == sent


def ada(line: str, reply: str, **fields: Any) -> Record:
    told = {
        "stage": stage().id,
        "character": "ada",
        "conversation": "one",
        "asker": "Kit",
        "emotion": "happy",
        "action": NONE,
        "dataset": "test",
        "source": "test:1",
    }
    return Record.model_validate(told | {"line": line, "reply": reply} | fields)


def staging(history: int = 8) -> Staging:
    return Staging([stage()], Shape(history, 100_000), TEMPLATES["script"], tokenizer())


def texts(record: Record) -> dict[str, str]:
    told: dict[str, str] = {}
    for span in staging().spans(record):
        told[span.slot] = told.get(span.slot, "") + tokenizer().decode(span.ids)
    return told


def test_each_slot_is_trained_on_what_the_server_reads_back() -> None:
    give = Act(name="give", args={"item": "herring"})
    got = texts(ada("Feed me.", "Here.", action=give))
    assert got == {"emotion": " happy", "action": "; gives herring to Kit):", "words": " Here.\n"}
    assert texts(ada("Feed me.", "No."))["action"] == "):"


def test_what_the_data_does_not_tell_is_not_trained() -> None:
    assert texts(ada("Feed me.", "No.", emotion=None, action=None)) == {"words": " No.\n"}
    ids = next(iter(staging().spans(ada("Feed me.", "No.", emotion=None, action=None)))).before
    assert tokenizer().decode(ids).endswith("Kit: Feed me.\nAda Finch (looking neutral):")


def test_an_action_the_scene_does_not_allow_is_no_example() -> None:
    with pytest.raises(Misfit, match="give"):
        list(staging().spans(ada("Feed me.", "Here.", action=Act(name="give"))))


def test_a_prompt_does_not_show_the_example_it_is_trained_on() -> None:
    shown = ada("Hello.", "Morning. Mind the rope. It bites.")
    hidden = ada("Hello.", "Morning. Mind the rope. It bites.", hidden=["Hello."])
    reads = [
        tokenizer().decode(next(iter(staging().spans(record))).before) for record in (shown, hidden)
    ]
    assert "It bites." in reads[0]
    assert "It bites." not in reads[1]


def test_a_conversation_is_one_sequence() -> None:
    first = ada("Hello.", "Morning.")
    history = [
        Turn(speaker="player", name="Kit", text="Hello."),
        Turn(speaker="ada", name="Ada Finch", text="Morning.", emotion="happy", action=NONE),
    ]
    second = ada("You are a fool.", "So they say.", history=history)
    made, too_long = staging().examples([first, second], 10_000)
    assert (len(made), too_long) == (1, 0)
    example = made[0]
    trained = [i for i, slot in zip(example.ids, example.slots, strict=True) if slot == "words"]
    assert tokenizer().decode(trained) == " Morning.\n So they say.\n"
    assert example.trunk > 50
    assert all(slot is None for slot in example.slots[: example.trunk])


def test_without_history_each_reply_is_a_sequence_of_its_own() -> None:
    made, _ = staging(history=0).examples([ada("Hello.", "Morning."), ada("Hey.", "What?")], 10_000)
    assert len(made) == 2


def test_what_is_too_long_is_counted() -> None:
    assert staging().examples([ada("Hello.", "Morning.")], 20) == ([], 3)


def test_weaving_begins_anew_where_a_prompt_does_not_go_on() -> None:
    made: list[Any] = []
    for span in (
        Span("emotion", [1, 2], [3]),
        Span("words", [1, 2, 3, 4], [5]),
        Span("words", [1, 9], [5]),
    ):
        weave(made, span, [1, 2], "here:1")
    assert [example.ids for example in made] == [[1, 2, 3, 4, 5], [1, 9, 5]]
    assert made[0].slots == [None, None, "emotion", None, "words"]
    assert [example.trunk for example in made] == [2, 1]


def test_conversations_keep_their_order() -> None:
    late = ada("b", "d", history=[Turn(text="x", name="Kit")], conversation="two")
    early = ada("a", "c", conversation="two")
    assert conversations([late, early]) == [[early, late]]
