"""Pictures of screens, light and dark, wide and narrow, into docs/images: `make screenshots`. Not a test.

`python -m tests.screenshots heads pair` makes those of these screens alone.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import inspector
from inspector.ui.examples import EXAMPLES

sys.path.insert(0, str(Path(__file__).parent))
import browser_app

OUT = Path(__file__).resolve().parents[1] / "docs" / "images"
SCREENS = {
    "heads": "/?layer=13&head=8",
    "induction": "/",
    "learn": "/learn",
    "vectors": "/vectors?layer=13&head=8",
    "pair": "/pair?layer=13&head=8",
    "bertviz": "/bertviz?layer=13&head=8",
    "change": "/change",
    "compare": "/compare",
    "why": "/why",
    "verification": "/verification",
    "walkthrough": "/walkthrough?layer=13&head=8&station=pair",
    "position": "/position?layer=13&head=8",
    "two_contexts": "/two_contexts?layer=13&head=8",
}
SIZES = {"": (1440, 900), "-narrow": (420, 1330)}
MOST_BYTES = 400_000


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    chosen = {name: path for name, path in SCREENS.items() if name in sys.argv[1:] or not sys.argv[1:]}
    inspector.load()  # converted before the app starts, so that no screen waits for it
    with browser_app.running_app() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_app.chromium(), args=browser_app.FLAGS)
        for shade, scheme in {"": "light", "-dark": "dark"}.items():
            for size, (width, height) in SIZES.items():
                for name, path in chosen.items():
                    viewport = {"width": width, "height": height}
                    page = browser.new_page(viewport=viewport, color_scheme=scheme)
                    visitor = browser_app.Visitor(page, address).open(path)
                    _arrange(name, visitor)
                    _keep(page, OUT / f"{name}{size}{shade}.png")
                    visitor.assert_nothing_wrong()
                    page.close()
        browser.close()


def _arrange(name: str, visitor: browser_app.Visitor) -> None:
    """What the picture is of."""
    page = visitor.page
    if name == "bertviz":
        page.get_by_role("radio", name="Model view").click()
        page.frame_locator('[data-testid="frame"]').locator("body.model").wait_for()
    elif name == "verification":
        page.get_by_text("Reproduced").or_(page.get_by_role("button", name="Verify this prompt")).first.wait_for()
        if page.get_by_role("button", name="Verify this prompt").count():
            page.get_by_role("button", name="Verify this prompt").click()
        page.get_by_role("heading", name="Planted mistakes").wait_for(timeout=300_000)
    elif name in ("change", "compare"):
        page.get_by_text("Table: every head").wait_for()
    elif name == "pair":
        visitor.painted("planes")
    elif name == "why":
        visitor.painted("why_score")
    elif name == "walkthrough":
        visitor.painted("building up")
    elif name == "learn":
        page.get_by_role("heading", name="Learn how attention works").wait_for()
    elif name == "position":
        page.get_by_role("heading", name="in one plane").wait_for()
    elif name == "two_contexts":
        page.locator("canvas:visible").first.wait_for()
    else:
        visitor.painted()
        if name == "heads":  # "it" looks back at "cat"
            visitor.run_prompt("The cat sat on the mat because it was tired.")
            page.get_by_role("toolbar").get_by_role("button", name="it", exact=True).click()
            page.locator(".st-key-badge").get_by_text("Verified, 0 differ").wait_for(state="attached", timeout=60_000)
        if name == "induction":
            visitor.run_prompt(EXAMPLES[2].prompt)
            page.get_by_role("button", name="Induction").click()
    visitor.idle()
    page.wait_for_timeout(1500)  # tables draw themselves a little later


def _keep(page: Page, path: Path) -> None:
    """The picture in 256 colours, a third of the bytes: a README is fetched often."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    assert size < MOST_BYTES, f"{path.name} takes {size:,} bytes, more than {MOST_BYTES:,}"
    print(f"docs/images/{path.name}  {size // 1000} kB")


if __name__ == "__main__":
    main()
