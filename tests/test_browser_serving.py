"""Several people on one server, each in a browser of their own: nobody waits for, sees or loses what is another's."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser_app
import pytest
from browser_app import Visitor, same, until
from screen_app import READS

import inspector
from inspector.ui.server import sessions

pytestmark = [pytest.mark.browser, pytest.mark.packaged]

RUN, PAGE, PART, CLICK = "breaks while it runs", "breaks the page", "breaks a part of it", "breaks after a click"
LONG = "The committee looked at every page of the report before it voted. " * 400  # about 5,200 tokens
PEOPLE = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """This file's own server, which says what it stores and has a clock to be moved on, with its output in a file."""
    browser_app.require()
    inspector.load()
    watched = {"WATCHED_STORE": str(folder / "store.json"), "CLOCK": str(folder / "clock")}
    with browser_app.running_app(
        environment=watched, script="tests/watched_script.py", says=folder / "output"
    ) as found:
        yield found


@pytest.fixture
def store(folder: Path) -> Callable[[], dict[str, Any]]:
    """What the server stores and makes."""
    return lambda: json.loads((folder / "store.json").read_text(encoding="utf-8"))


def ask_long(visitor: Visitor, prompt: str) -> None:
    """Ask for a prompt whose cost is said first, and run it nevertheless."""
    visitor.ask(prompt)
    visitor.page.get_by_role("button", name="Run it", exact=True).click(timeout=60_000)


def names(keys: list[str], text: str) -> bool:
    return any(text in key for key in keys)


def test_a_long_prompt_freezes_nobody_and_can_be_cancelled(visit, store, houston):
    slow, other = visit("/?layer=4&head=2"), visit("/?layer=4&head=2")
    slow.painted()
    other.painted()
    ask_long(slow, LONG)
    cancel = slow.page.get_by_role("button", name="Cancel")
    cancel.wait_for(timeout=20_000)
    for layer, head in ((7, 1), (12, 5)):
        started = time.monotonic()
        other.click_head(layer, head, kv_share=3)
        took = time.monotonic() - started
        print(f"another's click took {took:.2f} s")
    same(other.hover_cell(6, 2), houston.weights(12, 5)[6, 2].item())
    assert names(store()["making"], "committee"), "the others' clicks waited for the long prompt"

    started = time.monotonic()
    cancel.click()
    slow.page.get_by_text("press Run to start it again").wait_for(timeout=5_000)
    print(f"cancelled on screen after {time.monotonic() - started:.2f} s")
    print(f"no longer made after {until(lambda: not store()['threads'], 20):.2f} s more")
    assert not names(store()["kept"], "committee")
    slow.idle()
    slow.page.get_by_text("Still showing").wait_for()  # what was there before, and it answers
    assert cancel.count() == 0
    slow.click_head(12, 5, kv_share=3)
    same(slow.hover_cell(6, 2), houston.weights(12, 5)[6, 2].item())
    slow.run_prompt("A short one instead")
    slow.page.get_by_text("press Run to start it again").wait_for(state="detached")


def test_a_running_prompt_ends_with_its_only_visitor(visit, store):
    leaving = visit()
    leaving.painted()
    ask_long(leaving, "Leaving. " + LONG)
    until(lambda: names(store()["making"], "Leaving"), 20)
    leaving.page.get_by_role("button", name="Cancel").wait_for(timeout=20_000)
    leaving.page.close()
    print(f"no longer made after {until(lambda: not store()['threads'], 20):.2f} s")
    assert not names(store()["kept"], "Leaving")


