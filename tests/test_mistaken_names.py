"""Names that are no model's: each refused in a sentence that says what was meant and what to give. No hub is asked."""

import shutil

import fuzz
import pytest
import tiny
from huggingface_hub import constants

import inspector
from inspector import InspectorError
from inspector.loading import download

HOST = constants.ENDPOINT.partition("://")[2]


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setattr(download, "_ask", lambda *_: pytest.fail("the hub was asked"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return tiny.save("grouped", tmp_path_factory.mktemp("sound"))


def refusal(name) -> str:
    with pytest.raises(InspectorError) as caught:
        inspector.load(name)
    return fuzz.one_sentence(caught.value)


@pytest.mark.parametrize(
    ("address", "step"),
    [
        (f"{constants.ENDPOINT}/owner/name", "give its hub id, 'owner/name'."),
        (f"{constants.ENDPOINT}/owner/name/", "give its hub id, 'owner/name'."),
        (f"{constants.ENDPOINT}/owner/name/tree/main", "give its hub id, 'owner/name'."),
        (f"{constants.ENDPOINT}/owner/name/tree/v2", "give its hub id, 'owner/name' and revision='v2'"),
        (f"{constants.ENDPOINT}/owner/na.me-1?library=x#top", "give its hub id, 'owner/na.me-1'."),
        (f"{constants.ENDPOINT}/api/models/owner/name", "give its hub id, 'owner/name'."),
        (f"{HOST}/owner/name", "give its hub id, 'owner/name'."),
        ("hub.example:8080/owner/name:Q4_K_M", "give its hub id, 'owner/name'."),
        (f"{constants.ENDPOINT}/owner/name/blob/main/some-q4.gguf", "download it and give its path."),
        (f"{constants.ENDPOINT}/datasets/owner/name", "is the address of a data set"),
        (f"{constants.ENDPOINT}/owner", "names no model"),
        (constants.ENDPOINT, "names no model"),
        ("https://", "names no model"),
    ],
)
def test_a_pasted_address_is_told_from_the_id_it_names(address, step):
    said = refusal(address)
    assert "is the address of" in said
    assert step in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("owner/name:Q4_K_M", "with a tag ('Q4_K_M'), as programs for GGUF files do"),
        ("owner/name-GGUF:latest", "such as 'owner/name-GGUF'."),
        ("llama3:8b", "such as 'owner/name'."),
        ("owner/name@v1.0", "give 'owner/name' and revision='v1.0'"),
        ("models--owner--name", "give that id, 'owner/name'."),
        ("datasets--owner--name", "a data set (owner/name), which is no model"),
        ("nowhere/config.json", "There is no file or folder 'nowhere/config.json'"),
        ("nowhere/model.safetensors", "There is no file or folder"),
    ],
)
def test_other_programs_names_are_told(name, words):
    assert words in refusal(name)


def cache_folder(sound, folder, *, snapshot=True):
    top = folder / "models--owner--name"
    (top / "snapshots").mkdir(parents=True)
    if snapshot:
        shutil.copytree(sound, top / "snapshots" / "0abc")
    return top


def test_a_model_in_the_hubs_cache_by_its_upper_folders(sound, tmp_path):
    top = cache_folder(sound, tmp_path)
    said = refusal(top)
    assert "cached copy of 'owner/name': give that id, 'owner/name'" in said
    assert said.endswith(f"or its folder {top / 'snapshots' / '0abc'}.")
    assert "a hub client's cache of several models: give the id of one (owner/name)" in refusal(tmp_path)
    assert f"such as {top / 'snapshots' / '0abc'}." in refusal(top / "snapshots")
    assert inspector.load(top / "snapshots" / "0abc").trace("w1 w2").n == 2
    assert refusal(cache_folder(sound, tmp_path / "empty", snapshot=False)).endswith("give that id, 'owner/name'.")


@pytest.mark.parametrize(
    ("names", "latest"),
    [
        (["checkpoint-500"], "checkpoint-500"),
        (["checkpoint-500", "checkpoint-1000", "checkpoint-900"], "checkpoint-1000"),
        (["epoch_1", "epoch_10", "epoch_2", "logs"], "epoch_10"),
        (["final", "runs"], "final"),
    ],
)
def test_a_trainings_output_names_its_checkpoints(sound, tmp_path, names, latest):
    for name in names:
        if name in ("logs", "runs"):
            (tmp_path / name).mkdir()
        else:
            shutil.copytree(sound, tmp_path / name)
    said = refusal(tmp_path)
    assert "There is no config.json in" in said
    assert said.endswith(f"such as {tmp_path / latest}.")
    assert inspector.load(tmp_path / latest).trace("w1").n == 1


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_inside_of_a_model_names_its_folder(sound, file):
    assert f"{file} is one file of the model in {sound}: give that folder" in refusal(sound / file)


def test_what_is_beside_no_model_is_still_no_gguf_file(tmp_path):
    (tmp_path / "notes.txt").write_text("some notes")
    assert "notes.txt is not a GGUF file" in refusal(tmp_path / "notes.txt")
    assert "There is no config.json in" in refusal(tmp_path)
