"""Find somebody's attention by its name on the command line: package.module:function, or file.py:function."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from inspector.errors import InspectorError
from inspector.text import few, first_sentence

_HOW = "give package.module:function or file.py:function"


def named_attention(target: str) -> Any:
    """Import what a name says.

    Args:
        target: "package.module:function" or "file.py:function"; behind the colon any name in that module, with dots
            for what is inside of it. The folder that the command runs in is where modules are looked for first.

    Returns:
        The function or object.

    Raises:
        InspectorError: the name has another form, there is no such module, file or name in it, or importing it fails.
    """
    place, name = refuse_no_name(target)
    module = _from_file(Path(place)) if place.endswith(".py") else _from_packages(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise InspectorError(f"{place} has no {name}; it has {_functions(module)}.")
        found = getattr(found, part)
    if isinstance(found, type):
        raise InspectorError(f"{target} is a class: name an object of it, or a function that makes the calls.")
    return found


def refuse_no_name(target: str) -> tuple[str, str]:
    """Refuse what cannot be the name of an attention; nothing is imported.

    Args:
        target: "package.module:function" or "file.py:function".

    Returns:
        The module or file, and the name in it.

    Raises:
        InspectorError: it has another form, or there is no such file.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise InspectorError(f"{target!r:.80} names no attention: {_HOW}.")
    if place.endswith(".py") and not Path(place).is_file():
        raise InspectorError(f"{place} is not a file that exists: {_HOW}.")
    return place, name


def _from_file(file: Path) -> ModuleType:
    """Run a Python file as a module; it may import what stands beside it."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise InspectorError(f"{file} is no Python file: {_HOW}.")
    module = importlib.util.module_from_spec(spec)
    beside = str(file.resolve().parent)
    sys.path.insert(0, beside)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _failed(str(file), error) from error
    finally:
        if beside in sys.path:
            sys.path.remove(beside)
    return module


def _from_packages(name: str) -> ModuleType:
    """Import a module by its dotted name."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise InspectorError(
                f"There is no module {name} in {here} or among the installed packages: {_HOW}."
            ) from None
        raise _failed(name, error) from error
    except Exception as error:
        raise _failed(name, error) from error
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _failed(place: str, error: Exception) -> InspectorError:
    return InspectorError(
        f"{place} could not be imported: it raised {type(error).__name__} ({first_sentence(error)}); mend it, or see "
        "where with --debug."
    )


def _functions(module: ModuleType) -> str:
    """Name the module's own functions."""
    own = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    here = [name for name in own if getattr(getattr(module, name), "__module__", None) == module.__name__]
    return few(sorted(here or own)) or "no functions"
