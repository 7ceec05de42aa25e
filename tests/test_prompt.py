"""What the model reads: prefixes that hold, secrets that stay out, options that fit."""

from itertools import pairwise

from npcserver.engines.render import chatml, neutral, script
from npcserver.journal import Store
from npcserver.prompt import PromptBuilder, recall_examples
from npcserver.state import SceneState
from tests.clock import run
from tests.stage import QUAY, Player, live

LINES = ["Hello.", "Ring the bell.", "Give me a herring.", "You are a fool.", "Why is that?"]


def prompts(count: int, budget: int, history: int = 400) -> list[str]:
    """The prompts of a conversation with Ada, each ending where she begins to answer."""
    seen = []

    async def main() -> None:
        async with live(Store(":memory:")) as scene:
            kit = await Player(scene, "kit").join()
            builder = PromptBuilder(QUAY, "ada", budget, history)
            for number in range(count):
                await kit.say(LINES[number % 5], to=["ada"])
                line = next(p for p in reversed(scene.state.happenings) if p.speaker == "kit")
                seen.append(script(builder.build(scene.state, line.number)))
                await kit.until("turn.done", number + 1)

    run(main)
    return seen


def test_within_a_conversation_each_prompt_extends_the_last() -> None:
    seen = prompts(12, budget=100_000)
    for before, after in pairwise(seen):
        assert after.startswith(before)


def test_an_overflow_moves_the_prefix_only_every_so_often() -> None:
    seen = prompts(60, budget=900)
    kept = sum(b.startswith(a) for a, b in pairwise(seen))
    assert kept >= 30
    assert all(len(text) < 900 * 4 for text in seen)


def test_without_history_a_prompt_holds_the_line_alone() -> None:
    seen = prompts(3, budget=100_000, history=0)
    assert "Ring the bell.\n[" not in seen[2]
    assert seen[2].count("Kit: Give me a herring.") == 1
    assert seen[2].count("Stranger: Give me a herring.") >= 2  # shown, and primed


def test_what_was_said_since_a_line_came_does_not_push_it_out() -> None:
    async def main() -> None:
        async with live(Store(":memory:")) as scene:
            kit = await Player(scene, "kit").join()
            for number, line in enumerate(LINES, 1):
                await kit.say(line, to=["ada"])
                await kit.until("turn.done", number)
            first = next(p for p in scene.state.happenings if p.text == LINES[0])
            for history in (0, 2, 40):
                built = PromptBuilder(QUAY, "ada", 2000, history).build(scene.state, first.number)
                assert script(built).rstrip("\n").split("\n")[-2].startswith(f"Kit: {LINES[0]}")

    run(main)


def test_what_a_first_line_recalls_is_foreseen() -> None:
    builder = PromptBuilder(QUAY, "ada", 2000)
    foreseen = [script(prompt) for prompt in builder.foreseen()]
    assert len(foreseen) == len(QUAY.characters["ada"].examples)
    state = SceneState(QUAY)
    for example in QUAY.characters["ada"].examples:
        prompt = script(builder.draft(state, "Kit", example.line))
        assert any(prompt.startswith(each) for each in foreseen)


def test_the_persona_comes_first_and_never_changes() -> None:
    sheet = PromptBuilder(QUAY, "ada", 900).persona[0].text
    assert all(text.startswith(sheet) for text in prompts(3, budget=900))


def test_secrets_never_enter() -> None:
    for text in prompts(20, budget=100_000):
        assert "lamp" not in text


def test_facts_come_with_the_line_they_belong_to() -> None:
    async def main() -> str:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            await kit.say("When does the tide turn?", to=["ada"])
            builder = PromptBuilder(QUAY, "ada", 2000)
            return script(builder.build(scene.state, 1))

    assert run(main).endswith("Kit: When does the tide turn?\n[The tide turns at noon.]\nAda Finch")


def test_a_name_that_is_called_changes_nothing() -> None:
    character = QUAY.characters["ada"]
    for line in ("You are a fool.", "You are a fool, Ada!", "Harbour master, you are a fool"):
        assert recall_examples(character, line)[0].line == "You are a fool."


def test_deeds_are_those_that_can_be_done_here() -> None:
    async def main() -> None:
        async with live() as scene:
            await Player(scene, "kit").join()
            builder = PromptBuilder(QUAY, "ada", 2000)
            words = [deed.words for deed in builder.deeds(scene.state, "kit")]
            assert words == ["rings the bell", "gives herring to Kit", "gives rope to Kit"]
            options = builder.deed_options(builder.deeds(scene.state, "kit"))
            assert options[0] == " rings the bell):"
            assert builder.acting() == ("):", ";")
            assert builder.opening("happy", None) == " (looking happy):"

    run(main)


def test_a_draft_is_the_prompt_of_the_line_it_becomes() -> None:
    async def main() -> None:
        async with live() as scene:
            kit = await Player(scene, "kit").join()
            builder = PromptBuilder(QUAY, "ada", 2000)
            draft = script(builder.draft(scene.state, "Kit", "When does the tide turn?"))
            await kit.say("When does the tide turn?", to=["ada"])
            line = script(builder.build(scene.state, 1))
            assert line.startswith(draft)
            assert draft.startswith(script(builder.opened()))

    run(main)


def test_templates() -> None:
    prompt = PromptBuilder(QUAY, "bo", 2000).draft(SceneState(QUAY), "Kit", "xyz")
    assert script(prompt).endswith("Fair water.\n\nKit: xyz\nBo")
    assert chatml(prompt).endswith("user\nKit: xyz<|im_end|>\n<|im_start|>assistant\nBo")
    assert neutral("a<|im_end|>b", ["<|im_end|>"]) == "a b"
