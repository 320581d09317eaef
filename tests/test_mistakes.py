"""Planted mistakes: whatever a layer does otherwise than Llama's, there is a mistake about it, and it changes numbers.

Which options there are is read from the specs' fields: a new field fails here until it is in one of the two lists.
"""

import dataclasses
from functools import cache
from typing import NamedTuple

import pytest
import torch

import reimpl.spec
from inspector.verification.compare import STAGES
from inspector.verification.mistakes.core import MISTAKES
from reimpl.attention import CausalSelfAttention, ExternalInputs
from reimpl.spec import (
    AttentionSpec,
    GateSpec,
    LatentSpec,
    MaskRule,
    NormSpec,
    RopeSpec,
    TemperatureSpec,
    replace,
)

N = 24  # tokens: longer than every window and chunk here
PLAIN = AttentionSpec(
    heads=4, kv_heads=2, d_head=8, d_model=32, scale=8**-0.5, rope=RopeSpec(theta=10000.0, dim=8)
)  # fmt: skip
MULTI_HEAD = replace(PLAIN, kv_heads=4)


class Option(NamedTuple):
    """A layer with the option `on`, and the same layer without it.

    by:   empty where the option has a mistake of its own, which the layer without it cannot make. Else a mistake that
          both can make, and that gives with the option just the numbers that are right without it.
    part: no mistake is about this option alone: the one named leaves the whole part out. Where the option does not
          show in the parameters' names and shapes, it is in NO_OWN.
    """

    on: AttentionSpec
    off: AttentionSpec = PLAIN
    by: str = ""
    part: str = ""


def with_rope(**changed) -> AttentionSpec:
    return replace(PLAIN, rope=RopeSpec(**{"theta": 10000.0, "dim": 8, **changed}))


def with_norm(**changed) -> AttentionSpec:
    norm = NormSpec(**{"eps": 1e-6, **changed})
    return replace(PLAIN, query_norm=norm, key_norm=norm)


def with_gate(**changed) -> AttentionSpec:
    return replace(PLAIN, gate=GateSpec(**changed))


def with_temperature(**changed) -> AttentionSpec:
    return replace(PLAIN, temperature=TemperatureSpec(**{"scale": 0.3, "every": 4.0, **changed}))


def with_latent(**changed) -> AttentionSpec:
    latent = LatentSpec(**{"query_rank": 12, "key_value_rank": 10, "rope_dim": 4, **changed})
    rope = RopeSpec(theta=10000.0, dim=latent.rope_dim, last=True) if latent.rope_dim else None
    return replace(MULTI_HEAD, rope=rope, latent=latent)


def with_mask(**changed) -> AttentionSpec:
    return replace(PLAIN, mask=MaskRule(**changed))


LAYER_NORM = {"kind": "layer"}
NORMED, GATED, GROWING, LATENT = with_norm(), with_gate(), with_temperature(), with_latent()
SLIDING, PARTIAL = with_mask(window=5), with_rope(dim=4)
BEFORE_OUT = NormSpec(1e-6, over="whole")
IN_ONE_MATRIX = replace(PLAIN, layout="stacked")
LINEAR = {"rule": "linear", "scaling": (("factor", 4.0),)}

