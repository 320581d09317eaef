"""The visitors of the soak: what each does, one thing after the other, and what all of them see."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from browser_app import FLAGS, Visitor, chromium
from head_questions import sent
from protocol_client import Client, component
from server_process import MEGABYTE
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import WebSocketException

import inspector
from inspector.views.payload import decode

PAGES = ("vectors", "pair", "bertviz", "change", "compare", "walkthrough", "verification")
WORDS = "the cat sat on a mat because it was tired and light came in through one open door of that old house"
MARKUP = "<script>alert(1)</script> <img src=x onerror=alert(2)> **bold** $x$ [a](javascript:alert(3)) :red[b]"
CALM_SECONDS = 60  # after which a server that was killed has all its visitors back
LOST = (OSError, WebSocketException, TimeoutError, ConnectionError)
HOSTILE: tuple[Any, ...] = ({"version": 1}, {"id": "<img src=x onerror=alert(1)>"}, ["x"] * 100, 5, None)


@dataclass
class Seen:
    """What all visitors saw together."""

    # When each began and how long it took, in seconds.
    waits: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {"click": [], "page": [], "prompt": []})
    killed: float = math.inf  # when the server was
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds since the start, bytes
    cores: list[tuple[float, float]] = field(default_factory=list)  # that the server and everything here used

    def lasted(self, what: str, started: float) -> None:
        """Note how long something took."""
        self.waits[what].append((started, time.monotonic() - started))

    def rows(self) -> list[str]:
        """p50, p95 and number of each kind, also without what met the killed server or the minute after."""
        rows = []
        for what, waits in self.waits.items():
            calm = [took for began, took in waits if began + took < self.killed or began > self.killed + CALM_SECONDS]
            for name, each in ((what, [took for _, took in waits]), (f"{what}, calm", calm)):
                if each:
                    p50, p95 = np.percentile(each, (50, 95))
                    rows.append(f"{name:14} p50 {p50:6.2f} s   p95 {p95:6.2f} s   of {len(each)}")
        return rows


class Person:
    """One visitor who talks the protocol: does one thing after the other until told to stop."""

    def __init__(self, number: int, address: str, truth: Truth, seen: Seen, pause: float) -> None:
        self.address, self.truth, self.seen, self.pause = address, truth, seen, pause
        self.random, self.number = random.Random(number), number  # noqa: S311 - which button comes next
        self.client: Client | None = None
        self.messages: list[Any] = []
        self.prompt = truth.prompts[number % len(truth.prompts)]
        self.page = ""

    def run(self, stop: threading.Event) -> None:
        """Come, and go on until told to stop; after a lost connection come again."""
        while not stop.is_set():
            try:
                if self.client is None:
                    self.come()
                else:
                    self.do_something()
            except LOST as error:
                self.seen.counts[f"connection lost ({type(error).__name__})"] += 1
                self.leave()
                stop.wait(1)
            except Exception as error:
                self.seen.wrong.append(f"{type(error).__name__}: {error}")
                self.leave()
            stop.wait(self.pause * self.random.uniform(0.5, 1.5))
        self.leave()

    def come(self, **back: str) -> None:
        """Open the app, and the prompt that the tab remembers."""
        self.client = Client(self.address, **back)
        self.ask(self.prompt)

    def leave(self) -> None:
        """Close the page."""
        if self.client is not None:
            with suppress(*LOST):
                self.client.close()
        self.client = None

    def do_something(self) -> None:
        """Do the next thing, a click more often than not."""
        ways: list[tuple[int, Callable[[], None]]] = [
            (50, self.click), (15, self.turn_page), (12, self.another_prompt), (5, self.upload), (5, self.save),
            (5, self.attack), (3, self.come_back), (4, self.experiment),
        ]  # fmt: skip
        (way,) = self.random.choices([way for _, way in ways], [weight for weight, _ in ways])
        self.seen.counts[way.__name__] += 1
        way()

    def ask(self, prompt: str) -> None:
        """Ask for a prompt."""
        assert self.client is not None
        started = time.monotonic()
        found = self.client.run()
        reader = next((each for each in found if "tab_reader" in str(each.delta.new_element.bidi_component.id)), None)
        if reader is not None:  # a session that has come back is not asked again
            found = self.client.run(said={"request": {"prompt": prompt}}, by=reader, event="said")
        self.messages, self.prompt, self.page = found, prompt, ""
        self.seen.lasted("prompt", started)

    def another_prompt(self) -> None:
        """Ask for another prompt, as after a reload."""
        self.leave()
        self.prompt = self.random.choice(self.truth.prompts)
        self.come()

    def click(self) -> None:
        """Ask for one head's exact numbers, and compare them with Python's."""
        assert self.client is not None
        if self.page:
            self.messages, self.page = self.client.run(), ""
        layer, head = self.random.randrange(self.truth.layers), self.random.randrange(self.truth.heads)
        header = decode(component(self.messages, "explore").delta.new_element.bidi_component.bytes, np.uint8)[0]
        said = {**sent(f"{layer}.{head} weights sqrt with tokens"), "id": header["id"], "turn": 1}
        started = time.monotonic()
        found = self.client.run(said=said, by=component(self.messages, "talk"), event="question")
        self.seen.lasted("click", started)
        answer, numbers = decode(component(found, "talk").delta.new_element.bidi_component.bytes, np.float32)
        if answer.get("asked", {}).get("head") != head or not np.array_equal(
            numbers, self.truth.weights(self.prompt, layer, head)
        ):
            self.seen.wrong.append(f"other numbers of head {layer}.{head} of {self.prompt!r}")

    def turn_page(self) -> None:
        """Open another page."""
        assert self.client is not None
        self.open_page(self.random.choice(PAGES))

    def open_page(self, page: str, widgets: dict[str, dict[str, Any]] | None = None) -> list[ForwardMsg]:
        """Open a page, or run it after a click on it; its messages, of which none says that it broke."""
        assert self.client is not None
        self.page, started = page, time.monotonic()
        found = self.client.run(page=page, widgets=widgets)
        self.seen.lasted("page", started)
        alerts = [each.delta.new_element.alert.body for each in found if each.delta.new_element.HasField("alert")]
        self.seen.wrong += [f"page {self.page}: {said}" for said in alerts if "did not work" in said]
        if any(each.delta.new_element.HasField("exception") for each in found):
            self.seen.wrong.append(f"page {self.page} broke")
        return found

    def experiment(self) -> None:
        """Hide the first token from all others, beside the control."""
        buttons = [each.delta.new_element.button for each in self.open_page("change")]
        (hide,) = [each.id for each in buttons if each.label == "Hide first token"]
        self.open_page("change", {hide: {"trigger_value": True}})

    def upload(self) -> None:
        """Upload a file that no page asked for."""
        assert self.client is not None
        status = self.client.upload(bytes(self.random.randrange(2 * MEGABYTE)))
        self.seen.counts[f"upload {status}"] += 1

    def save(self) -> None:
        """Save the head's vectors."""
        assert self.client is not None
        found = self.client.run()
        popovers = [each.delta.add_block.popover for each in found]
        export = next(each.id for each in popovers if each.label == "Export")
        found = self.client.run(widgets={export: {"bool_value": True}})
        buttons = [each.delta.new_element.download_button for each in found]
        file = self.random.choice([each.deferred_file_id for each in buttons if each.deferred_file_id])
        said = self.client.download(file)
        self.seen.counts["saved" if said.startswith("/media") else f"not saved: {said[:60]}"] += 1
        self.messages, self.page = self.client.run(), ""

    def attack(self) -> None:
        """Send what no page sends."""
        assert self.client is not None
        self.client.send(clear_cache=True)
        talk = next((each for each in self.messages if "talk" in each.delta.new_element.bidi_component.id), None)
        if talk is not None and not self.page:
            self.client.run(said=self.random.choice(HOSTILE), by=talk, event="question")
        for _ in range(30):
            self.client.send(rerun_script={"query_string": ""})
        self.leave()

    def come_back(self) -> None:
        """Lose the connection, and come back as the same session."""
        assert self.client is not None
        session, cookie = self.client.session, self.client.cookie
        self.leave()
        self.come(session=session, cookie=cookie)


