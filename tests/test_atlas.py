"""An atlas on a tiny model: its numbers against definitions, its check, its pieces, and whoever computes them."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from pyarrow import parquet

import inspector
from inspector import atlas, lab
from inspector.analysis import head_scores
from inspector.analysis.score_definitions import EVERY, Text
from inspector.atlas import corpus, part, row_statistics, shard
from inspector.atlas.checking import Found
from inspector.atlas.texts import TextCounts, read_texts
from inspector.capture.edits_on_paper import edits_from_data, edits_to_data
from inspector.errors import InspectorError
from inspector.ui.edits import read_edits

WORDS = [f"w{number}" for number in range(60)]
TEXTS = [" ".join(WORDS[(7 * k + i * (k % 5 + 1)) % (9 + k)] for i in range(3 + 11 * k % 90)) for k in range(24)]
SETTINGS = {"tokens": 80, "rows_per_shard": 8, "batch": 3, "threads": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.load("grouped", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    return atlas.build(model, TEXTS, out=tmp_path_factory.mktemp("atlas") / "one", **SETTINGS)


# -- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 9, 40, 75])
def test_the_fast_sums_are_those_of_the_definitions(n):
    torch.manual_seed(n)
    weights = torch.softmax(torch.randn(3, n, n).masked_fill(~torch.ones(n, n).tril().bool(), -torch.inf), -1)
    ids = tuple((i * i) % 11 for i in range(n))
    facts = row_statistics.RowFacts.of(ids, torch.tensor([one % 3 == 0 for one in ids]))
    fast, slow = row_statistics.row_sums(weights.clone(), facts), row_statistics.reference_sums(weights, facts)
    for name in ("sums", "distances", "received", "given"):
        assert torch.allclose(getattr(fast, name), getattr(slow, name), rtol=1e-5, atol=1e-5), name
    assert torch.equal(fast.entropies, slow.entropies)
    assert torch.isclose(fast.received.sum() + fast.sums[:, 0].sum(), torch.tensor(3.0 * (n - 1)).double(), atol=1e-4)


def test_the_atlas_says_what_measures_say_of_its_rows(model, made):
    """One table of definitions: the atlas's means are those of `measures` over the same rows, each token weighing the
    same."""
    rows = [row for path in sorted((made.folder / "rows").iterdir()) for row in corpus.Rows.load(path).ids]
    assert [token for row in rows for token in row] == [
        token for text in TEXTS for token in model.tokenizer(text)["input_ids"]
    ]
    names = [name for name in head_scores.BY_NAME if name != "narrow"]
    sums, counts = {name: np.zeros(12) for name in names}, dict.fromkeys(names, 0)
    for ids in rows:
        frame, text, t = head_scores.measures(model.trace(list(ids))), Text(torch.tensor(ids)), torch.arange(len(ids))
        for name in names:
            count = int((EVERY[name].counts(t, text) & (t > 0)).sum())
            sums[name] += frame[name].to_numpy() * count
            counts[name] += count
    for name in names:
        assert np.allclose(made.heads[name], sums[name] / counts[name], atol=1e-5), name
    far = made.heads["far"]
    assert far.notna().all()  # rows of 80 tokens have some beyond 68


def test_examples_are_the_rows_weights(model, made):
    for layer, head in ((0, 1), (2, 3)):
        examples = made.examples(layer, head)
        top = examples[examples["of"] == "top"]
        assert top["largest"].is_monotonic_decreasing
        for _, one in pd.concat([top.head(3), examples[examples["of"] == "sample"].head(3)]).iterrows():
            weights = model.trace(one["ids"].tolist()).weights(layer, head)
            shown = weights[int(one["query"])][one["keys"].tolist()]
            assert np.allclose(shown.numpy(), one["weights"], atol=1e-3)
            if one["of"] == "top":
                assert float(weights[2:, 1:].max()) == pytest.approx(one["largest"], abs=1e-5)
    every = corpus.Rows.load(made.folder / "rows" / "00000.safetensors")
    best = max(float(model.trace(list(ids)).weights(0, 1)[2:, 1:].max()) for ids in every.ids if len(ids) > 2)
    assert made.heads.iloc[1]["largest weight"] >= best - 1e-5


def test_means_tokens_and_the_residual_are_those_of_single_runs(model, made):
    from safetensors.torch import load_file

    paths = sorted((made.folder / "rows").iterdir())
    rows = [(number, ids) for path in paths for number, ids in enumerate(corpus.Rows.load(path).ids)]
    traces = [model.trace(list(ids), keep=("residual",)) for _, ids in rows]
    mean = sum(trace.context(1)[:, 1:].double().sum(1) for trace in traces) / sum(trace.n - 1 for trace in traces)
    assert torch.allclose(load_file(made.folder / "means.safetensors")["context.1"].double(), mean, atol=1e-5)
    largest = max(float(trace.residual(2).abs().max()) for trace in traces)
    assert made.massive.iloc[2]["largest"] == pytest.approx(largest, rel=1e-5)
    tokens = made.card(1, 2).tokens
    key = tokens[tokens["of"] == "key"].iloc[0]
    mass = sum(
        float(trace.weights(1, 2)[1:, [s for s in range(1, trace.n) if trace.tokens.ids[s] == key["id"]]].sum())
        for trace in traces
    )
    assert key["mass"] == pytest.approx(mass, rel=1e-4)


def test_a_mean_ablation_takes_the_atlass_means(model, made, tmp_path):
    from safetensors.torch import load_file, save_file

    means = load_file(made.folder / "means.safetensors")
    for place in (made.folder, str(made.folder / "means.safetensors")):
        trace = model.trace([3, 4, 5, 6], edits=[lab.mean(place, 1, 2)])
        assert torch.equal(trace.context(1)[2], means["context.1"][2].expand(4, -1))
        assert not torch.equal(trace.context(1)[1], means["context.1"][1].expand(4, -1))
    edit = lab.mean(made.folder, 1, 2)
    paper = json.loads(json.dumps(edits_to_data([edit])))
    assert edits_from_data(paper) == (edit,)
    with pytest.raises(InspectorError, match="this app opens no file"):
        read_edits(json.dumps(paper))
    with pytest.raises(InspectorError, match="leave by_position out"):
        model.trace([3, 4], edits=[lab.mean(made.folder, 1, 2, by_position=True)])
    other = tmp_path / "means.safetensors"
    save_file({"context.1": means["context.1"][:2]}, other)
    with pytest.raises(InspectorError, match="layer 1 has means 2x"):
        model.trace([3, 4], edits=[lab.mean(other, 1, 1)])
    edit = lab.mean(other, 1, 1)
    save_file(means, other)
    with pytest.raises(InspectorError, match="is not the file that this edit was made with"):
        model.trace([3, 4], edits=[edit])


# -- one head's card ----------------------------------------------------------------------------------------------


def test_a_card_reads_one_layers_row_group_of_each_table(made, monkeypatch):
    read, heads, examples = [], made.heads, made.examples(2, 1)
    right = parquet.ParquetFile.read_row_groups
    monkeypatch.setattr(
        parquet.ParquetFile,
        "read_row_groups",
        lambda self, groups, **k: read.append(groups) or right(self, groups, **k),
    )
    monkeypatch.setattr(parquet.ParquetFile, "read", lambda self: pytest.fail("a whole table was read"))
    fresh = atlas.open(made.folder)
    fresh.__dict__["heads"] = heads
    assert len(fresh.card(2, 1).examples) == len(examples)
    assert read == [[2], [2], [2]]


# -- the check ----------------------------------------------------------------------------------------------------


def test_every_layer_and_head_is_checked_and_the_planted_mistake_caught(made):
    found = made.manifest["verification"]
    assert made.ok
    assert found["heads"] == 12 * made.manifest["shards"]
    assert found["planted"] == found["caught"] == 3 * made.manifest["shards"]
    assert found["shifted_abs"] > 1000 * found["tolerance"]
    assert "Checked:" in made.summary()


@pytest.mark.parametrize("mistake", ["heads shifted by one", "a sum of other pairs", "a query off by one"])
def test_a_mistake_in_what_the_atlas_uses_is_seen(model, tmp_path, monkeypatch, mistake):
    if mistake == "a sum of other pairs":
        monkeypatch.setattr(row_statistics, "NEAR", 2)  # in the fast way alone
    else:
        right, axis = shard._Statistics._weights, 0 if mistake == "heads shifted by one" else 1
        monkeypatch.setattr(shard._Statistics, "_weights", lambda self, call, n: right(self, call, n).roll(1, axis))
    wrong = atlas.build(model, TEXTS[:6], out=tmp_path / "wrong", **SETTINGS)
    assert not wrong.ok
    assert "IT DOES NOT AGREE" in wrong.summary()


def test_nothing_compared_is_not_agreement():
    assert not Found().ok


# -- whoever computes it ------------------------------------------------------------------------------------------


def test_two_and_three_processes_and_one_that_was_killed_come_to_the_same(model, made, tmp_path):
    """One process is killed with signal 9 as it runs; the same call goes on with its finished shards."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["inspector.atlas.worker"])
    for workers in (2, 3):
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            other = atlas.build(model, TEXTS, out=tmp_path / str(workers), client=pool, **SETTINGS)
        assert other.manifest["result"] == made.manifest["result"]
        assert len({one["process"] for one in other.manifest["run"]["shards"]}) > 1
    texts, out = tmp_path / "texts.txt", tmp_path / "killed"
    texts.write_text("\n".join(TEXTS))
    slow = "import time; from inspector.atlas import worker; real = worker.run_shard\n"
    slow += "def late(*a, **k):\n    time.sleep(0.5); return real(*a, **k)\nworker.run_shard = late\n"
    call = f"import inspector; from inspector import atlas; m = inspector.load({model.name!r})\n"
    call += f"atlas.build(m, {str(texts)!r}, out={str(out)!r}, **{SETTINGS})"
    child = subprocess.Popen([sys.executable, "-c", slow + call], stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not (out / "parts" / "00000.safetensors").exists() and time.monotonic() < limit and child.poll() is None:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    first = out / "parts" / "00000.safetensors"
    assert not (out / "manifest.json").exists()
    before = first.stat().st_mtime_ns
    again = atlas.build(model, str(texts), out=out, **SETTINGS)
    assert first.stat().st_mtime_ns == before  # it was not computed again
    assert again.manifest["result"] == made.manifest["result"]


def test_another_order_of_parts_would_be_another_sum(made):
    """The equality above is to the last bit: the digests tell results apart that differ in one."""
    one = part.Part.load(made.folder / "parts" / "00000.safetensors")
    before = one.digests()
    one.sums[0, 0] = np.nextafter(one.sums[0, 0], np.inf)
    assert one.digests()["sums"] != before["sums"]
    assert one.digests()["examples"] == before["examples"]


class Failing:
    """A client whose workers end, as a `concurrent.futures` executor's may."""

    def submit(self, function, /, *arguments):
        from concurrent.futures import Future

        future = Future()
        future.set_exception(RuntimeError("the machine went away"))
        return future


def test_a_worker_that_fails_is_said_and_another_atlas_is_not_overwritten(model, made, tmp_path):
    with pytest.raises(InspectorError, match=r"A worker failed at shard 1 \(RuntimeError: the machine went away\)"):
        atlas.build(model, TEXTS, out=tmp_path / "failing", client=Failing(), **SETTINGS)
    with pytest.raises(InspectorError, match="holds an atlas of another corpus, rows, shards"):
        atlas.build(model, TEXTS[:9], out=made.folder, **SETTINGS)


# -- memory, opening ----------------------------------------------------------------------------------------------


def test_a_shard_stores_no_vectors_of_earlier_layers(model, monkeypatch):
    """What a pass holds does not grow with layers or texts: each layer's vectors are let go when it is done."""
    stored = []
    right = shard._Statistics.layer_done

    def watched(self, calls, inputs, context):
        stored.append(sum(call.query.numel() for call in self.rows[0].calls[:-1]))
        right(self, calls, inputs, context)

    monkeypatch.setattr(shard._Statistics, "layer_done", watched)
    rows = corpus.Rows(0, ((1, 2, 3, 4), (5, 6, 7, 8)), (0, 1), (0, 0))
    shard.run_shard(model, rows, shard.ShardOptions(2, 0, frozenset(range(128))))
    assert stored == [0, 0, 0]


def test_tokens_that_are_not_followed_are_summed_as_one(model):
    rows = corpus.Rows(0, ((1, 2, 3, 4, 2, 9), (5, 6, 7, 8, 9, 9)), (0, 1), (0, 0))
    some = shard.run_shard(model, rows, shard.ShardOptions(2, 0, frozenset({2, 9})))
    every = shard.run_shard(model, rows, shard.ShardOptions(2, 0, frozenset(range(128))))
    assert some.ids.tolist() == [-1, 2, 9]
    assert np.allclose(some.key_mass.sum(1), every.key_mass.sum(1))
    assert np.allclose(some.key_mass[:, 2], every.key_mass[:, every.ids.tolist().index(9)])


def test_a_card_reads_its_own_layer_alone(made):
    card = made.card(1, 2)
    assert set(card.histograms["layer"]) == set(card.tokens["layer"]) == set(card.examples["layer"]) == {1}
    assert set(card.examples["head"]) == {2}
    assert len(made.alike(1, 2, 4)) == 4
    assert atlas.open(made.folder).heads.equals(made.heads)
    table = json.loads((made.folder / "cache_heads.json").read_text())
    assert len(table["heads"]) == 12
    assert {one["cache"] for one in table["heads"]} <= {"streaming", "retrieval"}
    assert pd.read_csv(made.folder / "cache_heads.csv")["far"].notna().all()
    with pytest.raises(InspectorError, match="There is no head 9 of layer 1 in this atlas"):
        made.card(1, 9)
    with pytest.raises(InspectorError, match="holds no finished atlas"):
        atlas.open(made.folder / "parts")


# -- texts --------------------------------------------------------------------------------------------------------


def test_odd_texts_are_each_counted_and_none_is_lost_unsaid(model, tmp_path):
    place = tmp_path / "texts.txt"
    long = b"w4 " * 350_000  # a line of more than 1 MB
    lines = [b"w1 w2 w3", b"", b"   ", b"w1 w2 w3", b"\xff\xfe w1", b"w1\0w2", long, "w5 w6 ü".encode(), b"w7"]
    place.write_bytes(b"\n".join(lines))
    counts = TextCounts()
    pieces = list(read_texts(place, counts))
    found = counts.to_dict()
    assert found["texts"] == len(lines)
    assert (found["empty"], found["not_utf8"], found["binary"], found["copies"], found["cut"]) == (2, 1, 1, 1, 1)
    assert "".join(pieces[2:-2]) == long.decode()
    made = atlas.build(model, place, out=tmp_path / "atlas", rows=9, **SETTINGS)
    words = made.manifest["corpus"]["in_words"]
    assert "texts used" in words
    assert "2 empty" in words


def test_folders_tables_and_lists_are_read(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntext")
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\nno json\n{"text": 3}\n')
    pd.DataFrame({"text": ["three", None], "body": ["x", "y"]}).to_parquet(tmp_path / "c.parquet")
    counts = TextCounts()
    assert list(read_texts(tmp_path, counts)) == ["one\ntext", "two", "three"]
    assert (counts.texts, counts.not_text) == (6, 3)
    assert list(read_texts(tmp_path / "c.parquet", TextCounts(), column="body")) == ["x", "y"]
    assert len(list(read_texts(None, TextCounts()))) > 50  # what every Python carries


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [("x.parquet", b"nonsense", "is no Parquet file that can be read"),
     ("x.jsonl", b'{"body": "a"}\n', r'has no column "text" \(it has body\)'),
     ("x.txt", b"\n\n", "There is no text to make an atlas of: 0 of 2 texts used; 2 empty")],
)  # fmt: skip
def test_sources_without_a_text_are_refused(model, tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InspectorError, match=sentence):
        atlas.build(model, tmp_path / name, out=tmp_path / "out", **SETTINGS)


def test_what_is_to_come_is_said_before_it_begins_and_can_be_declined(model, tmp_path):
    said = []

    def decline(estimate):
        said.append(estimate)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atlas.build(model, TEXTS, out=tmp_path / "later", on_estimate=decline, **SETTINGS)
    assert not list((tmp_path / "later" / "parts").iterdir())
    assert said[0].missing == said[0].shards > 1
    assert said[0].seconds > 0
    assert f"{said[0].rows:,} rows" in said[0].in_words(2)
    atlas.build(model, TEXTS, out=tmp_path / "later", on_estimate=said.append, **SETTINGS)
    atlas.build(model, TEXTS, out=tmp_path / "later", on_estimate=said.append, **SETTINGS)
    assert said[2].missing == said[2].seconds == 0


def test_arguments_are_refused_in_a_sentence(model, tmp_path):
    for given, sentence in (
        ({"texts": tmp_path / "none.txt"}, "is no file, folder or data set"),
        ({"texts": "owner/name"}, "needs the datasets library"),
        ({"texts": 3}, "is no source of texts"),
        ({"tokens": 1}, "tokens=1 is no number of them"),
        ({"tokens": 5000}, "tokens=5000 is too long for a row"),
        ({"batch": 0}, "batch=0 is no number"),
        ({"out": Path(__file__)}, "is a file: give the name of a folder"),
    ):
        with pytest.raises(InspectorError, match=sentence):
            atlas.build(model, **{"texts": TEXTS, "out": tmp_path / "out", **given})
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(InspectorError, match="has files in it and no atlas"):
        atlas.build(model, TEXTS, out=tmp_path / "used")
    with pytest.raises(InspectorError, match="build needs a loaded model and was given str"):
        atlas.build("smollm2", TEXTS, out=tmp_path / "out")
    given = inspector.load(model.model, model.tokenizer)
    with pytest.raises(InspectorError, match="was given as an object, which workers cannot load"):
        atlas.build(given, TEXTS, out=tmp_path / "out", client=Failing())
