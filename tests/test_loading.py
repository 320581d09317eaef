"""Loading models: every source, and every failure's sentence. The hub's client is the real one, in a process
of its own whose HF_ENDPOINT names a hub on 127.0.0.1 (the client reads that variable once, when imported)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from loopback_hub import LoopbackHub
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from inspector.errors import InspectorError
from inspector.files import cache_dir
from inspector.loading.library_model import load_library_model
from inspector.loading.resolve import find_model
from inspector.loading.source import Source

WORKER = """
import json, sys
from inspector.errors import InspectorError
from inspector.loading.download import check_hub
from inspector.loading.known_models import models_known
from inspector.loading.library_model import load_library_model
from inspector.loading.resolve import find_model
print("ready", flush=True)
for line in sys.stdin:
    request, said = json.loads(line), []
    call, arguments = request["call"], request["arguments"]
    try:
        if call == "check":
            result = {"text": check_hub(**arguments)}
        elif call == "known":
            result = {"known": models_known()}
        else:
            source = find_model(**arguments, progress=lambda message, done: said.append((message, done)))
            result = {"folder": str(source.folder), "revision": source.revision, "note": source.note}
            if call == "load":
                model, tokenizer = load_library_model(source)
                ids = tokenizer("ab", return_tensors="pt")
                result["logits"] = model(**ids).logits.sum().item()
    except InspectorError as error:
        result = {"error": str(error)}
    print(json.dumps({**result, "said": said}), flush=True)
