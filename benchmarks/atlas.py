"""Time an atlas's statistics against plain passes over the same batches, interleaved, in CPU seconds."""

from __future__ import annotations

import statistics
import sys
import time

import torch

BATCH, TOKENS, ROUNDS = 2, 128, 3


def ratio(batch: int = BATCH, tokens: int = TOKENS, rounds: int = ROUNDS) -> dict[str, float]:
    """Return the CPU seconds of plain passes over batches, and of the same with all statistics.

    The lists of examples are filled first, as they are for most of a corpus.

    Args:
        batch: rows of a pass.
        tokens: of each row.
        rounds: how often each is timed, one after the other.

    Returns:
        Medians of the seconds of both and of their ratios.
    """
    import inspector
    from inspector.atlas.corpus import Rows
    from inspector.atlas.part import KEPT
    from inspector.atlas.shard import Adding, ShardOptions
    from inspector.capture.listener import Listener

    model = inspector.load()
    count = (-(-KEPT // batch) + rounds) * batch
    drawn = torch.randint(1000, 40000, (count, tokens), generator=torch.Generator().manual_seed(0)).tolist()
    ids = tuple(map(tuple, drawn))
    adding = Adding(
        model,
        Rows(0, ids, tuple(range(count)), (0,) * count),
        ShardOptions(batch, 0, frozenset(range(model.vocabulary)), checked=0),
    )
    plain: list[float] = []
    whole: list[float] = []
    for start in range(0, count, batch):
        group = range(start, start + batch)
        before = time.process_time()
        adding.run(group)
        between = time.process_time()
        if start + rounds * batch >= count:
            model.passes.run_batch([ids[number] for number in group], Listener())
            whole.append(between - before)
            plain.append(time.process_time() - between)
    ratios = [b / a for a, b in zip(plain, whole, strict=True)]
    return {
        "plain": statistics.median(plain),
        "atlas": statistics.median(whole),
        "ratio": statistics.median(ratios),
    }


if __name__ == "__main__":
    print(ratio(*map(int, sys.argv[1:])))