OPTIONS: dict[str, list[Option]] = {
    "AttentionSpec.heads": [Option(PLAIN, off=replace(PLAIN, heads=1, kv_heads=1))],
    "AttentionSpec.kv_heads": [Option(PLAIN, off=MULTI_HEAD)],
    "AttentionSpec.scale": [Option(replace(PLAIN, scale=0.2))],
    "AttentionSpec.rope": [Option(PLAIN, off=replace(PLAIN, rope=None)), Option(replace(PLAIN, rope=None))],
    "AttentionSpec.mask": [Option(SLIDING)],
    "AttentionSpec.layout": [
        Option(IN_ONE_MATRIX),
        Option(replace(PLAIN, layout="grouped")),
        Option(replace(MULTI_HEAD, layout="quarters"), off=MULTI_HEAD),
        Option(replace(PLAIN, layout="gate first", gate=GateSpec("matrix")), part="gate left out"),
    ],
    "AttentionSpec.qkv_bias": [Option(replace(PLAIN, qkv_bias=True))],
    "AttentionSpec.output_bias": [Option(replace(PLAIN, output_bias=True))],
    "AttentionSpec.query_norm": [Option(replace(PLAIN, query_norm=NormSpec(1e-6)))],
    "AttentionSpec.key_norm": [Option(replace(PLAIN, key_norm=NormSpec(1e-6)))],
    "AttentionSpec.softcap": [Option(replace(PLAIN, softcap=0.5))],
    "AttentionSpec.clip": [Option(replace(PLAIN, clip=0.5))],
    "AttentionSpec.query_factor": [Option(replace(PLAIN, query_factor=1.5))],
    "AttentionSpec.key_factor": [Option(replace(PLAIN, key_factor=1.5))],
    "AttentionSpec.value_factor": [Option(replace(PLAIN, value_factor=1.5))],
    "AttentionSpec.query_learned": [Option(replace(PLAIN, query_learned=2.0))],
    "AttentionSpec.gate_first": [
        Option(
            replace(GATED, output_norm=BEFORE_OUT, gate_first=True),
            off=replace(GATED, output_norm=BEFORE_OUT),
            by="norm on the other side of the gate",
        ),
    ],
    "AttentionSpec.temperature": [Option(GROWING)],
    "AttentionSpec.value_norm": [Option(replace(PLAIN, value_norm=NormSpec(1e-6, weight=False)))],
    "AttentionSpec.value_is_key": [Option(replace(NORMED, value_is_key=True), off=NORMED)],
    "AttentionSpec.shares": [Option(replace(PLAIN, shares="layers.0.self_attn"))],
    "AttentionSpec.sinks": [Option(replace(PLAIN, sinks=True))],
    "AttentionSpec.gate": [Option(GATED)],
    "AttentionSpec.output_norm": [Option(replace(PLAIN, output_norm=BEFORE_OUT))],
    "AttentionSpec.latent": [Option(LATENT, off=MULTI_HEAD)],
    "RopeSpec.theta": [Option(with_rope(theta=500.0))],
    "RopeSpec.dim": [Option(PARTIAL)],
    "RopeSpec.style": [Option(with_rope(style="pairs"), by="rope style swapped")],
    "RopeSpec.last": [Option(with_rope(dim=4, last=True), off=PARTIAL, by="rope on the other end")],
    "RopeSpec.backwards": [Option(with_rope(backwards=True), by="rope backwards")],
    "RopeSpec.rule": [Option(with_rope(**LINEAR))],
    "RopeSpec.scaling": [Option(with_rope(**LINEAR))],
    "NormSpec.kind": [Option(with_norm(kind="layer"), off=NORMED), Option(with_norm(kind="l2"), off=NORMED)],
    "NormSpec.over": [
        Option(with_norm(over="whole"), off=NORMED, part="query/key norm dropped"),
        Option(with_norm(over="each", **LAYER_NORM), off=with_norm(**LAYER_NORM), part="query/key norm dropped"),
    ],
    "NormSpec.weight": [Option(with_norm(weight=False), off=NORMED, part="query/key norm dropped")],
    "NormSpec.bias": [
        Option(with_norm(bias=True, **LAYER_NORM), off=with_norm(**LAYER_NORM), part="norm without mean"),
    ],
    "NormSpec.plus_one": [Option(with_norm(plus_one=True), off=NORMED)],
    "NormSpec.after_rope": [
        Option(with_norm(after_rope=True), off=NORMED, by="norm on the other side of rope"),
    ],
    "MaskRule.window": [Option(SLIDING)],
    "MaskRule.chunk": [Option(with_mask(chunk=5))],
    "MaskRule.given": [Option(with_mask(given=True))],
    "MaskRule.both_sides": [Option(with_mask(window=5, both_sides=True), off=SLIDING, part="window ignored")],
    "GateSpec.source": [
        Option(with_gate(source="query"), off=GATED, part="gate left out"),
        Option(replace(PLAIN, layout="gate first", gate=GateSpec("matrix")), off=GATED, part="gate left out"),
    ],
    "GateSpec.activation": [Option(with_gate(activation="softplus"), off=GATED, part="gate left out")],
    "GateSpec.per_head": [Option(with_gate(per_head=True), off=GATED, part="gate left out")],
    "GateSpec.bias": [Option(with_gate(bias=True), off=GATED)],
    "GateSpec.learned": [Option(with_gate(learned=2.0), off=GATED)],
    "TemperatureSpec.scale": [Option(GROWING)],
    "TemperatureSpec.every": [Option(GROWING)],
    "TemperatureSpec.first": [Option(with_temperature(first=1), off=GROWING, part="temperature left out")],
    "TemperatureSpec.rule": [Option(with_temperature(rule="power"), off=GROWING, part="temperature left out")],
    "LatentSpec.query_rank": [Option(LATENT, off=with_latent(query_rank=None), part="latent not normalised")],
    "LatentSpec.key_value_rank": [Option(LATENT, off=MULTI_HEAD)],
    "LatentSpec.rope_dim": [Option(LATENT, off=with_latent(rope_dim=0))],
    "LatentSpec.stored_in_pairs": [
        Option(LATENT, off=with_latent(stored_in_pairs=False), by="latent pairs"),
        Option(with_latent(stored_in_pairs=False), off=LATENT, by="latent pairs"),
    ],
    "LatentSpec.query_factor": [Option(with_latent(query_factor=1.5), off=LATENT)],
    "LatentSpec.key_value_factor": [Option(with_latent(key_value_factor=1.5), off=LATENT)],
    "LatentSpec.rope_norm": [Option(with_latent(rope_norm=True), off=LATENT)],
    "LatentSpec.gated": [Option(with_latent(gated=True), off=LATENT)],
}

