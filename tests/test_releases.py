"""What an old release of transformers itself computes otherwise is refused by name, at that release alone."""

from pathlib import Path

import pytest
import tiny
import transformers

import inspector
from inspector.coverage import tiny as types
from inspector.errors import InspectorError
from inspector.loading import library_model, releases
from inspector.loading.releases import DEVIATIONS, ONLY_LISTED, RAISES, Deviation
from inspector.verification import releases as refusal
from inspector.verification.releases import deviations

OLD, FIXED = "5.17.0", "5.21.0"


def verified(model):
    return inspector.verify(model, tiny.ids(12), spliced=False, controls=False)


@pytest.fixture
def release(monkeypatch):
    def pretend(version):
        for module in (releases, refusal):
            monkeypatch.setattr(module, "installed", lambda: version)

    return pretend


def load(name, folder, under):
    types.save(types.types()[name], folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype="float32")
    model.config._attn_implementation_internal = under  # newer releases do not offer sdpa here
    return inspector.load(model, inspector.load(folder).tokenizer)


@pytest.mark.parametrize("version", [OLD, "5.18.1", "5.20.0.dev0"])
@pytest.mark.parametrize(
    ("name", "under", "said"),
    [
        ("gemma2", "sdpa", r"computes gemma2 otherwise .* soft-cap .* or load .* attn_implementation=\"eager\""),
        ("vaultgemma", "sdpa", "computes vaultgemma otherwise .* soft-cap"),
        ("cohere_compass_text", "eager", r"computes cohere_compass_text otherwise .*\(inv_freq"),
        ("cohere_compass_text", "sdpa", r"install transformers 5\.21 or newer\."),
    ],
)
def test_such_a_model_is_refused_by_name_at_these_releases(name, under, said, version, release, tmp_path):
    model = load(name, tmp_path, under)
    release(version)
    with pytest.raises(InspectorError, match=said) as refused:
        verified(model)
    assert f"transformers {version} computes" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "under", "version"),
    [
        ("gemma2", "eager", OLD),  # there the soft-cap is applied
        ("vaultgemma", "eager", OLD),
        ("gemma3_text", "sdpa", OLD),  # its class has no soft-cap
        ("gemma2", "eager", FIXED),
    ],
)
def test_others_are_verified(name, under, version, release, tmp_path):
    model = load(name, tmp_path, under)
    release(version)
    assert verified(model).ok


def test_a_models_type_is_its_language_parts(release, monkeypatch, tmp_path):
    model = tiny.load("qwen3", tmp_path)
    monkeypatch.setattr(releases, "DEVIATIONS", (Deviation(frozenset({"qwen3"}), "9.1", "it rounds"),))
    for version, refused in (("9.0.5", True), ("9.1.0", False), ("10.0", False), ("8.30", True)):
        release(version)
        assert bool(list(deviations(model))) is refused


@pytest.mark.parametrize("version", [OLD, FIXED])
@pytest.mark.parametrize("name", ["minicpm3", "llama"])
def test_what_a_release_cannot_load_is_said_of_it(name, version, release, tmp_path, monkeypatch):
    types.save(types.types()[name], tmp_path)
    release(version)
    monkeypatch.setattr(library_model, "_loader", lambda *_, **__: {}["factor"])  # what the old one raises
    with pytest.raises(InspectorError) as refused:
        inspector.load(tmp_path)
    said = str(refused.value)
    assert ("cannot load this minicpm3: it asks for" in said) is (name == "minicpm3" and version == OLD)
    assert ("5.21 or newer" in said) is (name == "minicpm3" and version == OLD)


def test_every_row_stands_in_the_documentation():
    page = (Path(__file__).parents[1] / "docs" / "versions.md").read_text(encoding="utf-8")
    for row in (*DEVIATIONS, *RAISES, *ONLY_LISTED):
        assert all(f"`{name}`" in page for name in row.types)
        assert row.before in page
