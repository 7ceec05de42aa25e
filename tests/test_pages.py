"""Pages of data sets, runs and tokens: what they say, and that nothing in them is obeyed."""

import json
import math
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import pytest

from finetune.dataset import Dataset, Split
from finetune.errors import RunError
from finetune.examples import Example, Slot
from finetune.pages import data as data_page
from finetune.pages import html, view
from finetune.pages import run as run_page
from finetune.records import Act, Persona, Record, Stage, Turn, plain_stage

EVIL = "<script>alert`1`</script>"
WEIGHTS: dict[Slot, float] = {"emotion": 1.0, "action": 0.5, "words": 0.25}
VOID = {"meta", "path", "use", "rect"}


class Checked(HTMLParser):
    """Goes through a page; notes its elements, and fails where one is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def checked(page: str) -> str:
    """A page that is whole, and asks for nothing and runs nothing."""
    found = Checked(page)
    assert not {"script", "img", "link", "iframe", "a"} & set(found.tags)
    assert not {"src", "srcset", "action"} & found.attributes
    assert not [name for name in found.attributes if name.startswith("on")]
    assert "http" not in page
    assert "url(" not in re.sub(r"url\(#\w+\)", "", page)
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', page))
    page.encode()
    return page


def stage(name: str = "Hessa", language: Literal["en", "zh"] = "en") -> Stage:
    persona = Persona(name=name, about="Runs a ferry.", resting="calm")
    return plain_stage(
        "An inn.", "A room.", {"hessa": persona}, name=f"Inn {EVIL}", language=language
    )


def record(at: Stage, number: int, **changes: Any) -> Record:
    values = {
        "stage": at.id,
        "character": "hessa",
        "conversation": f"c{number}",
        "asker": "Kit",
        "line": f"Question {number}?",
        "reply": f"Answer number {number}.",
        "dataset": "chat",
        "source": f"talk.jsonl:{number}",
    }
    return Record(**(values | changes))


def dataset(train: list[Record], stages: list[Stage], **about: Any) -> Dataset:
    parts: dict[Split, list[Record]] = {"train": train, "dev": [], "test": [], "unseen": []}
    return Dataset({each.id: each for each in stages}, parts, about)


def hostile() -> Dataset:
    english, chinese = stage(EVIL), stage("林掌柜", "zh")
    train = [record(english, n, reply=f"{EVIL} {n}", emotion="happy") for n in range(30)]
    train += [
        record(chinese, n, reply="有的，请坐。" * (n % 5 + 1), dataset="kdconv", action="none")
        for n in range(30, 60)
    ]
    history = [
        Turn(text=f"The rope snaps {EVIL}.", spoken=False),
        Turn(speaker="p", name="\x00\u202eKit", text="Oh & no"),
    ]
    acted = Act(name="give", target="rope", args={"n": EVIL})
    train.append(record(english, 99, history=history, action=acted, dataset="light"))
    return dataset(
        train,
        [english, chinese],
        sources=[
            {"path": EVIL, "format": "chat", "sha256": "ab", "conversations": 1, "records": 9}
        ],
        dropped={f"bad {EVIL}": 1200, "answers nobody": 3},
        dropped_examples={f"bad {EVIL}": [f"{EVIL}:7"]},
        seed=5,
        revision="abc123",
        options={"copies": 0, "shares": {"dev": 0.05}},
        read=1300,
    )


# ---- a data set ------------------------------------------------------------------------------


def test_a_data_sets_page_tells_what_is_in_it() -> None:
    page = checked(data_page.page(hostile()))
    for told in (
        "kdconv",
        "light",
        "1,200",
        "happy",
        "not told",
        "林掌柜",
        "give → rope",
        "abc123",
    ):
        assert told in page
    assert "The rope snaps" in page
    assert "&lt;script&gt;alert`1`&lt;/script&gt;:7" in page
    assert "characters in a Chinese reply" in page
    assert "words in a reply" in page


def test_a_data_sets_page_is_the_same_each_time() -> None:
    assert data_page.page(hostile()) == data_page.page(hostile())


def test_an_empty_data_set_has_a_page() -> None:
    page = checked(data_page.page(dataset([], [])))
    assert "only 0 training replies" in page


def test_samples_are_spread_over_formats() -> None:
    page = data_page.page(hostile())
    assert page.count("<article") == data_page.SAMPLES
    assert page.count("· light · train") == 1
    assert page.count("· kdconv · train") >= 5


def test_warnings_say_what_looks_wrong() -> None:
    at = stage()
    few = data_page.warnings(dataset([record(at, n) for n in range(10)], [at]))
    assert [each for each in few if "only 10 training replies" in each]
    assert [each for each in few if "part dev is empty" in each]
    assert [each for each in few if "emotion" in each]
    assert [each for each in few if "Hessa gives 100%" in each]
    assert not [each for each in few if "One reply" in each]


def test_a_reply_said_too_often_is_a_warning_but_its_changed_copies_are_none() -> None:
    at = stage()
    train = [record(at, n, reply="I don't know." if n < 4 else f"Word {n}.") for n in range(100)]
    assert [each for each in data_page.warnings(dataset(train, [at])) if "4.0% of all" in each]
    copies = [record(at, 0, conversation=f"c0+{n}", reply="Word.") for n in range(1, 20)]
    train = [record(at, n) for n in range(100)] + copies
    assert not [e for e in data_page.warnings(dataset(train, [at])) if "One reply" in e]
    assert "19 of train are changed copies" in data_page.page(dataset(train, [at]))


def test_a_good_data_set_gets_no_warning() -> None:
    crowd = [stage(name) for name in ("Hessa", "Ferdi", "Mira")]
    told = {"emotion": "happy", "action": "none"}
    train = [record(crowd[n % 3], n, **told) for n in range(90)]
    dev = [record(crowd[n % 3], 100 + n, **told) for n in range(30)]
    parts: dict[Split, list[Record]] = {"train": train, "dev": dev, "test": [], "unseen": []}
    data = Dataset({each.id: each for each in crowd}, parts, {"read": 130, "dropped": {"x": 10}})
    assert data_page.warnings(data) == []


# ---- a run -----------------------------------------------------------------------------------


def log(steps: int, every: int = 10) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        loss = 3 / step + 0.5
        told = {"step": step, "epoch": 0, "loss": loss, "tokens": 1000, "seconds": 0.5}
        entries.append({"kind": "step", **told})
        if step % every == 0:
            slots = {"words": {"loss": 1.25, "accuracy": 0.625, "tokens": 1234.0}}
            found = {"loss": 1.0 + step / 100, "accuracy": 0.5, "slots": slots}
            trained = {"train_loss": loss, "train_accuracy": 0.6, "best": step == every}
            entries.append({"kind": "evaluation", "step": step, "epoch": 1, **trained, **found})
    return entries


def run(folder: Path, facts: dict[str, Any], entries: Iterable[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in entries))
    return folder


RECIPE = {"data": f"data/{EVIL}", "epochs": 7, "lora": {"rank": 4, "alpha": 32.0}, "old": True}
FINISHED = {
    "recipe": RECIPE,
    "verdict": "over-fitted after step 10: the training loss fell",
    "revision": "abc123",
    "versions": {"torch": EVIL},
    "machine": {"gpu": "NVIDIA H200"},
    "data": {"sha256": "d1d1", "spans_too_long": 3},
    "base": {"name": "embedded", "sha256": "b2b2"},
    "best_step": 10,
    "tokens": 40000,
    "seconds": 20.0,
    "tokens_per_second": 2000.0,
    "mfu": 0.345,
}


def test_a_finished_runs_page_begins_with_its_verdict(tmp_path: Path) -> None:
    page = checked(run_page.page(run(tmp_path / f"r{EVIL[:8]}", FINISHED, log(40))))
    assert 'class="note bad loud">⚠ Over-fitted after step 10' in page
    for told in ("2,000", "34.5%", "abc123", "d1d1", "b2b2", "NVIDIA H200", "kept: step 10"):
        assert told in page
    assert "3 parts of replies were longer" in page
    assert "1.250 · 62.5%" in page
    assert page.count("<svg") == 2
    assert re.search(r'<tr class="strong"><td class="number">10</td>', page)


def test_the_recipe_tells_what_is_not_as_usual(tmp_path: Path) -> None:
    page = run_page.page(run(tmp_path, FINISHED, log(20)))
    assert '<tr class="strong"><td>lora.rank</td><td>4</td><td>16</td>' in page
    assert "<tr><td>lora.alpha</td><td>32</td><td></td>" in page
    assert "<tr><td>old</td><td>yes</td><td></td>" in page


def test_a_good_end_is_not_shouted(tmp_path: Path) -> None:
    page = run_page.page(run(tmp_path, FINISHED | {"verdict": "all steps are done"}, log(20)))
    assert 'class="note good loud">All steps are done.' in page
    assert "note bad" not in page


def test_an_unfinished_run_has_a_page(tmp_path: Path) -> None:
    page = checked(run_page.page(run(tmp_path, {"recipe": RECIPE}, log(35))))
    assert "Not finished: 35 steps are done" in page
    assert "begins to over-fit" in page
    assert "MFU" not in page


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path, steps: int) -> None:
    page = checked(run_page.page(run(tmp_path, {"recipe": {}}, log(steps))))
    assert "Not finished" in page
    assert "None yet." in page


def test_a_run_without_a_log_or_with_a_broken_one_has_a_page(tmp_path: Path) -> None:
    folder = run(tmp_path, {"recipe": {}}, [])
    (folder / "log.jsonl").unlink()
    checked(run_page.page(folder))
    odd = [{"kind": "step", "step": 1}, {"kind": "evaluation", "slots": EVIL, "loss": EVIL}]
    (folder / "log.jsonl").write_text("\n".join([*map(json.dumps, odd), "[1]", '{"kind": "st']))
    checked(run_page.page(folder))


def test_losses_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    entries = log(20)
    entries[5]["loss"] = math.nan
    page = checked(run_page.page(run(tmp_path, FINISHED, entries)))
    assert "Some losses are no numbers" in page


def test_a_long_runs_page_stays_small(tmp_path: Path) -> None:
    assert len(run_page.page(run(tmp_path, FINISHED, log(5000, every=500)))) < 150_000


def test_a_runs_page_is_the_same_each_time(tmp_path: Path) -> None:
    folder = run(tmp_path, FINISHED, log(40))
    assert run_page.page(folder) == run_page.page(folder)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        run_page.page(tmp_path)


# ---- tokens ----------------------------------------------------------------------------------


class Bytes:
    """A tokenizer whose tokens are bytes."""

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(ids).decode(errors="replace")


class Spaced:
    """A tokenizer of whole words that, as SentencePiece does, drops the first one's space."""

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(("see", "the", "inn")[each] for each in ids)


