"""The page Atlas in a real browser: a link keeps what was chosen, and an example opens in Explore."""

from __future__ import annotations

import pytest
from screen_app import READS

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_what_is_chosen_stands_in_the_address_and_an_example_opens_in_explore(visit, small_atlas):
    visitor = visit("/atlas#layer=1&head=2&by=local&beside=distance")
    page = visitor.page
    page.get_by_text(READS["Atlas"]).wait_for()
    page.get_by_role("heading", name="Layer 1, head 2").wait_for()
    near = small_atlas.alike(1, 2, 1).iloc[0]
    layer, head = int(near["layer"]), int(near["head"])
    page.get_by_role("button", name=f"{layer}.{head} (", exact=False).first.click()
    page.get_by_role("heading", name=f"Layer {layer}, head {head}").wait_for()
    page.wait_for_function(f"location.hash.includes('layer={layer}') && location.hash.includes('by=local')")
    page.get_by_role("button", name="Open this example in Explore").first.click()
    page.get_by_text("Where each of 12 attention heads looks").wait_for()
    one = small_atlas.examples(layer, head).iloc[0]
    page.wait_for_function(f"location.hash.includes('query={one['query']}') && location.hash.includes('head={head}')")
