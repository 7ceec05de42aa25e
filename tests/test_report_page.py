"""The page of an evaluation, opened in a browser that is offline."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from finetune.evaluate.outcomes import Line, Outcome
from finetune.evaluate.results import Evaluation, Results, metrics
from finetune.pages.evaluation import page as written
from tests.test_playground import FLAGS, chromium

pytestmark = pytest.mark.browser
HOSTILE = "<img src=http://127.0.0.1:9/x onerror=alert(1)>"


def evaluation() -> Evaluation:
    outcomes = [
        Outcome(
            suite="probes",
            case=f"probes/{n}",
            cluster=str(n),
            scene="quay",
            npc="ada",
            talk=[
                Line(who="Kit", text=HOSTILE),
                Line(who="Ada", text=f"Number {n}.", note="happy", signs=["made up: 7"] * (n == 3)),
            ],
            tallies={"made_up_numbers": [float(n == 3), 1], "facts": [0.5, 1]},
        )
        for n in range(12)
    ]
    made = {"seed": 0, "most": None, "revision": "r"}
    about = Results(
        subject={"name": "somebody"},
        made=made,
        skipped={"outside": "no file was named"},
        metrics=metrics(outcomes, 0),
        timing={"first_word_ms": {"p50": 90}},
    )
    return Evaluation(about, outcomes)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Page]:
    """The page in a browser without a network, and without a fault."""
    (tmp_path / "report.html").write_text(written(evaluation()), encoding="utf-8")
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        context = browser.new_context(offline=True)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.on(
            "request", lambda asked: faults.append(asked.url) if "file:" not in asked.url else None
        )
        page.goto((tmp_path / "report.html").as_uri())
        yield page
        browser.close()
    assert faults == []


def test_numbers_sample_sizes_and_what_was_left_out_are_in_sight(opened: Page) -> None:
    expect(opened.locator("h1")).to_have_text("Evaluation: somebody")
    body = opened.locator("body")
    expect(body).to_contain_text("Left out, outside: no file was named.")
    expect(body).to_contain_text("Fewer than 30 cases each")
    row = opened.locator("tr", has_text="made_up_numbers").first
    expect(row).to_contain_text("8.3%")
    expect(row).to_contain_text("12")


def test_the_worst_cases_are_one_click_away(opened: Page) -> None:
    worst = opened.locator("summary", has_text="made_up_numbers: the worst 1 of 1")
    expect(opened.get_by_text("Number 3.").first).not_to_be_visible()
    worst.click()
    shown = opened.locator("details[open]")
    expect(shown).to_contain_text("Number 3.")
    expect(shown).to_contain_text("made up: 7")
    expect(shown).to_contain_text(HOSTILE)
