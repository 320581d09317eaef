"""Dumps: whatever the file, the names and the order of axes, the same numbers are read; what cannot be is refused."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import inspector
from inspector import Model, Trace
from inspector.errors import InspectorError
from inspector.judging.dump_names import place_of
from inspector.judging.dumps import Dumps, dumped_ids
from inspector.judging.layouts import read_layout
from inspector.verification.compare import STAGES
from inspector.verification.reference import library_stages

IDS = tiny.ids(9)
OF_HEADS = ("query_pre", "key_pre", "query", "key", "value", "context")
Numbers = dict[int, dict[str, Tensor]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny.load("grouped", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def trace(model: Model) -> Trace:
    return model.trace(IDS, keep=("input",))


def read_dumps(path: Path, model: Model, trace: Trace) -> Dumps:
    dumps = Dumps(path, model)
    dumps.attach(trace)
    return dumps


def right_numbers(trace: Trace) -> Numbers:
    """Layer -> its input and stages, as the library computes them."""
    return {
        layer.info.index: {"input": trace.input(layer.info.index), **vars(library_stages(layer, layer.info.kv_heads))}
        for layer in trace.stored
    }


@pytest.fixture(scope="module")
def numbers(trace: Trace) -> Numbers:
    return right_numbers(trace)


def assert_read(dumps: Dumps, numbers: Numbers, trace: Trace) -> None:
    """Every stage of every layer is there, and in our shape has no other number."""
    assert dumps.layers == tuple(numbers)
    for layer, right in numbers.items():
        found = dumps.answer(layer, trace.input(layer))
        assert tuple(found) == tuple(stage for stage in STAGES if stage in right)
        for stage, tensor in found.items():
            ours, _ = read_layout(stage, tensor, right[stage], trace.layers[layer].heads)
            assert torch.equal(ours, right[stage]), (layer, stage)
        if "input" in right:
            assert torch.equal(dumps.input(layer), right["input"])


def flat(numbers: Numbers, name: str = "layers.{layer}.{stage}") -> dict[str, Tensor]:
    return {
        name.format(layer=layer, stage=stage): tensor.contiguous().clone()
        for layer, stages in numbers.items()
        for stage, tensor in stages.items()
    }


# -- kinds of files ---------------------------------------------------------------------------------------------------


def one_safetensors(folder: Path, numbers: Numbers) -> Path:
    save_file(flat(numbers), folder / "all.safetensors")
    return folder / "all.safetensors"


def a_safetensors_a_layer(folder: Path, numbers: Numbers) -> Path:
    for layer, stages in numbers.items():
        save_file(
            {stage: tensor.contiguous() for stage, tensor in stages.items()}, folder / f"layer_{layer}.safetensors"
        )
    return folder


def one_npz(folder: Path, numbers: Numbers) -> Path:
    np.savez_compressed(folder / "all.npz", **{name: tensor.numpy() for name, tensor in flat(numbers).items()})
    return folder / "all.npz"


def npy_files(folder: Path, numbers: Numbers) -> Path:
    for name, tensor in flat(numbers).items():
        np.save(folder / f"{name}.npy", tensor.numpy())
    return folder


def npy_in_folders(folder: Path, numbers: Numbers) -> Path:
    for name, tensor in flat(numbers, "layer_{layer}/{stage}.npy").items():
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, tensor.numpy())
    return folder


def big_endian_fortran(folder: Path, numbers: Numbers) -> Path:
    for name, tensor in flat(numbers).items():
        np.save(folder / f"{name}.npy", np.asfortranarray(tensor.numpy()).astype(">f4"))
    return folder


FILES = (one_safetensors, a_safetensors_a_layer, one_npz, npy_files, npy_in_folders, big_endian_fortran)


@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
def test_each_kind_of_file_is_read(write: Callable[[Path, Numbers], Path], model, trace, numbers, tmp_path):
    dumps = read_dumps(write(tmp_path, numbers), model, trace)
    assert_read(dumps, numbers, trace)
    assert dumps.said == ()


def test_half_precision_keeps_its_dtype(model, trace, numbers, tmp_path):
    half = {layer: {name: each.bfloat16() for name, each in stages.items()} for layer, stages in numbers.items()}
    dumps = read_dumps(one_safetensors(tmp_path, half), model, trace)
    assert dumps.answer(0, trace.input(0))["query"].dtype == torch.bfloat16
    assert_read(dumps, half, trace)


def test_bfloat16_as_16_bit_integers_is_read_where_dump_json_says_so(model, trace, numbers, tmp_path):
    query = numbers[0]["query"].bfloat16()
    np.save(tmp_path / "layers.0.query.npy", query.view(torch.int16).numpy().view(np.uint16))
    with pytest.raises(InspectorError, match=r'holds int16 numbers.*needs "dtype": "bfloat16" in dump.json'):
        read_dumps(tmp_path, model, trace).answer(0, trace.input(0))
    (tmp_path / "dump.json").write_text('{"dtype": "bfloat16"}')
    assert torch.equal(read_dumps(tmp_path, model, trace).answer(0, trace.input(0))["query"], query)


def test_any_layers_and_stages_will_do(model, trace, numbers, tmp_path):
    some = {1: {"query": numbers[1]["query"], "output": numbers[1]["output"]}}
    assert_read(read_dumps(one_npz(tmp_path, some), model, trace), some, trace)
    assert read_dumps(tmp_path, model, trace).input(1) is None


# -- orders of axes ---------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "[h, n, d]": lambda x: x,
    "[n, h, d]": lambda x: x.transpose(0, 1),
    "[n, h*d]": lambda x: x.transpose(0, 1).flatten(1),
    "[1, h, n, d]": lambda x: x[None],
    "[1, n, h, d]": lambda x: x.transpose(0, 1)[None],
    "[1, n, h*d]": lambda x: x.transpose(0, 1).flatten(1)[None],
}


def laid_out(numbers: Numbers, change: Callable[[Tensor], Tensor], stages: tuple[str, ...] = OF_HEADS) -> Numbers:
    return {
        layer: {stage: change(each) if stage in stages else each for stage, each in of_layer.items()}
        for layer, of_layer in numbers.items()
    }


@pytest.mark.parametrize("said", [True, False], ids=["said", "recognised"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read(layout, said, model, trace, numbers, tmp_path):
    one_safetensors(tmp_path, laid_out(numbers, LAYOUTS[layout]))
    if said:
        (tmp_path / "dump.json").write_text(json.dumps({"layout": layout.replace("[1, ", "[")}))
    assert_read(read_dumps(tmp_path, model, trace), numbers, trace)


def test_as_many_tokens_as_heads_are_told_apart(model, tmp_path):
    trace = model.trace(tiny.ids(4), keep=("input",))  # [4, 4, 16] either way
    numbers = {0: {"query": right_numbers(trace)[0]["query"]}}
    one_safetensors(tmp_path, laid_out(numbers, LAYOUTS["[n, h, d]"]))
    (tmp_path / "dump.json").write_text('{"layout": "[n,h,d]"}')
    assert_read(read_dumps(tmp_path, model, trace), numbers, trace)
    (tmp_path / "dump.json").write_text('{"layout": "[h,n,d]"}')  # a negative control: what is said is heeded
    found = read_dumps(tmp_path, model, trace).answer(0, trace.input(0))["query"]
    assert not torch.equal(found, numbers[0]["query"])


def test_keys_and_values_repeated_for_each_query_head_are_read(model, trace, numbers, tmp_path):
    repeated = laid_out(numbers, lambda x: x.repeat_interleave(2, 0), ("key_pre", "key", "value"))
    assert_read(read_dumps(one_npz(tmp_path, repeated), model, trace), numbers, trace)


def interleaved(x: Tensor) -> Tensor:
    """Halves x0 .. y0 .. written as pairs x0 y0 x1 y1 .."""
    return torch.stack(x.chunk(2, -1), -1).flatten(-2)


def test_pairs_are_put_into_the_models_order_where_dump_json_says_so(model, trace, numbers, tmp_path):
    turned = ("query_pre", "key_pre", "query", "key")
    one_safetensors(tmp_path, laid_out(laid_out(numbers, interleaved, turned), LAYOUTS["[n, h*d]"]))
    found = read_dumps(tmp_path, model, trace).answer(0, trace.input(0))["query"]
    assert not torch.equal(found.unflatten(1, (4, 16)).transpose(0, 1), numbers[0]["query"])
    (tmp_path / "dump.json").write_text('{"pairing": "pairs"}')
    dumps = read_dumps(tmp_path, model, trace)
    assert_read(dumps, numbers, trace)
    assert dumps.said == ("Dimensions of queries and keys were put into the model's order, halves from pairs",)


# -- llama.cpp --------------------------------------------------------------------------------------------------------

GGML = {
    "query": "Qcur",
    "key": "Kcur",
    "value": "Vcur",
    "weights": "kq_soft_max",
    "context": "kqv",
    "input": "attn_norm",
}


def ggml(x: Tensor, stage: str) -> Tensor:
    """A stage as ggml has it in memory, the slowest dimension first: [n, h, d], and weights padded."""
    if stage == "weights":
        return torch.nn.functional.pad(x, (0, 32 - x.shape[-1]))
    return x.transpose(0, 1) if stage in ("query", "key", "value") else x


def sizes_reversed(x: Tensor) -> np.ndarray:
    """ggml's sizes over ggml's memory: what a program writes that copies both."""
    return x.contiguous().numpy().reshape(x.shape[::-1])


def all_reversed(x: Tensor) -> np.ndarray:
    return x.contiguous().numpy().T


def as_numpy(x: Tensor) -> np.ndarray:
    return x.contiguous().numpy()


@pytest.mark.parametrize("write", [sizes_reversed, all_reversed, as_numpy], ids=lambda write: write.__name__)
@pytest.mark.parametrize("newer", [True, False], ids=["kqv_out before W_o", "kqv_out after W_o"])
def test_llama_cpps_names_are_read(write, newer, model, trace, numbers, tmp_path):
    for layer, stages in numbers.items():
        for stage, name in GGML.items():
            np.save(tmp_path / f"{name}-{layer}.npy", write(ggml(stages[stage], stage)))
        last = stages["context"].transpose(0, 1).flatten(1) if newer else stages["output"]
        np.save(tmp_path / f"kqv_out-{layer}.npy", write(last))
        np.save(tmp_path / f"kq-{layer}.npy", write(stages["weights"]))
        np.save(tmp_path / f"ffn_out-{layer}.npy", write(stages["output"]))
        if newer:
            (tmp_path / f"kqv-{layer}.npy").unlink()
    expected = {
        layer: {stage: stages[stage] for stage in (*GGML, *(() if newer else ("output",)))}
        for layer, stages in numbers.items()
    }
    dumps = read_dumps(tmp_path, model, trace)
    assert_read(dumps, expected, trace)
    told = " ".join(dumps.said)
    assert f"kqv_out-0 was read as {'context' if newer else 'output'}, whose numbers are the nearest" in told
    assert "scores are not compared by themselves" in told
    assert "no stage of attention is called so: ffn_out-0, ffn_out-1, ffn_out-2" in told


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "stages"),
    [
        ("layers.3.query_pre", 3, ("query_pre",)),
        ("layer_3/q", 3, ("query",)),
        ("3/attn_weights", 3, ("weights",)),
        ("model.layers.11.self_attn.v_proj", 11, ("value",)),
        ("blocks.2.attn.hook_rot_q", 2, ("query",)),
        ("blocks.2.attn.hook_q", 2, ("query_pre",)),
        ("blocks.2.hook_attn_out", 2, ("output",)),
        ("Qcur-17", 17, ("query",)),
        ("dump/kqv_out-17", 17, ("context", "output")),
        ("key_after_5", None, None),
        ("key_5", 5, ("key",)),
        ("l5.attn", 5, ("weights",)),
        ("value", None, ("value",)),
        ("layers.0.scores", 0, ()),
        ("layers.0.mlp.out", None, None),
        ("layers.0.1.query", None, None),
        ("ffn_out-0", None, None),
        ("", None, None),
    ],
)
def test_names_say_layer_and_stage(name, layer, stages):
    place = place_of(name)
    assert (place and place.layer, place and place.stages) == (layer, stages)


def test_what_a_module_gives_before_its_norm_is_no_stage(tmp_path):
    model = tiny.load("qwen3", tmp_path / "model")
    trace = model.trace(IDS, keep=("input",))
    stage = vars(library_stages(trace.stored[0]))["value"].contiguous()
    save_file(
        {f"model.layers.0.self_attn.{name}": stage.clone() for name in ("q_proj", "v_proj")}, tmp_path / "d.safetensors"
    )
    dumps = read_dumps(tmp_path / "d.safetensors", model, trace)
    assert tuple(dumps.answer(0, trace.input(0))) == ("value",)
    assert dumps.said == ("q_proj is what a module gives before its norm: that is no stage here",)


def test_a_name_without_a_layer_is_of_the_one_that_dump_json_lists(model, trace, numbers, tmp_path):
    np.save(tmp_path / "query.npy", numbers[2]["query"].numpy())
    with pytest.raises(
        InspectorError, match=r'query in .*query.npy names no layer: call it layers.0.query, or write "lay'
    ):
        read_dumps(tmp_path, model, trace)
    (tmp_path / "dump.json").write_text('{"layers": [2]}')
    assert_read(read_dumps(tmp_path, model, trace), {2: {"query": numbers[2]["query"]}}, trace)


# -- token ids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["dump.json", "ids.npy", "all.safetensors"])
def test_ids_are_compared_first(place, model, trace, numbers, tmp_path):
    def write(ids: list[int]) -> Path:
        if place == "dump.json":
            (tmp_path / place).write_text(json.dumps({"ids": ids}))
        elif place == "ids.npy":
            np.save(tmp_path / place, np.array(ids, np.int32))
        else:
            save_file({**flat(numbers), "input_ids": torch.tensor([ids])}, tmp_path / place)
        return tmp_path

    one_safetensors(tmp_path, numbers)
    assert_read(read_dumps(write(IDS), model, trace), numbers, trace)
    assert dumped_ids(tmp_path) == tuple(IDS)
    for ids, why in (
        ([1, *IDS], r"it has one token more in front \(1\), as of another beginning of a sequence"),
        (IDS[1:], r"it has one token less in front \(0\)"),
        (IDS[:4], "it is of 4 tokens, and this prompt of 9"),
        ([*IDS[:4], 99, *IDS[5:]], "it has token id 99 at position 4, and this prompt 28"),
    ):
        with pytest.raises(
            InspectorError, match=f"is a dump of another prompt or model: {why}.*run your code on the ids 0, 7"
        ):
            read_dumps(write(ids), model, trace)


def test_a_dump_without_ids_has_none(numbers, tmp_path):
    assert dumped_ids(one_npz(tmp_path, numbers)) is None


# -- what is refused --------------------------------------------------------------------------------------------------


def pickled_npy(folder: Path, right: Tensor) -> None:
    with (folder / "layers.0.query.npy").open("wb") as file:
        pickle.dump(right.numpy(), file)


def object_npy(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.query.npy", np.array([{}], dtype=object), allow_pickle=True)


def object_npz(folder: Path, right: Tensor) -> None:
    np.savez(folder / "layers.0.npz", query=np.array([{}], dtype=object))


def torch_file(folder: Path, right: Tensor) -> None:
    torch.save(right, folder / "query.pt")


def cut_npy(folder: Path, right: Tensor) -> None:
    file = folder / "layers.0.query.npy"
    np.save(file, right.numpy())
    file.write_bytes(file.read_bytes()[:-8])


def lying_npy(folder: Path, right: Tensor) -> None:
    with (folder / "layers.0.query.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2**20)}
        np.lib.format.write_array_header_1_0(file, header)


def no_npy(folder: Path, right: Tensor) -> None:
    (folder / "layers.0.query.npy").write_bytes(b"0.1 0.2 0.3")


def no_zip(folder: Path, right: Tensor) -> None:
    (folder / "layers.0.npz").write_bytes(b"PK\x03\x04 and no more")


def text_in_npz(folder: Path, right: Tensor) -> None:
    with zipfile.ZipFile(folder / "layers.0.npz", "w") as file:
        file.writestr("query.npy", "hello")


def no_safetensors(folder: Path, right: Tensor) -> None:
    (folder / "layers.0.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}")


def twice_in_a_header(folder: Path, right: Tensor) -> None:
    entry = '"query": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    header = f"{{{entry}, {entry}}}".encode()
    (folder / "layers.0.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)


def whole_numbers(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.query.npy", right.int().numpy())


def complex_numbers(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.query.npy", right.numpy().astype(np.complex64))


def another_width(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.query.npy", right[..., :12].numpy())


def one_token_more(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.query.npy", torch.cat((right, right[:, :1]), 1).numpy())


def much_too_large(folder: Path, right: Tensor) -> None:
    np.savez_compressed(folder / "layers.0.npz", query=np.zeros((4, 50_000, 16), np.float32))


def another_layout(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.query.npy", right.numpy())
    (folder / "dump.json").write_text('{"layout": "[n, h, d]"}')


def seven_axes(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.query.npy", right.reshape(1, 1, 1, 1, *right.shape).numpy())


def a_layer_more(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.3.query.npy", right.numpy())


def a_stage_twice(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.query.npy", right.numpy())
    np.save(folder / "layers.0.q.npy", right.numpy())


def no_stage(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.mlp.npy", right.numpy())


def nothing(folder: Path, right: Tensor) -> None:
    (folder / "README.md").write_text("Soon.")


def layer_not_listed(folder: Path, right: Tensor) -> None:
    np.save(folder / "layers.0.query.npy", right.numpy())
    (folder / "dump.json").write_text('{"layers": [1, 2]}')


REFUSED = [
    (
        pickled_npy,
        r"query.npy is a pickled file, which can run code when it is read, and is not opened: write safetensors",
    ),
    (object_npy, r"query.npy is a pickled file, which can run code"),
    (object_npz, r"layers.0.npz is a pickled file, which can run code"),
    (torch_file, r"query.pt is a pickled file, which can run code"),
    (cut_npy, r"query.npy is damaged, or no .npy file \("),
    (lying_npy, r"query.npy is damaged, or no .npy file \(its header says shape \[1099511627776, 1048576\]"),
    (
        no_npy,
        r"query.npy is damaged, or no .npy file \(it does not begin as an .npy of version 1 or 2 does\)",
    ),
    (no_zip, r"layers.0.npz is damaged, or no .npz file \("),
    (text_in_npz, r"layers.0.npz is damaged, or no .npz file \("),
    (no_safetensors, r"layers.0.safetensors is damaged, or no .safetensors file \("),
    (twice_in_a_header, r"layers.0.safetensors is damaged, .*its header has .*query.* twice"),
    (whole_numbers, r"layers.0.query in .* holds int32 numbers: write float32, float64, float16 or bfloat16\."),
    (complex_numbers, r"layers.0.query in .* holds complex64 numbers"),
    (
        another_width,
        r"Layer 0's query in .* has the shape \[4, 9, 12\], and of this model and prompt it is \[4, 9, 16\], ",
    ),
    (one_token_more, r"has the shape \[4, 10, 16\].* where this looks like 10 tokens and the prompt has 9\."),
    (much_too_large, r"has the shape \[4, 50000, 16\], and of this model and prompt it is"),
    (
        another_layout,
        r"Layer 0's query in .* has the shape \[4, 9, 16\], .*it is \[9, 4, 16\] in the layout \[n, h, d\] that",
    ),
    (seven_axes, r"layers.0.query in .* has 7 axes; at most 6 are read\."),
    (
        a_layer_more,
        r"layers.3.query in .* is of layer 3, and this model's layers of attention are 0 to 2: the dump is of an",
    ),
    (
        a_stage_twice,
        r"Layer 0's query stands twice in the dump, as layers.0.q in .* and as layers.0.query in .*: leave one",
    ),
    (
        no_stage,
        r"has no stage of attention in it, only layers.0.mlp: call them layers.0.input, layers.0.query_pre, key_pre",
    ),
    (nothing, r"has no arrays in it: put .safetensors, .npy or .npz files there\."),
    (layer_not_listed, r"layers.0.query in .* is of layer 0, which dump.json does not list\."),
]


@pytest.mark.parametrize(("write", "sentence"), REFUSED, ids=[write.__name__ for write, _ in REFUSED])
def test_what_cannot_be_read_is_refused_in_a_sentence(write, sentence, model, trace, numbers, tmp_path):
    write(tmp_path, numbers[0]["query"].contiguous())
    with pytest.raises(InspectorError, match=sentence) as refused:
        read_dumps(tmp_path, model, trace).answer(0, trace.input(0))
    assert str(refused.value).count("\n") == 0


def test_no_pickle_is_ever_opened(model, trace, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "layers.0.query.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(InspectorError, match="pickled"):
        read_dumps(tmp_path, model, trace)
    assert not (tmp_path / "sprung").exists()
    np.load(tmp_path / "layers.0.query.npy", allow_pickle=True)  # a negative control: this is how it would go
    assert (tmp_path / "sprung").exists()


def test_what_is_no_dump_is_refused(model, trace, tmp_path):
    with pytest.raises(
        InspectorError, match="nowhere does not exist: give the folder or the file that your dumps are in"
    ):
        read_dumps(tmp_path / "nowhere", model, trace)
    (tmp_path / "query.txt").write_text("0.1")
    with pytest.raises(InspectorError, match=r"query.txt is no dump: write safetensors, .npy or .npz"):
        read_dumps(tmp_path / "query.txt", model, trace)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no JSON that can be read"),
        ("[" * 100_000, "is no JSON that can be read"),
        ("[]", "holds no object"),
        (
            '{"device": "cuda"}',
            "has the field device, which is not known: it may have schema, ids, dtype, layout, pairing, layers",
        ),
        ('{"schema": 2}', "has the schema 2, and this version reads 1"),
        ('{"ids": "abc"}', "has ids 'abc': give a list of whole numbers"),
        ('{"ids": [1.5]}', "has ids"),
        ('{"ids": []}', "has ids"),
        ('{"layers": [-1]}', "has layers"),
        ('{"layers": [true]}', "has layers"),
        ('{"layers": [1, 1]}', "names a layer twice"),
        ('{"dtype": "int8"}', "has dtype 'int8': choose float32, float64, float16, bfloat16"),
        ('{"dtype": ["float32"]}', "has dtype"),
        ('{"layout": "hnd"}', r"has layout 'hnd': choose \[h, n, d\], \[n, h, d\], \[n, h\*d\]"),
        ('{"pairing": "thirds"}', "has pairing 'thirds': choose halves, pairs"),
    ],
    ids=range(15),
)
def test_dump_json_is_checked(text, sentence, model, trace, numbers, tmp_path):
    one_safetensors(tmp_path, numbers)
    (tmp_path / "dump.json").write_text(text)
    with pytest.raises(InspectorError, match=f"dump.json {sentence}"):
        read_dumps(tmp_path, model, trace)


def test_hidden_files_and_deep_folders_are_left_alone(model, trace, numbers, tmp_path):
    npy_files(tmp_path, numbers)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.pt").write_bytes(b"")
    deep = tmp_path / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    shutil.copy(tmp_path / "layers.0.query.npy", deep)
    assert_read(read_dumps(tmp_path, model, trace), numbers, trace)


def test_numbers_read_are_not_the_files(model, trace, numbers, tmp_path):
    file = one_safetensors(tmp_path, numbers)
    read_dumps(file, model, trace).answer(0, trace.input(0))["query"].zero_()
    assert torch.equal(load_file(file)["layers.0.query"], numbers[0]["query"])


@pytest.mark.parametrize("write", [one_safetensors, one_npz, npy_files], ids=lambda write: write.__name__)
def test_damaged_files_are_read_or_refused_in_a_sentence(write, model, trace, numbers, tmp_path):
    chance, refused = random.Random(7), []  # noqa: S311
    write(tmp_path, {0: numbers[0]})
    whole = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for _ in range(80):
        file = chance.choice(list(whole))
        bytes_ = bytearray(whole[file])
        for _ in range(chance.randint(1, 4)):  # mostly in headers
            bytes_[chance.randrange(min(len(bytes_), chance.choice((128, 1024))))] = chance.randrange(256)
        file.write_bytes(bytes_[: chance.choice((None, None, chance.randrange(len(bytes_))))])
        try:
            dumps = read_dumps(tmp_path, model, trace)
            dumps.answer(0, trace.input(0))
            dumps.input(0)
        except InspectorError as error:
            refused.append(str(error))
        file.write_bytes(whole[file])
    assert len(refused) > 20
    assert not [sentence for sentence in refused if "\n" in sentence]


# -- judged -----------------------------------------------------------------------------------------------------------


def ggml_files(folder: Path, numbers: Numbers) -> Path:
    for layer, stages in numbers.items():
        for stage, name in {**GGML, "output": "kqv_out"}.items():
            np.save(folder / f"{name}-{layer}.npy", sizes_reversed(ggml(stages[stage], stage)))
    return folder


def tokens_first(folder: Path, numbers: Numbers) -> Path:
    return npy_files(folder, laid_out(numbers, LAYOUTS["[n, h, d]"]))


def flat_batch(folder: Path, numbers: Numbers) -> Path:
    return one_npz(folder, laid_out(numbers, LAYOUTS["[1, n, h*d]"]))


QUICK, OTHERS = [one_safetensors, flat_batch, ggml_files], [*FILES[1:], tokens_first]
JUDGED = [*QUICK, *(pytest.param(write, marks=pytest.mark.slow) for write in OTHERS)]


@pytest.mark.parametrize("write", JUDGED, ids=lambda write: write.__name__)
def test_right_numbers_are_right_in_each_form_with_nothing_differing(write, model, trace, numbers, tmp_path):
    report = inspector.judge(model, write(tmp_path, numbers), trace)
    stages = 7 if write is ggml_files else 9
    assert report.verdict == "right", report
    assert (len(report.table), report.table["differing"].sum()) == (3 * stages, 0)


@pytest.mark.parametrize("write", QUICK, ids=lambda write: write.__name__)
def test_one_wrong_number_is_different_in_each_form(write, model, trace, numbers, tmp_path):
    wrong = {layer: dict(stages) for layer, stages in numbers.items()}
    wrong[1]["value"] = wrong[1]["value"].clone()
    wrong[1]["value"][1, 4, 7] += 0.1
    report = inspector.judge(model, str(write(tmp_path, wrong)), trace)
    assert (report.verdict, report.first_difference.layer, report.first_difference.stage) == ("different", 1, "value")
    assert report.table["differing"].sum() == 1
    assert "head 1, token 4" in report.first_difference.worst


def test_a_number_that_is_none_is_different(model, trace, numbers, tmp_path):
    wrong = {0: {"output": numbers[0]["output"].clone()}}
    wrong[0]["output"][3, 5] = float("nan")
    report = inspector.judge(model, one_npz(tmp_path, wrong), trace)
    assert report.verdict == "different"
    assert "finite" in report.summary()


def test_a_name_that_is_neither_dump_nor_function_is_refused(model):
    with pytest.raises(InspectorError, match="Nor is there a folder or a file of dumps of this name"):
        inspector.judge(model, "no-such-folder", IDS)
