"""The options of reimpl's attention, each against arithmetic written out here: plain loops, or the paper's formula.

x [n, m] · W_q [h·d, m], W_k, W_v [g·d, m], W_o [m, h·d_value]; everything in float64 but the softmax and angles
"""

import cmath
import math

import pytest
import torch

from reimpl.attention import AttentionTrace, CausalSelfAttention, ExternalInputs
from reimpl.mask import allowed
from reimpl.norm import Norm
from reimpl.query_temperature import temperature_factors
from reimpl.rope import rotate
from reimpl.spec import (
    AttentionSpec,
    GateSpec,
    LatentSpec,
    MaskRule,
    NormSpec,
    RopeSpec,
    TemperatureSpec,
    UnsupportedError,
    replace,
)

N, H, G, D, M = 11, 4, 2, 8, 32  # tokens, query heads, key/value heads, head width, model width
PLAIN = AttentionSpec(heads=H, kv_heads=G, d_head=D, d_model=M, scale=D**-0.5, rope=None)
ROPE = RopeSpec(theta=100.0, dim=D)
SMALL = 1e-12  # rounding of float64
SINGLE = 2e-6  # rounding of float32, in which angles and softmax are computed


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_of(spec: AttentionSpec, seed: int = 1) -> CausalSelfAttention:
    layer = CausalSelfAttention(spec).double().requires_grad_(False).eval()
    for i, parameter in enumerate(layer.parameters()):
        random = drawn(*parameter.shape, seed=100 * seed + i)
        parameter.copy_(0.5 + 0.4 * random if parameter.ndim == 1 else random * parameter.shape[-1] ** -0.5)
    return layer


def stages(layer: CausalSelfAttention, **options) -> AttentionTrace:
    return layer.stages(drawn(N, layer.spec.d_input), **options)


def close(a, b, tolerance: float = SMALL) -> bool:
    a, b = (torch.as_tensor(t, dtype=torch.float64) for t in (a, b))
    assert a.shape == b.shape
    return bool((a - b).abs().max() <= tolerance)


