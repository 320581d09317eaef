"""The benchmarks run, at lengths too short to measure anything, and none gives a number where results differ."""

import dataclasses
import importlib.util
import json
import re
from types import SimpleNamespace

import pytest
import torch

import inspector
from benchmarks import forward, loading, pages, pictures, report, sums, verification
from benchmarks.__main__ import _skip
from benchmarks.bounds import Size, yardsticks
from benchmarks.process import ROOT, available, measured
from benchmarks.ways import TITLES, assert_equal, ids_of, make, missing, needs, stored_bytes
from inspector import lab
from inspector.analysis import maps, thumbnails
from inspector.ui.server.pictures import SAMPLE

pytestmark = pytest.mark.packaged
HERE = [way for way in TITLES if not missing(way)]


@pytest.fixture(scope="module")
def runs(smollm) -> dict:
    return {way: make(way, smollm) for way in HERE}


@pytest.fixture(scope="module")
def ids(smollm) -> list[int]:
    return ids_of(smollm, 32)


def planted(run, change):
    """The same way, with one number of its result changed."""

    def wrong(ids):
        result = run(ids)
        with torch.inference_mode():
            change(result)
        return result

    return wrong


def test_every_way_gives_the_same_numbers_and_is_timed(runs, ids):
    timed, trace = forward.timed_equal(runs, ids, rounds=1)
    assert trace.n == len(ids)
    assert list(timed) == HERE
    assert all(len(way["rounds"]) == 1 and way["seconds"] > 0 for way in timed.values())


@pytest.mark.parametrize(
    ("way", "change", "said"),
    [
        ("plain", lambda result: result.logits[0, -1, :1].add_(1e-5), "recording changed the logits"),
        ("eager", lambda result: result.attentions[15][0, 3, 9, 2].add_(1e-3), "layer 15, head 3, weights differ"),
        ("eager", lambda result: result.logits[0, -1, 7].add_(0.01), "logits differ"),
        ("lens_weights", lambda result: result[1]["pattern", 29][0, 8, 9, 2].add_(1e-3), "layer 29, head 8, weights"),
        ("lens_vectors", lambda r: r[1]["blocks.0.attn.hook_rot_k"][0, 0, 0, 5].add_(0.01), "hook_rot_k differ"),
    ],
)
def test_a_planted_difference_stops_the_timing(runs, ids, way, change, said):
    if why := missing(way):
        pytest.skip(f"TransformerLens is {why}")
    with pytest.raises(AssertionError, match=said):
        forward.timed_equal({"capture": runs["capture"], way: planted(runs[way], change)}, ids, rounds=1)


def test_a_long_prompts_results_are_compared_as_they_are_timed(runs, ids, monkeypatch):
    monkeypatch.setattr(forward, "EQUAL_FIRST_UP_TO", 8)
    some = {way: runs[way] for way in ("plain", "capture")}
    assert forward.timed_equal(some, ids, rounds=1)[0].keys() == some.keys()
    some["plain"] = planted(runs["plain"], lambda result: result.logits[0, -1, :1].add_(1e-5))
    with pytest.raises(AssertionError, match="recording changed the logits"):
        forward.timed_equal(some, ids, rounds=1)


def test_what_is_kept_is_what_the_sums_say(runs, ids, smollm):
    size = Size.of(smollm.model.config)
    last = 4 * size.vocabulary  # the trace also keeps the last token's logits
    assert stored_bytes("capture", runs["capture"](ids)) == size.vectors(32) + last
    assert stored_bytes("eager", runs["eager"](ids)) == size.all_weights(32)


def test_the_sums(smollm):
    size = Size.of(smollm.model.config)
    parameters = sum(p.numel() for name, p in smollm.model.named_parameters() if p.ndim == 2)
    assert size.linear(1) == 2 * parameters  # embeddings and head are one matrix; each parameter once, times and plus
    assert size.all_weights(8192) == 30 * 9 * 8192**2 * 4 == 72_477_573_120
    assert size.attention(2) == 3 * 4 * 64 * 9 * 30  # three pairs


def test_what_a_peer_cannot_do_is_said_with_its_estimate(smollm):
    size = Size.of(smollm.model.config)
    limit = min(2**33, available())
    assert _skip("eager", size, 8192, limit) == "not run: needs at least 72.5 GB"
    assert _skip("capture", size, 8192, limit) == _skip("eager", size, 32, limit) == ""
    assert needs("plain", size, 8192) == 0
    if importlib.util.find_spec("transformer_lens") is None:
        assert "pip install '.[bench]'" in _skip("lens_weights", size, 32, limit)


def test_yardsticks_are_what_the_machine_can_do():
    can = yardsticks(side=128, megabytes=1, rounds=2)
    assert can.keys() == {"matmul", "matmul_model", "copy"}
    assert min(can.values()) > 1e6


def test_pictures_are_compared_with_eager_attention(runs, ids):
    trace = runs["capture"](ids)
    found = pictures.measure(trace, runs["eager"], 1)
    assert found["grid_bytes"] == 270 * 32 * 32
    assert min(found[name] for name in ("head", "grid", "eager")) > 0
    for change, said in [
        (lambda result: result.attentions[5][0, 2, 9, 3].add_(1e-3), "the picture's weights differ"),
        (lambda result: result.attentions[7][0, 1, 9, 3].add_(0.3), "the grid differs"),
    ]:
        with pytest.raises(AssertionError, match=said):
            pictures.measure(trace, planted(runs["eager"], change), 1)


