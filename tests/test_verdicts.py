"""Verdicts as wide as their check: what changes nothing is not missed, what the model does is called its doing."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import inspector
import reimpl
from inspector.coverage.tiny import word_tokenizer
from inspector.verification import causes_in_model, controls
from inspector.verification.by_stage import first_difference
from inspector.verification.mistakes.core import MISTAKES
from inspector.verification.mistakes.unchanged import REASONS
from inspector.verification.tolerances import is_noise

Tweak = Callable[[nn.Module], None]


def drawn(model_type: str, tweak: Tweak | None = None, *, fresh: bool = False, **differs) -> nn.Module:
    """Make a random model: as the library initialises it, or with large weights and biases."""
    torch.manual_seed(3)
    tiny.skip_where_this_release_does_otherwise(model_type)
    config = AutoConfig.for_model(model_type, **{**tiny.SIZES, **differs})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in () if fresh else model.parameters():
        nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.3)
    if tweak is not None:
        with torch.no_grad():
            tweak(model)
    return model


def saved(folder, *args, **options) -> inspector.model.model.Model:
    """Save such a model with a tokenizer, and load it."""
    drawn(*args, **options).save_pretrained(folder)
    word_tokenizer(folder)
    return inspector.load(folder)


def every(end: str, change: Callable[[torch.Tensor], object], layers: int = 3) -> Tweak:
    """Change the parameters with this end of the first layers."""

    def tweak(model: nn.Module) -> None:
        for layer in model.model.layers[:layers]:
            for name, parameter in layer.self_attn.named_parameters():
                if name.endswith(end):
                    change(parameter)

    return tweak


def heads_alike(model: nn.Module) -> None:
    """Give all key/value heads the first one's weights."""
    for layer in model.model.layers:
        for projection in (layer.self_attn.k_proj, layer.self_attn.v_proj):
            projection.weight.copy_(projection.weight[:16].repeat(2, 1))


ZERO, ONE = torch.Tensor.zero_, nn.init.ones_
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 2.0}
LINEAR_ONE = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 1.0}

# -- A3: a mistake that changes nothing ------------------------------------------------------------------------------

