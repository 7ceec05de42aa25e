"""The page at /, in a real headless Chromium against a real server."""

import json
import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.server import serving

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """Where Chromium is; `NPCSERVER_CHROMIUM` names another one."""
    found = os.environ.get("NPCSERVER_CHROMIUM") or shutil.which("chromium")
    found = found or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "the page is tested in Chromium: install the package chromium"
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("data")) as where:
        yield where


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def faults(browser: Browser) -> Iterator[list[str]]:
    """What went wrong on the pages of a test; they are closed after it."""
    yield []
    for context in browser.contexts:
        context.close()


def enter(
    browser: Browser,
    address: str,
    faults: list[str],
    player: str,
    instance: str,
    locale: str = "en-US",
    size: tuple[int, int] = (1280, 800),
) -> Page:
    """A page of a player's own, in the scene."""
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(locale=locale, viewport=viewport)  # type: ignore[arg-type]
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.goto(f"http://{address}/?scene=quay&player={player}&instance={instance}&auto=1")
    expect(page.locator("#connection")).to_have_attribute("data-state", "open")
    expect(page.locator("[data-npc]")).to_have_count(3)
    return page


def say(page: Page, text: str) -> None:
    page.locator("#say-input").fill(text)
    page.locator("#say-input").press("Enter")


def test_the_way_in_by_the_form(browser: Browser, address: str, faults: list[str]) -> None:
    page = browser.new_context(locale="en-US").new_page()
    page.goto(f"http://{address}/")
    expect(page.locator("#scene-select option")).to_have_count(1)
    page.locator("#player-name").fill("Kit")
    page.locator("#player-name").press("Enter")
    expect(page.locator("[data-npc='ada']")).to_be_visible()
    expect(page.locator("#scene-name")).to_have_text("The Quay")


def test_a_conversation(browser: Browser, address: str, faults: list[str]) -> None:
    kit = enter(browser, address, faults, "Kit", "talk")
    lee = enter(browser, address, faults, "Lee", "talk")
    expect(kit.locator("[data-player='Lee']")).to_be_visible()
    kit.locator("[data-npc='ada']").click()
    say(kit, "Ring the bell.")
    expect(kit.locator(".bubble[data-turn] .words")).to_have_text("Cover your ears.")
    expect(kit.locator(".bubble[data-turn] .doing")).to_contain_text("the bell")
    expect(kit.locator("[data-npc='ada']")).to_have_attribute("data-face", "happy")
    expect(lee.locator("#log")).to_contain_text("Ring the bell.")
    expect(lee.locator("#log")).to_contain_text("Cover your ears.")
    kit.locator("#say-input").fill("A word between us.")
    kit.locator("#whisper").click()
    expect(kit.locator("#log li[data-turn]")).to_have_count(2)
    expect(lee.locator("#log")).not_to_contain_text("A word between us.")
    assert faults == []


def test_stop_cuts_the_words(browser: Browser, address: str, faults: list[str]) -> None:
    page = enter(browser, address, faults, "Kit", "stop")
    say(page, "Hello, Ada.")
    expect(page.locator(".bubble[data-turn] .words")).to_contain_text("Mo")
    page.keyboard.press("Escape")
    expect(page.locator("#log li[data-status='interrupted']")).to_have_count(1)
    assert faults == []


def test_moving_and_who_hears(browser: Browser, address: str, faults: list[str]) -> None:
    page = enter(browser, address, faults, "Kit", "move")
    expect(page.locator("#hearers")).to_have_text("Heard by Ada Finch, Bo")
    page.locator("[data-place='shed']").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#hearers")).to_have_text("Heard by Cy")
    page.locator("#say-input").fill("x")
    expect(page.locator("[data-npc='ada']")).to_have_attribute("data-hears", "no")
    expect(page.locator("[data-npc='cy']")).to_have_attribute("data-hears", "yes")
    assert faults == []


