"""Forward passes: positions of our choice, generation that stops at the end of the text, updates of the residual."""

from __future__ import annotations

import pytest
import tiny
import torch

import inspector
from inspector.coverage import tiny as types
from inspector.errors import InspectorError
from inspector.model import sizes

GAPS = [0, 1, 2, 3, 5, 6]


# -- positions travel with an attention mask ---------------------------------------------------------------------------


def received(model, **arguments) -> list[torch.Tensor]:
    """What each block of the library's model receives when it is called by hand, [t, d_model] each."""
    with torch.inference_mode():
        found = model.model(output_hidden_states=True, use_cache=False, **arguments)
    return [states[0] for states in found.hidden_states[:-1]]


@pytest.mark.parametrize("kind", ["grouped", "qwen3", "gemma2", "mistral", "olmo2", "phi3"])
@pytest.mark.parametrize("places", [GAPS, [3, 4, 9, 10, 11, 30]], ids=str)
def test_a_gap_among_positions_parts_no_prompt_in_two(kind, places, tmp_path):
    model = tiny.load(kind, tmp_path)
    prompt, positions = torch.tensor([tiny.ids(6)]), torch.tensor([places])
    found = model.passes.residuals(tiny.ids(6), positions=places)
    whole = received(model, input_ids=prompt, position_ids=positions, attention_mask=torch.ones_like(prompt))
    packed = received(model, input_ids=prompt, position_ids=positions)
    assert all(map(torch.equal, found, whole))
    assert not torch.equal(found[-1], packed[-1])  # without the mask the library takes it for two prompts


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "cohere"])
def test_so_it_is_of_types_that_are_not_in_the_list(kind, tmp_path):
    model = inspector.load(types.save(types.types()[kind], tmp_path))
    prompt = torch.tensor([tiny.ids(6)])
    whole = received(model, input_ids=prompt, position_ids=torch.tensor([GAPS]), attention_mask=torch.ones_like(prompt))
    assert all(map(torch.equal, model.passes.residuals(tiny.ids(6), positions=GAPS), whole))


@pytest.mark.parametrize("places", [[0, 1, 2], [0, 1, 2, 3, 3, 4], [-1, 0, 1, 2, 3, 4], [5, 4, 3, 2, 1, 0]], ids=str)
def test_positions_that_place_no_prompt_are_refused(places, tmp_path):
    model = tiny.load("grouped", tmp_path)
    with pytest.raises(InspectorError, match=r"do not place 6 tokens: give each token one number from 0 on"):
        model.passes.residuals(tiny.ids(6), positions=places)


def test_positions_beyond_the_last_are_refused(tmp_path):
    model = tiny.load("grouped", tmp_path)
    with pytest.raises(InspectorError, match="Position 256 does not exist"):
        model.passes.residuals(tiny.ids(6), positions=[0, 1, 2, 3, 4, 256])


# -- generation stops where the model ends its text --------------------------------------------------------------------


def written(model, count: int = 12) -> list[int]:
    trace = model.trace(tiny.ids(5), generate=count)
    return list(trace.tokens.ids[trace.prompt_length :])


def unended(model, count: int = 12) -> list[int]:
    return model.passes.continuation(tiny.ids(5), count, past_the_end=True)


def until(tokens: list[int], ends: list[int]) -> list[int]:
    return tokens[: 1 + min(tokens.index(end) for end in ends if end in tokens)]


@pytest.mark.parametrize("kind", ["grouped", "qwen3", "gemma2", "olmo2", "phi3"])
@pytest.mark.parametrize("said", ["number", "list", "config"])
def test_generation_stops_at_the_models_own_end(kind, said, tmp_path):
    model = tiny.load(kind, tmp_path)
    tokens = unended(model)
    end = tokens[4]
    if said == "config":
        model.model.generation_config.eos_token_id, model.model.config.eos_token_id = None, end
    else:
        model.model.generation_config.eos_token_id = end if said == "number" else [127, end]
    expected = until(tokens, [end])
    assert written(model) == expected
    assert len(expected) < 12
    assert unended(model) == tokens  # what verification compares goes on
    if said != "config":  # the library's own generate does the same
        given = torch.tensor([tiny.ids(5)])
        theirs = model.model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=12, do_sample=False)
        assert theirs[0, 5:].tolist() == expected