# Fields that need no mistake, and why.
NEEDS_NONE: dict[str, str] = {
    "AttentionSpec.d_head": "another width has other shapes, which reading and comparing refuse",
    "AttentionSpec.d_model": "likewise",
    "AttentionSpec.d_value": "likewise",
    "AttentionSpec.d_input": "likewise",
    "AttentionSpec.dropout": "inference drops nothing",
    "RopeSpec.wide": "in float32 it changes nothing",
    "NormSpec.wide": "in float32 it changes nothing",
    "NormSpec.eps": "beside vectors of ordinary length it changes no more than rounding does",
    "LatentSpec.eps": "likewise",
    "LatentSpec.factor_on_latent": "the same product in another order",
}

# Options that no mistake is about, though parameters would load without them: a gap in the list of mistakes.
NO_OWN = {
    "AttentionSpec.layout 3",  # the gate's rows not the first of the one matrix
    "MaskRule.both_sides 0",  # later tokens within the window hidden
    "GateSpec.activation 0",  # sigmoid instead of softplus
    "TemperatureSpec.first 0",  # counted from 0 instead of 1
    "TemperatureSpec.rule 0",  # the other rule
}

PARTS = (AttentionSpec, RopeSpec, NormSpec, MaskRule, GateSpec, TemperatureSpec, LatentSpec)
BY_ID = {f"{name} {i}": option for name, found in OPTIONS.items() for i, option in enumerate(found)}
EVERY_OPTION = pytest.mark.parametrize("name", list(BY_ID))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Thousands of products too small to share: threads that wait for each other take twenty times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def layer_of(spec: AttentionSpec) -> CausalSelfAttention:
    """The layer with seeded random parameters, norms and biases far from 1 and 0."""
    generator = torch.Generator().manual_seed(5)
    layer = CausalSelfAttention(spec).requires_grad_(False).eval()
    for parameter in layer.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(0.5 + 0.4 * drawn if parameter.ndim == 1 else drawn * parameter.shape[-1] ** -0.5)
    return layer


