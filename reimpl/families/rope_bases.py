"""RoPE bases that differ by type of layer, as older files state them: names and defaults in, a row's `rope` out."""

from __future__ import annotations

from reimpl.config import rope_numbers, rope_spec, spec_of_numbers
from reimpl.families.family import At, Rope
from reimpl.families.layer_types import SLIDING
from reimpl.spec import RopeSpec, UnsupportedError


def two_bases(local: tuple[str, float], full: tuple[str, float], *, scales_local: bool = False) -> Rope:
    """Read bases from fields of their own, as older files state them; rope_scaling holds for full layers.

    A row with this rope says in `reads` that it reads both fields: its layers may all be of one type.

    Args:
        local: the field of sliding layers' base ("" where there is none), and the base where a file leaves it out.
        full: the same for all other layers.
        scales_local: rope_scaling holds for sliding layers too.

    Returns:
        The row's `rope`.
    """

    def rope(at: At, d_head: int) -> RopeSpec | None:
        scaling, sliding = at.fields["rope_scaling"] or {}, at.layer_type == SLIDING
        if at.fields.given.get("rope_parameters"):
            return rope_spec(at.fields, d_head, at.layer_type)
        name, default = local if sliding else full
        # "type", the still older word for rope_type, is not read by these classes.
        numbers = {"rope_type": "default", **scaling} if scales_local or not sliding else {}
        theta = at.fields[name] if name in at.fields.given else default
        return spec_of_numbers(at.fields, {"rope_theta": theta, **numbers}, d_head)

    return rope


def own_words_only(at: At, d_head: int) -> RopeSpec | None:
    """Refuse older words for RoPE, which this type's class does not read, or not fully."""
    if not at.fields.given.get("rope_parameters"):
        older = [name for name in ("rope_theta", "rope_scaling") if at.fields.given.get(name)]
        if older:
            raise UnsupportedError(f"{' and '.join(older)}: this model type's class reads rope_parameters instead.")
    return rope_spec(at.fields, d_head, at.layer_type)


def alpha_in_base(at: At, d_head: int) -> RopeSpec | None:
    """Take a larger base where Hunyuan's files say "dynamic" with an alpha: NTK-aware scaling by a fixed number."""
    numbers = rope_numbers(at.fields, at.layer_type) or {}
    alpha, dynamic = numbers.get("alpha"), "dynamic" in (numbers.get("type"), numbers.get("rope_type"))
    if not (alpha and dynamic):
        return rope_spec(at.fields, d_head, at.layer_type)
    return RopeSpec(theta=numbers["rope_theta"] * alpha ** (d_head / (d_head - 2)), dim=d_head)