class Truth:
    """Prompts, and what Python says of them."""

    def __init__(self, name: str, prompts: int) -> None:
        model = inspector.load(name)
        choice = random.Random(0)  # noqa: S311 - which words
        self.prompts = [" ".join(choice.choices(WORDS.split(), k=choice.randrange(6, 40))) for _ in range(prompts)]
        self.prompts[1] = MARKUP
        self._traces = {prompt: model.trace(prompt) for prompt in self.prompts}
        info = model.trace(self.prompts[0]).layers
        self.layers, self.heads = len(info), info[0].heads

    def weights(self, prompt: str, layer: int, head: int) -> Any:
        """The head's weights, row after row."""
        trace = self._traces[prompt]
        return trace.weights(layer, head).numpy()[np.tril_indices(trace.n)]


def browse(number: int, address: str, truth: Truth, seen: Seen, stop: threading.Event) -> None:
    """Use a real browser: look at heads, and at the page after the server was started anew."""
    from playwright.sync_api import Error, sync_playwright

    choice = random.Random(number)  # noqa: S311
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        visitor = Visitor(started.new_page(), address)
        visitor.page.set_default_timeout(120_000)
        while not stop.is_set():
            try:
                visitor.open()
                visitor.painted()
                for _ in range(5):
                    layer, head = choice.randrange(truth.layers), choice.randrange(truth.heads)
                    before = time.monotonic()
                    visitor.click_head(layer, head, kv_share=3)
                    seen.lasted("click", before)
                    seen.counts["click in a browser"] += 1
                    stop.wait(1)
            except (Error, AssertionError) as error:
                seen.counts[f"browser: {type(error).__name__}"] += 1
                stop.wait(2)
        seen.wrong += [said for said in visitor.wrong if not said.startswith("console")]  # a lost server is said there
        started.close()
