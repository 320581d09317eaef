"""The judge: what is right passes with no element differing, what is wrong is named; and the judge can fail."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import inspector
from inspector.errors import InspectorError
from inspector.verification.compare import BLOCK, STAGES, compare_stage, distance
from inspector.verification.splice import spliced_model
from inspector.verification.spliced_run import compare_spliced
from reimpl.attention import CausalSelfAttention

EVERY_KIND = pytest.mark.parametrize("tiny_model", list(tiny.KINDS), indirect=True)


@pytest.fixture(scope="module")
def real_report(smollm):
    return inspector.verify(smollm, "Houston, we have a problem")


@pytest.mark.packaged
def test_the_real_model_is_reproduced_bit_for_bit(real_report):
    frame = real_report.table
    assert real_report.ok
    assert len(frame) == 30 * len(STAGES)
    assert frame.differing.sum() == 0
    assert frame.max_abs.max() == 0
    assert frame.elements.min() == 9 * 8 * 8


@pytest.mark.packaged
def test_spliced_into_the_real_model(real_report):
    spliced = real_report.spliced
    assert (spliced.logits_differing, spliced.logits_elements) == (0, (8 + 40) * 49152)
    assert (spliced.tokens_equal, spliced.tokens_compared) == (40, 40)
    assert spliced.calls == 30 * 41  # ours ran in every layer of every step


def test_a_quick_verification_writes_nothing_and_says_so(tmp_path):
    model = tiny.load("grouped", tmp_path)
    quick, whole = (inspector.verify(model, "w1 w2 w3 w4", quick=quick) for quick in (True, False))
    assert quick.ok
    assert whole.ok
    assert (quick.spliced.tokens_compared, quick.spliced.calls) == (0, len(model.layers))  # one pass of ours, no step
    assert quick.spliced.logits_elements == 4 * 128
    assert quick.planted == whole.planted == quick.caught
    said = "; no text was written, so steps with a key/value cache were not compared."
    assert quick.summary().endswith(said)
    assert said not in whole.summary()
    assert "nothing was written" in str(quick)
    assert "tokens are the library's own choices" not in str(quick)


@pytest.mark.packaged
def test_every_planted_mistake_is_caught_on_the_real_model(real_report):
    controls = real_report.controls
    applied = controls[controls.applies]
    assert len(applied) >= 12
    assert applied.caught.all()
    assert (applied.max_abs > 100 * applied.tolerance).all()  # none of them is near the tolerance
    assert (controls[~controls.applies].why_not != "").all()
    first = dict(zip(applied.mistake, applied.stage, strict=True))
    assert first["rope style swapped"] == "query"
    assert first["keys shifted"] == "key"
    assert first["no scale"] == "weights"
    assert first["heads not put back"] == "output"


@pytest.mark.packaged
def test_our_rounding_error_is_no_larger_than_the_librarys(real_report):
    frame = real_report.float64
    assert (frame.judged <= frame.library).all()
    assert (frame.library > 0).all()  # the comparison with float64 did compare


@pytest.mark.packaged
@pytest.mark.parametrize("n", [1, 2, pytest.param(600, marks=pytest.mark.slow)])
def test_other_lengths_are_bit_for_bit_too(smollm, n):
    report = inspector.verify(smollm, tiny.ids(n, vocabulary=40000), controls=False, spliced=False)
    assert report.table.differing.sum() == 0


@EVERY_KIND
def test_every_kind(tiny_model):
    """On a prompt longer than every window; bit for bit, and each mistake that can be made is caught."""
    report = inspector.verify(tiny_model, tiny.ids(50))
    assert report.ok, str(report)
    assert report.table.differing.sum() == 0
    assert report.planted == report.caught > 12


@pytest.mark.parametrize(
    ("tiny_model", "mistakes"),
    [
        ("mistral", {"window ignored", "window off by one"}),
        ("qwen2", {"qkv bias dropped"}),
        ("biases", {"qkv bias dropped", "output bias dropped"}),
        ("qwen3", {"query/key norm dropped", "norm on the other side of rope"}),
        ("llama3", {"rope scaling ignored"}),
        ("linear", {"rope scaling ignored"}),
        ("dynamic", {"rope scaling ignored"}),
        ("yarn", {"rope scaling ignored"}),
        ("longrope", {"rope scaling ignored"}),
        ("proportional", {"rope scaling ignored"}),
        ("gemma2", {"soft-cap left out", "window ignored", "scale of d_head"}),
        ("glm", {"rope style swapped", "rope on all dimensions", "qkv bias dropped"}),
        ("granite", {"scale of d_head"}),
        ("helium", {"rope style swapped"}),
        ("ernie4_5", {"rope style swapped", "qkv bias dropped", "output bias dropped"}),
        ("mixtral", {"window ignored"}),
        ("olmo2", {"query/key norm dropped", "norm on the other side of rope"}),
        ("phi3", {"window ignored", "keys and values swapped"}),
        ("phi3 partial", {"rope on all dimensions"}),
        ("seed_oss", {"qkv bias dropped"}),
        ("smollm3", {"rope everywhere", "window off by one"}),
        ("starcoder2", {"window ignored", "output bias dropped"}),
    ],
    indirect=["tiny_model"],
)
def test_special_options_have_their_own_control(tiny_model, mistakes):
    controls = inspector.verify(tiny_model, tiny.ids(50), spliced=False).controls
    applied = controls[controls.applies & controls.caught]
    assert mistakes <= set(applied.mistake)


def test_a_wrong_rope_base_is_named(tmp_path):
    model = tiny.load("grouped", tmp_path / "right")
    wrong = shutil.copytree(tmp_path / "right", tmp_path / "wrong")
    config = json.loads((wrong / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 5000.0
    (wrong / "config.json").write_text(json.dumps(config))
    report = inspector.verify(model, tiny.ids(30), checkpoint=wrong)
    assert not report.ok
    assert (report.first_difference.layer, report.first_difference.stage) == (0, "query")
    assert "layer 0, query after RoPE" in report.summary()


@pytest.mark.parametrize("amount", [0.5, 1e-5])
def test_one_changed_weight_is_found_however_small(tmp_path, amount):
    """1e-5 is under the tolerance; but the other layers are bit-identical, so it cannot be rounding."""
    model = tiny.load("grouped", tmp_path / "right")
    wrong = shutil.copytree(tmp_path / "right", tmp_path / "wrong")
    tensors = load_file(wrong / "model.safetensors")
    tensors["model.layers.1.self_attn.v_proj.weight"][3, 5] += amount
    save_file(tensors, wrong / "model.safetensors", metadata={"format": "pt"})
    report = inspector.verify(model, tiny.ids(30), checkpoint=wrong, controls=False)
    assert not report.ok
    assert (report.first_difference.layer, report.first_difference.stage) == (1, "value")


# -- the judge itself -------------------------------------------------------------------------------------------------


def test_compare_counts_and_limits():
    a, b = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.5, 4.0])
    check = compare_stage(3, "value", a, b, tolerance=0.4, reason="")
    assert (check.max_abs, check.max_rel, check.differing, check.elements, check.ok) == (0.5, 0.125, 1, 3, False)
    assert compare_stage(3, "value", a, b, tolerance=0.5, reason="").ok


def test_a_splice_that_never_ran_fails(tmp_path):
    model = tiny.load("grouped", tmp_path)

    class Idle(CausalSelfAttention):
        def output_projection(self, *args):
            return torch.zeros_like(super().output_projection(*args))

    wrong = [Idle.like(layer) for layer in model.reimplementation]
    assert not compare_spliced(model, tuple(tiny.ids(10)), wrong, generated=0).ok
    assert compare_spliced(model, tuple(tiny.ids(10)), model.reimplementation, generated=5).ok


def test_a_mistake_in_single_steps_alone_is_caught(tmp_path, monkeypatch):
    model, right = tiny.load("grouped", tmp_path), CausalSelfAttention.forward

    def ahead(self, x, positions, **options):
        return right(self, x, positions + 7 if x.shape[-2] == 1 else positions, **options)

    assert compare_spliced(model, tuple(tiny.ids(10)), model.reimplementation, generated=40).tokens_equal == 40
    monkeypatch.setattr(CausalSelfAttention, "forward", ahead)
    result = compare_spliced(model, tuple(tiny.ids(10)), model.reimplementation, generated=40)
    assert not result.ok
    assert result.logits_differing == 0  # in one pass over the finished text it is right
    assert result.tokens_equal < 40
    assert f"generated token {result.tokens_equal + 1} differs" in result.reason


def test_the_splice_shares_parameters_and_leaves_the_model_alone(tmp_path):
    model = tiny.load("grouped", tmp_path)
    name = model.layers[0].name
    twin = spliced_model(model.model, {name: model.reimplementation[0]})
    assert type(model.model.get_submodule(name)).__name__ == "LlamaAttention"
    assert twin.get_submodule(name).calls == 0
    assert twin.lm_head.weight is model.model.lm_head.weight


def test_a_report_reads_in_terminal_notebook_and_json(tmp_path):
    model = tiny.load("grouped", tmp_path)
    report = inspector.verify(model, tiny.ids(12))
    assert "Reproduced bit for bit at every stage of all 3 layers" in str(report)
    assert "<table" in report._repr_html_()
    record = json.loads(report.to_json())
    assert (record["schema"], record["ok"], record["verdict"]) == (1, True, "equal")
    assert len(record["checks"]) == 3 * len(STAGES)
    assert record["caught"] == record["planted"] == report.planted


def test_a_reports_short_forms_are_short(tmp_path):
    report = inspector.verify(tiny.load("grouped", tmp_path), tiny.ids(12), spliced=False)
    assert repr(report).startswith("<VerificationReport equal: ")
    assert "12 tokens, float32 on cpu. Reproduced bit for bit" in repr(report)
    assert "\n" not in repr(report)
    assert len(repr(report)) < 400
    assert len(report._repr_html_()) < 20_000
    assert list(report.table)[:3] == ["layer", "stage", "max_abs"]


def test_every_verdict_has_its_word(tmp_path):
    report = inspector.verify(tiny.load("grouped", tmp_path), tiny.ids(12), controls=False)
    check, row = report.checks[0], report.rounding[0]
    for changed, verdict in (
        ({}, "equal"),
        ({"checks": (replace(check, ok=False), *report.checks[1:])}, "different"),
        ({"spliced": replace(report.spliced, ok=False)}, "different"),
        ({"rounding": (replace(row, judged=3 * row.library + 1),)}, "less exact"),
        ({"checks": ()}, "not compared"),
    ):
        found = replace(report, **changed)
        assert (found.verdict, found.ok) == (verdict, verdict == "equal")


def test_an_unverified_mistake_makes_the_report_fail(tmp_path):
    report = inspector.verify(tiny.load("grouped", tmp_path), tiny.ids(12))
    missed = replace(report.control_results[0], caught=False)
    failed = replace(report, control_results=(missed, *report.control_results[1:]))
    assert (failed.ok, failed.verdict) == (False, "not proven")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("smollm2-135m-instruct", "w1"), r"this is a str: call verify\(inspector.load\('smollm2.*'\), prompt\)"),
        ((None, "w1"), "verify takes a model as inspector.load returns it, and this is a NoneType"),
        ((..., None), "A prompt is one text, or one flat list of token ids"),
        ((..., ["w1", "w2"]), "A prompt is one text, or one flat list of token ids"),
        ((..., 7), "A prompt is one text, or one flat list of token ids"),
    ],
)  # fmt: skip
def test_what_is_no_model_or_no_prompt_is_refused_in_a_sentence(tmp_path, arguments, sentence):
    model = tiny.load("grouped", tmp_path)
    with pytest.raises(InspectorError, match=sentence):
        inspector.verify(model if arguments[0] is ... else arguments[0], arguments[1])


def test_ids_may_come_as_a_tensor(tmp_path):
    model = tiny.load("grouped", tmp_path)
    report = inspector.verify(model, torch.tensor([tiny.ids(12)]), controls=False, spliced=False)
    assert (report.ok, report.n, report.prompt) == (True, 12, None)


def test_bfloat16_differs_by_no_more_than_its_tolerance(tmp_path):
    model = tiny.load("grouped", tmp_path, dtype="bfloat16")
    report = inspector.verify(model, tiny.ids(30), spliced=False)
    assert report.stages_ok, str(report)


def test_a_model_in_memory_is_verified_from_its_own_tensors(tmp_path):
    on_disk = tiny.load("qwen3", tmp_path)
    model = inspector.load(on_disk.model, on_disk.tokenizer)
    report = inspector.verify(model, tiny.ids(20))
    assert report.ok
    assert report.table.differing.sum() == 0


@pytest.mark.parametrize("place", [0, BLOCK, 2 * BLOCK + 1])
def test_a_difference_is_found_wherever_it_is(place):
    x = torch.zeros(5, 2 * BLOCK // 5 + 1)
    wrong = x.clone()
    wrong.view(-1)[place] = 0.25
    assert (distance(wrong, x), distance(x, wrong.bfloat16()), distance(x, x)) == (0.25, 0.25, 0.0)
    wrong.view(-1)[place] = math.nan
    assert math.isnan(distance(wrong, x))
