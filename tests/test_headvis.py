"""HeadVis' layout: scores by its definitions, from the library's own eager attention and not from ours."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import inspector
from inspector import atlas
from inspector.atlas import write_headvis
from inspector.atlas.corpus import Rows
from inspector.atlas.headvis_scores import METRICS
from inspector.errors import InspectorError


def assert_scores_are_of(out: Path, rows: list[list[int]], seen: list[torch.Tensor]) -> None:
    """Every head's scores are those of HeadVis' definitions on attention weights [layers, heads, n, n] of each row."""
    queries = sum(map(len, rows))
    for one in json.loads((out / "scatter_data.json").read_text()):
        assert list(one) == ["layer", "head", *METRICS]
        own = distance = square = entropy = before = induction = 0.0
        repeated = 0
        for ids, weights in zip(rows, seen, strict=True):
            for q, row in enumerate(weights[one["layer"], one["head"]].tolist()):
                own += row[q]
                before += row[q - 1] if q else 0
                entropy -= sum(w * math.log(w) for w in row if w > 0)
                distance += sum(w * (q - k) for k, w in enumerate(row[: q + 1]))
                square += sum(w * (q - k) ** 2 for k, w in enumerate(row[: q + 1]))
                after = [k + 1 for k in range(q) if ids[k] == ids[q]]
                repeated += bool(after)
                induction += sum(row[k] for k in after if row[k] >= 0.01)
        expected = [own / queries, before / (queries - len(rows)), entropy / queries, distance / queries]
        expected += [square / queries - (distance / queries) ** 2, induction / repeated]
        assert [one[name] for name in METRICS] == pytest.approx(expected, abs=1e-3, rel=1e-5)


def test_headvis_scores_are_those_of_its_definitions_on_eager_attention(small_atlas, tmp_path):
    folder = Path(small_atlas.manifest["model"])
    model = inspector.load(folder)
    out = write_headvis(small_atlas, model, tmp_path / "headvis")
    rows = [ids for path in sorted((small_atlas.folder / "rows").iterdir()) for ids in Rows.load(path).ids]
    eager = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.inference_mode():
        seen = [torch.cat(eager(torch.tensor([ids]), output_attentions=True).attentions) for ids in rows]
    assert len(json.loads((out / "scatter_data.json").read_text())) == 12
    assert_scores_are_of(out, rows, seen)
    record = json.loads((out / "heads" / "L1H2.json").read_text())
    assert sum(record["histogram"]["bin_values"]) == len(rows)
    first = record["sequences"][-1]
    weights = seen[first["sequence_id"]][1, 2]
    n = first["seq_len"]
    for at, value in zip(first["attention_indices"], first["attention_values"], strict=True):
        assert float(weights[at // n, at % n]) == pytest.approx(value, abs=1e-3)
    assert first["max_activation"] == pytest.approx(float(weights[1:, 1:].max()), abs=1e-3)
    assert len(list((out / "heads").iterdir())) == 12
    with pytest.raises(InspectorError, match="has something in it"):
        write_headvis(small_atlas, model, out)


@pytest.mark.slow
@pytest.mark.packaged
def test_they_are_of_the_packaged_models_eager_attention_too(smollm, tmp_path):
    texts = ["The cat sat on the mat. The cat sat on the mat because it was tired, and the dog sat too. " * 2] * 2
    made = atlas.build(smollm, [texts[0], texts[1] + "So it is."], out=tmp_path / "atlas", tokens=32)
    out = write_headvis(made, smollm, tmp_path / "headvis")
    rows = [ids for path in sorted((made.folder / "rows").iterdir()) for ids in Rows.load(path).ids]
    eager = AutoModelForCausalLM.from_pretrained(
        smollm.source.folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    with torch.inference_mode():
        seen = [torch.cat(eager(torch.tensor([ids]), output_attentions=True).attentions) for ids in rows]
    assert len(json.loads((out / "scatter_data.json").read_text())) == 270
    assert_scores_are_of(out, rows, seen)
    with pytest.raises(AssertionError):  # with heads shifted by one they are others
        assert_scores_are_of(out, rows, [weights.roll(1, 1) for weights in seen])
