"""Long prompts: strips against the dense form, nothing n x n made, samples that are exact rows, rounded and partial
traces that say so, estimates against what is measured, and sentences of refusal."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from clock import Clock, until
from safetensors import safe_open
from safetensors.torch import save_file
from screen_app import new_app, payloads
from torch.utils._python_dispatch import TorchDispatchMode

import inspector
from inspector import views
from inspector.analysis import head_scores, maps, thumbnails
from inspector.coverage.tiny import save, types
from inspector.errors import InspectorError
from inspector.model.forward import KEEP
from inspector.model.memory import MEMORY_VARIABLE
from inspector.model.model import Model
from inspector.trace.prompt_file import MOST_BYTES, read_prompt
from inspector.trace.trace import Trace
from inspector.ui import state, uploads
from inspector.ui.server import shared, traces
from inspector.ui.server.sessions import GRACE_SECONDS, Sessions
from inspector.ui.server.settings import TOKENS_VARIABLE, WRITTEN_VARIABLE
from reimpl.blockwise import blockwise_context, strips
from reimpl.mask import allowed
from reimpl.spec import MaskRule

RULES = [
    MaskRule(),
    MaskRule(window=7),
    MaskRule(chunk=10),
    MaskRule(window=7, chunk=10),
    MaskRule(window=5, both_sides=True),
]


class Largest(TorchDispatchMode):
    """Records how many numbers the largest tensor has that any operation makes."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // max(tensor.itemsize, 1))
        return made


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(("height", "align"), [(1, 1), (6, 1), (7, 3), (100, 4)])
def test_strips_hold_every_allowed_pair_once(rule, height, align):
    n, positions = 37, torch.arange(37)
    seen = torch.zeros(n, n, dtype=torch.long)
    for rows, keys in strips(n, n, rule, height=height, align=align):
        assert rows.start % align == keys.start % align == 0
        seen[rows, keys] += 1
    assert bool((seen[allowed(rule, positions, positions)] == 1).all())
    if not rule.both_sides and height < 10:
        assert int(seen.sum()) < 0.75 * n * n  # pairs that cannot be are left out, but for those beside the diagonal


@pytest.mark.parametrize("rule", RULES[:4], ids=str)
def test_blocks_skip_what_is_masked_and_give_the_same(rule):
    q, k, v = torch.randn(4, 50, 8), torch.randn(2, 50, 8), torch.randn(2, 50, 8)
    may = allowed(rule, torch.arange(50), torch.arange(50))
    dense = torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], may, enable_gqa=True)[0]
    found = blockwise_context(q, k, v, scale=8**-0.5, rule=rule, block=6)
    torch.testing.assert_close(found, dense, atol=1e-6, rtol=0)  # 50 float32 products in another order
    part = blockwise_context(q[:, -9:], k, v, scale=8**-0.5, rule=rule, block=4)  # the last queries of a longer text
    torch.testing.assert_close(part, dense[:, -9:], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["grouped", "mistral", "gemma2", "qwen2 sliding"])
def test_strips_of_a_trace_equal_the_dense_form(kind, tmp_path, monkeypatch):
    trace = tiny.load(kind, tmp_path).trace(tiny.ids(61))
    dense = {(at, head): (trace.weights(at, head), trace.context(at, head)) for at, head in ((0, 0), (1, 3), (2, 2))}
    context = trace.context(1)
    whole, frame = thumbnails.draw_thumbnails(trace, side=16), head_scores.measures(trace)
    monkeypatch.setattr("inspector.trace.trace.STRIP_BYTES", 4 * 61 * 22)
    assert len(list(trace.strips(0))) > 10
    for (layer, head), (weights, mixed) in dense.items():
        for rows, keys in trace.strips(layer, head):
            found = torch.zeros(rows.stop - rows.start, 61)
            found[:, keys] = trace.weights(layer, head, queries=rows, keys=keys)
            torch.testing.assert_close(found, weights[rows], atol=2e-6, rtol=0)  # scores near 10 in another order
        largest = float(mixed.abs().max())
        torch.testing.assert_close(trace.context(layer, head), mixed, atol=3e-6 * max(1, largest), rtol=0)
    torch.testing.assert_close(trace.context(1), context, atol=3e-6 * float(context.abs().max()), rtol=0)
    assert np.abs(thumbnails.draw_thumbnails(trace, side=16).pixels.astype(int) - whole.pixels).max() <= 1
    np.testing.assert_allclose(head_scores.measures(trace), frame, atol=2e-5)


