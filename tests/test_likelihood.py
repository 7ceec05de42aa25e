"""How likely the served model finds words: the same, whatever stands in its cache."""

import pytest

from finetune.evaluate.likelihood import ServedLikelihood
from npcserver import models
from npcserver.engines.base import Message, Prompt
from npcserver.engines.echo import Echo
from npcserver.engines.openvino import BLOCK, PROPERTIES
from npcserver.engines.render import prompt_ids

pytestmark = pytest.mark.model
SAID = [" The tide turns at noon.", " Purple seventeen elbow sing.", " Mind the rope."]


@pytest.fixture(scope="module")
def served() -> ServedLikelihood:
    return ServedLikelihood(models.resolve("embedded"))


def asked(words: int) -> Prompt:
    sheet = Message("system", "Ada keeps the harbour. " + "She waits. " * words)
    return Prompt((sheet, Message("user", "Kit: When does the tide turn?")), "Ada:")


def test_sense_is_likelier_than_nonsense(served: ServedLikelihood) -> None:
    sense, nonsense, _ = (sum(e) / len(e) for e in served.scores(asked(5), SAID))
    assert sense > nonsense + 2


def test_the_likeliest_tokens_are_those_of_a_greedy_reply(served: ServedLikelihood) -> None:
    prompt = asked(3)
    before = prompt_ids(prompt, served._template, served._tokens)
    echo = served._echo
    handle = echo.add(before, max_new_tokens=12, temperature=0.0)
    echo.run()
    (output,) = handle.read_all()
    greedy = [int(token) for token in output.generated_ids]
    assert echo.likeliest(before, greedy) == greedy
    changed = [*greedy[:5], greedy[5] + 1, *greedy[6:]]
    assert echo.likeliest(before, changed)[:6] == greedy[:6]
    assert len(echo.likeliest(before, changed)) == 12
    right = served.right(prompt, " The tide turns at noon.")
    assert 0 < sum(right) < len(right)


def test_the_cache_changes_nothing_wherever_a_block_ends(served: ServedLikelihood) -> None:
    plain = Echo(models.resolve("embedded"), PROPERTIES)
    ends = set()
    for words in range(0, 14, 1):
        prompt = asked(words)
        before = prompt_ids(prompt, served._template, served._tokens)
        ends.add(len(before) % BLOCK)
        for text, got in zip(SAID, served.scores(prompt, SAID), strict=True):
            ids = served._ids(text)
            alone = plain.scores([*before, *ids])[-len(ids) :]
            assert got == pytest.approx(alone, abs=0.02)
    assert len(ends) > 8


def test_a_prompt_that_fills_its_last_block(served: ServedLikelihood) -> None:
    prompt = next(
        p
        for p in map(asked, range(200))
        if len(prompt_ids(p, served._template, served._tokens)) % BLOCK == 0
    )
    first = served.scores(prompt, SAID)
    assert [len(each) for each in first] == [len(served._ids(text)) for text in SAID]
    for one, other in zip(first, served.scores(prompt, SAID), strict=True):
        assert one == pytest.approx(other, abs=0.02)
