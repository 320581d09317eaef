"""The plan of the house: folders know only those below them, no circles, and no name stands for two things."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the bottom to the top: a folder (or a module beside the folders) may import what stands in an earlier row, and
# its own files. Those of one row do not know each other. (The parts that are to come keep their places.)
ROWS = (
    ("reimpl",),
    ("inspector.errors",),
    ("inspector.text",),
    ("inspector.files",),
    ("inspector.reports",),
    ("inspector.loading",),
    ("inspector.capture",),
    ("inspector.trace",),
    ("inspector.model",),
    ("inspector.verification",),
    ("inspector.analysis",),
    ("inspector.judging", "inspector.lab"),
    ("inspector.heads",),
    ("inspector.atlas",),
    ("inspector.learn", "inspector.coverage"),
    ("inspector.views",),
    ("inspector.ui",),
    ("inspector.cli", "inspector.pytest_plugin"),
)
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}
# These two only hand names on: `import inspector` (lazily) and `python -m inspector`.
DOORS = {"inspector", "inspector.__main__"}


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def packages() -> dict[str, Path]:
    found = {module_name(path): path for folder in ("reimpl", "inspector") for path in (ROOT / folder).rglob("*.py")}
    assert len(found) > 100
    return found


MODULES = packages()


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, wherever in the file: in functions and for types alone, too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a thing comes from"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files_read(path: Path) -> set[str]:
    """Folders of ours that a file reads from by path: `files("inspector.views")`, `files("inspector") / "views"`."""
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(node.left) for node in ast.walk(tree) if isinstance(node, ast.BinOp)}
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        parts: list[str] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant):
            parts.insert(0, str(node.right.value))
            node = node.left
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "files" and node.args:
            start = getattr(node.args[0], "value", None)
            if isinstance(start, str):
                names.add(".".join([start, *(part for part in parts if "." not in part)]))
    return {name for name in names if name != "inspector"}


def targets(path: Path) -> Iterator[str]:
    """The modules of ours that a file needs."""
    for name in imported(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        if name:
            yield name


def room(module: str) -> str:
    """The row's entry that a module belongs to."""
    return "reimpl" if module.split(".")[0] == "reimpl" else ".".join(module.split(".")[:2])


def higher(module: str, other: str) -> bool:
    """Whether `module` may not know `other`: it stands higher, or beside it in the same row."""
    ours, theirs = room(module), room(other)
    return ours != theirs and RANK[theirs] >= RANK[ours]


@pytest.mark.parametrize("module", sorted(MODULES.keys() - DOORS))
def test_every_module_has_a_room_and_knows_only_those_below(module):
    assert room(module) in RANK, f"{module} stands in no folder of the plan"
    wrong = {other for other in targets(MODULES[module]) if other not in DOORS and higher(module, other)}
    wrong |= {place for place in files_read(MODULES[module]) if room(place) in RANK and higher(module, place)}
    assert not wrong


def test_a_wrong_direction_would_be_seen(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from inspector.ui import state\n"
        "def late():\n    import inspector.views.figures\n"
        'HERE = files("inspector") / "ui" / "components" / "grid.js"\n'
    )
    assert {other for other in targets(file) if higher("inspector.capture.masks", other)} == {
        "inspector.ui.state",
        "inspector.views.figures",
    }
    assert files_read(file) == {"inspector.ui.components"}
    assert higher("inspector.learn.toy", "inspector.coverage.sweep")  # beside each other in one row
    assert not higher("inspector.analysis.maps", "inspector.trace.trace")


def test_no_two_modules_need_each_other():
    """No circle among files, however long."""
    needs = {module: set(targets(path)) - {module} - DOORS for module, path in MODULES.items() if module not in DOORS}
    # A package's own file is imported with each of its modules, which is no need of it unless it imports them itself.
    done: set[str] = set()
    while ready := {module for module in needs.keys() - done if needs[module] <= done}:
        done |= ready
    circle = needs.keys() - done
    assert not circle, {module: sorted(needs[module] & circle) for module in sorted(circle)}


def public_functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}


def names_twice(folder: Path) -> set[str]:
    """Public functions of a folder's files with the name of a module or folder beside them."""
    beside = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    return {
        f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}: {name}"
        for path in folder.glob("*.py")
        for name in public_functions(path) & beside
    }


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES.values()}), ids=lambda path: path.name)
def test_no_public_function_has_the_name_of_a_module_beside_it(folder):
    """Under lazy imports the second of two such names hides the first."""
    assert not names_twice(folder)


def test_a_function_named_like_its_module_would_be_seen(tmp_path):
    (tmp_path / "verify.py").write_text("def verify(): ...\ndef _hidden(): ...\n")
    assert names_twice(tmp_path) == {"verify.py: verify"}


def test_public_names_hide_no_module():
    import inspector

    beside = {name.removeprefix("inspector.") for name in MODULES if name.count(".") == 1 and name != "inspector"}
    assert set(inspector.__all__) & beside <= {"atlas", "heads", "lab", "views"}  # the folders themselves
    assert dir(inspector) == sorted([*inspector.__all__, "__version__"])
    for name in inspector.__all__:
        assert getattr(inspector, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'cached'"):
        _ = inspector.cached


# -- what each may know of others' libraries ------------------------------------------------------------------------


def libraries(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.split(".")[0] == "reimpl"))
def test_reimpl_stands_on_torch_and_safetensors_alone(module):
    allowed = {"torch", "safetensors", "reimpl", "__future__"} | set(sys.stdlib_module_names)
    assert libraries(MODULES[module]) <= allowed


@pytest.mark.parametrize("module", sorted(name for name in MODULES if not name.startswith("inspector.ui")))
def test_streamlit_is_known_in_ui_alone(module):
    assert "streamlit" not in libraries(MODULES[module])


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith("inspector.ui.screens")))
def test_a_screen_never_touches_a_tensor(module):
    assert not libraries(MODULES[module]) & {"torch", "transformers", "safetensors", "reimpl"}


def test_only_download_talks_to_a_hub():
    """The two others read the client's cache and name its errors."""
    users = {name: path for name, path in MODULES.items() if "huggingface_hub" in libraries(path)}
    beside = ("inspector.loading.hub_cache", "inspector.loading.hub_errors")
    assert set(users) == {"inspector.loading.download", *beside}
    quiet = {"errors", "constants", "scan_cache_dir", "try_to_load_from_cache"}
    for name in beside:
        used = {dotted.split(".")[1] for dotted in imported(users[name]) if dotted.startswith("huggingface_hub.")}
        assert used <= quiet


# -- what starts at once --------------------------------------------------------------------------------------------

HEAVY = ("torch", "transformers", "pandas", "numpy", "streamlit", "huggingface_hub")
# Of Python's own, what takes longer than all that --help needs.
SLOW = ("multiprocessing", "concurrent.futures", "importlib.metadata", "asyncio", "logging")


@pytest.mark.parametrize("arguments", ["import inspector", "--help", "--version"])
def test_what_needs_no_model_loads_no_heavy_library(arguments):
    call = f"try:\n    main(['{arguments}'])\nexcept SystemExit as end:\n    assert not end.code"
    run = f"from inspector.cli import main\n{call}" if arguments.startswith("--") else arguments
    code = f"import sys\n{run}\nsys.exit(','.join(set({HEAVY + SLOW}) & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_reimpl_brings_no_transformers():
    code = "import sys, reimpl; sys.exit('transformers' in sys.modules or 'inspector' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