def example(
    read: str, trunk: str = "Sheet\n", words: str = "Yes\n", source: str = "a:1"
) -> Example:
    parts = [(trunk, None), (read, None), ("w", "emotion"), ("d", "action"), (words, "words")]
    ids = [byte for text, _ in parts for byte in text.encode()]
    slots = [slot for text, slot in parts for _ in text.encode()]
    return Example(ids, slots, len(trunk.encode()), [source])  # type: ignore[arg-type]


def test_counts_tell_what_is_trained_as_what() -> None:
    told = view.counts(example("Hi"), WEIGHTS)
    assert list(told.values()) == [14, 6, 6, 1, 1, 4]


def test_what_counts_nothing_is_only_read() -> None:
    shown = view.pieces(example("Hi"), Bytes(), WEIGHTS | {"action": 0.0})
    assert [piece.kind for piece in shown if piece.text == "d"] == ["read"]


def test_tokens_of_one_character_are_shown_together() -> None:
    shown = list(view.pieces(example("a你"), Bytes(), WEIGHTS))
    assert [piece.text for piece in shown if piece.kind == "read"] == ["a", "你₃"]
    assert [piece.at for piece in shown if piece.kind == "read"] == [6, 7]
    assert [token for piece in shown for token in piece.ids] == example("a你").ids