"""


class Client:
    """The real client in its own process: `client("resolve", name=...)` gives what came out, or an "error"."""

    def __init__(self, url: str, cache: Path, **environment: str) -> None:
        # What the surroundings say about the hub (offline, tokens, caches) is not what is tested.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        own = {"HF_ENDPOINT": url, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={**inherited, **own, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, call: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"call": call, "arguments": arguments}), file=self.process.stdin, flush=True)
        while (line := self.process.stdout.readline()) == "ready\n":
            pass
        if not line:
            raise AssertionError(self.process.stderr.read() if self.process.stderr else "the client ended")
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def save_tokenizer(folder: Path, vocabulary: int = 300) -> None:
    """A byte-level tokenizer without merges: each byte a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i for i, letter in enumerate(letters)}
    vocab |= {f"<extra {i}>": i for i in range(len(vocab), vocabulary)}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def save_model(folder: Path, *, shard: str = "1GB", **settings: Any) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False}
    config = transformers.LlamaConfig(**{**sizes, **heads, **settings})
    transformers.LlamaForCausalLM(config).save_pretrained(folder, max_shard_size=shard)
    save_tokenizer(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_model(folder)
    return folder


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.fixture(scope="module")
def root(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repositories the loopback hub serves."""
    root = tmp_path_factory.mktemp("repositories")
    save_model(root / "owner" / "cut", hidden_size=512, intermediate_size=1536)
    for name in ("tiny", "broken-off", "gated", "trusted"):
        shutil.copytree(tiny, root / "owner" / name)
    shutil.copytree(tiny, root / "bare")
    save_model(root / "owner" / "sharded", shard="30KB")
    (root / "owner" / "sharded" / "consolidated.safetensors").write_bytes(b"the same weights once more")
    adapted = shutil.copytree(tiny, root / "owner" / "adapted")
    (adapted / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (adapted / "adapter_model.safetensors").write_bytes(b"not read here")
    (root / "owner" / "tiny" / "flax_model.msgpack").write_bytes(b"never wanted")
    (root / "owner" / "tiny" / "modeling_own.py").write_text("raise SystemExit('code from the hub ran')")
    pickled = shutil.copytree(tiny, root / "owner" / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    (shutil.copytree(tiny, root / "owner" / "no-config") / "config.json").unlink()
    encoder = shutil.copytree(tiny, root / "owner" / "encoder")
    settings = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
    (encoder / "config.json").write_text(json.dumps(settings))
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub(root) as server:
        yield server


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub-cache")


@pytest.fixture(scope="module")
def client(server: LoopbackHub, hub_cache: Path, offline: Client) -> Iterator[Client]:
    with contextlib.closing(Client(server.url, hub_cache)) as client:
        yield client


@pytest.fixture(scope="module")
def offline(server: LoopbackHub, hub_cache: Path) -> Iterator[Client]:
    """Started before `client`, so that both import at the same time."""
    with contextlib.closing(Client(server.url, hub_cache, HF_HUB_OFFLINE="1")) as client:
        yield client


@pytest.fixture(autouse=True)
def obedient(request: pytest.FixtureRequest) -> Iterator[None]:
    """The hub forgets what one test told it."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        for told in (server.refuse, server.cut, server.down, server.requests):
            told.clear()


def is_one_sentence(text: str) -> bool:
    return text.endswith(".") and "\n" not in text and ". " not in text and len(text) < 600


# --- from the hub -------------------------------------------------------------------------------------


def test_a_hub_model_loads_and_computes_what_its_folder_does(client: Client, server: LoopbackHub, tiny: Path) -> None:
    got = client("load", name="owner/tiny", token="secret")
    model, tokenizer = load_library_model(find_model(str(tiny)))
    assert got["logits"] == model(**tokenizer("ab", return_tensors="pt")).logits.sum().item()
    assert got["revision"] == server.commit("owner/tiny")
    assert got["revision"] in got["note"]
    fetched = {r.path.split("/")[-1] for r in server.requests if r.method == "GET" and "/resolve/" in r.path}
    assert "model.safetensors" in fetched
    assert not any(file.endswith((".msgpack", ".py")) for file in fetched)
    api = [r for r in server.requests if "/resolve/" not in r.path and "agent" not in r.path]
    assert all(r.path.startswith("/api/models/owner/tiny") for r in api), "something else was asked of the hub"
    assert {r.authorization for r in api} == {"Bearer secret"}
    fractions = [done for message, done in got["said"] if message.startswith("Downloading") and done is not None]
    assert fractions
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_a_cached_commit_is_not_fetched_again(client: Client, server: LoopbackHub) -> None:
    first = client("resolve", name="owner/tiny")
    server.requests.clear()
    again = client("resolve", name="owner/tiny", revision=first["revision"])
    assert again["folder"] == first["folder"]
    assert not server.bodies("model.safetensors")


def test_shards_are_fetched_by_their_index_and_nothing_twice(client: Client, server: LoopbackHub) -> None:
    got = client("load", name="owner/sharded")
    assert "logits" in got, got
    assert len(list(Path(got["folder"]).glob("model-*.safetensors"))) > 1
    assert not server.bodies("consolidated.safetensors")


def test_an_adapter_beside_a_whole_model_is_fetched_with_it(client: Client) -> None:
    assert (Path(client("resolve", name="owner/adapted")["folder"]) / "adapter_model.safetensors").is_file()


def test_code_is_fetched_only_when_trusted(client: Client) -> None:
    assert not list(Path(client("resolve", name="owner/tiny")["folder"]).glob("*.py"))
    trusted = client("resolve", name="owner/tiny", trust_remote_code=True)
    assert list(Path(trusted["folder"]).glob("*.py"))


def test_a_bare_name_is_a_hub_id(client: Client, server: LoopbackHub) -> None:
    assert client("resolve", name="bare")["revision"] == server.commit("bare")


def test_a_download_cut_midway_goes_on_where_it_stopped(client: Client, server: LoopbackHub, root: Path) -> None:
    # The client keeps what came in pieces of 10 MiB; of the second piece it got only half.
    server.cut["model.safetensors"] = [15 * 2**20]
    size = (root / "owner/cut/model.safetensors").stat().st_size
    got = client("resolve", name="owner/cut")
    first, second = server.bodies("model.safetensors")
    assert (first.range, second.range) == (None, f"bytes={10 * 2**20}-")
    assert second.sent == size - 10 * 2**20
    assert (Path(got["folder"]) / "model.safetensors").read_bytes() == (
        root / "owner/cut/model.safetensors"
    ).read_bytes()


def test_a_download_broken_off_says_so_and_keeps_the_complete_files(client: Client, server: LoopbackHub) -> None:
    server.down["model.safetensors"] = 503
    error = client("resolve", name="owner/broken-off")["error"]
    assert "answered 503 while 'owner/broken-off' was downloading" in error
    assert is_one_sentence(error)
    server.down.clear()
    server.requests.clear()
    assert "folder" in client("resolve", name="owner/broken-off")
    assert len(server.bodies("model.safetensors")) == 1
    assert not server.bodies("config.json")


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("owner/nothing", None, "'owner/nothing' is not on the hub at http://127.0.0.1"),
        ("nothing", None, "is no folder here and not the packaged 'smollm2-135m-instruct'"),
        ("owner/tiny", "v9", "has no revision 'v9'"),
        ("owner/pickled", None, "only as pickled files (pytorch_model.bin)"),
        ("owner/no-config", None, "There is no config.json in the hub's 'owner/no-config'"),
        ("owner/encoder", None, "(bert) is an encoder, whose tokens see those after them"),
        ("owner/na me", None, "no valid hub id"),
        ("a/b/c", None, "no valid hub id"),
    ],
)
def test_what_the_hub_cannot_give(
    client: Client, server: LoopbackHub, name: str, revision: str | None, said: str
) -> None:
    error = client("resolve", name=name, revision=revision)["error"]
    assert said in error
    assert is_one_sentence(error)
    assert not any(r.path.endswith((".safetensors", ".bin")) for r in server.requests)


