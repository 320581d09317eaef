"""The changes of settings that are tried as causes: one mistake each, the commoner first.

Each states the value that makes your numbers come out ("RoPE base 10000 where the model has 100000"). Values that can
be any number (a base, a scale) are also measured in `search.py`; here stand those that people have got wrong.
"""

from __future__ import annotations

from inspector.judging.chain import Chain
from inspector.judging.change import Change
from inspector.judging.head_changes import head_maps, of_families, outputs
from inspector.judging.projection_changes import projections
from inspector.judging.rotation_changes import rotated_all_the_same, rotations
from inspector.judging.rounding_changes import roundings
from inspector.judging.weight_changes import weighings
from reimpl.project import Projections


def every_change(chain: Chain) -> list[Change]:
    """List every change that can be made to a layer, the commoner first.

    Args:
        chain: the layer, with the others that may stand in its place.

    Returns:
        The changes.
    """
    layer = chain.layer
    found = [*(rotations(chain) if layer.spec.rope is not None else rotated_all_the_same(chain)), *weighings(chain)]
    if isinstance(layer.projections, Projections) and layer.spec.shares is None:
        found += projections(chain)
    return [*found, *head_maps(chain), *outputs(chain), *roundings(chain), *of_families(chain)]
