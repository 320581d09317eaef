"""How many examples a property is tried on, and what came of each. In the tests: few, the same ones every time; with
`make fuzz`: FUZZ times as many, other ones each time, and the counts are printed at the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("FUZZ", "1"))
COUNTS: Counter[tuple[str, str]] = Counter()  # (test, outcome) -> how often

# What has broken programs before: markup, special tokens, half characters, characters that draw nothing.
POOL = [
    *("", " ", "   ", "\n", "\t", "\r\n", "\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "\ufeff", "\ufffd"),
    *("\ud800", "\udfff", "\u2028", "\u2029", "\u200b", "\u200d", "\u202e", "\u2066", "\ufe0f", "\u0301"),
    *("\u3164", "\U000e0041", "\U0010ffff", "日本語", "👩\u200d👩\u200d👧", "🇩🇪", "שלום", "é", "ﬁ", "İ", "ß"),
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<unk>", "<0x41>", "▁", "Ġ", "[CLS]", "##ing"),
    *("</script><script>alert(1)</script>", "<!--", "<img src=x onerror=alert(1)>", '"', "'", "`", "\\", "%s"),
    *("∅", "␣", "⟨1/2⟩", "{0}", "${x}", "$x^2$", "it's", "don't", " ,", " .", "Houston", "w1", "w127"),
    *("a\u0300\u0301\u0302\u0303", "x" * 300, "-" * 64, "0" * 99),
]  # fmt: skip
ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates too
TEXTS = st.lists(st.one_of(st.sampled_from(POOL), st.text(ANY_CHARACTER, max_size=12)), max_size=8).map("".join)


def tries(examples: int) -> Callable[[Any], Any]:
    """Run this property on so many examples, or FUZZ times as many."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def tried(test: str, outcome: str) -> None:
    COUNTS[test, outcome] += 1


def one_sentence(error: BaseException) -> str:
    """What the error says, which is one whole sentence."""
    text = str(error)
    assert text.endswith("."), text
    assert "\n" not in text, text
    assert ". " not in text, text
    assert len(text) < 800, text
    return text
