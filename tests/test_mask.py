"""Masks, written out."""

import torch

from reimpl.mask import allowed
from reimpl.spec import MaskRule

FIVE = torch.arange(5)


def test_causal():
    assert allowed(MaskRule(), FIVE, FIVE).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
    ]


def test_window_counts_the_token_itself():
    assert allowed(MaskRule(window=2), FIVE, FIVE).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1],
    ]


def test_one_new_query_over_the_cache():
    assert allowed(MaskRule(window=3), torch.tensor([4]), FIVE).int().tolist() == [[0, 0, 1, 1, 1]]