def test_weights_over_too_few_keys_are_refused(tmp_path):
    trace = tiny.load("grouped", tmp_path).trace(tiny.ids(20))
    with pytest.raises(InspectorError, match=r"query tokens 5 to 9 may look at keys 0 to 9; ask for those"):
        trace.weights(0, 0, queries=slice(5, 10), keys=slice(3, 10))


def test_sampled_pictures_are_exact_rows_and_can_be_made_whole(tmp_path):
    trace = tiny.load("grouped", tmp_path).trace(tiny.ids(200))
    found = thumbnails.draw_thumbnails(trace, side=10, sample=20)
    rows = thumbnails.spread(200, found.pool, 20)
    assert (found.pool, found.sample, len(rows)) == (20, 20, 20)
    assert found.said() == "drawn from 20 of 200 query tokens"
    for block in (0, 4, 9):
        some = [t for t in rows if t // 20 == block]
        weights = trace.weights(1, 2, queries=some)[:, 20 * block : 20 * (block + 1)].max().item()
        assert found.pixels[4 + 2, block, block] == 1 + round(254 * weights**0.5)
    exact = thumbnails.draw_thumbnails(trace, side=10)
    assert (exact.pixels.astype(int) - found.pixels >= -1).all()  # no row can hold more than all of them
    assert (exact.pixels != found.pixels).any()
    filled = found.with_whole({6: thumbnails.shrunk(maps.picture(trace, 1, 2), found.pool)})
    assert np.array_equal(filled.pixels[6], exact.pixels[6])
    assert filled.said().endswith("1 of 12 heads from all of them")
    rest = {place: thumbnails.draw_thumbnail(trace, place // 4, place % 4, found.pool) for place in range(12)}
    assert np.array_equal(found.with_whole(rest).pixels, exact.pixels)
    assert found.with_whole(rest).sample is None


def test_sampled_measures_are_means_over_those_rows(tmp_path):
    trace = tiny.load("mistral", tmp_path).trace(tiny.ids(120))
    frame = head_scores.measures(trace, sample=30).set_index(["layer", "head"])
    rows = thumbnails.spread(120, 120, 30)
    weights = trace.weights(2, 1)[rows]
    assert frame.loc[(2, 1), "itself"] == pytest.approx(weights[range(30), rows].mean().item(), abs=1e-6)
    entropy = torch.special.entr(weights.double()).sum(-1).mean().item() / np.log(2)
    assert frame.loc[(2, 1), "entropy"] == pytest.approx(entropy, abs=1e-5)


def test_looking_at_a_long_prompt_makes_nothing_n_by_n(tmp_path, monkeypatch):
    n = 2500
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 2500)
    model = tiny.load("mistral", tmp_path)
    trace = model.trace(tiny.ids(n))
    monkeypatch.setattr("inspector.trace.trace.STRIP_BYTES", 2**20)
    with Largest() as largest, torch.inference_mode():
        maps.picture(trace, 1, 2)
        maps.picture(trace, 1, 2, kind="weighted_values", without_first=True)
        maps.strongest_pairs(trace, 1, 2)
        thumbnails.draw_thumbnails(trace, sample=64)
        head_scores.measures(trace, sample=64)
        trace.context(1, 2)
        views.frame(trace, 1, 2, most_pairs=10_000)
    assert largest.numbers < n * n // 4
    with Largest() as largest, torch.inference_mode():  # the negative control
        trace.weights(1, 2)
    assert largest.numbers >= n * n


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_rounded_vectors_are_half_the_size_and_said_to_be_rounded(tmp_path, precision):
    model = tiny.load("grouped", tmp_path)
    whole, half = model.trace(tiny.ids(50)), model.trace(tiny.ids(50), precision=precision)
    assert whole.exact
    assert not half.exact
    assert f"stored in {precision}" in repr(half)
    dtype = getattr(torch, precision)
    assert torch.equal(half.query(1, 2), whole.query(1, 2).to(dtype).float())
    assert half.weights(1, 2).dtype == torch.float32
    assert not torch.equal(half.weights(1, 2), whole.weights(1, 2))
    assert torch.equal(half.last_logits, whole.last_logits)  # the model ran as ever
    assert torch.equal(half.query(1, 2, rope=False), whole.query(1, 2, rope=False))  # run again, not kept
    again = inspector.open_trace(half.save(tmp_path / "half.safetensors"))
    assert again.precision == precision
    assert torch.equal(again.weights(2, 3), half.weights(2, 3))
    assert uploads.read((tmp_path / "half.safetensors").read_bytes(), "half").precision == precision
    report = inspector.verify(model, half, controls=False, spliced=False)
    assert report.ok
    assert any("run again, for exact ones" in remark for remark in report.remarks)


def retold(path, change):
    """The trace file with other facts."""
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["trace"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    save_file(tensors, path, metadata={"trace": json.dumps(change(facts))})
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounded_vectors_are_computed_with_in_the_models_dtype_whatever_the_source_says(tmp_path, dtype):
    half = tiny.load("grouped", tmp_path, dtype=dtype).trace(tiny.ids(50), precision="bfloat16")
    assert half.dtype == dtype
    half.source = {}
    for change in (dict, lambda facts: {**facts, "source": {"dtype": "float16"}}):
        again = inspector.open_trace(retold(half.save(tmp_path / "half.safetensors"), change))
        assert (again.dtype, again.weights(2, 3).dtype) == (dtype, getattr(torch, dtype))
        assert torch.equal(again.weights(2, 3), half.weights(2, 3))


@pytest.mark.parametrize("dtype", [None, "float61", "bfloat16", "__doc__"])
def test_a_rounded_trace_that_does_not_say_what_it_was_before_is_refused(tmp_path, dtype):
    half = tiny.load("grouped", tmp_path).trace(tiny.ids(50), precision="bfloat16")
    words = f"rounded to bfloat16 and it says {dtype!r} of what they were before: dtype must be float32 or float64"
    with pytest.raises(InspectorError, match=words):
        Trace(tokens=half.tokens, layers=half.stored, last_logits=None, precision="bfloat16", dtype=dtype)
    path = retold(half.save(tmp_path / "half.safetensors"), lambda facts: {**facts, "dtype": dtype})
    with pytest.raises(InspectorError, match=words):
        uploads.read(path.read_bytes(), "half")


def test_some_layers_alone(tmp_path):
    model = tiny.load("grouped", tmp_path)
    whole, part = model.trace(tiny.ids(50)), model.trace(tiny.ids(50), layers=[2])
    assert part.nbytes < 0.5 * whole.nbytes
    assert torch.equal(part.weights(2, 1), whole.weights(2, 1))
    assert torch.equal(part.input(2), whole.input(2))
    with pytest.raises(InspectorError, match=r"Layer 1 is not stored: .* trace again with layers=\[1\]"):
        part.weights(1, 1)
    assert set(head_scores.measures(part)["layer"]) == {2}
    assert (thumbnails.draw_thumbnails(part).pixels[:8] == thumbnails.MASKED).all()
    saved = part.save(tmp_path / "part.safetensors")
    assert torch.equal(inspector.open_trace(saved).weights(2, 1), whole.weights(2, 1))
    with pytest.raises(InspectorError, match="contains 1 of 3 layers"):
        uploads.read(saved.read_bytes(), "part")
    with pytest.raises(InspectorError, match=r"layers=\[3\] cannot be stored: .* has layers 0 to 2"):
        model.trace("w1", layers=[3])


@pytest.mark.parametrize("what", ["input", "output", "residual"])
def test_some_layers_alone_keep_nothing_of_the_others(tmp_path, what):
    """Neither at capture nor fetched afterwards."""
    model = tiny.load("grouped", tmp_path)
    whole = model.trace(tiny.ids(50), keep=[what])
    kept, fetched = model.trace(tiny.ids(50), layers=[2], keep=[what]), model.trace(tiny.ids(50), layers=[2])
    for part in (kept, fetched):
        assert torch.equal(getattr(part, what)(2), getattr(whole, what)(2))
        assert [getattr(layer, what) is None for layer in part.stored] == [True, True, False]
    assert kept.nbytes == fetched.nbytes


def test_options_that_cannot_be_are_refused(tmp_path):
    model = tiny.load("grouped", tmp_path, dtype="bfloat16")
    with pytest.raises(InspectorError, match="half precision already"):
        model.trace("w1", precision="float16")
    with pytest.raises(InspectorError, match='precision="int8" is not known'):
        model.trace("w1", precision="int8")
    assert model.trace("w1", precision="bfloat16").exact  # its own
    from inspector.capture.storage import rounded

    with pytest.raises(InspectorError, match=r"7e\+04, beyond float16's largest, 6.55e\+04"):
        rounded(torch.tensor([7e4]), torch.float16, "A key of attention layer 3")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep": "weights"}, r"keep=\['weights'\] is not known; choose from input, output, residual"),
        ({"keep": 3}, "keep=3 is no list of names; choose from input, output, residual"),
        ({"layers": 3}, r"layers=3 is one number: name the layers in a list, such as layers=\[3\]"),
        ({"layers": "01"}, "layers='01' is no list of layer numbers: .* has layers 0 to 2"),
        ({"layers": [0.5]}, r"layers=\[0.5\] is no list of layer numbers"),
        ({"layers": [3]}, r"layers=\[3\] cannot be stored: .* has layers 0 to 2"),
        ({"precision": 16}, 'precision="16" is not known; choose float16 or bfloat16'),
        ({"precision": torch.float64}, 'precision="float64" is not known'),
        ({"generate": "3"}, "generate='3' is no number of tokens: give a whole number from 0 on"),
        ({"generate": -1}, "generate=-1 is no number of tokens"),
    ],
)
def test_options_of_another_type_are_refused_in_a_sentence(tmp_path, options, sentence):
    model = tiny.load("grouped", tmp_path)
    for ask in (model.trace, model.cost):
        with pytest.raises(InspectorError, match=sentence):
            ask("w1 w2", **options)


def test_one_name_and_a_dtype_of_torch_are_taken(tmp_path):
    model = tiny.load("grouped", tmp_path)
    trace = model.trace("w1 w2", keep="output", precision=torch.float16)
    assert (trace.precision, trace.dtype, trace.stored[0].output is None) == ("float16", "float32", False)


@pytest.mark.packaged
def test_costs_are_what_is_kept_and_refused_before_a_run(smollm, monkeypatch):
    lean = smollm.trace("Houston, we have a problem")
    assert smollm.cost("Houston, we have a problem").stored_bytes == lean.nbytes
    keep = ("input", "output", "residual")
    kept = smollm.trace("Houston, we have a problem", keep=keep)
    assert smollm.cost("Houston, we have a problem", keep=keep).stored_bytes == kept.nbytes
    long = smollm.cost([5] * 8192)
    assert long.stored_bytes == pytest.approx(0.944e9, rel=1e-3)
    assert re.fullmatch(r"8,192 tokens: .*about .* of memory while it runs, 0.94 GB stored.", str(long))
    assert smollm.cost([5] * 8192, precision="float16").stored_bytes == pytest.approx(0.472e9, rel=1e-3)
    monkeypatch.setenv("ATTENTION_INSPECTOR_MEMORY_GB", "0.5")
    with pytest.raises(InspectorError, match=r'8,192 tokens .* may use 0.50 GB .*precision="float16" \(0.8'):
        smollm.trace([5] * 8192)
    with pytest.raises(InspectorError, match=r"2,048 × 2,048 table .* verify at most about \d+ tokens"):
        inspector.verify(smollm, [5] * 2048)


def test_cost_takes_what_trace_takes(tmp_path, monkeypatch):
    """Edits store nothing more, and `EditedRuns` refuses tables that would not fit."""
    monkeypatch.setitem(tiny.SIZES, "vocab_size", 5000)
    options = {
        name: of.default
        for name, of in inspect.signature(Model.trace).parameters.items()
        if name not in ("on_layer", "edits")
    }
    assert {name: of.default for name, of in inspect.signature(Model.cost).parameters.items()} == options
    model = tiny.load("grouped", tmp_path)
    model.tokenizer.chat_template = "{% for m in messages %}w1 w2 {{ m['content'] }} w3{% endfor %}"
    for changed in ({"generate": 5}, {"chat": True}, {"generate": 3, "chat": True, "keep": KEEP, "layers": [0]}):
        kept = model.trace("w4 w5", **changed)
        cost = model.cost("w4 w5", **changed)
        assert (cost.tokens, cost.stored_bytes) == (kept.n, kept.nbytes)
    some, written = model.cost(tiny.ids(100)), model.cost(tiny.ids(100), generate=50)
    assert written.seconds > some.seconds
    assert written.peak_bytes > model.cost(tiny.ids(150)).peak_bytes  # the prompt's logits, all of them
    with pytest.raises(InspectorError, match=r"keep=\['weights'\] is not known"):
        model.cost("w4", keep=["weights"])


@pytest.mark.parametrize("tokens", [2100, 4100])  # below and above the 8000 characters of prompts whose input is kept
def test_the_app_estimates_the_run_that_it_makes(tokens, tmp_path, monkeypatch):
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 4200)
    tiny.save("grouped", tmp_path)
    request = state.Request(str(tmp_path), " ".join(["w7"] * tokens), generate=3)
    found = traces.costs(request)
    assert found.exact.stored_bytes == traces.trace(request).nbytes
    assert found.half.stored_bytes == traces.trace(dataclasses.replace(request, precision="float16")).nbytes


