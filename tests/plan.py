"""Draws the plan of the house from its imports into docs/tour.md: `python -m tests.plan`. Not a test itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOUR = ROOT / "docs" / "tour.md"
BEGIN, END = "<!-- plan: python -m tests.plan -->", "<!-- end of plan -->"


def rooms() -> dict[str, list[Path]]:
    """The folders (and single modules) at the top of `inspector`, and `reimpl`, with their Python files."""
    found: dict[str, list[Path]] = {"reimpl": sorted((ROOT / "reimpl").rglob("*.py"))}
    for path in sorted((ROOT / "inspector").rglob("*.py")):
        first = path.relative_to(ROOT / "inspector").parts[0]
        if first not in ("__init__.py", "__main__.py"):
            found.setdefault(first.removesuffix(".py"), []).append(path)
    return found


def knows() -> dict[str, set[str]]:
    """For each room the rooms that its files import from, in functions and for types too."""
    found = rooms()
    arrows: dict[str, set[str]] = {room: set() for room in found}
    for room, paths in found.items():
        for path in paths:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                for name in names:
                    parts = name.split(".")
                    target = parts[1] if parts[0] == "inspector" and len(parts) > 1 else parts[0]
                    if target in found and target != room:
                        arrows[room].add(target)
    return arrows


def ordered(arrows: dict[str, set[str]]) -> list[str]:
    """The rooms from the bottom to the top: each after all that it knows."""
    order: list[str] = []
    while len(order) < len(arrows):
        ready = [room for room in arrows if room not in order and arrows[room] <= set(order)]
        if not ready:
            raise ValueError(f"These rooms know each other in a circle: {sorted(set(arrows) - set(order))}.")
        order += ready
    return order


def drawing() -> str:
    """The plan as text: a line for each room, from the top to the bottom."""
    arrows, files = knows(), rooms()
    order = ordered(arrows)
    lines = [f"{len(order)} rooms, {sum(map(len, arrows.values()))} arrows, all downwards.", "", "```"]
    for room in reversed(order):
        below = ", ".join(other for other in reversed(order) if other in arrows[room])
        count = f"{len(files[room])} file{'' if len(files[room]) == 1 else 's'}"
        lines.append(f"{room:<13}{count:>9}  {'-> ' + below if below else ''}".rstrip())
    return "\n".join([*lines, "```"])


def with_plan(text: str) -> str:
    """The text of docs/tour.md with the plan as it is now."""
    block = f"{BEGIN}\n{drawing()}\n{END}"
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: block, text, flags=re.S)


if __name__ == "__main__":
    TOUR.write_text(with_plan(TOUR.read_text(encoding="utf-8")), encoding="utf-8")
