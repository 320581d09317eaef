"""Measure the app in a real browser: clicks, changes of page, the first picture, and memory over many clicks.

    clicks  a head, a token or a role is clicked until the map is painted; prompts of several lengths
    pages   a link is clicked until the whole page is there, and what that costs the server; pages seen before
    first   the address is entered in a browser that has never been there, until the first map; the server runs
    memory  the server's and the page's after hundreds of clicks

What each click painted is compared with what it should have, and one cell of each length with the model's own weight.
"""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.browser import App, Tab, browsing, new_tab, running
from benchmarks.ways import ids_of
from tests.browser_app import number_in, until

LENGTHS = (14, 64, 96, 1024)
KINDS = ("head", "token", "role")
# Link -> title of the page that it leads to; Heads and Explore are the same page.
WAY = (("Vectors", "Vectors"), ("Pair", "Pair"), ("Heads", "Heads"), ("Learn", "Learn"), ("Verify", "Verify"),
       ("Explore", "Heads"))  # fmt: skip
MEMORY_LENGTH, SAMPLES = 64, 5
ASKED_SECONDS = 180.0  # until a prompt is on screen, on a busy machine too
COMPARED_MS = 120_000  # until a short prompt has been compared in the background


def measure(clicks: int = 40, rounds: int = 10, opens: int = 7, many: int = 500) -> dict[str, Any]:
    """Measure all of the above.

    Args:
        clicks: of each kind at each length; 0, here as below: that part is left out.
        rounds: how often the way through the pages is gone.
        opens: how often the app is opened anew.
        many: clicks over which memory is followed.

    Returns:
        Medians with quartiles and counts: milliseconds, seconds and bytes.
    """
    import inspector

    model = inspector.load()
    chance = random.Random(0)  # noqa: S311 - which heads are clicked
    with running() as app, browsing() as browser:
        tab = new_tab(browser, app)  # loads the model, and the browser's own code
        found: dict[str, Any] = {"browser": f"Chromium {browser.version}", "clicks": {}}
        for n in LENGTHS if clicks else ():
            trace = model.trace(text_of(model, n))
            _ask(tab, trace)
            found["clicks"][str(n)] = {kind: timed_clicks(tab, app, kind, clicks, chance, trace.n) for kind in KINDS}
            _assert_cell(tab, trace)
        _ask(tab, model.trace(text_of(model, MEMORY_LENGTH)))
        found["memory"] = memory(tab, app, many, chance) if many else None
        found["pages"] = pages(tab, app, rounds) if rounds else {}
        tab.assert_nothing_wrong()
        tab.page.context.close()
        found["first"] = _summary([_first(browser, app) for _ in range(opens)]) if opens else None
    return found


def text_of(model: Any, n: int) -> str:
    """Return a text of n tokens.

    Args:
        model: whose tokens.
        n: how many.

    Returns:
        The text.
    """
    text: str = model.tokenizer.decode(ids_of(model, n))
    assert len(model.tokenize(text)) == n, f"the text of {n} tokens is read as {len(model.tokenize(text))}"
    return text


def timed_clicks(tab: Tab, app: App, kind: str, count: int, chance: random.Random, n: int) -> dict[str, Any]:
    """Click so many heads, tokens or roles.

    Args:
        tab: on the page Heads.
        app: the app.
        kind: one of KINDS.
        count: how often.
        chance: chooses.
        n: tokens of the prompt.

    Returns:
        painted: milliseconds; server: seconds of processor time for a click.
    """
    choose = {"head": _head, "token": _token, "role": _role}[kind]
    taken, before = [], app.cpu()
    for _ in range(count):
        taken.append(choose(tab, chance))
        tab.settle()
    used = app.cpu() - before
    if kind == "role":
        tab.page.locator('button[data-role="layers"]').click()  # by layer again
        tab.settle()
    return {"tokens": n, "painted": _summary(taken), "server": used / count}