@pytest.mark.parametrize("name", ["doge", "deepseek_v32", "bloom", "gpt_oss", "inkling2_text", "qwen4_exp_text"])
def test_costs_count_biases_tables_and_sinks(name, tmp_path):
    # Biases and masks with a number for each pair, a bias with one for each key, sinks, sinks of each query's own, and
    # blocks that receive more than d_model numbers.
    tiny.skip_where_this_release_does_otherwise(name)
    entry = types()[name]
    model = inspector.load(str(save(entry, tmp_path)))
    for options in ({}, {"keep": KEEP}, {"layers": [1], "keep": ("residual",)}, {"precision": "bfloat16"}):
        assert model.cost(tiny.ids(60), **options).stored_bytes == model.trace(tiny.ids(60), **options).nbytes
    kept = model.passes.probed.layers[0]
    assert kept.pair or kept.token or kept.sinks or kept.sinks_token


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"caf\xe9", "“a.txt” is not UTF-8 text (byte 3 is 0xe9): save it as UTF-8."),
     (b" \n", "“a.txt” holds no text: put the prompt in it."),
     (b"x" * (MOST_BYTES + 1), "“a.txt” has more than the 4,194,304 bytes that a prompt may have: take a part of it.")],
)  # fmt: skip
def test_files_that_are_no_prompt(content, sentence):
    with pytest.raises(InspectorError) as error:
        read_prompt(content, "“a.txt”")
    assert str(error.value) == sentence


