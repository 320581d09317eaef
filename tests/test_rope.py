"""RoPE: expected numbers written out, both layouts, and the property it exists for."""

import math

import pytest
import torch

from reimpl.frequencies import rope_frequencies
from reimpl.rope import cos_sin, rotate
from reimpl.spec import RopeSpec, UnsupportedError
from reimpl.stepwise import rotate_one

FOUR = RopeSpec(theta=100.0, dim=4)


def test_frequencies_of_four_dimensions():
    # theta ** (-2i/dim): 100**0 = 1 and 100**-0.5 = 0.1 radians per position
    assert rope_frequencies(FOUR, 1)[0].tolist() == pytest.approx([1.0, 0.1])


def test_halves_turn_dimension_i_with_i_plus_half():
    x = torch.tensor([[1.0, 0.0, 0.0, 2.0]])  # plane 0 = (1, 0), plane 1 = (0, 2)
    turned = rotate(x, torch.tensor([1]), FOUR)[0].tolist()
    assert turned == pytest.approx([math.cos(1), -2 * math.sin(0.1), math.sin(1), 2 * math.cos(0.1)])


def test_pairs_turn_neighbouring_dimensions():
    x = torch.tensor([[1.0, 0.0, 0.0, 2.0]])  # plane 0 = (1, 0), plane 1 = (0, 2)
    turned = rotate(x, torch.tensor([1]), RopeSpec(theta=100.0, dim=4, style="pairs"))[0].tolist()
    assert turned == pytest.approx([math.cos(1), math.sin(1), -2 * math.sin(0.1), 2 * math.cos(0.1)])


def test_position_zero_changes_nothing_and_lengths_never_change():
    x = torch.randn(5, 4)
    turned = rotate(x, torch.arange(5), FOUR)
    assert torch.equal(turned[0], x[0])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_scores_depend_on_distance_only():
    query, key = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)

    def score(t: int, s: int) -> float:
        turned = [rotate(v[None], torch.tensor([p]), FOUR, angles=torch.float64)[0] for v, p in ((query, t), (key, s))]
        return float(turned[0] @ turned[1])

    assert score(9, 4) == pytest.approx(score(1005, 1000), abs=1e-12)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-3)


def test_only_the_first_dimensions_turn_when_partial():
    x = torch.randn(3, 6)
    turned = rotate(x, torch.arange(3), RopeSpec(theta=100.0, dim=4))
    assert torch.equal(turned[:, 4:], x[:, 4:])
    assert not torch.equal(turned[1:, :4], x[1:, :4])


def test_without_rope_nothing_turns():
    x = torch.randn(3, 4)
    assert rotate(x, torch.arange(3), None) is x


def test_plain_loops_agree():
    x = torch.randn(8, dtype=torch.float64)
    spec = RopeSpec(theta=10000.0, dim=8)
    turned = rotate(x[None].float(), torch.tensor([17]), spec)[0]
    assert rotate_one(x.tolist(), 17, theta=10000.0) == pytest.approx(turned.tolist(), abs=2e-6)


def test_linear_rule_divides_every_angle():
    linear = RopeSpec(theta=100.0, dim=4, rule="linear", scaling=(("factor", 4.0),))
    assert rope_frequencies(linear, 1)[0].tolist() == pytest.approx([0.25, 0.025])


def test_llama3_rule_keeps_fast_planes_and_slows_slow_ones():
    numbers = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64.0}
    plain = rope_frequencies(RopeSpec(theta=10000.0, dim=8), 1)[0]  # wavelengths 6.3, 63, 628, 6283 tokens
    scaled = rope_frequencies(RopeSpec(theta=10000.0, dim=8, rule="llama3", scaling=tuple(numbers.items())), 1)[0]
    assert scaled[0] == plain[0]  # wavelength under 64/4: kept
    assert scaled[1] == pytest.approx(0.1 * (1 - (s := (64 * 0.1 / (2 * math.pi) - 1) / 3)) / 8 + s * 0.1)  # between
    assert (scaled[2:] * 8).tolist() == pytest.approx(plain[2:].tolist())  # over 64: divided by 8


def test_unknown_rule_is_named():
    with pytest.raises(UnsupportedError, match='"spiral" is not modelled'):
        rope_frequencies(RopeSpec(theta=100.0, dim=4, rule="spiral"), 1)


def test_float64_keeps_the_float32_frequencies():
    cos, _ = cos_sin(torch.tensor([1000]), FOUR, dtype=torch.float64, angles=torch.float64)
    assert cos[0, 1].item() == math.cos(1000 * float(rope_frequencies(FOUR, 1)[0][1]))
