"""Write one HTML file in which anybody tries out softmax, opened from a disk, without a network.

The file computes by itself: softmax.js has a softmax of its own, which tests hold against `reimpl`'s. Its content
security policy allows its script and its style, by their hashes, and nothing else. What a reader types is shown as
text, never as markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from inspector.learn.softmax import EXAMPLES, LARGEST_NUMBER, MOST_NUMBERS
from inspector.views import canvases
from inspector.views.standalone import base_style, policy, safe_json


def page_of_softmax(numbers: Sequence[float] = EXAMPLES[0], *, scale: float = 1.0, added: float = 0.0) -> str:
    """Return the file's text.

    Args:
        numbers: what the page opens with.
        scale: the factor on all numbers.
        added: what is added to each before.

    Returns:
        HTML that needs nothing else.
    """
    script = canvases.joined(canvases.JS / "softmax_page.js")
    style = base_style() + canvases.text(canvases.JS / "softmax_page.css")
    told = {
        "numbers": list(numbers),
        "scale": scale,
        "added": added,
        "examples": [list(example) for example in EXAMPLES],
        "most": MOST_NUMBERS,
        "largest": LARGEST_NUMBER,
    }
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(script, style)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="Attention Inspector">
<title>Softmax</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Softmax</h1>
<p>Softmax makes shares of numbers: e to the power of each, divided by the sum of all of these. The shares are positive
and add up to 1. Attention weights are made of scores this way.</p>
<p>Change the scale: one factor on all numbers sharpens or flattens the shares. Add a number to all: nothing
changes.</p>
<form>
<label for="numbers">Numbers, separated by commas or spaces</label>
<input id="numbers" type="text" autocomplete="off" spellcheck="false">
<div class="examples" role="group" aria-label="Examples"></div>
<label for="scale">Scale: all numbers times</label>
<div class="pair">
<input id="scale-slide" type="range" min="-2" max="2" step="0.01" aria-label="Scale, from 0.01 to 100">
<input id="scale" type="text" inputmode="decimal" autocomplete="off">
</div>
<label for="added">Added to every number first</label>
<div class="pair">
<input id="added-slide" type="range" min="-10" max="10" step="0.1" aria-label="Added to every number, from -10 to 10">
<input id="added" type="text" inputmode="decimal" autocomplete="off">
</div>
</form>
<p id="problem" role="alert"></p>
<div class="wide">
<table>
<thead><tr><th scope="col">number</th><th scope="col">what softmax sees</th><th scope="col">softmax</th>
<th scope="col">as a bar, 0 to 1</th></tr></thead>
<tbody id="rows"></tbody>
</table>
</div>
<p id="summary" aria-live="polite"></p>
<footer><p>Made with Attention Inspector. This page computes everything itself and asks no network for
anything.</p></footer>
</main>
<script type="application/json" id="page">{safe_json(told)}</script>
<script type="module">{script}</script>
</body>
</html>
"""
