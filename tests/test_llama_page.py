"""reimpl/llama.py, the page to start reading at: complete, short, alone, and equal to the last bit."""

import ast
import inspect
import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import reimpl.llama
from reimpl.attention import CausalSelfAttention
from reimpl.checkpoint import TensorFiles, load_layers
from reimpl.llama import LlamaAttention
from reimpl.spec import AttentionSpec, RopeSpec

PAGE = Path(reimpl.llama.__file__)
REIMPL = str(PAGE.parent)


def test_the_page_is_a_page_and_imports_nothing_but_torch():
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name for node in nodes for alias in node.names
    }
    assert modules == {"torch"}


def test_every_line_that_reshapes_says_what_comes_out():
    reshapes = ("view(", "transpose(", "flatten(", "repeat_interleave(", "chunk(", "cat(", "arange(")
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if any(word in line for word in reshapes):
            assert "# " in line, line
            assert "[" in line.partition("# ")[2], line


@pytest.mark.packaged
def test_it_equals_the_library_and_the_general_layer_bit_for_bit_in_all_layers(smollm, houston):
    """The library's own modules, eager, each on what it was really given."""
    folder = smollm.source.folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors, ours = TensorFiles(folder), load_layers(folder)
    library = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    given, returned = {}, {}
    for i, block in enumerate(library.model.layers):
        block.input_layernorm.register_forward_hook(lambda _, __, out, i=i: given.update({i: out}))
        block.self_attn.register_forward_hook(lambda _, __, out, i=i: returned.update({i: out[0]}))
    with torch.inference_mode():
        library(torch.tensor([houston.tokens.ids]))
        assert len(returned) == len(ours) == 30
        for i, layer in enumerate(ours):
            page = LlamaAttention(
                heads=config["num_attention_heads"],
                kv_heads=config["num_key_value_heads"],
                d_head=config["hidden_size"] // config["num_attention_heads"],
                d_model=config["hidden_size"],
                theta=layer.spec.rope.theta,
            )
            names = {name: f"model.layers.{i}.self_attn.{name}" for name in page.state_dict()}
            page.load_state_dict({name: tensors[theirs].float() for name, theirs in names.items()})
            output = page(given[i])
            assert torch.equal(output, returned[i])
            assert torch.equal(output[0], layer(given[i][0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_it_equals_the_general_layer_in_batches_and_in_half_precision(kv_heads, dtype):
    page = LlamaAttention(heads=4, kv_heads=kv_heads, d_head=8, d_model=24, theta=500.0).to(dtype)
    spec = AttentionSpec(heads=4, kv_heads=kv_heads, d_head=8, d_model=24, scale=8**-0.5, rope=RopeSpec(500.0, 8))
    layer = CausalSelfAttention(spec).to(dtype)
    layer.load_state_dict({n if n == "o_proj.weight" else f"projections.{n}": t for n, t in page.state_dict().items()})
    x = torch.randn(3, 19, 24).to(dtype)
    with torch.no_grad():
        assert torch.equal(page(x), layer(x))


# -- the general layer reads as a page, too ------------------------------------------------------------------------


def calls_of_a_forward(layer: CausalSelfAttention, x: torch.Tensor) -> list[str]:
    """Names of the Python functions of reimpl/ that one forward calls, one entry a call."""
    found: list[str] = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(REIMPL):
            found.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        layer(x)
    finally:
        sys.setprofile(before)
    return found


def llama_layer() -> CausalSelfAttention:
    spec = AttentionSpec(heads=4, kv_heads=2, d_head=8, d_model=32, scale=8**-0.5, rope=RopeSpec(100.0, 8))
    return CausalSelfAttention(spec).eval()


def test_a_llama_layers_forward_makes_few_calls():
    calls = calls_of_a_forward(llama_layer(), torch.randn(5, 32))
    assert "scaled_scores" in calls  # the count sees what runs
    assert len(calls) <= 32
    assert calls.count("cos_sin") == 1  # one table for queries and keys
    assert calls.count("after_rotation") == 1
    assert calls.count("apply_rotation") == 2


def test_forward_holds_the_steps_in_order_and_fits_a_page():
    lines = inspect.getsource(CausalSelfAttention.forward).splitlines()
    assert len(lines) <= 45
    steps = ["project", "rotate", "after_rotation", "score", "mask", "weigh", "weighted_sum", "output_projection"]
    text = "\n".join(lines)
    places = [text.index(f"self.{step}(") for step in steps]
    assert places == sorted(places)
    calls = calls_of_a_forward(llama_layer(), torch.randn(5, 32))
    assert [name for name in calls if name in steps and name != "project"] == steps[1:]


def test_stages_are_those_of_forward():
    layer, x = llama_layer(), torch.randn(5, 32)
    with torch.no_grad():
        stages = layer.stages(x)
        assert torch.equal(stages.output, layer(x))
        assert torch.equal(layer.rotate(stages.query_pre, stages.key_pre, torch.arange(5))[0], stages.query)