def test_a_character_of_tokens_of_two_kinds_is_shown_as_bytes() -> None:
    split = Example(list("你".encode()), [None, None, "words"], 1)
    shown = [(piece.kind, piece.text) for piece in view.pieces(split, Bytes(), WEIGHTS)]
    assert shown == [("trunk", "⟨E4⟩"), ("read", "⟨BD⟩"), ("words", "⟨A0⟩")]


def test_a_character_that_is_never_whole_is_shown_as_such() -> None:
    broken = Example([0x61, 0xE4, 0x62], [None, None, None], 0)
    assert [piece.text for piece in view.pieces(broken, Bytes(), WEIGHTS)] == ["a", "⟨?⟩", "b"]


def test_spaces_that_a_tokenizer_drops_at_the_start_are_shown() -> None:
    shown = view.pieces(Example([0, 1, 2], [None] * 3, 0), Spaced(), WEIGHTS)
    assert [piece.text for piece in shown] == ["see", " the", " inn"]


def test_controls_are_shown_and_not_obeyed() -> None:
    assert view.visible("a\n\x1b[31m\u202eb\t\r") == "a⏎\n⟨1B⟩[31m⟨202E⟩b⟨09⟩⟨0D⟩"
    text = view.terminal(example("\x1b[31m", source="x\x1b:1"), Bytes(), WEIGHTS)
    assert "\x1b" not in text.plain


