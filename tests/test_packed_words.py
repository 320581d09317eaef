"""Weights that MLX has packed are named as such, with what is missing, before any weights are read."""

import json
import shutil

import fuzz
import pytest
import tiny

import inspector
from inspector import InspectorError


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("keys", [["quantization"], ["quantization_config"], ["quantization", "quantization_config"]])
@pytest.mark.parametrize("kind", ["grouped", "qwen2"])
def test_a_folder_that_mlx_packed_is_named(tmp_path, bits, keys, kind):
    folder = tiny.save(kind, tmp_path / "packed")
    file = folder / "config.json"
    plain = file.read_text()
    packed = {"group_size": 64, "bits": bits, "mode": "affine"}
    file.write_text(json.dumps({**json.loads(plain), **dict.fromkeys(keys, packed)}))
    with pytest.raises(InspectorError) as caught:
        inspector.load(folder)
    said = fuzz.one_sentence(caught.value)
    assert f"packed into {bits} bits by MLX, and transformers has no reader for these" in said
    file.write_text(plain)
    assert inspector.load(shutil.copytree(folder, tmp_path / "copy")).trace([1, 2]).n == 2
