"""Mistakes of rotation by position: pairing, base, positions, exponents, signs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from inspector.judging.chain import Chain
from inspector.judging.change import PLURAL, Change, setting, shown
from inspector.judging.scaling_changes import of_rope, scalings, turns
from inspector.judging.settings import Turning, replace
from reimpl.spec import RopeSpec


def _over(dim: int, over: int) -> Callable[[Turning], Turning]:
    """Turn so many dimensions, with exponents over another number of them."""
    turned = of_rope(setting(dim=dim))
    return lambda at: replace(turned(at), exponent_over=over)


def base(theta: float, model: float, which: Sequence[str] = ("query", "key"), *, common: bool = False) -> Change:
    """Make the change to another RoPE base, of queries or keys alone too."""
    alone = f" for {PLURAL[which[0]]} alone" if len(which) == 1 else ""
    return turns(
        f"RoPE base {shown(theta)}{alone} where the model has {shown(model)}",
        of_rope(lambda r: replace(r, theta=theta)),
        which,
        common=common,
        measured={"base": theta},
    )


def speed(value: float) -> Change:
    """Make the change to all angles times a number."""
    what = f"all angles times {shown(value)} (positions or frequencies divided by {shown(1 / value)})"
    return turns(what, setting(speed=value), measured={"angles times": value})


def magnitude(value: float) -> Change:
    """Make the change to another factor on cosine and sine."""
    what = f"queries and keys made {shown(value)} times as long by RoPE (attention factor {shown(value)})"
    return turns(what, setting(magnitude=value), measured={"factor": value})


def paired(rope: RopeSpec) -> Change:
    """Make the change to the other pairing of dimensions."""
    other = "pairs" if rope.style == "halves" else "halves"
    names = {"pairs": "neighbouring dimensions paired (2i, 2i + 1)", "halves": "halves paired (i, i + d/2)"}
    return turns(
        f"{names[other]} in RoPE, where the model has {names[rope.style]}",
        of_rope(setting(style=other)),
        common=True,
        measured={"pairing": other},
    )


def rotations(chain: Chain) -> Iterator[Change]:
    """Yield the mistakes of a layer that is rotated by position."""
    spec = chain.layer.spec
    rope = spec.rope
    assert rope is not None  # noqa: S101
    yield paired(rope)
    yield turns("no rotation by position at all", setting(rope=None), common=True)
    yield turns("queries rotated, keys not", setting(rope=None), ("key",), common=True)
    yield turns("keys rotated, queries not", setting(rope=None), ("query",))
    others = {layer.spec.rope: index for index, layer in reversed(list(enumerate(chain.layers))) if layer.spec.rope}
    for found, index in others.items():
        if found is not None and found != rope:
            yield turns(
                f"the RoPE of layer {index} (base {shown(found.theta)}) where this layer's base is {shown(rope.theta)}",
                setting(rope=found),
                common=True,
                measured={"base": found.theta},
            )
    yield from scalings(rope, chain.x.shape[0])
    for theta in _bases(rope.theta):
        yield base(theta, rope.theta, common=theta in (1e4, 5e5, 1e6, rope.theta * 10))
        yield base(theta, rope.theta, ("key",))
        yield base(theta, rope.theta, ("query",))
    for dim in range(2, spec.d_head + 1, 2):
        if dim != rope.dim and rope.rule != "longrope":
            usual = dim in (spec.d_head, spec.d_head // 2, rope.dim // 2)
            yield turns(
                f"{dim} of {spec.d_head} dimensions turned where the model turns {rope.dim}",
                of_rope(setting(dim=dim)),
                common=usual,
                measured={"dims": dim},
            )
            if usual:
                yield turns(
                    f"{dim} of {spec.d_head} dimensions turned, with exponents over {rope.dim}, where the model turns "
                    f"{rope.dim}",
                    _over(dim, rope.dim),
                    measured={"dims": dim},
                )
    if rope.dim < spec.d_head:
        yield turns(
            f"the {rope.dim // 2} turning planes taken of all {spec.d_head} dimensions (i, i + {spec.d_head // 2}), "
            f"where the model pairs within the first {rope.dim}",
            setting(padded=True),
            common=True,
        )
        yield turns(
            "the last dimensions turned instead of the first, or the reverse",
            of_rope(lambda r: replace(r, last=not r.last)),
        )
    yield turns(
        "rotation in the opposite direction", of_rope(lambda r: replace(r, backwards=not r.backwards)), common=True
    )
    yield turns("sines in the place of cosines, and cosines in the place of sines", setting(swapped=True))
    yield turns("rotation by twice the angle (applied twice)", setting(times=2), common=True)
    for first in (1, 2, -1):
        yield turns(f"positions counted from {first}", setting(first=float(first)), measured={"first position": first})
    for first in (1, -1, 2, -2):
        yield turns(
            f"key positions off by {first:+d}",
            setting(first=float(first)),
            ("key",),
            common=first == 1,
            measured={"key positions": first},
        )
        yield turns(f"query positions off by {first:+d}", setting(first=float(first)), ("query",))
    for stride in (2.0, 0.5, 0.25, 4.0, 0.125, 8.0):
        yield turns(f"positions times {shown(stride)}", setting(stride=stride), measured={"position factor": stride})
    yield turns("rotation by the head's number instead of the token's", setting(by="heads"), common=True)
    for mixed, exchanged in (("angles in pairs", "halves"), ("angles in halves", "pairs")):
        yield turns(
            f"{mixed.replace('in', 'laid out in')} (each angle beside its double), dimensions exchanged by {exchanged}"
            if mixed == "angles in pairs"
            else f"angles laid out in halves, dimensions exchanged by {exchanged}",
            setting(mixed=mixed),
            common=mixed == "angles in pairs",
        )
    yield turns("no minus sign where dimensions are exchanged", setting(sign="no minus"), common=True)
    yield turns("a minus sign on both exchanged halves", setting(sign="minus on both"))
    lines = {
        (2.0, -1.0): "exponents (2i - 1)/d",
        (2.0, 1.0): "exponents (2i + 1)/d",
        (2.0, 2.0): "exponents (2i + 2)/d",
        (2.0, -2.0): "exponents (2i - 2)/d",
        (1.0, 0.0): "exponents i/d instead of 2i/d",
        (4.0, 0.0): "exponents 4i/d",
    }
    for line, name in lines.items():
        yield turns(f"{name} of the base", setting(line=line), measured={"exponent": name})
    for over, name in ((spec.d_model, "d_model"), (spec.d_head // 2, "d_head/2"), (2 * spec.d_head, "2·d_head")):
        if over != rope.dim:
            yield turns(
                f"exponents of the base over {name} = {over} instead of {rope.dim}", setting(exponent_over=over)
            )
    if spec.d_head != rope.dim:
        yield turns(
            f"exponents of the base over d_head = {spec.d_head} instead of {rope.dim}",
            setting(exponent_over=spec.d_head),
        )
    yield Change(
        "values rotated as well",
        "project",
        frozenset({"value"}),
        lambda at: replace(at, value=replace(at.value, turned=True)),
        common=True,
    )


def _bases(model: float) -> Iterator[float]:
    known = (1e4, 5e5, 1e6, 1e5, 1e3, 100.0, 5e3, 2e4, 2.5e4, 5e4, 1.5e5, 1.6e5, 2e6, 2.5e5, 5e6, 8e6, 1e7, 1e8, 10.0)
    yield from dict.fromkeys(theta for theta in (*known, model * 10, model / 10, model * 8) if theta != model)


def rotated_all_the_same(chain: Chain) -> Iterator[Change]:
    """Rotate in a layer that has no rotation: by the other layers' RoPE, whatever their base."""
    spec = chain.layer.spec
    ropes = dict.fromkeys(layer.spec.rope for layer in chain.layers if layer.spec.rope is not None)
    plain = (
        RopeSpec(theta=1e4, dim=spec.d_head - spec.d_head % 2),
        RopeSpec(theta=1e6, dim=spec.d_head - spec.d_head % 2),
    )
    for rope in (*ropes, *plain):
        if rope.dim <= spec.d_head:
            yield turns(
                f"rotation (RoPE base {shown(rope.theta)}) in a layer that has none",
                setting(rope=rope),
                common=True,
                measured={"base": rope.theta},
            )
