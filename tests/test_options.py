"""Options as a tree of tokens."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npcserver.engines.options import OptionTree

Paths = dict[tuple[int, ...], dict[int, float]]


def scored(tree: OptionTree, chance: float = 0.25) -> Paths:
    return {path: dict.fromkeys(tokens, math.log(chance)) for path, tokens in tree.forks.items()}


def test_only_where_options_part_is_anything_asked() -> None:
    tree = OptionTree([[1, 2, 3], [1, 2, 4, 5], [6, 7]])
    assert tree.forks == {(): (1, 6), (1, 2): (3, 4)}


def test_shares_multiply_along_the_way() -> None:
    tree = OptionTree([[1, 2, 3], [1, 2, 4, 5], [6, 7]])
    scores = {
        (): {1: math.log(0.3), 6: math.log(0.1)},
        (1, 2): {3: math.log(0.2), 4: math.log(0.6)},
    }
    assert tree.probabilities(scores) == pytest.approx([0.75 * 0.25, 0.75 * 0.75, 0.25])


def test_an_option_that_others_go_on_from_gets_what_they_leave() -> None:
    tree = OptionTree([[1], [1, 2], [1, 3]])
    assert tree.forks == {(1,): (2, 3)}
    scores = {(1,): {2: math.log(0.2), 3: math.log(0.1)}}
    assert tree.probabilities(scores) == pytest.approx([0.7, 0.2, 0.1])


def test_a_single_option_is_certain() -> None:
    assert OptionTree([[4, 5]]).forks == {}
    assert OptionTree([[4, 5]]).probabilities({}) == [1.0]


def test_the_least_likely_tokens_are_still_told_apart() -> None:
    tree = OptionTree([[1], [2]])
    assert tree.probabilities({(): {1: -900.0, 2: -900.0 + math.log(3)}}) == pytest.approx(
        [0.25, 0.75]
    )


def test_what_is_unlikely_all_together_is_not_asked_about() -> None:
    tree = OptionTree([[1, 2], [1, 3], [4, 5], [4, 6]])
    assert tree.next_fork({}) == ()
    scores = {(): {1: math.log(0.97), 4: math.log(0.03)}}
    assert tree.next_fork(scores) == (1,)
    scores[1,] = {2: math.log(0.5), 3: math.log(0.5)}
    assert tree.next_fork(scores) is None
    assert tree.probabilities(scores) == pytest.approx([0.485, 0.485, 0.015, 0.015])


@given(
    st.lists(
        st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple),
        min_size=1,
        max_size=12,
        unique=True,
    )
)
def test_whatever_the_options_they_share_one_whole(options: list[tuple[int, ...]]) -> None:
    tree = OptionTree(options)
    chances = tree.probabilities(scored(tree))
    assert sum(chances) == pytest.approx(1)
    assert min(chances) >= 0
    assert set(tree.forks).isdisjoint({path for path in tree.forks if not tree.forks[path]})