def memory(tab: Tab, app: App, count: int, chance: random.Random) -> dict[str, Any]:
    """Follow memory over many clicks.

    Args:
        tab: on the page Heads.
        app: the app.
        count: clicks.
        chance: chooses.

    Returns:
        clicks; resident: the server's bytes before, after each part of the clicks, and at their end; page: the same of
        bytes, nodes and listeners of the page.
    """
    resident, page = [app.resident()], [tab.holds()]
    for _ in range(SAMPLES):
        for at in range(count // SAMPLES):
            (_head, _head, _token)[at % 3](tab, chance)
            tab.settle()
        resident.append(app.resident())
        page.append(tab.holds())
    return {"clicks": count // SAMPLES * SAMPLES, "resident": resident, "page": page}


def pages(tab: Tab, app: App, rounds: int) -> dict[str, Any]:
    """Go the way through the pages again and again; the first time is not counted.

    Args:
        tab: on the page Heads.
        app: the app.
        rounds: how often.

    Returns:
        By page: whole, milliseconds; server, seconds of processor time for a change to it.
    """
    tab.page.locator(".st-key-badge").get_by_text("Verified,").wait_for(timeout=COMPARED_MS)
    taken: dict[str, list[float]] = {}
    used: dict[str, list[float]] = {}
    for again in range(rounds + 1):
        for link, title in WAY:
            before = app.cpu()
            whole = tab.go(link, title)
            tab.page.wait_for_timeout(300)  # what the page says to the server when it is there costs, too
            if again:
                taken.setdefault(link, []).append(whole)
                used.setdefault(link, []).append(app.cpu() - before)
    return {link: {"whole": _summary(taken[link]), "server": statistics.mean(used[link])} for link in taken}


def _first(browser: Any, app: App) -> float:
    """Open the app in a browser of its own: milliseconds to the first map."""
    tab = new_tab(browser, app)
    taken = tab.first_picture()
    tab.idle()
    tab.assert_nothing_wrong()
    tab.page.context.close()
    return taken


def _summary(taken: Sequence[float]) -> dict[str, float]:
    """Return median, quartiles and count."""
    lower, median, upper = statistics.quantiles(taken, n=4, method="inclusive") if len(taken) > 1 else [taken[0]] * 3
    return {"median": round(median, 1), "lower": round(lower, 1), "upper": round(upper, 1), "count": len(taken)}


# -- what is clicked -------------------------------------------------------------------------------------


def _ask(tab: Tab, trace: Any) -> None:
    """Run a trace's prompt in the app, and wait for its pictures."""
    before = tab.painted()
    tab.ask(trace.prompt)
    long = tab.page.get_by_role("button", name="Run it", exact=True)  # a long prompt says first what it takes
    painted = tab.page.locator('canvas[data-testid="map"]').first

    def other() -> bool:
        if long.count() and long.is_enabled():
            long.click()
        return painted.get_attribute("data-painted") != before

    until(other, ASKED_SECONDS)
    tab.painted(unlike=before)
    tab.idle()
    tab.page.locator('[data-testid="heads"]').wait_for()
    tokens = tab.page.locator(".text .tokens button")
    assert tokens.last.text_content().strip() in trace.tokens.labels[-1], "another prompt is on screen"
    tab.settle()


def _head(tab: Tab, chance: random.Random) -> float:
    """Click another head's small picture."""
    layer, head = other(lambda: (chance.randrange(30), chance.randrange(9)), tuple(_chosen(tab)))
    x, y = tab.page.evaluate(
        """([layer, head]) => {
          const grid = timed.canvases().find((each) => each.dataset.testid === "heads");
          const at = (name) => Number(grid.dataset[name]), box = grid.getBoundingClientRect();
          return [
            box.x + at("x") + Math.floor(layer / at("rows")) * at("block") + (head + 0.5) * at("size")
              + Math.floor(head / 3) * at("gap"),
            box.y + at("y") + (layer % at("rows") + 0.5) * at("size"),
          ];
        }""",
        [layer, head],
    )
    taken = tab.click(x, y)
    title = tab.page.get_by_test_id("head-title").text_content()
    assert title == f"Layer {layer}, head {head}", f"{title} is shown instead of layer {layer}, head {head}"
    assert _chosen(tab) == [layer, head], "the grid shows another head as chosen"
    return taken


def _token(tab: Tab, chance: random.Random) -> float:
    """Click another token of the text, among those that are seen."""
    tokens = ".text .tokens button"
    seen = tab.page.locator(tokens).evaluate_all(
        """(all) => { const room = all[0].parentElement.getBoundingClientRect();
          return all.map((each, at) => [at, each.getBoundingClientRect(), each.getAttribute("aria-pressed")])
            .filter(([, box, pressed]) => box.top >= room.top && box.bottom <= Math.min(room.bottom, innerHeight)
              && pressed !== "true")
            .map(([at, box]) => [at, box.x + box.width / 2, box.y + box.height / 2]); }"""
    )
    at, x, y = chance.choice(seen)
    words = tab.page.locator(tokens).nth(at).text_content()
    taken = tab.click(x, y)
    pressed = tab.page.locator(f'{tokens}[aria-pressed="true"]').text_content()
    assert pressed == words, f"{pressed!r} is chosen instead of {words!r}"
    return taken


def _role(tab: Tab, chance: random.Random) -> float:
    """Click another role."""
    chips = tab.page.locator(".chips button[aria-pressed='false'][aria-disabled='false']:not([data-role='layers'])")
    chip = chips.nth(chance.randrange(chips.count()))
    role, box = chip.get_attribute("data-role"), chip.bounding_box()
    taken = tab.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    order = tab.page.locator('[data-testid="heads"]').get_attribute("data-order")
    assert order == role, f"heads are sorted by {order} instead of {role}"
    return taken


def _chosen(tab: Tab) -> list[int]:
    return [int(part) for part in tab.page.locator('[data-testid="heads"]').get_attribute("data-selected").split(",")]


def other(choose: Callable[[], Any], than: Any) -> Any:
    """Choose until it is something else.

    Args:
        choose: chooses one.
        than: what it must not be.

    Returns:
        What was chosen.
    """
    while (chosen := choose()) == than:
        pass
    return chosen


def _assert_cell(tab: Tab, trace: Any) -> None:
    """Assert that the painted map has the model's own weights."""
    layer, head = _chosen(tab)
    reading = tab.hover_cell(trace.n - 2, trace.n // 3)
    row, column = map(
        int, re.findall(r"(?:query|key) token (\d+)", reading)
    )  # of many, a pixel has the largest of some
    exact = float(trace.weights(layer, head)[row, column])
    assert number_in(reading) == float(f"{exact:.3e}"), f"{trace.n} tokens: {reading}, and not {exact}"
    tab.page.mouse.move(0, 0)
