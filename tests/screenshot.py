"""Takes the README's picture: `python -m tests.screenshot`, with a server running on port 8000.

Not a test; it lies here because it drives the page the way test_playground.py does.
"""

import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.test_playground import FLAGS, chromium

PICTURE = Path(__file__).parent.parent / "docs" / "playground.png"
LINES = ["Who are you, Hessa?", "Can you tell me a joke?"]


def main(address: str) -> None:
    """Talk a little in the fantasy scene, and take the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 760})
        page.goto(f"http://{address}/?scene=low_crossing&player=Kit&instance=picture&auto=1")
        npcs = page.locator("[data-npc]")
        expect(npcs.first).to_be_visible()
        for count, line in enumerate(LINES, 1):
            page.locator("#say-input").fill(line)
            page.locator("#say-input").press("Enter")
            expect(page.locator("#log li[data-turn]")).to_have_count(count)
        expect(page.locator(".bubble[data-turn].thinks")).to_have_count(0)
        page.locator("#say-input").fill("And the river?")
        page.wait_for_function("document.querySelector('.bubble .words').textContent.length > 12")
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000")