def numbers(layer: CausalSelfAttention) -> dict[str, torch.Tensor]:
    """Every stage of the layer, on an input and with keys and choices from elsewhere that are always the same."""
    generator = torch.Generator().manual_seed(6)
    x, key, value = (torch.randn(shape, generator=generator) for shape in ((N, 32), (2, N, 8), (2, N, 8)))
    chosen = (torch.rand(N, N, generator=generator) < 0.5).tril() | torch.eye(N, dtype=torch.bool)
    shared = (key, value) if layer.spec.shares is not None else None
    return vars(layer.stages(x, external=ExternalInputs(shared, chosen if layer.spec.mask.given else None)))


def planted(name: str, spec: AttentionSpec) -> CausalSelfAttention:
    """The layer with this mistake, which it can make."""
    wrong = next(mistake for mistake in MISTAKES if mistake.name == name).plant(layer_of(spec), N)
    assert not isinstance(wrong, str), wrong
    return wrong


@cache
def possible(spec: AttentionSpec) -> dict[str, bool]:
    """Every mistake that a layer of this spec can make: does it show?"""
    layer = layer_of(spec)
    right, made = numbers(layer), {mistake.name: mistake.plant(layer, N) for mistake in MISTAKES}
    return {name: shows(right, numbers(wrong)) for name, wrong in made.items() if not isinstance(wrong, str)}


def shows(right: dict[str, torch.Tensor], wrong: dict[str, torch.Tensor]) -> bool:
    """A stage differs by more than 1 % of its largest number: some ten thousand times more than rounding."""
    return any(
        not torch.allclose(wrong[s], right[s], rtol=0.0, atol=0.01 * float(right[s].abs().max())) for s in STAGES
    )


def own(option: Option) -> list[str]:
    """The mistakes that need the option."""
    return [name for name in possible(option.on) if name not in possible(option.off)]


def test_every_field_is_an_option_or_needs_no_mistake():
    fields = {f"{part.__name__}.{field.name}" for part in PARTS for field in dataclasses.fields(part)}
    assert not set(OPTIONS) & set(NEEDS_NONE)
    assert set(OPTIONS) | set(NEEDS_NONE) == fields
    assert {part for part in vars(reimpl.spec).values() if dataclasses.is_dataclass(part)} == set(PARTS)


@EVERY_OPTION
def test_an_option_has_a_mistake_that_shows(name):
    option = BY_ID[name]
    assert option.on != option.off
    names = [option.by or option.part] if option.by or option.part else own(option)
    assert names, "no mistake that needs this option"
    assert {name: possible(option.on).get(name) for name in names} == dict.fromkeys(names, True)


@EVERY_OPTION
def test_a_mistake_that_undoes_an_option_gives_the_numbers_without_it(name):
    option = BY_ID[name]
    if option.by:
        without = CausalSelfAttention.like(layer_of(option.on), option.off)
        assert not shows(numbers(without), numbers(planted(option.by, option.on)))


@EVERY_OPTION
def test_an_option_without_a_mistake_of_its_own_shows_in_the_parameters(name):
    """Then reading the checkpoint refuses what a mistake would do; or it is a gap, and listed."""
    option = BY_ID[name]
    if option.part and name not in NO_OWN:
        on, off = ({n: p.shape for n, p in layer_of(spec).state_dict().items()} for spec in (option.on, option.off))
        assert on != off
    if option.part and option.off != PLAIN:
        assert own(option) == [], "it has a mistake of its own now: take `part` away"
    assert not (name in NO_OWN and not option.part)


def test_every_mistake_can_be_made_and_shows_somewhere():
    seen = {name for option in BY_ID.values() for name, does in possible(option.on).items() if does}
    assert seen == {mistake.name for mistake in MISTAKES}


def test_a_mistake_that_changes_nothing_is_noticed():
    layer = layer_of(PLAIN)
    assert not shows(numbers(layer), numbers(CausalSelfAttention.like(layer)))