def test_a_long_prompts_grid_is_drawn_from_a_sample_as_in_the_app(runs, ids, monkeypatch):
    assert pictures.SAMPLE == SAMPLE
    monkeypatch.setattr(maps, "EXACT_UP_TO", 8)
    monkeypatch.setattr(pictures, "SAMPLE", 4)
    asked = []
    whole = thumbnails.draw_thumbnails
    monkeypatch.setattr(
        thumbnails, "draw_thumbnails", lambda trace, sample: asked.append(sample) or whole(trace, sample=sample)
    )
    found = pictures.measure(runs["capture"](ids), None, 1)
    assert found.keys() == {"head", "grid", "head_bytes", "grid_bytes"}
    assert set(asked) == {4}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # BertViz leaves its script's file open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_pages_hold_the_traces_weights(smollm, ids):
    trace = smollm.trace(ids)
    sizes = pages.of_trace(trace)
    assert sizes["head"] < sizes["layer"] < sizes["stock"]
    page = pages.stock(trace)
    digit = page.index("0.", page.index('"attn": ')) + 2  # of the first weight that is not 1 or 0
    with pytest.raises(AssertionError, match="BertViz's page does not hold"):
        pages.assert_stock(trace, page[:digit] + str(9 - int(page[digit])) + page[digit + 1 :])
    other = smollm.trace(ids[::-1])
    with pytest.raises(AssertionError, match="picture of head 0"):
        pages.assert_pictures(other, [pages.picture(trace, head) for head in range(9)])


def test_loading_is_compared_with_the_librarys(smollm):
    found = loading.measure(rounds=1, first=False)
    assert found["warm"]["ours"] > 0
    assert found["folder"].keys() == {"ours", "library"}
    model, tokenizer = loading.from_folder(smollm.source.folder)
    with torch.inference_mode():
        model.model.layers[3].self_attn.k_proj.weight[0, 0] += 1e-6
    with pytest.raises(AssertionError, match=r"layers\.3\.self_attn\.k_proj\.weight differs"):
        loading.assert_equal("folder", smollm, (model, tokenizer))


def test_sums_that_do_not_add_up_are_not_timed(smollm):
    found = sums.measure([6], rounds=1)
    assert found["6"].keys() == {"plain", *sums.AT_MOST}
    assert "| every token cut off" in "\n".join(report._sums(found))
    frame = lab.attribution(smollm.trace([5, 6, 7]))
    sums.assert_holds(frame)
    frame.attrs["remainder"] = 1.0
    with pytest.raises(AssertionError, match="do not add up"):
        sums.assert_holds(frame)
    swept = lab.sweep(smollm, [5, 6, 7], kind="cut", over="tokens")
    with pytest.raises(AssertionError, match="one by one"):
        sums.assert_holds(dataclasses.replace(swept, way="one by one", agreement=None))
    with pytest.raises(AssertionError, match="proves nothing"):
        sums.assert_holds(SimpleNamespace(ok=False))


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_a_verification_that_does_not_hold_is_not_timed(smollm, tiny_model, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(inspector, "load", lambda: tiny_model)
        found = verification.measure([8])["8"]
    assert found["checks"] == len(tiny_model.trace([1, 2]).layers) * 8
    assert found["caught"] >= 12
    true = inspector.verify(smollm, [1, 2, 3], spliced=False, controls=False)
    verification.assert_holds(true)
    check = dataclasses.replace(true.checks[9], max_abs=1.0)
    with pytest.raises(AssertionError, match=f"{check.stage} differs by 1"):
        verification.assert_holds(dataclasses.replace(true, first_difference=check))


def test_a_process_of_its_own_tells_what_it_needed_and_what_was_wrong():
    found = measured("benchmarks.forward:once", way="capture", n=32)
    assert found["stored_bytes"] == 32 * 115_200 + 4 * 49_152
    assert found["peak_bytes"] > found["stored_bytes"]
    plain = found | {"logits": "another"}
    with pytest.raises(AssertionError, match="recording changed the logits"):
        forward.from_once({"plain": plain, "capture": found})
    assert forward.from_once({"plain": found, "capture": found})["ways"]["plain"]["seconds"] > 0
    with pytest.raises(SystemExit, match="planted does not hold the trace's weights"):
        measured("benchmarks.pages:_same", name="planted", found=[1.0], expected=[2.0])
    assert "no_such" in measured("benchmarks.pages:no_such")["failed"]


def test_the_saved_tables_are_made_from_the_saved_numbers():
    saved = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    text = (ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8")
    assert text == report.markdown(saved) + "\n"
    for n in saved["forward"]:
        for title in TITLES.values():
            assert f"{n} | {title}" in text.replace(" " * 2, " ")


def test_the_comparison_itself_sees_another_prompt(runs, ids):
    with pytest.raises(AssertionError, match="eager: logits differ"):
        assert_equal(runs["capture"](ids), "eager", runs["eager"](ids[::-1]))


def test_judging_and_the_atlas_have_a_table_each():
    record = {
        "right": {"passes": 4.6, "verdict": "right", "causes": []},
        "base": {"passes": 41.9, "verdict": "different", "causes": ["base 500"]},
    }
    text = "\n".join(report._judging(record) + report._atlas({"plain": 1.0, "atlas": 1.3, "ratio": 1.3}))
    assert re.search(r"\| right +\| +4\.6 \| +15 \|", text)
    assert re.search(r"\| base +\| +41\.9 \| +60 \|", text)
    assert re.search(r"\| +1\.000 \| +1\.300 \| +1\.30 \| +1\.15 \|", text)
    assert report._judging({}) == report._atlas({}) == []
