"""Each measure against cases worked by hand, and against a library where one has it."""

import math

import numpy as np
import pytest
import sacrebleu
from scipy import stats

from finetune.evaluate import texts
from finetune.evaluate.compare import changes, failing
from finetune.evaluate.measures import MEASURES, Measure, compared, measured
from finetune.evaluate.outcomes import Outcome
from finetune.evaluate.results import Evaluation, Results
from finetune.evaluate.statistics import difference, estimate, spearman
from finetune.evaluate.voices import Voices

# ---- statistics ----------------------------------------------------------------------------------


def share(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def test_the_interval_of_a_mean_is_the_one_of_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(10, 2, size=400)
    parts = np.stack([values, np.ones(400)], axis=1)
    got = estimate(parts, [str(at) for at in range(400)], share)
    error = 1.96 * values.std() / 20
    assert got.value == pytest.approx(values.mean())
    assert got.low == pytest.approx(values.mean() - error, abs=0.03)
    assert got.high == pytest.approx(values.mean() + error, abs=0.03)
    assert got == estimate(parts, [str(at) for at in range(400)], share)


def test_what_belongs_together_is_drawn_together() -> None:
    parts = np.array([[1.0, 1], [0, 1]] * 50)
    apart = estimate(parts, [str(at) for at in range(100)], share)
    paired = estimate(parts, [str(at // 2) for at in range(100)], share)
    assert apart.low < 0.45 < 0.55 < apart.high
    assert (paired.low, paired.high) == (0.5, 0.5)


def test_one_cluster_has_no_spread_but_its_own_value() -> None:
    got = estimate(np.array([[1.0, 2]]), ["a"], share)
    assert (got.value, got.low, got.high) == (0.5, 0.5, 0.5)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    draw = np.random.default_rng(2)
    first = np.stack([draw.normal(0, 5, 200), np.ones(200)], axis=1)
    second = first + np.array([[0.5, 0]])
    names = [str(at) for at in range(200)]
    got = difference(first, second, names, share)
    assert (got.value, got.low, got.high) == pytest.approx((0.5, 0.5, 0.5))


def test_rank_correlation_is_scipys() -> None:
    a, b = [1.0, 2, 2, 4, 5, 9], [2.0, 1, 3, 3, 8, 7]
    assert spearman(a, b).value == pytest.approx(stats.spearmanr(a, b).statistic)
    assert math.isnan(spearman([1.0, 1, 1], [1.0, 2, 3]).value)


# ---- texts ---------------------------------------------------------------------------------------


def test_words() -> None:
    assert texts.words("Don't  touch_the BELL, 3 times!") == [
        "don't",
        "touch",
        "the",
        "bell",
        "3",
        "times",
    ]
    assert texts.words("茶，好。") == ["茶", "好"]


@pytest.mark.parametrize(
    ("said", "wanted", "f1", "rouge"),
    [
        ("the tide turns at noon", "the tide turns at noon", 1, 1),
        ("at noon the tide", "the tide turns at noon", 8 / 9, 4 / 9),
        ("the the the", "the tide", 2 / 5, 2 / 5),
        ("never", "the tide", 0, 0),
        ("", "the tide", 0, 0),
        ("好茶", "茶好", 1, 0.5),
    ],
)
def test_overlap_by_hand(said: str, wanted: str, f1: float, rouge: float) -> None:
    assert texts.f1(said, wanted) == pytest.approx(f1)
    assert texts.rouge_l(said, wanted) == pytest.approx(rouge)


def test_bleu_and_chrf_are_sacrebleus() -> None:
    said, wanted = "The tide turns at noon, they say.", "The tide turns at noon."
    bleu = sacrebleu.sentence_bleu(said, [wanted], use_effective_order=True).score / 100
    assert texts.bleu(said, wanted) == pytest.approx(bleu)
    assert texts.chrf(said, wanted) == pytest.approx(
        sacrebleu.sentence_chrf(said, [wanted]).score / 100
    )
    assert texts.bleu(wanted, wanted) == pytest.approx(1)
    chinese = sacrebleu.sentence_bleu(
        "今晚有戏", ["今晚没有戏"], tokenize="zh", use_effective_order=True
    )
    assert texts.bleu("今晚有戏", "今晚没有戏") == pytest.approx(chinese.score / 100)


def test_variety_and_copies() -> None:
    assert texts.distinct(["a b a b", "a b c"], 2) == (3, 5)
    assert texts.copied_share(
        "the tide turns at noon today", "I say the tide turns at noon"
    ) == pytest.approx(2 / 3)
    assert texts.copied_share("no", "no") == 0


def test_voices_are_told_apart() -> None:
    voices = Voices(
        {"ada": ["Mind the rope.", "Cover your ears."], "bo": ["Oh, oh, dear, dear me!"]}
    )
    assert voices.of("Mind your ears.") == "ada"
    assert voices.of("Dear, dear!") == "bo"


# ---- measures ------------------------------------------------------------------------------------


def outcome(case: int, suite: str, cluster: str = "", **held: object) -> Outcome:
    found = {
        "suite": suite,
        "case": str(case),
        "cluster": cluster or str(case),
        "scene": "s",
        "npc": "n",
    }
    return Outcome.model_validate({**found, **held})


def of(name: str) -> Measure:
    return next(each for each in MEASURES if each.name == name)


def test_perplexity_is_of_all_tokens_together() -> None:
    cases = [outcome(n, "reference", tallies={"perplexity": [n * math.log(4), n]}) for n in (1, 9)]
    got = measured(of("perplexity"), cases, 0)
    assert got is not None
    assert got.estimate.value == pytest.approx(4)
    assert (got.cases, got.clusters) == (2, 2)


def test_macro_f1_by_hand() -> None:
    pairs = [
        ("calm", "calm"),
        ("calm", "angry"),
        ("calm", "calm"),
        ("sad", "calm"),
        ("angry", "angry"),
    ]
    cases = [outcome(n, "reference", pairs={"emotion": [pair]}) for n, pair in enumerate(pairs)]
    # calm: 2 of 3, given 3 times; sad: never; angry: 1 of 1, given twice.
    wanted = (2 * 2 / (3 + 3) + 0 + 2 * 1 / (1 + 2)) / 3
    macro, accuracy = (measured(of(n), cases, 0) for n in ("emotion_macro_f1", "emotion_accuracy"))
    assert macro is not None and accuracy is not None
    assert macro.estimate.value == pytest.approx(wanted)
    assert accuracy.estimate.value == pytest.approx(3 / 5)


def test_action_f1_by_hand() -> None:
    sums = [[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]]
    cases = [outcome(n, "reference", tallies={"action_f1": each}) for n, each in enumerate(sums)]
    got = measured(of("action_f1"), cases, 0)
    assert got is not None
    assert got.estimate.value == pytest.approx(2 / (2 + 1 + 2))


def test_a_measure_without_cases_is_none_and_only_shared_cases_are_compared() -> None:
    assert measured(of("chrf"), [], 0) is None
    first = [outcome(n, "reference", tallies={"chrf": [0.1 * n, 1]}) for n in range(8)]
    second = [outcome(n, "reference", tallies={"chrf": [0.1 * n + 0.2, 1]}) for n in range(4, 12)]
    got = compared(of("chrf"), first, second, 0)
    assert got is not None
    assert got.cases == 4
    assert got.estimate.value == pytest.approx(0.2)
    assert got.estimate.low == pytest.approx(0.2)
    assert compared(of("chrf"), first, second[4:], 0) is None


def test_few_conversations_give_no_verdict() -> None:
    def evaluation(share: float, cases: int) -> Evaluation:
        made = [outcome(n, "reference", tallies={"f1": [share, 1]}) for n in range(cases)]
        return Evaluation(Results(subject={}, made={}, skipped={}, metrics=[], timing={}), made)

    for cases, verdict in ((4, "unclear"), (5, "better")):
        (change,) = changes(evaluation(0.1, cases), evaluation(0.3, cases))
        assert change.verdict == verdict
        assert failing([change]) == []
    (change,) = changes(evaluation(0.3, 5), evaluation(0.1, 5))
    assert failing([change]) == [change]