def test_gated_and_forbidden(client: Client, server: LoopbackHub) -> None:
    server.refuse["owner/gated"] = (403, "GatedRepo")
    error = client("resolve", name="owner/gated")["error"]
    assert "accept its terms on the model page" in error
    assert "token=" in error
    server.refuse["owner/gated"] = (403, "Forbidden")
    error = client("resolve", name="owner/gated")["error"]
    assert "refused 'owner/gated' with status 403" in error
    assert is_one_sentence(error)


def test_a_hub_that_is_down_serves_from_the_cache_or_says_so(client: Client, server: LoopbackHub) -> None:
    cached = client("resolve", name="owner/tiny")
    server.down[""] = 503
    again = client("load", name="owner/tiny")
    assert again["folder"] == cached["folder"]
    assert "the hub was not reached" in again["note"]
    error = client("resolve", name="owner/never")["error"]
    assert "answered 503 about 'owner/never', which is not in the cache" in error
    assert is_one_sentence(error)


def test_offline_serves_the_cache_or_names_the_variable(client: Client, offline: Client, server: LoopbackHub) -> None:
    cached = client("resolve", name="owner/tiny")
    server.requests.clear()
    assert offline("load", name="owner/tiny")["revision"] == cached["revision"]
    error = offline("resolve", name="owner/never")["error"]
    assert "HF_HUB_OFFLINE forbids asking the hub" in error
    assert is_one_sentence(error)
    assert not server.requests


def test_no_network(tmp_path: Path, root: Path) -> None:
    with LoopbackHub(root) as gone:
        pass
    with contextlib.closing(Client(gone.url, tmp_path)) as client:
        error = client("resolve", name="owner/tiny")["error"]
    assert "did not answer" in error
    assert "check the network" in error
    assert is_one_sentence(error)


def test_asking_the_hub_and_listing_the_cache(client: Client, server: LoopbackHub) -> None:
    commit = client("resolve", name="owner/tiny")["revision"]
    assert f"owner/tiny is on the hub at commit {commit}" in client("check", name="owner/tiny")["text"]
    assert "is not on the hub" in client("check", name="owner/nothing")["error"]
    server.requests.clear()
    cached = [m for m in client("known")["known"] if m["name"] == "owner/tiny"]
    assert [m["kind"] for m in cached] == ["hub"]
    assert cached[0]["bytes"] > 100_000
    assert not server.requests


# --- folders ------------------------------------------------------------------------------------------


def refusal(name: str | Path, **options: Any) -> str:
    with pytest.raises(InspectorError) as caught:
        load_library_model(find_model(str(name)), **options)
    assert is_one_sentence(str(caught.value)), caught.value
    return str(caught.value)


def change_settings(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def test_a_folder_gives_an_untouched_model_that_needs_no_gradient(tiny: Path) -> None:
    source = find_model(str(tiny))
    model, tokenizer = load_library_model(source)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert model.config._attn_implementation == plain.config._attn_implementation
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert tokenizer.decode(tokenizer("Houston").input_ids) == "Houston"
    assert source.kind == "folder"
    assert source.folder == tiny


def test_the_librarys_own_settings_are_put_back(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled(), logging.get_verbosity()
    load_library_model(find_model(str(tiny)))
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before
    assert capfd.readouterr() == ("", "")


def test_a_folder_here_wins_over_a_hub_id_and_says_so(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    source = find_model("owner/name")
    assert source.kind == "folder"
    assert "wins over a hub model of that name" in source.note


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", torch.bfloat16), (torch.float64, torch.float64), ("auto", torch.float32)],
)
def test_dtypes(tiny: Path, dtype: Any, expected: torch.dtype) -> None:
    model, _ = load_library_model(find_model(str(tiny)), dtype=dtype)
    assert model.dtype == expected


def test_a_device_map_goes_through_accelerate(tiny: Path) -> None:
    model, tokenizer = load_library_model(find_model(str(tiny)), device_map="auto")
    assert model(**tokenizer("ab", return_tensors="pt").to(model.device)).logits.isfinite().all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_devices_and_dtypes_that_are_not_there(tiny: Path) -> None:
    assert "Device 'cuda' is not available here: choose one of" in refusal(tiny, device="cuda")
    assert "Device 'abacus' is not available" in refusal(tiny, device="abacus")
    assert "dtype 'int4' is not one of float32" in refusal(tiny, dtype="int4")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "auto"])
def test_a_cuda_device(tiny: Path, device: str) -> None:
    model, _ = load_library_model(find_model(str(tiny)), device=device)
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    assert "Device 'cuda:99' is not available here" in refusal(tiny, device="cuda:99")


