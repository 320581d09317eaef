"""The soak's short form: a small class on a small model, a full disk and a crash in the middle; nothing goes wrong."""

from __future__ import annotations

from pathlib import Path

import tiny
from soak import report, soak


def test_a_small_class_sees_true_numbers_over_a_full_disk_and_a_crash(tmp_path: Path) -> None:
    name = str(tiny.save("grouped", tmp_path))
    seen, memory = soak(name=name, minutes=0.15, visitors=4, memory_gb=0.2, pause=0.3, prompts=6, settle=0, least=3)
    print(report(seen, memory))
    assert seen.wrong == []
    assert seen.counts["click"] > 2
    assert len(seen.waits["prompt"]) >= 4 + 1  # all came, and somebody came again
