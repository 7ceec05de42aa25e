"""From conversations to parts that share nothing: replies, duplicates, the split, the copies."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.augment import CHINESE_NAMES, augmented
from finetune.dataset import SPLITS
from finetune.duplicates import shingles, similarity, without_duplicates
from finetune.errors import DataError
from finetune.formats.names import NAMES, renaming
from finetune.records import Conversation, Dropped, Persona, Record, Stage, Turn, plain_stage
from finetune.replies import MAX_HISTORY, records
from finetune.split import Shares, check, identity, split

PEOPLE = [Persona(name=f"Npc {n}", about=f"Number {n}.", resting="calm") for n in range(6)]


def stage_with(*numbers: int, language: Any = "en") -> Stage:
    people = {f"npc_{n}": PEOPLE[n] for n in numbers}
    return plain_stage("A meeting.", "A hall.", people, language=language)


STAGES = {
    stage.id: stage
    for stage in (stage_with(0, 1, 2), stage_with(2, 3), stage_with(4), stage_with(5))
}
PAIR = stage_with(0, 1)


def said(by: str, text: str, **fields: Any) -> Turn:
    return Turn(speaker=by, name=by.replace("_", " ").title(), text=text, **fields)


def replies_of(*turns: Turn, stage: Stage = PAIR) -> list[Record | Dropped]:
    told = Conversation(stage=stage, turns=list(turns), dataset="test", source="test:1")
    return list(records(told))


def kept(*turns: Turn, stage: Stage = PAIR) -> list[Record]:
    return [each for each in replies_of(*turns, stage=stage) if isinstance(each, Record)]


# ---- replies ----------------------------------------------------------------------------------


def test_each_reply_to_somebody_is_a_record_with_what_came_before() -> None:
    turns = [
        said("kit", "Hello."),
        said("npc_0", "Hm.", emotion="calm", source="test:2"),
        Turn(text="A bell rings.", spoken=False),
        said("npc_1", "Who is it?"),
        Turn(text="It rings again.", spoken=False),
        said("npc_0", "Nobody.", rating="good"),
    ]
    first, second, third = kept(*turns)
    assert [(r.character, r.asker, r.line, r.reply) for r in (first, second, third)] == [
        ("npc_0", "Kit", "Hello.", "Hm."),
        ("npc_1", "Npc 0", "Hm.", "Who is it?"),
        ("npc_0", "Npc 1", "Who is it?", "Nobody."),
    ]
    assert (first.history, second.history) == ([], [turns[0], turns[2]])
    assert third.history == [*turns[:3], turns[4]]
    assert (first.emotion, first.source, second.source) == ("calm", "test:2", "test:1")
    assert (third.rating, len({r.conversation for r in (first, second, third)})) == ("good", 1)


def test_words_that_answer_nobody_are_told() -> None:
    spoken = [said("npc_0", "Hello?"), said("npc_0", "Hello!", source="test:2")]
    fallen = [Dropped(source="", reason="answers nobody")]
    assert replies_of(spoken[0]) == fallen
    assert [type(each) for each in replies_of(*spoken)] == [Dropped, Dropped]
    assert [type(each) for each in replies_of(said("kit", "Hi."), *spoken)] == [Record, Dropped]


def test_what_somebody_does_is_no_reply() -> None:
    assert replies_of(said("kit", "Hi."), said("npc_0", "nods", spoken=False)) == []


def test_a_history_has_an_end() -> None:
    turns = [said("kit" if n % 2 else "npc_0", f"Word {n}.") for n in range(100)]
    last = kept(*turns)[-1]
    assert (last.line, last.reply) == ("Word 97.", "Word 98.")
    assert last.history == turns[97 - MAX_HISTORY : 97]


def test_the_same_words_are_the_same_conversation_whoever_says_them_and_wherever_read() -> None:
    one = kept(said("npc_0", "Hello."), said("npc_1", "Hm."))
    other = kept(said("npc_1", "Hello."), said("npc_0", "Hm."), stage=stage_with(0, 1, 5))
    assert one[0].conversation == other[0].conversation
    assert one[0].conversation != kept(said("kit", "Hello."), said("npc_0", "Hm!"))[0].conversation


# ---- duplicates -------------------------------------------------------------------------------


def record(line: str, reply: str, **fields: Any) -> Record:
    told = {
        "stage": PAIR.id,
        "character": "npc_0",
        "conversation": line + reply,
        "asker": "Kit",
        "dataset": "test",
        "source": "test:1",
    }
    return Record.model_validate(told | {"line": line, "reply": reply} | fields)


LONG = "The rope on the east bank is frayed and I would not trust it with a cat tonight"
ZH = "东岸的绳子已经磨坏了今晚我连一只猫也不敢让它带过去"


@pytest.mark.parametrize(
    ("line", "reply", "reason"),
    [
        ("Take me over.", f"{LONG}.", "said before, word for word"),
        ("TAKE me over.", f"{LONG}.", "said before, word for word"),
        ("Take me over!", f"{LONG}, friend.", "said before, nearly alike"),
        ("Take me over.", "Aye.", None),
        ("Is it far?", f"Well. {LONG[:40]} so I say.", None),
        ("带我过河。", f"{ZH}。", "said before, word for word"),
        ("带我过河！", f"{ZH}啊。", "said before, nearly alike"),
        ("带我过河。", "好。", None),
    ],
)
def test_what_was_said_before_goes(line: str, reply: str, reason: str | None) -> None:
    first = [record("Take me over.", f"{LONG}."), record("带我过河。", f"{ZH}。")]
    left, dropped = without_duplicates([*first, record(line, reply, source="test:9")])
    told = [(each.source, each.reason) for each in dropped]
    assert told == ([("test:9", reason)] if reason else [])
    assert len(left) == (2 if reason else 3)


@pytest.mark.parametrize("rating", ["good", "bad"])
@pytest.mark.parametrize("reply", [f"{LONG}.", f"{LONG}, friend."])
def test_the_twin_that_was_rated_stays(reply: str, rating: str) -> None:
    plain = record("Take me over.", f"{LONG}.", source="test:1")
    other = record("Is it far?", "No.", source="test:2")
    rated = record("Take me over.", reply, source="test:3", rating=rating)
    again = record("Take me over.", reply, source="test:4", rating="good")
    left, dropped = without_duplicates([plain, other, rated, again])
    assert left == [other, rated]
    assert sorted(each.source for each in dropped) == ["test:1", "test:4"]


def test_another_answer_to_a_long_question_stays() -> None:
    asked = f"{LONG}, {LONG.lower()}, or so says Ferdi, who was there; what do you say?"
    assert similarity(f"{asked} / Yes.", f"{asked} / No.") > 0.8
    assert without_duplicates([record(asked, "Yes."), record(asked, "No.")])[1] == []


def test_what_is_alike_is_nearly_always_found() -> None:
    def words(number: int) -> list[str]:
        return [f"{number}w{at}" for at in range(34)]

    first = [record("Hm?", " ".join(words(number))) for number in range(200)]
    alike = [record("Hm?", " ".join([*words(number)[2:], "so", "so"])) for number in range(200)]
    assert 0.8 < similarity(first[0].reply, alike[0].reply) < 0.9
    assert len(without_duplicates([*first, *alike])[1]) >= 198


def test_what_is_only_half_alike_stays() -> None:
    words = [f"w{number}" for number in range(30)]
    alike = [" ".join(words[:20] + [f"{n}x{m}" for m in range(8)]) for n in range(200)]
    assert similarity(alike[0], alike[1]) > 0.4
    assert without_duplicates(record("Hm?", reply) for reply in alike)[1] == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(min_size=1, max_size=20)), max_size=30))
def test_every_record_is_kept_or_told(pairs: list[tuple[str, str]]) -> None:
    given_ = [record(line, reply, source=f"t:{n}") for n, (line, reply) in enumerate(pairs)]
    left, dropped = without_duplicates(given_)
    told = [r.source for r in left] + [each.source for each in dropped]
    assert sorted(told) == sorted(r.source for r in given_)
    assert without_duplicates(left) == (left, [])


@given(st.text(max_size=30))
def test_a_text_is_like_itself(text: str) -> None:
    assert shingles(text)
    assert similarity(text, text) == 1


# ---- split ------------------------------------------------------------------------------------

TALKS = st.lists(
    st.tuples(
        st.sampled_from(sorted(STAGES)),
        st.lists(st.integers(0, 9), min_size=2, max_size=5),
    ),
    min_size=1,
    max_size=40,
)
SHARES = st.builds(
    Shares,
    dev=st.sampled_from([0, 0.05, 0.3]),
    test=st.sampled_from([0, 0.05, 0.3]),
    unseen=st.sampled_from([0, 0.1, 0.5]),
)


def conversed(talks: Sequence[tuple[str, list[int]]]) -> list[Record]:
    """Records of conversations in which a player and everybody of the stage speak in turns."""
    made = []
    for number, (name, words) in enumerate(talks):
        stage = STAGES[name]
        people = ["kit", *stage.characters]
        turns = [
            said(
                people[(at + word) % len(people)],
                f"{number} {word} {at}",
                source=f"t:{number}.{at}",
            )
            for at, word in enumerate(words)
        ]
        made += kept(*turns, stage=stage)
    return made


@settings(max_examples=150, deadline=None)
@given(talks=TALKS, shares=SHARES, seed=st.integers(0, 5))
def test_parts_share_nothing(talks: Any, shares: Shares, seed: int) -> None:
    given_ = conversed(talks)
    parts, dropped = split(given_, STAGES, shares, seed)
    told = [record.source for part in parts.values() for record in part]
    told += [each.source for each in dropped]
    assert sorted(told) == sorted(record.source for record in given_)
    assert all(each.reason for each in dropped)
    homes = defaultdict(set)
    for part in SPLITS:
        for each in parts[part]:
            homes[each.conversation].add(part)
    assert all(len(found) == 1 for found in homes.values())
    unseen = {identity(each, STAGES) for each in parts["unseen"]}
    held_out = {
        sheet.name
        for each in parts["unseen"]
        for npc, sheet in STAGES[each.stage].characters.items()
        if npc == each.character
    }
    for part in ("train", "dev", "test"):
        for each in parts[part]:
            assert identity(each, STAGES) not in unseen
            heard = {each.asker, *(turn.name for turn in each.history)}
            heard.add(STAGES[each.stage].characters[each.character].name)
            assert not heard & held_out
    assert split(given_, STAGES, shares, seed) == (parts, dropped)


def many(count: int, begin: int = 0) -> list[Record]:
    names = sorted(STAGES)
    return conversed([(names[n % len(names)], [0, 1, 2]) for n in range(begin, begin + count)])


def where(given_: Sequence[Record], shares: Shares, seed: int = 0) -> dict[str, str]:
    parts, _ = split(given_, STAGES, shares, seed)
    return {record.conversation: part for part in SPLITS for record in parts[part]}


def sourced(count: int) -> list[Record]:
    """Conversations whose words do not tell how many there are."""
    name = stage_with(4).id
    return [
        r
        for n in range(count)
        for r in kept(said("kit", f"{n}?"), said("npc_4", f"{n}!"), stage=STAGES[name])
    ]


def test_shares_are_kept() -> None:
    parts, _ = split(sourced(400), STAGES, Shares(0.1, 0.05), 0)
    assert [len(parts[part]) for part in SPLITS] == [340, 40, 20, 0]


def test_more_data_moves_little() -> None:
    shares = Shares(0.1, 0.1)
    before, after = where(sourced(400), shares), where(sourced(420)[::-1], shares)
    moved = [name for name, part in before.items() if after[name] != part]
    assert len(moved) <= 0.05 * len(before)


def test_another_seed_is_another_split() -> None:
    shares = Shares(0.2, 0.2)
    assert where(sourced(50), shares, 0) != where(sourced(50), shares, 1)


def test_a_wanted_part_has_at_least_one() -> None:
    parts, _ = split(sourced(3), STAGES, Shares(0.01, 0.01), 0)
    assert [len(parts[part]) for part in SPLITS] == [1, 1, 1, 0]


def test_whoever_spoke_with_one_held_out_is_left_out() -> None:
    stage = next(stage for stage in STAGES.values() if len(stage.characters) == 2)
    alone = [
        record
        for n, npc in enumerate(["npc_2", "npc_2", "npc_3", "npc_3"])
        for record in kept(said("kit", f"{n}?"), said(npc, f"{n}!"), stage=stage)
    ]
    both = kept(said("npc_3", "Boo."), said("npc_2", "Aah."), stage=stage)
    other = kept(said("npc_2", "Boo!"), said("npc_3", "Ha."), stage=stage)
    parts, dropped = split([*alone, *both, *other], STAGES, Shares(0, 0, 0.5), 0)
    assert (len(parts["unseen"]), len(parts["train"])) == (3, 2)
    assert [each.reason for each in dropped] == ["beside a character held out"]


def test_whoever_is_named_is_held_out() -> None:
    talks = sourced(20)
    others = [
        each
        for number in range(20)
        for each in kept(
            said("kit", f"{number}, Npc?"),
            said("npc_5", f"{number}."),
            stage=STAGES[stage_with(5).id],
        )
    ]
    parts, dropped = split([*talks, *others], STAGES, Shares(0, 0, named=["npc_5"]), 0)
    assert (parts["unseen"], dropped) == (others, [])
    with pytest.raises(DataError, match="--hold-out npc_9"):
        split(talks, STAGES, Shares(named=["npc_9"]), 0)


def test_the_splitter_is_checked() -> None:
    one = record("Hi.", "Hm.")
    nothing: dict[Any, list[Record]] = {part: [] for part in SPLITS}
    with pytest.raises(DataError, match="in two parts"):
        check(nothing | {"train": [one], "dev": [one]}, {PAIR.id: PAIR})
    other = one.model_copy(update={"conversation": "other"})
    with pytest.raises(DataError, match="test:1: a character in it is in `unseen`"):
        check(nothing | {"train": [one], "unseen": [other]}, {PAIR.id: PAIR})


# ---- copies -----------------------------------------------------------------------------------

KIT = [
    said("kit", "I am Kit. Mind the kitchen."),
    said("npc_0", "Kit? Kits come and go, Kit."),
    Turn(text="Kit drops a kit.", spoken=False),
    said("kit", "Kit did not."),
    said("npc_1", "Npc 0 saw it."),
    said("npc_0", "I did."),
]


def copies(*turns: Turn, stage: Stage = PAIR, count: int = 3, seed: int = 0) -> list[list[Record]]:
    """The copies of one conversation, without the original."""
    given_ = kept(*turns, stage=stage)
    made = augmented(given_, {stage.id: stage}, count, seed)
    assert made[: len(given_)] == given_
    found: dict[str, list[Record]] = {}
    for each in made[len(given_) :]:
        found.setdefault(each.conversation, []).append(each)
    return list(found.values())


def test_a_copy_has_another_player_and_the_same_answers() -> None:
    original = kept(*KIT)
    made = copies(*KIT, count=1)[0]
    assert len(made) == len(original)
    by_words = {(each.character, each.emotion, each.action) for each in original}
    assert {(each.character, each.emotion, each.action) for each in made} == by_words
    name = next(each.asker for each in made if not each.asker.startswith("Npc"))
    assert name in NAMES
    replies = {each.reply for each in made}
    assert replies == {f"{name}? Kits come and go, {name}.", "Npc 0 saw it.", "I did."}
    assert f"I am {name}. Mind the kitchen." in {each.line for each in made}
    told = [turn.text for each in made for turn in each.history]
    assert not [text for text in told if "Kit " in text]


def test_a_copy_forgets_the_same_turns_in_all_its_prompts() -> None:
    turns = [said("npc_0" if n % 2 else "kit", f"{n} words") for n in range(40)]
    for made in copies(*turns, count=5):
        held = [{turn.text for turn in each.history} for each in made]
        ever = set().union(*held)
        for each, texts in zip(made, held, strict=True):
            number = int(each.line.split()[0])
            assert texts == {text for text in ever if int(text.split()[0]) < number}


def test_copies_are_drawn_by_the_seed_alone() -> None:
    assert copies(*KIT, seed=1) == copies(*KIT, seed=1)
    assert copies(*KIT, seed=1) != copies(*KIT, seed=2)
    more = [*kept(*KIT), *kept(said("kit", "Hm?"), said("npc_0", "Hm."))]
    made = augmented(more, {PAIR.id: PAIR}, 2, 0)
    assert all(each in made for copy in copies(*KIT, count=2) for each in copy)


def test_a_copy_that_changes_nothing_is_none() -> None:
    assert copies(said("npc_0", "Hello."), said("npc_1", "Hm.")) == []


def test_two_players_stay_two_and_nobody_gets_a_name_that_is_taken() -> None:
    cast = {
        f"npc_{n}": Persona(name=name, about="x", resting="calm")
        for n, name in enumerate(CHINESE_NAMES[:-4])
    }
    stage = plain_stage("A crowd.", "A hall.", cast, language="zh")
    turns = [
        Turn(speaker="p", name=CHINESE_NAMES[-1], text="Hi."),
        Turn(speaker="npc_0", name=CHINESE_NAMES[0], text="Hm."),
        Turn(speaker="q", name="Kit", text="Hey."),
        Turn(speaker="npc_0", name=CHINESE_NAMES[0], text="What?"),
    ]
    for made in copies(*turns, stage=stage, count=10):
        names = {each.asker for each in made}
        assert len(names) == 2
        assert names < set(CHINESE_NAMES[-4:-1])


def test_chinese_people_get_chinese_names() -> None:
    stage = stage_with(0, language="zh")
    assert len(set(CHINESE_NAMES)) == 20
    turns = [
        Turn(speaker="p", name="小满", text="我是小满。"),
        Turn(speaker="npc_0", name="Npc 0", text="小满，来客们都走了。"),
    ]
    made = copies(*turns, stage=stage, count=1)[0][0]
    assert made.asker in CHINESE_NAMES
    assert (made.line, made.reply) == (f"我是{made.asker}。", f"{made.asker}，来客们都走了。")


@pytest.mark.parametrize(
    ("name", "reply", "language"),
    [
        ("Stranger", "Stranger things have happened.", "en"),
        ("来客", "来客们都走了。", "zh"),
        ("明", "明天再说。", "zh"),
    ],
)
def test_a_name_that_is_a_word_is_replaced_only_as_a_name(
    name: str, reply: str, language: str
) -> None:
    turns = [Turn(speaker="p", name=name, text="?!a"), said("npc_0", reply)]
    made = copies(*turns, stage=stage_with(0, language=language), count=1)[0][0]
    assert made.asker != name
    assert made.reply == reply


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("Kit, ask Robin.", "Robin, ask Kit."),
        ("Kitty's kit, Kit's.", "Kitty's kit, Robin's."),
        ("José and Joséphine", "Ana and Joséphine"),
        ("Dr. K. is in", "Dr. M is in"),
        (r"\1 Ann Lee, Ann", r"\1 Bo, Zoe"),
    ],
)
def test_names_are_replaced_as_words_and_all_at_once(text: str, changed: str) -> None:
    names = {"Kit": "Robin", "Robin": "Kit", "José": "Ana", "Dr. K.": "Dr. M"}
    names |= {"Ann": "Zoe", "Ann Lee": "Bo"}
    assert renaming(names, exactly=True)(text) == changed
    assert renaming({}, exactly=True)(text) == text