def test_a_file_is_read_as_utf8_without_its_mark():
    assert read_prompt("\ufeffcafé".encode(), "a.txt") == "café"


def test_the_app_says_what_a_long_prompt_costs_before_it_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 2200)
    tiny.save("grouped", tmp_path)
    prompt = " ".join(f"w{i * 7 % 128}" for i in range(2100))
    app = new_app(state.Request(str(tmp_path), prompt))
    app.run()
    assert not app.exception
    assert any("This is a long prompt" in text.value and "2\\,100 tokens" in text.value for text in app.markdown)
    app.button(key="run_long_half").click().run()
    assert not app.exception
    assert not app.error
    said = [text.value for text in app.caption]
    assert any("vectors rounded to float16" in words for words in said)
    assert any("drawn from 64 of 2,100 query tokens" in words for words in said)
    until(lambda: not any("drawn from 64" in caption.value for caption in app.run().caption))  # by the background


def test_exact_cells_are_of_the_picture_above_them(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 1200)
    tiny.save("grouped", tmp_path)
    request = state.Request(str(tmp_path), " ".join(f"w{i * 7 % 128}" for i in range(1100)))
    app = new_app(request)
    app.session_state["selection"] = {"layer": 1, "head": 2, "query": 700, "key": 3, "sink": "without"}
    app.run()
    assert not app.exception
    assert any("**Exact cells**" in text.value and "without the first token" in text.value for text in app.markdown)
    header, numbers = payloads(app, "exact")
    rows, columns = slice(676, 724), slice(0, 48)
    trace = traces.trace(request)
    expected = maps.window(trace, 1, 2, rows, columns, without_first=True)
    assert np.allclose(numbers.reshape(header["shape"]), expected, equal_nan=True)
    assert not np.allclose(expected, maps.window(trace, 1, 2, rows, columns), equal_nan=True)


