"""RoPE bases that differ by kind of layer, as older files state them: names and defaults in, a row's `rope` out."""

from __future__ import annotations

from reimpl.config import rope_numbers, rope_spec, spec_of_numbers
from reimpl.families.family import At, Rope
from reimpl.families.layer_types import SLIDING
from reimpl.spec import RopeSpec, UnsupportedError


def two_bases(local: tuple[str, float], full: tuple[str, float], *, scales_local: bool = False) -> Rope:
    """In older files each kind's base is a field of its own, (its name, its default), and rope_scaling holds for full
    layers, perhaps for sliding ones too."""

    def rope(at: At, d_head: int) -> RopeSpec | None:
        scaling, sliding = at.fields["rope_scaling"] or {}, at.kind == SLIDING
        base = {name: at.fields.get(name) for name, _ in (local, full)}
        if at.fields.given.get("rope_parameters"):
            return rope_spec(at.fields, d_head, at.kind)
        name, default = local if sliding else full
        # "type", the still older word for rope_type, is not read by these classes.
        numbers = {"rope_type": "default", **scaling} if scales_local or not sliding else {}
        theta = base[name] if name in at.fields.given else default
        return spec_of_numbers(at.fields, {"rope_theta": theta, **numbers}, d_head)

    return rope


def own_words_only(at: At, d_head: int) -> RopeSpec | None:
    """Older words for RoPE are not read, or not fully, by this type's class."""
    if not at.fields.given.get("rope_parameters"):
        older = [name for name in ("rope_theta", "rope_scaling") if at.fields.given.get(name)]
        if older:
            raise UnsupportedError(f"{' and '.join(older)}: this model type's class reads rope_parameters instead.")
    return rope_spec(at.fields, d_head, at.kind)


def alpha_in_base(at: At, d_head: int) -> RopeSpec | None:
    """Hunyuan's files say "dynamic" with an alpha: NTK-aware scaling by a fixed number, which makes a larger base."""
    numbers = rope_numbers(at.fields, at.kind) or {}
    alpha, dynamic = numbers.get("alpha"), "dynamic" in (numbers.get("type"), numbers.get("rope_type"))
    if not (alpha and dynamic):
        return rope_spec(at.fields, d_head, at.kind)
    return RopeSpec(theta=numbers["rope_theta"] * alpha ** (d_head / (d_head - 2)), dim=d_head)