CHANGES_NOTHING = {
    "fresh qwen2": (("qwen2",), {"fresh": True}, "qkv bias dropped", "all biases of its queries, keys and values are"),
    "W_o's biases zero": (
        ("llama", every("o_proj.bias", ZERO)), {"attention_bias": True}, "output bias dropped",
        "all biases of W_o are zero",
    ),
    "a prompt shorter than trained": (
        ("llama",), {"max_position_embeddings": 32768, "rope_parameters": DYNAMIC}, "rope scaling ignored",
        "the control prompt of 64 tokens is no longer than the 32768 of the training",
    ),
    "factor 1": (("llama",), {"rope_parameters": LINEAR_ONE}, "rope scaling ignored", "'linear' changes no frequency"),
    "heads alike": (("llama", heads_alike), {}, "key/value heads tiled", "key/value heads are all alike"),
    "unit norms after rotation": (
        ("hunyuan_v1_dense", every("norm.weight", ONE)), tiny.HEAD_16, "norm on the other side of rope",
        "each norm's weights are all equal",
    ),
    "one plane": (("llama",), {"head_dim": 2}, "rope style swapped", "its RoPE turns one plane"),
    "fresh gemma2": (
        ("gemma2",), {"fresh": True, "head_dim": 16}, "soft-cap left out",
        "less than one rounding of float32",
    ),
    "a wide window": (("mistral",), {"sliding_window": 4096}, "window ignored", "is longer than the control prompt"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES_NOTHING)
def test_a_mistake_that_changes_nothing_does_not_apply(case, tmp_path):
    args, options, mistake, reason = CHANGES_NOTHING[case]
    report = inspector.verify(saved(tmp_path, *args, **options), tiny.ids(12))
    result = next(control for control in report.control_results if control.mistake == mistake)
    assert not result.applies
    assert reason in result.why_not
    assert (report.ok, report.verdict) == (True, "equal")
    assert report.planted == report.caught > 15
    assert "proves little" not in str(report)


def test_nor_in_a_model_handed_over_in_memory(tmp_path):
    model = drawn("qwen2", every("proj.bias", ZERO))
    word_tokenizer(tmp_path)
    report = inspector.verify(inspector.load(model, AutoTokenizer.from_pretrained(tmp_path)), tiny.ids(12))
    assert report.ok
    assert "qkv bias dropped" in {c.mistake for c in report.control_results if "biases" in c.why_not}


def test_what_moves_no_logit_is_not_missed_in_the_spliced_model(tmp_path):
    report = inspector.verify(saved(tmp_path, "llama", every("o_proj.weight", ZERO)), tiny.ids(12))
    spliced = report.control_results[-1]
    assert (spliced.applies, spliced.why_not) == (False, "it changes no logit of the control prompt")
    assert report.ok


def test_a_mistake_that_shows_in_a_later_layer_alone_is_planted_there(tmp_path):
    model = saved(tmp_path, "llama", every("o_proj.bias", ZERO, layers=2), attention_bias=True)
    found = {c.mistake: c for c in inspector.verify(model, tiny.ids(12)).control_results}["output bias dropped"]
    assert (found.applies, found.caught, found.layer) == (True, True, 2)


def test_a_mistake_that_changes_something_and_is_not_caught_is_missed(tmp_path, monkeypatch):
    """With limits this wide a cap that bends scores by a thousandth would not be seen."""
    monkeypatch.setattr(
        controls, "first_difference", lambda checks: first_difference([c for c in checks if c.max_abs > 0.1])
    )
    model = saved(tmp_path, "gemma2", head_dim=16, attn_logit_softcapping=2000.0)
    report = inspector.verify(model, tiny.ids(12), spliced=False)
    assert report.stages_ok
    assert "soft-cap left out" in [c.mistake for c in report.control_results if c.applies and not c.caught]
    assert (report.ok, report.verdict) == (False, "not proven")


def test_where_no_mistake_applies_nothing_is_proven(tmp_path):
    report = inspector.verify(tiny.load("grouped", tmp_path), tiny.ids(12))
    idle = tuple(replace(c, applies=False, caught=False, why_not="it changes nothing") for c in report.control_results)
    empty = replace(report, control_results=idle)
    assert (empty.ok, empty.verdict) == (False, "not proven")
    assert "none of 63 known mistakes would change a number here" in empty.summary()


def test_reasons_are_given_for_mistakes_that_there_are():
    assert set(REASONS) <= {mistake.name for mistake in MISTAKES}


# -- A6: rounded RoPE frequencies are the model's doing --------------------------------------------------------------


def rounded(folder, change: Tweak, model_type: str = "llama", **differs) -> inspector.model.model.Model:
    """Hand over a model whose numbers were rounded; every weight is one that bfloat16 and float16 have."""
    model = drawn(model_type, lambda made: [p.copy_((p * 16).round() / 16) for p in made.parameters()], **differs)
    change(model)
    word_tokenizer(folder)
    return inspector.load(model, AutoTokenizer.from_pretrained(folder))


def in_place(model: nn.Module) -> None:
    model.model.rotary_emb.inv_freq.copy_(model.model.rotary_emb.inv_freq.to(torch.bfloat16))


GLOBAL_AND_LOCAL = {"head_dim": 16, "sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"] * 2}
ROUNDED = {
    "half and back": (lambda m: m.half().float(), "llama", {}, "as after .half()"),
    "bfloat16 and back": (lambda m: m.to(torch.bfloat16).float(), "llama", {}, "as after .to(torch.bfloat16)"),
    "edited in place": (in_place, "llama", {}, "as after .to(torch.bfloat16)"),
    "scaled": (lambda m: m.half().float(), "llama", tiny.KINDS["llama3"][1], "as after .half()"),
    "paired": (lambda m: m.half().float(), "glm", tiny.HEAD_16, "as after .half()"),
    "two speeds": (
        lambda m: m.half().float(), "gemma3_text", {**GLOBAL_AND_LOCAL, "num_hidden_layers": 4}, "as after .half()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ROUNDED)
def test_rounded_frequencies_are_named_as_the_models(case, tmp_path):
    change, model_type, differs, cause = ROUNDED[case]
    report = inspector.verify(rounded(tmp_path, change, model_type, **differs), tiny.ids(240), controls=False)
    assert (report.ok, report.verdict) == (False, "different")
    assert report.first_difference.stage == "query"
    assert report.summary().startswith("The model's own inv_freq is rounded: off by up to ")
    assert cause in report.summary()
    assert "moves query after RoPE at layer 0" in report.summary()
    assert "reimplementation" not in report.summary()
    assert any(remark.startswith("The model's own inv_freq is rounded") for remark in report.remarks)


def test_a_model_left_in_half_precision_is_told_too(tmp_path):
    report = inspector.verify(rounded(tmp_path, lambda m: m.half()), tiny.ids(4), controls=False)
    assert not report.ok
    assert "as after .half()" in report.summary()


def test_frequencies_that_are_not_the_configs_are_named_by_size_alone(tmp_path):
    def slower(model: nn.Module) -> None:
        model.model.rotary_emb.inv_freq.mul_(0.9)

    report = inspector.verify(rounded(tmp_path, slower), tiny.ids(40), controls=False)
    assert report.summary().startswith("The model's own inv_freq is not what its config says: off by up to 0.1 radians")


def test_another_error_beside_rounded_frequencies_stays_the_reimplementations(tmp_path, monkeypatch):
    model = rounded(tmp_path, lambda m: m.half().float())
    layers = model.reimplementation
    weight = layers[1].projections.q_proj.weight
    weight.data = weight.data * 1.1  # a tensor of our own, where the model's was shared
    monkeypatch.setattr(inspector.Model, "reimplementation", property(lambda self: layers))
    report = inspector.verify(model, tiny.ids(40), controls=False)
    assert report.summary().startswith("The reimplementation differs first at")
    assert any("as after .half()" in remark for remark in report.remarks)


@pytest.mark.parametrize("kind", ["grouped", "dynamic", "longrope", "yarn", "proportional", "gemma2", "hunyuan alpha"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_frequencies_as_loaded_are_not_rounded(kind, dtype, tmp_path):
    report = inspector.verify(tiny.load(kind, tmp_path, dtype=dtype), tiny.ids(40), controls=False, spliced=False)
    assert report.models_doing == ""
    assert not any("inv_freq" in remark for remark in report.remarks)


# -- B6: tensors that the library has no parameter for ---------------------------------------------------------------

PLACES = {"llama": "model.layers.{}.self_attn", "gpt_neox": "gpt_neox.layers.{}.attention"}
UNREAD = {
    "cached angles": ("llama", {"rotary_emb.cos_cached": (256, 16), "rotary_emb.sin_cached": (256, 16)}),
    "cache scales": ("llama", {"k_scale": (), "v_scale": ()}),
    "scales of a projection": ("llama", {"q_proj.input_scale": (1,)}),
    "norms of another family": ("llama", {"q_norm.weight": (16,), "k_norm.weight": (16,)}),
    "a table of the mask": ("gpt_neox", {"causal_table": (1, 1, 256, 256)}),
}


def with_tensors(folder, model_type: str, extra: dict[str, tuple[int, ...]]):
    """Save a checkpoint whose attention modules hold tensors that the library ignores."""
    drawn(model_type, num_key_value_heads=4).save_pretrained(folder)
    word_tokenizer(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for layer in range(3):
        place = PLACES[model_type].format(layer)
        tensors |= {f"{place}.{name}": torch.full(shape, 0.5) for name, shape in extra.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("case", UNREAD)
def test_tensors_that_the_library_ignores_do_not_hinder(case, tmp_path):
    model = inspector.load(with_tensors(tmp_path, *UNREAD[case]))
    assert inspector.verify(model, tiny.ids(12), controls=False).ok
    assert model.head_parameters(0, 1).W_q.shape == (16, 64)
    assert inspector.verify(model, tiny.ids(12), checkpoint=tmp_path, controls=False, spliced=False).ok


def test_alone_the_reimplementation_refuses_them_by_name(tmp_path):
    folder = with_tensors(tmp_path, *UNREAD["cache scales"])
    with pytest.raises(reimpl.CheckpointError, match=r"not read: model\.layers\.0\.self_attn\.k_scale, v_scale"):
        reimpl.load_layers(folder)


def test_what_the_library_does_have_is_never_ignored(tmp_path):
    folder = with_tensors(tmp_path, *UNREAD["cache scales"])
    known = ["base.model.layers.2.self_attn.k_scale"]
    with pytest.raises(reimpl.CheckpointError, match=r"not read: model\.layers\.2\.self_attn\.k_scale\."):
        reimpl.load_layers(folder, known=known)


# -- A7: the tokenizer at hand and the one of tokenizer.json -----------------------------------------------------------


def by_bytes(folder, tokenizer_class: str, change: Callable[[Tokenizer], object] = lambda _: None) -> None:
    """Save a byte-level tokenizer that merges digits, as tokenizer.json, for the library to build another class of."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = ["123 456 789 890 two spaces problem Houston", "houston problem"] * 9
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens(["<|endoftext|>"])
    change(made)
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": tokenizer_class, "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def ends_marked(made: Tokenizer) -> None:
    mark = ("<|endoftext|>", made.token_to_id("<|endoftext|>"))
    made.post_processor = processors.TemplateProcessing(single=f"{mark[0]} $A", special_tokens=[mark])


def lower_case(made: Tokenizer) -> None:
    made.normalizer = normalizers.Lowercase()


TOKENIZERS = {
    "digits by three": ("qwen2", "Qwen2Tokenizer", lambda _: None, "'1234567890 + 12.5 = 20%' is ["),
    "a mark in front": ("gpt_neox", "GPTNeoXTokenizer", ends_marked, "'Houston, we have a problem.' is ["),
    "lower case": ("qwen2", "Qwen2Tokenizer", lower_case, "'Houston, we have a problem.' is ["),
}


@pytest.mark.parametrize("case", TOKENIZERS)
def test_a_tokenizer_built_otherwise_than_its_file_is_said(case, tmp_path):
    model_type, tokenizer_class, change, what = TOKENIZERS[case]
    drawn(model_type, vocab_size=600, num_key_value_heads=4).save_pretrained(tmp_path)
    by_bytes(tmp_path, tokenizer_class, change)
    model = inspector.load(tmp_path)
    [remark] = model.remarks
    assert remark.startswith(f"The tokenizer at hand is not the one of tokenizer.json: {what}")
    if model_type == "qwen2":
        assert remark in inspector.verify(model, "Houston 123", controls=False, spliced=False).remarks


def test_a_tokenizer_handed_over_is_compared_too(tmp_path):
    (tmp_path / "other").mkdir()
    drawn("llama", vocab_size=600).save_pretrained(tmp_path)
    by_bytes(tmp_path, "PreTrainedTokenizerFast")
    word_tokenizer(tmp_path / "other")
    model = inspector.load(tmp_path, AutoTokenizer.from_pretrained(tmp_path / "other"))
    assert "by the file" in model.remarks[0]


def test_a_tokenizer_that_is_the_files_is_no_remark(tmp_path):
    drawn("llama", vocab_size=600).save_pretrained(tmp_path)
    by_bytes(tmp_path, "PreTrainedTokenizerFast", ends_marked)
    assert inspector.load(tmp_path).remarks == ()
    assert tiny.load("grouped", tmp_path / "words").remarks == ()


# -- A5: weights that are no longer those of the files -----------------------------------------------------------------


def edited(model: nn.Module) -> None:
    model.model.layers[1].self_attn.q_proj.weight[:8] *= 3


def a_head_zeroed(model: nn.Module) -> None:
    model.model.layers[1].self_attn.o_proj.weight[:, :16] = 0


def rounded_and_back(model: nn.Module) -> None:
    """Round weights and frequencies."""
    model.to(torch.bfloat16).float()


EDITED = {"in place": edited, "a head zeroed": a_head_zeroed, "rounded": rounded_and_back}


@pytest.mark.parametrize("case", EDITED)
@pytest.mark.parametrize("kind", ["grouped", "gemma2"])
def test_edited_weights_are_the_models_doing(case, kind, tmp_path):
    model = tiny.load(kind, tmp_path)
    with torch.no_grad():
        EDITED[case](model.model)
    report = inspector.verify(model, tiny.ids(20), controls=False, spliced=False)
    assert report.summary().startswith(
        "The model's weights are no longer those of its files, in the attention of layer "
    )
    assert (report.ok, report.verdict) == (False, "different")
    assert ("inv_freq is rounded" in report.summary()) == (case == "rounded")
    given = inspector.verify(inspector.load(model.model, model.tokenizer), tiny.ids(20), controls=False)
    assert given.ok or case == "rounded"


# -- A6: hooks that somebody put there ---------------------------------------------------------------------------------


def steer(_: nn.Module, __: object, out: torch.Tensor) -> torch.Tensor:
    return out + 3.0


HOOKED = {
    "values": lambda layer: layer.self_attn.v_proj.register_forward_hook(steer),
    "queries": lambda layer: layer.self_attn.q_proj.register_forward_hook(steer),
    "keys' norm": lambda layer: layer.self_attn.k_norm.register_forward_hook(steer),
    "context": lambda layer: layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: (2 * args[0],)),
}


@pytest.mark.parametrize("case", HOOKED)
def test_what_hooks_change_is_the_models_doing(case, tmp_path):
    model = tiny.load("qwen3", tmp_path)
    model = inspector.load(model.model, model.tokenizer) if case == "queries" else model
    handle = HOOKED[case](model.model.model.layers[1])
    report = inspector.verify(model, tiny.ids(20), controls=False, spliced=False)
    assert report.summary().startswith("The model has hooks of its own in its attention (")
    assert "on model.layers.1.self_attn" in report.summary()
    assert (report.ok, report.verdict, report.first_difference.layer) == (False, "different", 1)
    handle.remove()
    assert inspector.verify(model, tiny.ids(20), controls=False, spliced=False).ok


SET = {
    "scale": ("grouped", "scaling", 0.9),
    "both ways": ("grouped", "is_causal", False),
    "cap": ("gemma2", "attn_logit_softcapping", None),
    "epsilon": ("qwen3", "q_norm.variance_epsilon", 1.0),
}


@pytest.mark.parametrize("case", SET)
def test_what_was_set_in_a_module_is_the_models_doing(case, tmp_path):
    kind, attribute, value = SET[case]
    model = tiny.load(kind, tmp_path)
    *inner, last = attribute.split(".")
    setattr(model.model.get_submodule(".".join(["model.layers.1.self_attn", *inner])), last, value)
    report = inspector.verify(model, tiny.ids(20), controls=False, spliced=False)
    said = f"a setting of its own (model.layers.1.self_attn.{attribute} is {value} where its class makes "
    assert said in report.summary()
    assert (report.ok, report.first_difference.layer) == (False, 1)
    assert getattr(model.model.get_submodule(".".join(["model.layers.1.self_attn", *inner])), last) is value


def test_what_is_harmless_is_not_named_and_the_model_keeps_all_of_it_meanwhile(tmp_path, monkeypatch):
    """Others may run the model while its verification asks what it would do without its hooks."""
    model, seen, holds = tiny.load("qwen3", tmp_path), [], causes_in_model._holds
    attention = model.model.model.layers[1].self_attn
    attention.v_proj.register_forward_hook(steer)
    attention.attention_dropout = 0.5  # of training alone

    def looked_at(*given):
        seen.append((len(attention.v_proj._forward_hooks), attention.attention_dropout))
        return holds(*given)

    monkeypatch.setattr(causes_in_model, "_holds", looked_at)
    report = inspector.verify(model, tiny.ids(20), controls=False, spliced=False)
    assert set(seen) == {(1, 0.5)}
    assert "(steer on model.layers.1.self_attn.v_proj)" in report.summary()
    assert "attention_dropout" not in report.summary()


def test_another_error_beside_hooks_stays_the_reimplementations(tmp_path, monkeypatch):
    model = tiny.load("qwen3", tmp_path)
    model.model.model.layers[1].self_attn.v_proj.register_forward_hook(steer)
    layers = model.reimplementation
    layers[2].projections.q_proj.weight.data = layers[2].projections.q_proj.weight.data * 1.1
    monkeypatch.setattr(inspector.Model, "reimplementation", property(lambda self: layers))
    report = inspector.verify(model, tiny.ids(20), controls=False, spliced=False)
    assert report.summary().startswith("The reimplementation differs first at layer 1")


# -- the library's own two forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grouped", "gemma2", "qwen3"])
def test_float64_whose_eager_softmax_is_in_float32_is_equal(kind, tmp_path):
    report = inspector.verify(tiny.load(kind, tmp_path, dtype="float64"), tiny.ids(40), controls=False)
    assert (report.ok, report.spliced.ok) == (True, True), report.summary()


def test_in_float64_another_attention_is_no_noise():
    logits = torch.tensor([[10.0, -3.0]], dtype=torch.float64)
    assert is_noise(3e-5, logits)
    assert not is_noise(5e-5, logits)
    assert not is_noise(0.01, logits.float())
