"""Who answers, who goes on, who speaks unasked: rules alone, without a scene that lives."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npcserver import director, relevance
from npcserver.hearing import listeners
from npcserver.journal import Entry, Fact
from npcserver.library import LoadedScene, load_scene
from npcserver.pace import Pace
from npcserver.protocol import (
    Because,
    PersonView,
    PlayerJoined,
    PlayerLeft,
    PlayerSaid,
    SceneChanged,
    TurnDone,
    TurnStarted,
)
from npcserver.state import SceneState
from tests.stage import QUAY, directed

TROUPE = load_scene(Path(__file__).parent.parent / "scenes" / "shadow_troupe")


def standing(loaded: LoadedScene = QUAY, *players: str, place: str = "quay") -> SceneState:
    """A scene with players in a place."""
    state = SceneState(loaded)
    for player in players or ("kit",):
        where = loaded.scene.places[place].position
        view = PersonView(id=player, name=player.title(), place=place, position=where)
        tell(state, PlayerJoined(player=view))
    return state


def tell(state: SceneState, *facts: Fact, at_ms: int = 0) -> None:
    everyone = frozenset(state.bodies)
    for fact in facts:
        state.apply(Entry(fact, at_ms, everyone))


def talked(state: SceneState, npc: str, text: str = "Aye.", player: str = "kit") -> None:
    """A character says something to a player."""
    started = TurnStarted(turn_id=f"t{state.turns + 1}", npc=npc, to=[player], volume="talk")
    done = TurnDone(turn_id=started.turn_id, npc=npc, status="completed", text=text)
    for fact in (started, done):
        state.apply(Entry(fact, 0, listeners(state, npc, "talk", ())))


def chosen(state: SceneState, text: str, **more: str) -> tuple[tuple[str, ...], str]:
    heard_by = listeners(state, "kit", "talk", ())
    choice = director.choose(state, "kit", text, (), heard_by, **more)  # type: ignore[arg-type]
    return choice.npcs, choice.because if choice.npcs else choice.reason


@pytest.mark.parametrize(
    ("text", "looking_at", "who", "because"),
    [
        ("Good day.", None, ("ada",), "nearest"),
        ("She leaks, the boat.", None, ("bo",), "interest"),
        ("And you, Bo?", None, ("bo",), "named"),
        ("Bo and Ada, hello.", None, ("bo", "ada"), "named"),
        ("You two, listen.", None, ("ada", "bo"), "pronoun"),
        ("I see.", "bo", ("bo",), "gaze"),
        ("Where does Ada live?", "bo", ("bo",), "gaze"),
        ("Ada, where do you live?", "bo", ("ada",), "named"),
        ("Come along.", "lee", (), "said to a player who was looked at"),
        ("Good day.", "kit", ("ada",), "nearest"),  # a look at oneself says nothing
        ("I see.", "cy", ("ada",), "nearest"),  # out of earshot
    ],
)
def test_who_is_meant(text: str, looking_at: str, who: tuple[str, ...], because: str) -> None:
    state = standing(QUAY, "kit", "lee")
    assert chosen(state, text, looking_at=looking_at) == (who, because)


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("An old boat, that.", ()),
        ("The boat is the end of me.", ()),
        ("Will you mend it?", ("cy",)),
        ("You will mend it.", ()),
        ("Old, are you there?", ("ada",)),
        ("Where is old marta?", ("ada",)),
        ("I told the keeper.", ("bo",)),
        ("the keeper and will turner.", ("bo", "cy")),
    ],
)
def test_a_word_of_every_day_is_no_name(text: str, who: tuple[str, ...]) -> None:
    names = {"ada": "Old Marta", "bo": "The Keeper", "cy": "Will Turner"}
    cast = {
        npc: QUAY.characters[npc].model_copy(
            update={"name": name, "talkativeness": 0, "aliases": []}
        )
        for npc, name in names.items()
    }
    state = standing(replace(QUAY, characters=cast))
    choice = director.choose(state, "kit", text, (), frozenset(state.bodies))
    assert (choice.npcs if choice.because == "named" else ()) == who


def test_she_is_whoever_was_talked_of_last() -> None:
    state = standing()
    talked(state, "ada", "Ask Bo, the boat is no concern of mine.")
    assert chosen(state, "And can she mend it?") == (("bo",), "pronoun")
    assert chosen(state, "I see.") == (("ada",), "attention")
    assert chosen(state, "Can anyone mend a boat?") == (("bo",), "interest")
    talked(state, "bo", "Aye.")
    assert chosen(state, "You two, hello.") == (("bo", "ada"), "pronoun")


def test_chinese_lines_are_meant_for_somebody_too() -> None:
    state = standing(TROUPE, place=TROUPE.scene.entrance)
    near = listeners(state, "kit", "talk", ())
    here = [npc.id for npc in director.by_distance(state, "kit") if npc.id in near]
    names = {npc: TROUPE.characters[npc].name for npc in here}
    first = here[0]
    assert chosen(state, f"{names[first]}，你好")[0] == (first,)
    if len(here) > 1:
        assert len(chosen(state, "你们俩都过来")[0]) == 2
        talked(state, first, f"这要问{names[here[1]]}。")
        assert chosen(state, "她会唱吗？") == ((here[1],), "pronoun")
        assert chosen(state, f"{names[here[1]]}住哪儿？", looking_at=first) == ((first,), "gaze")


def shy(*npcs: str, loaded: LoadedScene = QUAY) -> LoadedScene:
    """A scene where some characters speak only of what concerns them."""
    quiet = {npc: loaded.characters[npc].model_copy(update={"talkativeness": 0.0}) for npc in npcs}
    return replace(loaded, characters={**loaded.characters, **quiet})


def test_who_cares_not_to_talk_is_silent_unless_it_concerns_them() -> None:
    state = standing(shy("ada", "bo"))
    assert chosen(state, "Good day.") == ((), "nobody felt spoken to")
    assert chosen(state, "Boats!") == (("bo",), "interest")
    assert chosen(state, "Ada, good day.") == (("ada",), "named")
    assert chosen(standing(shy("ada")), "Good day.") == (("bo",), "interest")


def test_half_talkative_is_half_the_lines_and_hangs_on_seed_and_place_only() -> None:
    half = QUAY.characters["ada"].model_copy(update={"talkativeness": 0.5})
    loaded = replace(shy("bo"), characters={**shy("bo").characters, "ada": half})

    def answers(seed: int) -> list[bool]:
        state, told = standing(loaded), []
        for number in range(200):
            choice = director.choose(
                state, "kit", "Good day.", (), listeners(state, "kit", "talk", ()), seed=seed
            )
            told.append(choice.npcs == ("ada",))
            tell(state, said(f"l{number}", "Good day."))
        return told

    assert 70 < sum(answers(1)) < 130
    assert answers(1) == answers(1)
    assert answers(1) != answers(2)


def test_sheets_are_read_once_and_not_for_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    state, meaning = standing(shy("ada", "bo")), relevance.meaning
    read: list[str] = []

    def reading(text: str) -> frozenset[str]:
        read.append(text)
        return meaning(text)

    monkeypatch.setattr(relevance, "meaning", reading)
    assert chosen(state, "Boats!") == (("bo",), "interest")
    sheets = {sheet.about for sheet in state.loaded.characters.values()}
    assert sheets <= set(read), "a scene that was changed is read anew"
    read.clear()
    assert chosen(state, "Hello, boats!") == (("bo",), "interest")
    assert "Hello, boats!" in read
    assert not sheets & set(read)


def said(line: str, text: str, player: str = "kit") -> PlayerSaid:
    return PlayerSaid(
        line_id=line, player=player, name=player.title(), text=text, to=[], volume="talk"
    )


def test_nobody_answers_while_the_game_plays_a_scene() -> None:
    state = standing(QUAY, "kit", "host")
    tell(state, SceneChanged(what="locked", name="host"))
    assert chosen(state, "Ada, hello.") == ((), director.LOCKED)
    assert director.about(state, "ada", "act").npcs == ()
    tell(state, PlayerLeft(player="host"))
    assert chosen(state, "Ada, hello.") == (("ada",), "named")


# ---- going on, and unasked -----------------------------------------------------------------------


def last_said(state: SceneState, npc: str, text: str, to: str) -> director.Choice | None:
    talked(state, npc, text, to)
    return director.reply(state, state.happenings[-1], 0, 0)


def test_characters_go_on_only_where_the_scene_lets_them_and_it_concerns_them() -> None:
    living = directed(exchanges=2)
    assert last_said(standing(), "ada", "Ask Bo.", "kit") is None
    choice = last_said(standing(living), "ada", "Ask Bo.", "kit")
    assert choice is not None
    assert (choice.npcs, choice.because) == (("bo",), "exchange")
    assert last_said(standing(living), "ada", "Mind the rope.", "kit") is None
    assert last_said(standing(living), "ada", "Ask Cy.", "kit") is None, "who is out of earshot"
    partner = last_said(standing(living), "ada", "Mind the rope.", "bo")
    assert partner is not None
    assert partner.npcs == ("bo",)


def test_an_exchange_ends_at_its_bound() -> None:
    state = standing(directed(exchanges=2))
    talked(state, "ada", "Ask Bo.")
    assert director.reply(state, state.happenings[-1], 1, 0)
    assert director.reply(state, state.happenings[-1], 2, 0) is None


def unprompted(state: SceneState, because: Because, now_ms: int, words: str = "") -> str | None:
    return director.unprompted(state, because, frozenset(state.bodies), words, now_ms, 0)


def spoke(state: SceneState, npc: str, because: Because, at_ms: int) -> None:
    turn = f"t{state.turns + 1}"
    started = TurnStarted(turn_id=turn, npc=npc, to=[], volume="talk", because=because)
    done = TurnDone(turn_id=turn, npc=npc, status="completed", text="Well.")
    tell(state, started, done, at_ms=at_ms)


def test_own_accord_has_a_budget_a_cooldown_and_somebody_to_hear_it() -> None:
    living = directed(own_lines=2, cooldown_s=30)
    assert unprompted(standing(), "event", 0) is None, "the scene does not say so"
    assert unprompted(SceneState(living), "event", 0) is None, "nobody is here"
    state = standing(living)
    assert unprompted(state, "event", 0, "Bo sneezes.") == "bo"
    spoke(state, "bo", "event", 0)
    assert unprompted(state, "event", 1000, "Bo sneezes.") == "ada", "bo rests"
    assert unprompted(state, "event", 31_000, "Bo sneezes.") == "bo"
    spoke(state, "ada", "event", 1000)
    assert unprompted(state, "event", 59_000) is None, "two lines in a minute"
    assert unprompted(state, "event", 60_000) is not None


def test_silence_is_not_broken_for_ever() -> None:
    state = standing(directed(own_lines=12, cooldown_s=0))
    for count in range(director.MOST_UNANSWERED):
        npc = unprompted(state, "silence", 60_000 * count)
        assert npc == ["ada", "bo", "ada"][count], "whoever was silent longest"
        spoke(state, npc, "silence", 60_000 * count)
    assert unprompted(state, "silence", 600_000) is None
    tell(state, said("l1", "Hm."))
    assert unprompted(state, "silence", 600_000) is not None


FACTS = st.sampled_from(
    [
        said("l1", "Hm."),
        SceneChanged(what="locked", name="kit"),
        SceneChanged(what="unlocked", name="kit"),
        PlayerLeft(player="kit"),
        *(
            TurnStarted(turn_id="t1", npc=npc, to=[], volume="talk", because=because)
            for npc in ("ada", "bo")
            for because in ("event", "silence", "exchange", "named")
        ),
    ]
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20_000), FACTS), max_size=60))
def test_the_pace_stays_small_and_counts_right(facts: list[tuple[int, Fact]]) -> None:
    pace, now, own = Pace(), 0, []
    for wait, fact in facts:
        now += wait
        pace = pace.after(Entry(fact, now))
        if isinstance(fact, TurnStarted) and fact.because in ("event", "silence"):
            own.append(now)
    assert list(pace.recent(now)) == [at for at in own if now - at < 60_000]
    assert len(pace.spoke) <= 2
    assert 0 <= pace.unanswered <= len(own)


@settings(deadline=None)
@given(
    st.text(max_size=60),
    st.sampled_from([None, "ada", "bo", "cy", "lee", "kit"]),
    st.integers(0, 3),
    st.sampled_from(["quay", "shed"]),
)
def test_whatever_is_said_one_hears_it_who_answers_or_there_is_a_reason(
    text: str, looking_at: str | None, seed: int, place: str
) -> None:
    state = standing(shy("bo"), "kit", "lee", place=place)
    heard_by = listeners(state, "kit", "talk", ())
    choice = director.choose(state, "kit", text, (), heard_by, looking_at, seed)
    assert set(choice.npcs) | set(choice.open) <= heard_by - {"kit", "lee"}
    assert len(choice.npcs) <= director.MOST_NAMED
    assert choice.npcs or (choice.silent and choice.reason)
    assert choice == director.choose(state, "kit", text, (), heard_by, looking_at, seed)