def test_markup_stays_text(browser: Browser, address: str, faults: list[str]) -> None:
    page = enter(browser, address, faults, "Kit", "markup")
    say(page, "<img src=x onerror=alert(1)> & <b>bold</b>")
    expect(page.locator("#log")).to_contain_text("<img src=x onerror=alert(1)> & <b>bold</b>")
    assert page.locator("#log img, .bubble img, #log b").count() == 0
    assert faults == []


def test_a_reload_finds_what_was_said(browser: Browser, address: str, faults: list[str]) -> None:
    page = enter(browser, address, faults, "Kit", "reload")
    say(page, "Hello, Ada.")
    expect(page.locator("#log li[data-turn]")).to_have_count(1)
    page.reload()
    expect(page.locator("#log")).to_contain_text("Hello, Ada.")
    expect(page.locator("#log")).to_contain_text("Mind the rope.")


def test_refusals_are_told_in_words(browser: Browser, address: str, faults: list[str]) -> None:
    page = enter(browser, address, faults, "Kit", "refused")
    say(page, "x" * 600)
    expect(page.locator("#toast")).to_be_visible()
    expect(page.locator("#log li[data-status='unsent']")).to_have_count(1)


def test_on_a_phone_in_chinese(browser: Browser, address: str, faults: list[str]) -> None:
    page = enter(browser, address, faults, "Kit", "phone", locale="zh-CN", size=(390, 844))
    expect(page.locator("#say")).to_have_text("说")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    for button in ("#say", "#whisper", "#stop"):
        box = page.locator(button).bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["x"] + box["width"] <= 390
    page.locator("#lang").click()
    expect(page.locator("#say")).to_have_text("Say")
    assert faults == []


def test_a_reply_is_liked_and_the_like_taken_back(
    browser: Browser, address: str, faults: list[str]
) -> None:
    page = enter(browser, address, faults, "ray", "rated")
    sent: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.reload()
    expect(page.locator("#connection")).to_have_attribute("data-state", "open")
    say(page, "Hello, Ada.")
    good = page.locator("#log .thumb").first
    good.click()
    expect(page.locator("#log .thumb").first).to_have_attribute("aria-pressed", "true")
    page.locator("#log .thumb").first.click()
    expect(page.locator("#log .thumb").first).to_have_attribute("aria-pressed", "false")
    rated = [json.loads(frame) for frame in sent if "turn.rate" in str(frame)]
    assert [message["rating"] for message in rated] == ["good", "none"]
    assert faults == []


def test_what_was_unlikely_is_marked(browser: Browser, address: str, faults: list[str]) -> None:
    def surprised(route: Route) -> None:
        said = [("Cover", 0.9), (" your", 0.5), (" ears.", 0.0012)]
        pieces = [{"text": text, "probability": chance} for text, chance in said]
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "surprise": pieces})

    page = enter(browser, address, faults, "kim", "surprise")
    page.route("**/v1/admin/turns/**", surprised)
    say(page, "Ring the bell, Ada.")
    page.locator("#log .why").first.click()
    pieces = page.locator("#inspector .piece")
    expect(page.locator("#inspector .pieces")).to_have_text("Cover your ears.")
    expect(pieces.last).to_have_attribute("title", "0.0012")
    expect(page.locator("#inspector")).to_contain_text("Least likely: “ears.”, 0.0012.")
    paints = [each.evaluate("e => getComputedStyle(e).backgroundColor") for each in pieces.all()]
    assert len(set(paints)) == 3
    assert faults == []


def test_a_reply_is_explained(browser: Browser, address: str, faults: list[str]) -> None:
    page = enter(browser, address, faults, "kim", "why")
    say(page, "Ring the bell, Ada.")
    page.locator("#log .why").first.click()
    panel = page.locator("#inspector")
    expect(panel.locator("h2")).to_have_text("Cover your ears.")
    expect(panel).to_contain_text("Ada sold the lighthouse lamp.")
    expect(panel.locator("pre")).to_contain_text(": Ring the bell, Ada.")
    expect(panel.locator("pre")).not_to_contain_text("lighthouse lamp")
    expect(panel.locator(".chance").first).to_contain_text("happy")
    panel.locator(".close").click()
    expect(panel).not_to_be_visible()
    assert faults == []