def cut(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[n, heads·d] -> [heads, n, d], head by head."""
    width = x.shape[1] // heads
    return torch.stack([x[:, h * width : (h + 1) * width] for h in range(heads)])


def attended(query, key, value, *, scale, sinks=None, softcap=None, may=lambda t, s: s <= t):
    """Weights and context, one number after the other: query [h, n, d], key and value [g, n, d]."""
    h, n, _ = query.shape
    weights, context = torch.zeros(h, n, n, dtype=torch.float64), torch.zeros(h, n, value.shape[-1]).double()
    for head in range(h):
        group = head * len(key) // h
        for t in range(n):
            scores = {s: float(query[head, t] @ key[group, s]) * scale for s in range(n) if may(t, s)}
            if softcap:
                scores = {s: softcap * math.tanh(score / softcap) for s, score in scores.items()}
            total = sum(math.exp(score) for score in scores.values())
            total += 0.0 if sinks is None else math.exp(sinks[head])
            for s, score in scores.items():
                weights[head, t, s] = math.exp(score) / total
                context[head, t] += weights[head, t, s] * value[group, s]
    return weights, context


# -- one matrix for W_q, W_k, W_v --------------------------------------------------------------------------------------


def rows(w: torch.Tensor, head: int) -> torch.Tensor:
    return w[head * D : (head + 1) * D]


def in_one(layout: str, gate, w_q, w_k, w_v):
    """The rows of the one matrix, as the words of AttentionSpec say."""
    if layout in ("stacked", "gate first"):
        return [*gate, w_q, w_k, w_v]
    if layout == "grouped":
        return [
            part
            for g in range(len(w_k) // D)
            for part in (*(rows(w_q, h) for h in range(H) if h * len(w_k) // D // H == g), rows(w_k, g), rows(w_v, g))
        ]
    block = H * D // 4
    return [w[i * block : (i + 1) * block] for i in range(4) for w in (w_q, w_v, w_k)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("layout", "kv_heads"),
    [
        ("stacked", G),
        ("stacked", 1),
        ("grouped", G),
        ("grouped", 1),
        ("grouped", H),
        ("quarters", H),
        ("gate first", G),
    ],
)
def test_one_matrix_holds_what_three_do(layout, kv_heads, bias):
    gated = layout == "gate first"
    separate = replace(PLAIN, kv_heads=kv_heads, rope=ROPE, qkv_bias=bias, gate=GateSpec() if gated else None)
    three = layer_of(separate)
    one = layer_of(replace(separate, layout=layout, gate=GateSpec("matrix") if gated else None))
    p = three.projections
    gate = [p.gate.proj.weight] if gated else []
    one.projections.qkv_proj.weight.copy_(
        torch.cat(in_one(layout, gate, p.q_proj.weight, p.k_proj.weight, p.v_proj.weight))
    )
    if bias:
        nothing = [torch.zeros(H * D).double()] if gated else []
        one.projections.qkv_proj.bias.copy_(
            torch.cat(in_one(layout, nothing, p.q_proj.bias, p.k_proj.bias, p.v_proj.bias))
        )
    one.o_proj.weight.copy_(three.o_proj.weight)
    for stage, right in vars(stages(three)).items():
        assert close(getattr(stages(one), stage), right, SINGLE), stage
    for head in range(H):
        for ours, theirs in zip(one.head_matrices(head), three.head_matrices(head), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "spec",
    [
        PLAIN,
        replace(PLAIN, layout="stacked"),
        replace(PLAIN, layout="grouped"),
        replace(PLAIN, layout="quarters", kv_heads=H),
        replace(PLAIN, layout="gate first", gate=GateSpec("matrix")),
        replace(PLAIN, gate=GateSpec("query")),
        replace(PLAIN, gate=GateSpec(per_head=True)),
        replace(PLAIN, d_value=6),
        replace(PLAIN, layout="stacked", d_value=6),
        replace(PLAIN, d_input=20),
        replace(PLAIN, value_is_key=True),
    ],
)
def test_a_heads_matrices_make_its_query_key_value_and_output(spec):
    layer, x = layer_of(spec), drawn(N, spec.d_input)
    found = stages(layer)
    gate = layer.project(x).gate
    output = torch.zeros(N, M).double()
    for head in range(H):
        w_q, w_k, w_v, w_o = layer.head_matrices(head)
        group = head // spec.group
        assert (w_q.shape, w_k.shape) == ((D, spec.d_input), (D, spec.d_input))
        assert (w_v.shape, w_o.shape) == ((spec.d_value, spec.d_input), (M, spec.d_value))
        assert close(found.query_pre[head], x @ w_q.T)
        assert close(found.key_pre[group], x @ w_k.T)
        assert close(found.value[group], x @ w_v.T)
        context = found.context[head]
        if gate is not None:
            context = context * cut(gate, H)[head]
        output += context @ w_o.T
    assert close(found.output, output)


def test_layers_without_a_single_matrix_say_so():
    with pytest.raises(UnsupportedError, match="uses the keys and values of layers"):
        layer_of(replace(PLAIN, shares="layers.1.self_attn")).head_matrices(0)
    with pytest.raises(UnsupportedError, match="latent-attention layer has no single W_q"):
        layer_of(LATENT).head_matrices(0)


# -- rotation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["halves", "pairs"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("dim", [2, 4, 8])
def test_rotation_is_multiplication_by_a_unit_complex_number(style, last, backwards, dim):
    x, positions = drawn(N, D), torch.arange(N)
    turned = rotate(x, positions, RopeSpec(theta=100.0, dim=dim, style=style, last=last, backwards=backwards))
    first = D - dim if last else 0
    expected = x.clone()
    for t in range(N):
        for i in range(dim // 2):
            a, b = (first + 2 * i, first + 2 * i + 1) if style == "pairs" else (first + i, first + i + dim // 2)
            angle = t * 100.0 ** (-2 * i / dim) * (-1 if backwards else 1)
            z = complex(x[t, a], x[t, b]) * cmath.exp(1j * angle)
            expected[t, a], expected[t, b] = z.real, z.imag
    assert close(turned, expected, 1e-5)


def test_pairs_are_halves_in_another_order():
    x, positions, order = drawn(N, D), torch.arange(N), [0, 2, 4, 6, 1, 3, 5, 7]
    pairs = rotate(x, positions, replace(ROPE, style="pairs"))
    assert torch.equal(pairs[:, order], rotate(x[:, order], positions, ROPE))


def test_backwards_is_rotation_at_negative_positions_and_gives_other_scores():
    forth = layer_of(replace(PLAIN, rope=ROPE))
    back = stages(CausalSelfAttention.like(forth, replace(PLAIN, rope=replace(ROPE, backwards=True))))
    mirrored = forth.stages(drawn(N, M), -torch.arange(N))
    assert close(back.query, mirrored.query, SINGLE)
    assert close(back.key, mirrored.key, SINGLE)
    assert not close(back.weights, stages(forth).weights, 0.1)


# -- which keys are seen -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "may"),
    [
        (MaskRule(), lambda t, s: s <= t),
        (MaskRule(window=3), lambda t, s: s in (t, t - 1, t - 2)),
        (MaskRule(window=1), lambda t, s: s == t),
        (MaskRule(window=99), lambda t, s: s <= t),
        (MaskRule(window=3, both_sides=True), lambda t, s: abs(t - s) < 3),
        (MaskRule(chunk=4), lambda t, s: s <= t and s // 4 == t // 4),
        (MaskRule(window=2, chunk=4), lambda t, s: s in (t, t - 1) and s // 4 == t // 4),
    ],
)
def test_masks_by_brute_force(rule, may):
    queries, keys = [0, 1, 5, 7, 8, 10], list(range(N))
    expected = torch.tensor([[bool(may(t, s)) for s in keys] for t in queries])
    assert torch.equal(allowed(rule, torch.tensor(queries), torch.tensor(keys)), expected)
    layer = layer_of(replace(PLAIN, mask=rule))
    found = stages(layer)
    weights, context = attended(found.query, found.key, found.value, scale=PLAIN.scale, may=may)
    assert close(found.weights, weights, SINGLE)
    assert close(found.context, context, SINGLE)


@pytest.mark.parametrize("added", [False, True])
def test_keys_that_the_model_chose(added):
    """Its table says yes or no; or what to add to scores, for each head perhaps, and -inf."""
    layer = layer_of(replace(PLAIN, mask=MaskRule(given=True)))
    chosen = (drawn(N, N, seed=3) > 0).tril() | torch.eye(N, dtype=torch.bool)
    bias = drawn(H, N, N, seed=4)
    table = torch.where(chosen, bias, -torch.inf) if added else chosen
    found = stages(layer, external=ExternalInputs(mask=table))
    for h in range(H):
        for t in range(N):
            scores = [
                math.exp(float(found.query[h, t] @ found.key[h // 2, s]) * PLAIN.scale + added * float(bias[h, t, s]))
                if chosen[t, s]
                else 0.0
                for s in range(N)
            ]
            assert close(found.weights[h, t], [score / sum(scores) for score in scores], SINGLE)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_scale_soft_cap_and_sinks():
    layer = layer_of(replace(PLAIN, scale=0.7, softcap=1.5, sinks=True))
    found = stages(layer)
    sinks = layer.sinks.tolist()
    weights, context = attended(found.query, found.key, found.value, scale=0.7, softcap=1.5, sinks=sinks)
    assert close(found.weights, weights, SINGLE)
    assert close(found.context, context, SINGLE)
    assert (found.weights.sum(-1) < 0.99).all()


def test_temperature_at_some_positions():
    llama4 = TemperatureSpec(scale=0.1, every=8192.0, first=1)
    steps = temperature_factors(torch.tensor([0, 8190, 8191, 16382, 16383]), llama4)
    assert close(steps, [1, 1, 1 + 0.1 * math.log(2), 1 + 0.1 * math.log(2), 1 + 0.1 * math.log(3)], 1e-6)
    from_zero = temperature_factors(torch.tensor([0, 8191, 8192]), replace(llama4, first=0))
    assert close(from_zero, [1, 1, 1 + 0.1 * math.log(2)], 1e-6)
    beam = TemperatureSpec(scale=0.1, every=2048.0, first=1, rule="power")
    power = temperature_factors(torch.tensor([0, 2047, 6143]), beam)
    assert close(power, [(1 + 1 / 2048) ** 0.1, 2**0.1, 4**0.1], 1e-6)


def test_queries_grow_after_rotation_and_keys_do_not():
    plain = layer_of(replace(PLAIN, rope=ROPE))
    growing = CausalSelfAttention.like(
        plain, replace(plain.spec, temperature=TemperatureSpec(scale=0.5, every=3.0, first=1))
    )
    factor = torch.tensor([1 + 0.5 * math.log(1 + (t + 1) // 3) for t in range(N)]).double()
    assert close(stages(growing).query, stages(plain).query * factor[:, None], SINGLE)
    assert torch.equal(stages(growing).key, stages(plain).key)


# -- norms, factors, clipping ------------------------------------------------------------------------------------------


def normed(x, norm: NormSpec, weight=None, bias=None) -> list[float]:
    """One vector, its numbers one after the other."""
    if norm.kind == "l2":
        length = math.sqrt(sum(a * a for a in x) + norm.eps)
        return [a / length * (1.0 if weight is None else weight[i]) for i, a in enumerate(x)]
    mean = sum(x) / len(x) if norm.kind == "layer" else 0.0
    variance = sum((a - mean) ** 2 for a in x) / len(x)
    found = [(a - mean) / math.sqrt(variance + norm.eps) for a in x]
    if weight is not None:
        found = [a * (w + norm.plus_one) for a, w in zip(found, weight, strict=True)]
    return found if bias is None else [a + b for a, b in zip(found, bias, strict=True)]


def normed_heads(x: torch.Tensor, made: Norm) -> torch.Tensor:
    """Every token's vectors x [heads, n, d], over what the spec says."""
    heads, n, d = x.shape
    out = torch.empty_like(x)
    learned = [None if p is None else p.reshape(-1).tolist() for p in (made.weight, made.bias)]
    for t in range(n):
        if made.norm.over == "whole":
            joined = [float(a) for h in range(heads) for a in x[h, t]]
            out[:, t] = torch.tensor(normed(joined, made.norm, *learned)).double().reshape(heads, d)
            continue
        for h in range(heads):
            own = slice(h * d, (h + 1) * d) if made.norm.over == "each" else slice(None)
            weight, bias = (None if p is None else p[own] for p in learned)
            out[h, t] = torch.tensor(normed(x[h, t].tolist(), made.norm, weight, bias)).double()
    return out


NORMS = {
    "rms": NormSpec(1e-3),
    "without weight": NormSpec(1e-3, weight=False),
    "one plus weight": NormSpec(1e-3, plus_one=True),
    "whole": NormSpec(1e-3, over="whole"),
    "each": NormSpec(1e-3, over="each"),
    "l2": NormSpec(1e-3, kind="l2", weight=False),
    "l2, whole, with weight": NormSpec(1e-3, kind="l2", over="whole"),
    "layer": NormSpec(1e-3, kind="layer"),
    "layer with bias": NormSpec(1e-3, kind="layer", bias=True),
    "layer, each, with bias": NormSpec(1e-3, kind="layer", over="each", bias=True),
    "layer, whole": NormSpec(1e-3, kind="layer", over="whole"),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
@pytest.mark.parametrize("after", [False, True])
def test_norms_of_queries_and_keys(norm, after):
    norm = replace(norm, after_rope=after)
    layer = layer_of(replace(PLAIN, rope=ROPE, query_norm=norm, key_norm=norm))
    p, x, positions = layer.projections, drawn(N, M), torch.arange(N)
    raw = {"query": cut(x @ p.q_proj.weight.T, H), "key": cut(x @ p.k_proj.weight.T, G)}
    found = stages(layer)
    for stage, made in (("query", p.q_norm), ("key", p.k_norm)):
        if after:
            expected = normed_heads(rotate(raw[stage], positions, ROPE), made)
        else:
            expected = rotate(normed_heads(raw[stage], made), positions, ROPE)
        assert close(getattr(found, stage), expected, SINGLE)
    assert close(found.value, cut(x @ p.v_proj.weight.T, G))  # values are left alone


@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
def test_norms_of_values_and_of_context_vectors(norm):
    layer = layer_of(replace(PLAIN, value_norm=norm, output_norm=norm))
    x, found = drawn(N, M), stages(layer)
    assert close(
        found.value, normed_heads(cut(x @ layer.projections.v_proj.weight.T, G), layer.projections.v_norm), 1e-6
    )
    joined = torch.cat(list(normed_heads(found.context, layer.output_norm)), dim=-1)
    assert close(found.output, joined @ layer.o_proj.weight.T, SINGLE)


def test_clipping_comes_before_a_heads_norm_and_after_that_of_the_whole():
    for over in ("head", "whole"):
        norm = NormSpec(1e-3, over=over)
        layer = layer_of(replace(PLAIN, clip=0.4, query_norm=norm))
        p, x = layer.projections, drawn(N, M)
        raw = cut(x @ p.q_proj.weight.T, H)
        clipped = [min(max(a, -0.4), 0.4) for a in raw.flatten().tolist()]
        if over == "head":
            expected = normed_heads(torch.tensor(clipped).double().reshape(raw.shape), p.q_norm)
        else:
            expected = normed_heads(raw, p.q_norm).clamp(-0.4, 0.4)
        found = stages(layer)
        assert close(found.query, expected, 1e-6)
        assert float(found.value.abs().max()) == 0.4


def test_factors_come_after_norms():
    norm = NormSpec(1e-3)
    plain = layer_of(replace(PLAIN, query_norm=norm, key_norm=norm, value_norm=norm))
    factors_too = replace(plain.spec, query_factor=3.0, key_factor=5.0, value_factor=7.0)
    found, without = stages(CausalSelfAttention.like(plain, factors_too)), stages(plain)
    for stage, factor in (("query", 3.0), ("key", 5.0), ("value", 7.0)):
        assert torch.equal(getattr(found, stage), getattr(without, stage) * factor)


# -- gates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "per_head"), [("gate", False), ("gate", True), ("query", False), ("matrix", False)])
@pytest.mark.parametrize("activation", ["sigmoid", "softplus"])
@pytest.mark.parametrize("bias", [False, True])
def test_gates(source, per_head, activation, bias):
    gate = GateSpec(source, activation, per_head=per_head, bias=bias)
    layer = layer_of(replace(PLAIN, layout="gate first" if source == "matrix" else "separate", gate=gate))
    p, x, found = layer.projections, drawn(N, M), stages(layer)
    joined = torch.zeros(N, H * D).double()
    for h in range(H):
        if source == "gate":
            w = p.gate.proj.weight[h : h + 1] if per_head else rows(p.gate.proj.weight, h)
        elif source == "query":  # head h's rows of W_q: its own, then its gate's
            w = p.q_proj.weight[2 * h * D + D : 2 * h * D + 2 * D]
        else:
            w = rows(p.qkv_proj.weight, h)
        for t in range(N):
            for i in range(D):
                z = float(w[0 if per_head else i] @ x[t]) + (float(p.gate.head_bias[h]) if bias else 0.0)
                opened = 1 / (1 + math.exp(-z)) if activation == "sigmoid" else math.log1p(math.exp(z))
                joined[t, h * D + i] = opened * float(found.context[h, t, i])
    assert close(found.output, joined @ layer.o_proj.weight.T, 1e-6)


def test_learned_factors_multiply_queries_after_rotation_and_gates_before_the_sigmoid():
    layer = layer_of(replace(PLAIN, rope=ROPE, query_learned=1.7, gate=GateSpec(learned=0.6)))
    p, x, positions, found = layer.projections, drawn(N, M), torch.arange(N), stages(layer)
    turned = rotate(cut(x @ p.q_proj.weight.T, H), positions, ROPE)
    for h in range(H):
        for i in range(D):
            factor = (float(layer.query_learned[h * D + i]) * 1.7) ** 2
            assert close(found.query[h, :, i], turned[h, :, i] * factor, SINGLE)
    assert close(found.key, rotate(cut(x @ p.k_proj.weight.T, G), positions, ROPE), SINGLE)  # keys are left alone
    raw = x @ p.gate.proj.weight.T * (p.gate.learned * 0.6) ** 2
    joined = torch.cat(list(found.context), dim=-1) / (1 + torch.exp(-raw))
    assert close(found.output, joined @ layer.o_proj.weight.T, 1e-6)


@pytest.mark.parametrize("first", [False, True])
def test_the_gate_comes_before_or_after_the_norm_of_context_vectors(first):
    norm = NormSpec(1e-3, kind="l2", over="whole", weight=False)
    layer = layer_of(replace(PLAIN, output_norm=norm, gate=GateSpec(), gate_first=first))
    x, found = drawn(N, M), stages(layer)
    gate = torch.sigmoid(x @ layer.projections.gate.proj.weight.T)
    joined = torch.cat(list(found.context), dim=-1)
    for t in range(N):
        if first:
            expected = torch.tensor(normed((joined[t] * gate[t]).tolist(), norm)).double()
        else:
            expected = torch.tensor(normed(joined[t].tolist(), norm)).double() * gate[t]
        assert close(found.output[t], expected @ layer.o_proj.weight.T, SINGLE)


# -- keys and values from elsewhere ------------------------------------------------------------------------------------


def test_values_that_are_keys_are_so_before_norm_and_rotation():
    layer = layer_of(replace(PLAIN, rope=ROPE, key_norm=NormSpec(1e-3), value_is_key=True))
    found = stages(layer)
    assert close(found.value, cut(drawn(N, M) @ layer.projections.k_proj.weight.T, G))
    assert not close(found.value, found.key_pre, 0.1)
    assert not [name for name in layer.state_dict() if "v_proj" in name]


def test_shared_keys_and_values_are_taken_as_they_are():
    norm = NormSpec(1e-3)
    layer = layer_of(replace(PLAIN, rope=ROPE, query_norm=norm, key_norm=norm, shares="layers.1.self_attn"))
    key, value = drawn(G, N, D, seed=7), drawn(G, N, D, seed=8)
    found = stages(layer, external=ExternalInputs(shared=(key, value)))
    assert torch.equal(found.key, key)
    assert torch.equal(found.value, value)
    weights, context = attended(found.query, key, value, scale=PLAIN.scale)
    assert close(found.weights, weights, SINGLE)
    assert close(found.context, context, SINGLE)
    assert not [name for name in layer.state_dict() if "k_" in name or "v_" in name]
    with pytest.raises(ValueError, match="hand it those of layers"):
        stages(layer)


# -- latent attention: DeepSeek-V2, equations 9 to 19 ------------------------------------------------------------------

FIXED, TURNING, RANK_Q, RANK_KV, WIDE = 6, 4, 12, 10, 5  # WIDE: of a value
LATENT = replace(
    PLAIN, kv_heads=H, d_head=FIXED + TURNING, d_value=WIDE, scale=(FIXED + TURNING) ** -0.5,
    rope=RopeSpec(theta=100.0, dim=TURNING, last=True),
    latent=LatentSpec(query_rank=RANK_Q, key_value_rank=RANK_KV, rope_dim=TURNING, eps=1e-3),
)  # fmt: skip


def complex_turned(x: torch.Tensor, *, pairs: bool) -> torch.Tensor:
    """Vectors x [n, TURNING] turned by their positions, returned as complex numbers [n, TURNING/2]."""
    out = torch.zeros(len(x), TURNING // 2, dtype=torch.complex128)
    for t in range(len(x)):
        for i in range(TURNING // 2):
            a, b = (x[t, 2 * i], x[t, 2 * i + 1]) if pairs else (x[t, i], x[t, i + TURNING // 2])
            out[t, i] = complex(a, b) * cmath.exp(1j * t * 100.0 ** (-2 * i / TURNING))
    return out


FACTORS = {"query_factor": 1.5, "key_value_factor": 2.5}


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize(
    ("rank", "extra"),
    [
        (RANK_Q, {}),
        (RANK_Q, {"rope_norm": True}),
        (RANK_Q, FACTORS),
        (RANK_Q, {**FACTORS, "factor_on_latent": True}),
        (RANK_Q, {"gated": True}),
        (None, {}),
        (None, FACTORS),
    ],
)
def test_latent_attention(pairs, rank, extra):
    latent = replace(LATENT.latent, query_rank=rank, stored_in_pairs=pairs, **extra)
    layer = layer_of(replace(LATENT, latent=latent))
    p, x, found = layer.projections, drawn(N, M), stages(layer)

    def rms(vectors, weight):
        return torch.stack(
            [torch.tensor(normed(v.tolist(), NormSpec(1e-3), weight.tolist())) for v in vectors]
        ).double()

    gate = torch.ones(N, H * WIDE).double()
    if rank is None:
        queries = x @ p.q_proj.weight.T
    else:
        down = x @ p.q_a_proj.weight.T  # c_Q
        read = rms(down, p.q_a_norm.weight)
        if latent.gated:
            both = cut(torch.cat((read, down), 1) @ p.q_b_proj.weight.T, H)
            queries = torch.cat([both[h][:, : FIXED + TURNING] for h in range(H)], 1)
            gate = torch.cat([torch.sigmoid(both[h][:, FIXED + TURNING :]) for h in range(H)], 1)
        else:
            queries = read @ p.q_b_proj.weight.T
    queries = cut(queries * latent.query_factor, H)
    down = x @ p.kv_a_proj.weight.T  # c_KV, and k_R beside it
    key_turning = down[:, RANK_KV:]
    if latent.rope_norm:
        key_turning = rms(key_turning, p.k_rope_norm.weight)
    up = cut(latent.key_value_factor * rms(down[:, :RANK_KV], p.kv_a_norm.weight) @ p.kv_b_proj.weight.T, H)
    key_turned = complex_turned(key_turning, pairs=pairs)
    joined = []
    for h in range(H):
        query_turned = complex_turned(queries[h][:, FIXED:], pairs=pairs)
        scores = queries[h][:, :FIXED] @ up[h][:, :FIXED].T + (query_turned @ key_turned.conj().T).real
        scores = scores / math.sqrt(FIXED + TURNING)
        weights = torch.softmax(scores.masked_fill(torch.ones(N, N).triu(1).bool(), -torch.inf), -1)
        assert close(found.weights[h], weights, 1e-5)
        joined.append(weights @ up[h][:, FIXED:])
    assert close(found.output, torch.cat(joined, 1) * gate @ layer.o_proj.weight.T, 1e-5)
