"""Pictures of every screen, light and dark, wide and narrow, into docs/images: `make screenshots`. Not a test."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
import browser_app

OUT = Path(__file__).resolve().parents[1] / "docs" / "images"
SCREENS = {"heads": "/?layer=13&head=8", "vectors": "/vectors?layer=13&head=8", "verification": "/verification"}


def settled(page: Page) -> None:
    """Wait until the script has run and the canvases have been drawn."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=120_000)
    page.wait_for_timeout(1500)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    with browser_app.running_app() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_app.chromium(), args=browser_app.FLAGS)
        for scheme in ("light", "dark"):
            for name, width in [(name, 1400) for name in SCREENS] + [("heads", 420)]:
                page = browser.new_context(
                    viewport={"width": width, "height": 1330 if width == 1400 else 1600}, color_scheme=scheme
                ).new_page()
                visitor = browser_app.Visitor(page, address).open(SCREENS[name])
                settled(page)
                if name == "heads" and width == 1400:  # "it" looks back at "cat"
                    visitor.run_prompt("The cat sat on the mat because it was tired.")
                    visitor.hover_cell(7, 1)
                    page.evaluate("window.scrollTo(0, 0)")
                if name == "verification":
                    button = page.get_by_role("button", name="Verify")
                    if button.count():
                        button.first.click()
                        page.wait_for_timeout(1000)
                        settled(page)
                suffix = ("" if width == 1400 else "-narrow") + ("" if scheme == "light" else "-dark")
                page.screenshot(path=OUT / f"{name}{suffix}.png")
                print(f"docs/images/{name}{suffix}.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