def test_a_terminal_shows_tokens_in_colours_of_their_weights() -> None:
    text = view.terminal(example("Hi"), Bytes(), WEIGHTS)
    assert "14 tokens, 6 in the sheet, 6 trained" in text.plain
    assert text.plain.endswith("Sheet⏎\nHiwdYes⏎\n\n")
    of = {text.plain[span.start : span.end]: span.style for span in text.spans}
    grounds = [of[token].bgcolor for token in ("t", "H", "w", "d", "Y")]  # type: ignore[union-attr]
    assert len(set(grounds)) == 5
    assert view.strength("emotion", WEIGHTS) > view.strength("words", WEIGHTS) > 0


def test_a_page_of_tokens_escapes_folds_and_counts() -> None:
    shown = [example(EVIL, source=EVIL), example("Hi <b>")]
    page = checked(view.page(shown, Bytes(), WEIGHTS))
    assert page.count("<details open") == 1
    assert page.count("<details>") == 1
    assert '<td>all</td><td class="number">55</td>' in page
    assert '<span class="t emotion" title="31: 119">w</span>' in page
    assert "From &lt;script&gt;" in page
    assert page == view.page(shown, Bytes(), WEIGHTS)


def test_a_page_without_examples_says_so() -> None:
    assert "There are no examples." in checked(view.page([], Bytes(), {}))


# ---- what all share --------------------------------------------------------------------------


def test_everything_is_escaped_but_what_was_made_here() -> None:
    assert html.tag("p", "<b>", html.tag("i", "&"), class_='"x') == (
        '<p class="&quot;x">&lt;b&gt;<i>&amp;</i></p>'
    )
    assert html.escaped("\x00\ud800\u202e") == "\N{REPLACEMENT CHARACTER}" * 3


def test_shares_do_not_round_to_nothing_or_all() -> None:
    told = [html.share(*each) for each in ((0, 5), (1, 10**6), (10**6 - 1, 10**6), (5, 5), (0, 0))]
    assert told == ["0%", "0.1%", "99.9%", "100%", "0%"]