def test_a_closed_tab_frees_what_it_alone_used(visit, store, folder):
    leaving, staying = visit(), visit()
    leaving.run_prompt("What both of them ask for")
    leaving.run_prompt("What only one of them asks for")
    staying.run_prompt("What both of them ask for")
    until(lambda: names(store()["kept"], "What only"), 5)
    for page in ("Vectors", "Pair", "Lines", "Verify", "Explore"):  # none may keep what it showed
        leaving.page.get_by_role("link", name=page, exact=True).first.click()
        leaving.page.get_by_text(READS.get(page, "Where each of 270")).first.wait_for()
        leaving.idle()
    leaving.page.close()
    until(lambda: len(store()["connected"]) == 1, 10)
    (folder / "clock").write_text(str(sessions.GRACE_SECONDS - 2), encoding="utf-8")
    looks = store()["looks"]
    until(lambda: store()["looks"] >= looks + 2, 10)
    assert names(store()["kept"], "What only")  # who only lost the connection finds it again
    (folder / "clock").write_text(str(sessions.GRACE_SECONDS + 2), encoding="utf-8")
    until(lambda: not names(store()["kept"], "What only"), 10)
    until(lambda: not names(store()["alive"], "What only"), 5)  # not only let go of by the store
    assert names(store()["kept"], "What both")
    assert names(store()["alive"], "What both")


@pytest.mark.parametrize(("number", "rounds"), [(4, 1), pytest.param(PEOPLE, 3, marks=pytest.mark.slow)])
def test_people_at_once_each_see_exactly_their_own_numbers(visit, smollm, folder, number, rounds):
    """What each reads on their canvas is what Python computes for that prompt alone, and nobody's words are in an
    address, on another's page or in the server's output."""
    people = [visit("/vectors?layer=12&head=5", width=800, height=700) for _ in range(number)]
    requested: list[str] = []
    for person in people:
        person.page.on("request", lambda request: requested.append(request.url))
    said: list[tuple[str, str]] = []
    for again in range(rounds):
        secrets = [f"Zq{again}of{rounds}x{one}wv" for one in range(number)]
        prompts = [
            f"My name is {word} and I wrote" + " very" * one + " much about it" for one, word in enumerate(secrets)
        ]
        said += zip(secrets, prompts, strict=True)
        before = [person.painted() for person in people]
        for person, prompt in zip(people, prompts, strict=True):
            person.ask(prompt)  # nobody waits for anybody
        for person, prompt, old in zip(people, prompts, before, strict=True):
            person.painted(unlike=old)
            person.idle()
            same(person.hover_cell(9, 40), smollm.trace(prompt).query(12, 5, rope=False)[9, 40].item())
        for person, secret in zip(people, secrets, strict=True):
            page = person.page.content() + person.page.url
            assert [word for word in secrets if word in page] == [secret]
            assert secret not in person.page.url
    assert requested  # clicks and pages do ask the server for things
    everything = (folder / "output").read_text(encoding="utf-8") + " ".join(requested)
    assert [word for word, _ in said if word in everything] == []


def test_errors_too_keep_the_prompt_out_of_the_servers_output(visit, folder):
    visitor = visit()
    visitor.painted()
    for secret, prompt, answer in (
        ("Zqlongwv", "Zqlongwv " * 2000, "and this model has positions for 8192"),
        ("Zqrunwv", f"Zqrunwv {RUN}", "This did not work (ValueError"),
        ("Zqpagewv", f"Zqpagewv {PAGE}", "The original error message is redacted"),
        ("Zqpartwv", f"Zqpartwv {PART}", "The original error message is redacted"),
        ("Zqclickwv", f"Zqclickwv {CLICK}", "Break"),  # last: no page is left after it
    ):
        visitor.ask(prompt)
        visitor.page.get_by_text(answer).first.wait_for(timeout=30_000)
        assert secret not in visitor.page.url
        if CLICK in prompt:
            visitor.page.get_by_role("button", name="Break", exact=True).click()
        for planted, function in ((PAGE, "broken_heading"), (CLICK, "click"), (PART, "part")):
            logged = f"in {function}"  # the page says the same of each, and the one before may still stand there
            if planted in prompt:
                until(lambda: logged in (folder / "output").read_text(encoding="utf-8"), 20)  # noqa: B023
        visitor.idle()
        assert secret not in (folder / "output").read_text(encoding="utf-8")
    output = re.sub(r"\x1b\[[\d;]*m", "", (folder / "output").read_text(encoding="utf-8"))  # without its colours
    assert "Unexpected ValueError" in output  # what happened and where is there
    assert "broken_trace" in output
    assert output.count("Unforeseen LookupError") >= 3
    assert "broken_heading" in output
    assert "in part" in output
