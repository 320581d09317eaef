"""The docstrings of what people call name every parameter, what comes back and what is raised."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

PUBLIC = (
    "inspector", "reimpl", "inspector.lab", "inspector.heads", "inspector.atlas", "inspector.views",
    "inspector.analysis.head_scores",
)  # fmt: skip
NEEDED_BY_NONE = {"self", "cls"}


def public_things() -> Iterator[tuple[str, Any]]:
    """Every public function, and every public method of a public class, by its dotted name."""
    for module_name in PUBLIC:
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", None) or [
            name for name, found in vars(module).items() if getattr(found, "__module__", "") == module_name
        ]
        for name in names:
            found = getattr(module, name)
            if inspect.isfunction(found):
                yield f"{module_name}.{name}", found
            elif inspect.isclass(found):
                for base in found.__mro__:  # inherited ones too, where they are ours
                    if base.__module__.split(".")[0] not in ("inspector", "reimpl"):
                        continue
                    for attribute, method in vars(base).items():
                        if inspect.isfunction(method) and not attribute.startswith("_"):
                            yield f"{module_name}.{name}.{attribute}", method


THINGS = dict(public_things())


def sections(docstring: str) -> dict[str, str]:
    """Google style: the text under Args:, Returns: (or Yields:) and Raises:."""
    parts = re.split(r"^(Args|Returns|Yields|Raises):\s*$", inspect.cleandoc(docstring), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named(section: str) -> set[str]:
    """What a section names: `name: ...`, one a line, indented once."""
    return set(re.findall(r"^ {4}\*{0,2}(\w+)(?: \([^)]*\))?:", section, flags=re.M))


def raised(function: Any) -> bool:
    """Whether the function's own code has a raise statement that leaves it with a new error."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def missing(name: str, function: Any) -> list[str]:
    """What the docstring leaves out."""
    docstring = inspect.getdoc(function) or ""
    found = sections(docstring)
    signature = inspect.signature(function)
    parameters = set(signature.parameters) - NEEDED_BY_NONE
    said = [f"{name}: no docstring"] if not docstring else []
    said += [f"{name}: parameter {p}" for p in sorted(parameters - named(found.get("Args", "")))]
    returns = signature.return_annotation
    if parameters and returns not in (None, "None", inspect.Signature.empty) and not {"Returns", "Yields"} & set(found):
        said.append(f"{name}: what is returned")
    if raised(function) and "Raises" not in found:
        said.append(f"{name}: what is raised")
    return said


@pytest.mark.parametrize("name", sorted(THINGS))
def test_docstrings_name_everything(name):
    assert not missing(name, THINGS[name])


def test_a_parameter_left_out_would_be_seen():
    def wanting(one: int, *, two: str) -> int:
        """Do something.

        Args:
            one: a number.
        """
        raise ValueError(one, two)

    assert missing("it", wanting) == ["it: parameter two", "it: what is returned", "it: what is raised"]
