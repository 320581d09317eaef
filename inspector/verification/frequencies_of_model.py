"""The speeds at which a model's planes turn, as its own buffers hold them, compared with what its config says.

`model.half()` and `model.to(torch.bfloat16)` round these buffers (inv_freq) too, and going back to float32 does not
mend them: far tokens are then turned by other angles than in training. That is the model's doing, not a
reimplementation's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inspector.verification.compare import distance
from reimpl.attention import CausalSelfAttention
from reimpl.checkpoint import OTHER_PARTS
from reimpl.frequencies import rope_frequencies
from reimpl.rope import apply_rotation, rotation_dtype
from reimpl.spec import RopeSpec

SAME = 2.0**-20  # relative: eight roundings of float32, for devices that compute a power otherwise
ROUNDINGS = {torch.bfloat16: ".to(torch.bfloat16)", torch.float16: ".half()"}  # the coarser first: it fits both
SMALLEST = 2.0**-24  # of float16's numbers
ADAPTIVE = ("dynamic", "longrope")  # these buffers depend on the prompts that the model has seen
EVER = 2**40  # a length that is longer than any text, for rules with a list for long ones


@dataclass(frozen=True)
class OwnFrequencies:
    """The model's own speeds where they are not what its config says.

    own, due: radians per position [dim/2]; cause: what rounds like this, or an empty string.
    """

    own: Tensor
    due: Tensor
    cause: str

    @property
    def sentence(self) -> str:
        """What is wrong with them, without a full stop."""
        what = "is rounded" if self.cause else "is not what its config says"
        size = f"off by up to {distance(self.own, self.due):.3g} radians per position"
        return f"The model's own inv_freq {what}: {size}" + (f", as after {self.cause}" if self.cause else "")


def own_frequencies(model: nn.Module, ours: Sequence[CausalSelfAttention], n: int) -> list[OwnFrequencies]:
    """Find the model's own speeds that are not what its config says.

    Args:
        model: the library's model.
        ours: our layers, which have read the config.
        n: tokens in the prompt.

    Returns:
        What was found, one for each of our speeds that the model's differ from.
    """
    known = {layer.spec.rope for layer in ours if layer.spec.rope is not None}
    candidates = [(rope, rope_frequencies(rope, length)[0]) for rope in known for length in (1, n, EVER)]
    found: list[OwnFrequencies] = []
    for buffer in _speeds(model):
        same_shape = [(rope, due) for rope, due in candidates if due.shape == buffer.shape]
        if not same_shape or any(torch.allclose(buffer, due, rtol=SAME, atol=0.0) for _, due in same_shape):
            continue
        new = _judged(buffer, same_shape)
        if new is not None and not any(torch.equal(new.due, old.due) for old in found):
            found.append(new)
    return found


def turned_by_own(layer: CausalSelfAttention, found: Sequence[OwnFrequencies], n: int) -> CausalSelfAttention:
    """Make our layer turn by the model's own speeds.

    Args:
        layer: ours.
        found: what `own_frequencies` returned.
        n: tokens in the prompt.

    Returns:
        The layer; the same one where the model's speeds are ours.
    """
    if layer.spec.rope is None:
        return layer
    for length in (n, 1, EVER):
        ours = rope_frequencies(layer.spec.rope, length)[0]
        for each in found:
            if torch.equal(each.due, ours):
                made = _TurnedByOwn.like(layer)
                made.speeds = each.own
                return made
    return layer


def _speeds(model: nn.Module) -> Iterator[Tensor]:
    """Give the language model's buffers of speeds, in float32."""
    for name, buffer in model.named_buffers():
        last = name.rpartition(".")[2]
        elsewhere = buffer.is_meta or any(word in name for word in OTHER_PARTS)
        if last.endswith("inv_freq") and "original" not in last and not elsewhere:
            yield buffer.detach().float().cpu()


def _judged(own: Tensor, candidates: Sequence[tuple[RopeSpec, Tensor]]) -> OwnFrequencies | None:
    """Say what the speeds are rounded from, or which of ours they are nearest to; None where that may change."""
    for dtype, cause in ROUNDINGS.items():
        if torch.equal(own.to(dtype).float(), own):
            for _, due in candidates:
                if torch.allclose(own, due, rtol=torch.finfo(dtype).eps, atol=SMALLEST):
                    return OwnFrequencies(own, due, cause)
    if any(rope.rule in ADAPTIVE for rope, _ in candidates):
        return None
    return OwnFrequencies(own, min((due for _, due in candidates), key=lambda due: distance(own, due)), "")


class _TurnedByOwn(CausalSelfAttention):
    """The layer with the model's own speeds instead of its config's."""

    speeds: Tensor

    def rotate(self, query: Tensor, key: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        rope = self.spec.rope
        assert rope is not None  # noqa: S101  (turned_by_own makes none without)
        dtype = rotation_dtype(query.dtype, rope)
        factor = rope_frequencies(rope, length=int(positions.max()) + 1)[1]
        turned = positions.float()[:, None] * self.speeds.to(positions.device)[None, :]  # [t, dim/2]
        cos, sin = (turned.cos() * factor).to(dtype), (turned.sin() * factor).to(dtype)
        sin = -sin if rope.backwards else sin
        turned_query = apply_rotation(query, cos, sin, rope)
        return turned_query, key if self.spec.shares is not None else apply_rotation(key, cos, sin, rope)
