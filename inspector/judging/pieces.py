"""Name the mistake that makes somebody's numbers of texts in pieces or packed: the first that gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from inspector.judging.causes import Explained
from inspector.judging.distances import apart
from inspector.judging.findings import Step
from inspector.judging.search import CLOSER


def explaining(
    found: Mapping[str, Tensor],
    right: Mapping[str, Tensor],
    tried: Iterable[tuple[str, Step, Mapping[str, Tensor]]],
    near: float,
) -> Explained:
    """Return the first mistake that gives somebody's numbers; no cause where none does.

    Args:
        found: somebody's stages.
        right: what they should be.
        tried: for each mistake what somebody has, its step, and the stages with it.
        near: how near, of the largest number.

    Returns:
        The cause and its step.
    """
    for what, step, made in tried:
        stages = [stage for stage in made if stage in found]
        distances = [apart(made[stage], found[stage]) for stage in stages]
        before = [apart(right[stage], found[stage]) for stage in stages]
        sizes = [float(made[stage].abs().max()) for stage in stages]
        if (
            distances
            and all(d <= near * size for d, size in zip(distances, sizes, strict=True))
            and max(distances) < CLOSER * max(before)
        ):
            cause = (
                f"{what}: with that your numbers come out to {max(distances):.1e}, without it they are off by "
                f"{max(before):.3g}"
            )
            return Explained(causes=(cause,), step=step)
    return Explained()