def test_without_an_end_all_tokens_are_written(tmp_path):
    model = tiny.load("grouped", tmp_path)
    assert sizes.end_tokens(model.model) == frozenset()
    assert written(model) == unended(model)


def test_a_saved_generation_config_is_followed(tmp_path):
    model = tiny.load("grouped", tmp_path)
    tokens = unended(model)
    model.model.generation_config.eos_token_id = [tokens[3], tokens[6]]
    model.model.generation_config.save_pretrained(tmp_path)
    assert written(inspector.load(tmp_path)) == until(tokens, [tokens[3], tokens[6]])


def test_a_chats_answer_ends_with_its_turn(smollm):
    trace = smollm.trace("Say hi.", chat=True, generate=40)
    answer = trace.tokens.texts[trace.prompt_length :]
    assert trace.n < trace.prompt_length + 40
    assert answer[-1] == "<|im_end|>"
    assert "<|im_start|>" not in answer


# -- what is really added to the residual ------------------------------------------------------------------------------

PLAIN = ("llama", "qwen3", "mistral", "gpt_neo", "dbrx")
PARALLEL = ("gptj", "cohere", "gpt_neox", "phi", "falcon")


def after_attention(model, ids: list[int], part: str) -> list[torch.Tensor]:
    """What this part of each block is called with, [t, d_model] each: by a hook of our own."""
    found: list[torch.Tensor] = []
    blocks = [module for name, module in model.model.named_modules() if name.endswith("." + part)]
    handles = [block.register_forward_pre_hook(lambda _, args: found.append(args[0][0])) for block in blocks]
    with torch.inference_mode():
        model.model(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize(
    ("kind", "part"),
    [("gemma2", "pre_feedforward_layernorm"), ("gemma3_text", "pre_feedforward_layernorm"), ("olmo2", "mlp"),
     ("glm4", "post_attention_layernorm"), ("granite", "post_attention_layernorm"),
     ("llama", "post_attention_layernorm")],
)  # fmt: skip
def test_the_residual_and_its_update_are_what_the_block_goes_on_with(kind, part, tmp_path):
    model = inspector.load(types.save(types.types()[kind], tmp_path))
    for module in model.model.modules():
        if hasattr(module, "residual_multiplier"):  # Granite's: 1 unless a config says otherwise
            module.residual_multiplier = 0.4
    ids = tiny.ids(12)
    trace = model.trace(ids)
    sums = after_attention(model, ids, part)
    assert len(sums) == len(trace.layers)
    for layer, total in enumerate(sums):
        assert torch.equal(trace.residual(layer) + trace.residual_update(layer), total)
        assert torch.equal(trace.residual_update(layer), trace.output(layer)) == (kind == "llama")


@pytest.mark.parametrize("kind", [*PLAIN, *PARALLEL])
def test_where_nothing_stands_between_the_update_is_the_output(kind, tmp_path):
    trace = inspector.load(types.save(types.types()[kind], tmp_path)).trace(tiny.ids(12))
    for layer in range(len(trace.layers)):
        assert torch.equal(trace.residual_update(layer), trace.output(layer)), layer


def test_an_update_that_no_sum_shows_is_refused(tmp_path):
    trace = inspector.load(types.save(types.types()["gemma3n_text"], tmp_path)).trace(tiny.ids(12))
    with pytest.raises(InspectorError, match=r"What layer 0 of .* adds to the residual stream cannot be told: .*; out"):
        trace.residual_update(0)


def test_updates_are_saved_with_their_trace(tmp_path):
    trace = tiny.load("gemma2", tmp_path).trace(tiny.ids(8))
    update = trace.residual_update(1)
    trace.save(tmp_path / "t.safetensors")
    assert torch.equal(inspector.open_trace(tmp_path / "t.safetensors").residual_update(1), update)