def test_names_that_lead_nowhere(tmp_path: Path, tiny: Path) -> None:
    assert "The model name is empty" in refusal("  ")
    assert "There is no file or folder" in refusal(tmp_path / "nothing")
    assert "There is no file or folder" in refusal("./nothing")
    assert "There is no file or folder" in refusal("nothing.gguf")
    assert "There is no config.json" in refusal(tmp_path)
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    assert "give a GGUF file's own path (some.gguf)" in refusal(tmp_path)
    assert "config.json is one file of the model in" in refusal(tiny / "config.json")
    with pytest.raises(InspectorError, match="only hub models have revisions"):
        find_model(str(tiny), revision="main")


def test_truncated_and_corrupted_weights(copy: Path) -> None:
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert f"({len(whole) - 100:,} bytes) is cut short or damaged (incomplete metadata" in refusal(copy)
    weights.write_bytes(whole[:4])
    assert "(4 bytes) is cut short or damaged (header too small)" in refusal(copy)
    weights.write_bytes(whole[:8] + b"\xff" * 20 + whole[28:])
    assert "is cut short or damaged (invalid UTF-8 in header" in refusal(copy)
    weights.unlink()
    assert "There is no model.safetensors" in refusal(copy)


def test_a_missing_shard_and_an_index_that_leads_outside(tmp_path: Path) -> None:
    save_model(tmp_path, shard="30KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.rename(tmp_path / "elsewhere")
    assert f"lacks {shard.name}, which its index names" in refusal(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere"}}))
    assert "names a file outside its folder" in refusal(tmp_path)
    index.write_text("{")
    assert "model.safetensors.index.json" in refusal(tmp_path)


def test_weights_that_would_be_random_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    name = "model.layers.1.self_attn.k_proj.weight"
    save_file({("x." if k == name else "") + k: v for k, v in weights.items()}, copy / "model.safetensors")
    said = refusal(copy)
    assert f"lacks 1 of the model's weights ({name})" in said
    assert f"it holds others, such as x.{name}" in said


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    change_settings(copy, num_key_value_heads=4)
    assert "k_proj.weight [16, 32] for [32, 32]" in refusal(copy)


def test_tied_weights_are_not_missing(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    model, _ = load_library_model(find_model(str(tmp_path)))
    assert model.lm_head.weight is model.transformer.wte.weight


def test_a_missing_or_broken_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    assert "The tokenizer of" in refusal(copy)
    (copy / "tokenizer.json").unlink()
    assert "tokenizer" in refusal(copy)
    (copy / "tokenizer_config.json").unlink()
    assert "There is no tokenizer for" in refusal(copy)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_type": "t5"}, "(t5) is a sequence-to-sequence model"),
        ({"model_type": "bart"}, "(bart) is a sequence-to-sequence model"),
        ({"model_type": "bert"}, "(bert) is an encoder"),
        ({"model_type": "distilbert"}, "(distilbert) is an encoder"),
        ({"model_type": "esm", "architectures": ["EsmForTokenClassification"]}, "(esm) is an encoder"),
        ({"model_type": "t5", "architectures": ["T5ForTokenClassification"]}, "(t5) is a sequence-to-sequence model"),
        ({"model_type": "vit"}, "(vit) is no language model"),
        ({"model_type": "brandnew"}, "has the model type 'brandnew', which transformers"),
        ({"model_type": None}, "has the model type None"),
        (
            {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}},
            "needs Python code of its own (modeling_own.py)",
        ),
    ],
)
def test_settings_that_are_no_decoders(copy: Path, settings: dict[str, Any], said: str) -> None:
    change_settings(copy, **settings)
    assert said in refusal(copy)


def test_settings_that_cannot_be_read(copy: Path) -> None:
    (copy / "config.json").write_text('{"model_type": "llama"')
    assert "The config.json of" in refusal(copy)
    (copy / "config.json").write_text("[]")
    assert "The config.json of" in refusal(copy)


def test_code_of_its_own_runs_only_when_trusted(copy: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (copy / "modeling_own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class Own(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    code = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"}
    change_settings(copy, model_type="own", auto_map=code)
    assert "trust_remote_code=True" in refusal(copy)
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    source = find_model(str(copy), trust_remote_code=True)
    model, _ = load_library_model(source, trust_remote_code=True)
    assert type(model).__name__ == "Own"


def test_a_model_in_memory_has_no_files() -> None:
    with pytest.raises(InspectorError, match="given as an object in memory"):
        load_library_model(Source("memory", "mine", None, None, ""))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATTENTION_INSPECTOR_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path / "attention-inspector"
    monkeypatch.delenv("ATTENTION_INSPECTOR_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "attention-inspector"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_dir().parent.name == "Caches"
