"""Pictures of screens, light and dark, wide and narrow, into docs/images: `make screenshots`. Not a test.

`python -m tests.screenshots heads pair` makes those of these screens alone; `--look FOLDER` makes pictures of every
page, from top to end, at four sizes into a folder, to be looked at (`--atlas FOLDER`: of an atlas, too).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import inspector
from inspector.ui.examples import EXAMPLES
from inspector.ui.pages import ATLAS, PAGES
from inspector.ui.server import settings

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
LOOKED_AT = {"": (1440, 900), "-large": (1920, 1080), "-small": (1024, 768), "-narrow": (420, 900)}
MOST_BYTES = 400_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="screens; without any, all")
    parser.add_argument("--look", type=Path, metavar="FOLDER", help="every page at four sizes, whole, into a folder")
    parser.add_argument("--atlas", metavar="FOLDER", help="an atlas's folder, for its page")
    asked = parser.parse_args()
    out, screens, sizes = OUT, SCREENS, SIZES
    if asked.look:
        others = {path: f"/{path}" for part, pages in PAGES.items() for _, path, _ in pages if part != ATLAS}
        screens = SCREENS | {name: path for name, path in others.items() if name and name not in SCREENS}
        out, sizes = asked.look, LOOKED_AT
    if asked.atlas:
        screens = screens | {"atlas": "/atlas"}
    out.mkdir(parents=True, exist_ok=True)
    chosen = {name: path for name, path in screens.items() if not asked.names or name in asked.names}
    inspector.load()  # converted before the app starts, so that no screen waits for it
    told = {settings.ATLAS_VARIABLE: json.dumps([asked.atlas])} if asked.atlas else {}
    with browser_app.running_app(environment=told) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_app.chromium(), args=browser_app.FLAGS)
        for shade, scheme in {"": "light", "-dark": "dark"}.items():
            for size, (width, height) in sizes.items():
                for name, path in chosen.items():
                    viewport = {"width": width, "height": height}
                    page = browser.new_page(viewport=viewport, color_scheme=scheme)
                    visitor = browser_app.Visitor(page, address).open(path)
                    _arrange(name, visitor)
                    _keep(page, out / f"{name}{size}{shade}.png", whole=asked.look is not None)
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
    elif name in ("heads", "induction", "vectors"):
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


def _keep(page: Page, path: Path, *, whole: bool = False) -> None:
    """The picture in 256 colours, a third of the bytes: a README is fetched often. `whole`: the page to its end."""
    if whole and (size := page.viewport_size):  # the app scrolls inside the window
        end = page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(one => one.scrollHeight))")
        page.set_viewport_size({"width": size["width"], "height": max(size["height"], min(end, 8000))})
        page.wait_for_timeout(800)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size_kb = path.stat().st_size // 1000
    assert whole or path.stat().st_size < MOST_BYTES, f"{path.name} takes {size_kb} kB, more than {MOST_BYTES:,} bytes"
    print(f"{path}  {size_kb} kB")


if __name__ == "__main__":
    main()