@pytest.fixture
def long_request(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny.SIZES, "max_position_embeddings", 2200)
    tiny.save("grouped", tmp_path)
    return state.Request(str(tmp_path), " ".join(["w7"] * 2100))


def said(request):
    app = new_app(request)
    app.run()
    assert not app.exception
    words = [text.value.replace("\\", "") for text in (*app.error, *app.caption)]
    return words, {button.key for button in app.button if button.key and button.key.startswith("run_long")}


def test_nobody_is_offered_what_the_servers_limits_refuse(long_request, monkeypatch):
    monkeypatch.setenv(TOKENS_VARIABLE, "1024")
    words, offered = said(long_request)
    assert any("has 2,100 tokens, and this server allows 1,024" in sentence for sentence in words)
    assert not offered
    monkeypatch.delenv(TOKENS_VARIABLE)
    words, offered = said(dataclasses.replace(long_request, generate=50))
    assert offered == {"run_long", "run_long_half"}
    monkeypatch.setenv(WRITTEN_VARIABLE, "10")
    words, offered = said(dataclasses.replace(long_request, generate=50))
    assert any("this server allows: ask for fewer" in sentence for sentence in words)
    assert not offered


def test_visitors_read_what_they_can_do(long_request, monkeypatch):
    model = inspector.load(long_request.model)
    whole = model.cost(long_request.prompt, keep=("input",))
    half = model.cost(long_request.prompt, keep=("input",), precision="float16")
    between = (whole.peak_bytes + half.peak_bytes) / 2e9
    for limit, buttons, step in (
        (between, {"run_long_half"}, "shorten the prompt. With its vectors rounded it fits."),
        (half.stored_bytes / 1e9, set(), "shorten the prompt."),
    ):
        monkeypatch.setenv(MEMORY_VARIABLE, str(limit))
        shared.shared_store().results.drop("costs")
        words, offered = said(long_request)
        assert offered == buttons
        refused = [sentence for sentence in words if "of memory, and this run may use" in sentence]
        assert len(refused) == 1
        assert refused[0].endswith(f": {step}")
        assert not re.search("precision|layers=|ATTENTION_INSPECTOR|--memory", refused[0])
    short = dataclasses.replace(long_request, prompt=" ".join(["w7"] * 1000))  # no word about its cost before it
    monkeypatch.setenv(MEMORY_VARIABLE, "0.0001")
    assert said(short)[0][0].endswith("MB: shorten the prompt.")
    with pytest.raises(InspectorError, match=r"ATTENTION_INSPECTOR_MEMORY_GB .* precision=\"float16\" .* layers=\[0\]"):
        model.trace(short.prompt)


def test_a_prompt_that_nobody_ran_goes_with_its_tab(long_request, monkeypatch):
    here = {"tab"}
    clock = Clock()
    sessions = Sessions(shared.shared_store().forget, here.__contains__, now=clock.now, sleep=clock.sleep)
    monkeypatch.setattr(shared, "get_script_run_ctx", lambda **_: SimpleNamespace(session_id="tab"))
    monkeypatch.setattr(shared, "shared_sessions", lambda: sessions)
    stored = shared.shared_store().results
    before = len(stored), stored.used
    traces.costs(long_request)
    assert len(stored) == before[0] + 1
    assert stored.used - before[1] > len(long_request.prompt)
    here.clear()
    clock.wait_for_sleeper()
    clock.advance(GRACE_SECONDS)
    until(lambda: not sessions.watching)
    assert len(stored) == before[0]
