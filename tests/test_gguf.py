"""GGUF files: converted once, whole or not at all, by one process of several; equal to the library's own reading."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers import pre_tokenizers

from inspector.cli import main
from inspector.errors import InspectorError
from inspector.files import cache_dir
from inspector.loading import gguf_conversion, gguf_metadata, gguf_reading, gguf_rope, packaged
from inspector.loading.known_models import models_known
from inspector.loading.library_model import load_library_model
from inspector.loading.quiet_library import quiet
from inspector.loading.resolve import find_model
from inspector.loading.source import PACKAGED
from inspector.model.model import Model

CONVERT = """
import sys
from pathlib import Path
from inspector.loading import gguf_conversion
def say(message, done):
    print(message, flush=True)
    if message.startswith("Flushing") and "stop" in sys.argv:
        sys.stdin.read()  # until the test kills this process
print(gguf_conversion.converted(Path(sys.argv[1]), Path(sys.argv[2]), name="tiny", progress=say))
"""


def write_gguf(
    path: Path,
    *,
    leave_out: str = "",
    architecture: str = "llama",
    merge: str = "a b",
    keys: dict[str, float | int | bool | str] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
    parts: int = 1,
    name: str = "tiny",
    pre: str = "",
    joined: str = "ab",
) -> Path:
    """A random one-layer Llama with a byte-level vocabulary of 259 tokens, as llama.cpp writes it."""
    rng, width, hidden, vocabulary = np.random.default_rng(0), 32, 64, 259
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=0 if parts == 1 else -(-11 // parts))
    writer.add_name(name)
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(hidden)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(50000.0)
    for key, value in (keys or {}).items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](f"{architecture}.{key}", value)
    if leave_out != "tokenizer":
        writer.add_tokenizer_model("gpt2")
        if pre:
            writer.add_tokenizer_pre(pre)
        writer.add_token_list([*letters, joined, "<|start|>", "<|end|>"])
        writer.add_token_types([1] * 257 + [3, 3])
        writer.add_token_merges([merge, merge])  # transformers 5.17 takes a list of one for what is in it
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    shapes = {
        "token_embd": (vocabulary, width),
        "output_norm": (width,),
        "blk.0.attn_norm": (width,),
        "blk.0.ffn_norm": (width,),
        "blk.0.attn_q": (width, width),
        "blk.0.attn_k": (width // 2, width),
        "blk.0.attn_v": (width // 2, width),
        "blk.0.attn_output": (width, width),
        "blk.0.ffn_gate": (hidden, width),
        "blk.0.ffn_up": (hidden, width),
        "blk.0.ffn_down": (width, hidden),
    }
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype(np.float32)
        if name == leave_out:
            continue
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "packaged" not in request.keywords:
        monkeypatch.setenv("ATTENTION_INSPECTOR_CACHE", str(tmp_path / "cache"))


def process(tiny: Path, models: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CONVERT, str(tiny), str(models), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def assert_same(model: torch.nn.Module, other: torch.nn.Module) -> None:
    mine, theirs = model.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def test_a_gguf_file_becomes_what_the_library_reads(tiny: Path) -> None:
    said: list[tuple[str, float | None]] = []
    source = find_model(str(tiny), progress=lambda message, done: said.append((message, done)))
    model, tokenizer = load_library_model(source)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tiny.parent, gguf_file=tiny.name)
    assert_same(model, theirs)
    assert model.config.rope_parameters["rope_theta"] == 50000.0
    assert model.config.max_position_embeddings == 128
    assert model.config.tie_word_embeddings
    assert tokenizer.chat_template == "{{ messages[0]['content'] }}"
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.parent, gguf_file=tiny.name)
    assert (tokenizer.bos_token, tokenizer.eos_token) == (their_tokenizer.bos_token, their_tokenizer.eos_token)
    assert tokenizer.bos_token == "<|start|>"
    assert (source.kind, source.revision) == ("gguf", None)
    done = [fraction for _, fraction in said if fraction is not None]
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_the_second_time_nothing_is_converted_until_the_file_changes(tiny: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(tiny, tmp_path / "own.gguf"))
    first = find_model(str(file)).folder
    said: list[str] = []
    assert find_model(str(file), progress=lambda message, _: said.append(message)).folder == first
    assert said == []
    os.utime(file, (1, 1))
    assert find_model(str(file)).folder != first


def test_the_library_is_left_as_it_was(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import modeling_gguf_pytorch_utils as library

    before = gguf.GGUFReader, gguf.get_tensor_name_map, library.tqdm
    gguf_conversion.converted(tiny, tmp_path, name="tiny")
    with pytest.raises(InspectorError):
        gguf_conversion.converted(write_gguf(tmp_path / "x.gguf", architecture="gptneox"), tmp_path, name="x")
    assert (gguf.GGUFReader, gguf.get_tensor_name_map, library.tqdm) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["truncate", "remove", "rewrite", "garble", "no manifest", "older format"])
def test_a_damaged_copy_is_noticed_and_converted_again(tiny: Path, tmp_path: Path, how: str) -> None:
    folder = gguf_conversion.converted(tiny, tmp_path, name="tiny")
    weights, manifest = folder / "model.safetensors", folder / gguf_conversion.MANIFEST
    whole = weights.read_bytes()
    if how == "truncate":
        os.truncate(weights, len(whole) // 2)
    elif how == "remove":
        weights.unlink()
    elif how == "rewrite":
        (folder / "config.json").write_text((folder / "config.json").read_text().replace("50000.0", "10000.0"))
    elif how == "garble":
        weights.write_bytes(b"\xff" * len(whole))
    elif how == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 0}))
    assert gguf_conversion.damage(folder)
    assert gguf_conversion.converted(tiny, tmp_path, name="tiny") == folder
    assert gguf_conversion.damage(folder, thorough=True) is None
    assert weights.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir() if ".part" in p.name] == []


def test_only_a_thorough_look_sees_one_changed_bit_in_large_weights(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = gguf_conversion.converted(tiny, tmp_path, name="tiny")
    weights = folder / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    monkeypatch.setattr(gguf_conversion, "SMALL", 1000)
    assert gguf_conversion.damage(folder) is None
    assert gguf_conversion.damage(folder, thorough=True) == "model.safetensors has changed since it was written"


# Of the code that reads a file, as it was when FORMAT was last raised, or last found to read the same.
READ_BY = (4, "4964494fa2b5")


def test_a_change_of_what_is_read_raises_the_format() -> None:
    reading = (gguf_reading, gguf_metadata, gguf_rope, gguf_conversion._write)
    code = "\n".join(fingerprint(inspect.getsource(part)) for part in reading)
    assert (gguf_conversion.FORMAT, hashlib.sha256(code.encode()).hexdigest()[:12]) == READ_BY, (
        "what reads GGUF files has changed: raise FORMAT if any file would be converted otherwise, or refused, and "
        "write the new pair here"
    )


def fingerprint(source: str) -> str:
    """What the code does, whatever its comments, docstrings and line breaks, in every version of Python alike."""
    nodes = [*ast.walk(ast.parse(source))]
    texts = [node.value for node in nodes if isinstance(node, ast.Expr)]  # docstrings among them
    plain = str | int | float | bytes
    return "\n".join(
        f"{type(node).__name__} {[value for _, value in ast.iter_fields(node) if isinstance(value, plain)]}"
        for node in nodes
        if not (isinstance(node, ast.Constant) and node in texts)
    )


def read_until(running: subprocess.Popen[str], start: str) -> None:
    assert running.stdout is not None
    while not (line := running.stdout.readline()).startswith(start):
        assert line, f"it ended before it said {start!r}"


def test_of_two_processes_one_converts_and_the_other_waits(tiny: Path, tmp_path: Path) -> None:
    first = process(tiny, tmp_path, "stop")
    read_until(first, "Flushing")
    second = process(tiny, tmp_path)
    read_until(second, "Waiting for another process")
    ends = [p.communicate(timeout=120)[0].splitlines() for p in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert ends[0][-1] == ends[1][-1]
    assert ends[1] == [ends[1][-1]], "the second converted too"
    assert gguf_conversion.damage(Path(ends[0][-1]), thorough=True) is None


def test_a_process_killed_midway_leaves_nothing_that_counts(tiny: Path, tmp_path: Path) -> None:
    killed = process(tiny, tmp_path, "stop")
    read_until(killed, "Flushing")
    assert list(tmp_path.glob(".tiny-*.part/model.safetensors"))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert list(tmp_path.glob("tiny-*")) == []
    folder = gguf_conversion.converted(tiny, tmp_path, name="tiny")
    assert gguf_conversion.damage(folder, thorough=True) is None
    assert list(tmp_path.glob(".*.part*")) == []


def refusal(file: Path) -> str:
    with pytest.raises(InspectorError) as caught:
        find_model(str(file))
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert ". " not in text, text
    models = cache_dir() / "models"
    assert [p.name for p in models.glob("*") if not p.name.endswith(".lock")] == []
    return text


def test_files_that_cannot_be_converted(tiny: Path, tmp_path: Path) -> None:
    whole = tiny.read_bytes()
    cut, other = tmp_path / "cut.gguf", tmp_path / "other.gguf"
    for size in (len(whole) - 1000, len(whole) // 3, 100):
        cut.write_bytes(whole[:size])
        assert f"could not read cut.gguf ({size:,} bytes)" in refusal(cut)
    other.write_bytes(b"PK\x03\x04")
    assert "starts with b'PK\\x03\\x04' instead of b'GGUF'" in refusal(other)
    assert "a model of the architecture 'gptneox', which transformers" in refusal(
        write_gguf(other, architecture="gptneox")
    )
    assert "its tokenizer: " in refusal(write_gguf(other, merge="b c"))
    missing = refusal(write_gguf(other, leave_out="blk.0.attn_k"))
    assert "lacks 1 of the model's weights (model.layers.0.self_attn.k_proj.weight)" in missing


def test_a_cache_that_cannot_be_written(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_INSPECTOR_CACHE", str(tiny))  # a file where a folder should be
    with pytest.raises(InspectorError, match="set ATTENTION_INSPECTOR_CACHE to another folder"):
        find_model(str(tiny))


def test_what_is_known(tiny: Path) -> None:
    folder = find_model(str(tiny)).folder
    assert folder is not None
    converted = [m for m in models_known() if m["kind"] == "converted"]
    assert [(m["folder"], m["state"]) for m in converted] == [(str(folder), "ready")]
    (folder / "tokenizer.json").unlink()
    converted = [m for m in models_known() if m["kind"] == "converted"]
    assert converted[0]["state"] == "damaged: tokenizer.json is missing"


def test_a_copy_that_an_older_version_made_is_made_again_and_told_from_a_damaged_one(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = gguf_conversion.FORMAT
    monkeypatch.setattr(gguf_conversion, "FORMAT", now - 1)
    old = find_model(str(tiny)).folder
    assert old is not None
    monkeypatch.setattr(gguf_conversion, "FORMAT", now)
    assert find_model(str(tiny)).folder != old
    converted = {m["folder"]: m["state"] for m in models_known() if m["kind"] == "converted"}
    assert sorted(converted.values()) == [
        "ready",
        f"unused: written in format {now - 1}, not {now}; delete the folder to free its space",
    ]
    assert main(["models"]) == 0
    assert f"{old}  (unused: written in format" in capsys.readouterr().out


# --- the packaged model -------------------------------------------------------------------------------

TEXTS = [
    "Houston, we have a problem",
    "the cat sat on the mat because it was tired.",
    "In 2024, 3.14159 * 10^2 = 314.159!",
    "  leading, trailing and   inner spaces  ",
    "tabs\tand\nnewlines\r\n\r\n\tmixed",
    "日本語のテキスト、한국어, العربية, Ελληνικά, русский",
    "emoji 🦜👩‍👩‍👧‍👦 and combining e\u0301 Å ﬁ",
    "def f(x):\n    return {'a': [1, 2]}  # it's can't we'll",
    "<|im_start|>user\nhello<|im_end|>\n<|endoftext|>",
    "<repo_name>x<file_sep></script><!-- \x00\x01\ufffd",
    "",
]


@pytest.mark.packaged
def test_tensors_of_the_packaged_model_are_those_of_its_file(smollm: Model) -> None:
    ours, seen = smollm.model.state_dict(), 0
    names = {"blk.0.attn_v": "layers.0.self_attn.v_proj", "blk.29.attn_output": "layers.29.self_attn.o_proj"}
    for tensor in gguf.GGUFReader(packaged.packaged_file()).tensors:
        if name := names.get(tensor.name.removesuffix(".weight")):
            values = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type))
            assert torch.equal(ours[f"model.{name}.weight"], values)
            seen += 1
    assert seen == len(names)


@pytest.mark.slow  # the library takes half a minute to read the file twice
@pytest.mark.packaged
def test_the_packaged_model_equals_the_librarys_reading() -> None:
    source = find_model(PACKAGED)
    model, tokenizer = load_library_model(source)
    file = packaged.packaged_file()
    assert file is not None
    with quiet():
        place = {"gguf_file": file.name}
        theirs = transformers.AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **place)
        their_tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **place)
    assert_same(model, theirs)
    for name in ("rope_parameters", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings", "eos_token_id"):
        assert getattr(model.config, name) == getattr(theirs.config, name)
    assert [tokenizer(text).input_ids for text in TEXTS] == [their_tokenizer(text).input_ids for text in TEXTS]
    assert tokenizer.get_vocab() == their_tokenizer.get_vocab()
    assert tokenizer.special_tokens_map == their_tokenizer.special_tokens_map
    assert tokenizer.added_tokens_decoder == their_tokenizer.added_tokens_decoder
    chat = [{"role": "user", "content": "hello"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == their_tokenizer.apply_chat_template(
        chat, tokenize=False
    )


@pytest.mark.packaged
def test_the_packaged_model_is_what_the_documents_say() -> None:
    source = find_model(PACKAGED)
    assert source.folder is not None
    assert "Q4_1 rounding" in source.note
    settings = json.loads((source.folder / "config.json").read_text())
    expected = {
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "hidden_size": 576,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    assert {name: settings[name] for name in expected} == expected
    assert settings["rope_parameters"]["rope_theta"] == 100000
    assert "quantization_config" not in settings
    model, tokenizer = load_library_model(source)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
    assert "<|im_start|>user\nhello<|im_end|>" in text


def test_without_the_package_the_sentence_gives_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "PACKAGED_FILE", "a_package_nobody_installed/model.gguf")
    with pytest.raises(InspectorError, match="run `attention-inspector get-default`"):
        find_model(PACKAGED)
