"""`make docs`: put the documentation site's pages together in build/site, and have Zensical make HTML of them in site/.

The first page holds a live Explore of the packaged model's trace, in one file that needs no server. Links to files that
the site has not become links to the repository where pyproject.toml names it, else plain text; a link to a page or
heading that is not there is an error.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PAGES = ROOT / "build" / "site"
PROMPT = "Houston, we have a problem. Houston, we have a"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
# Where else than in docs/ a page comes from: its place in the repository -> its name on the site.
OTHERS = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
API = {
    "inspector": ("Load, trace, verify, judge", "inspector", ()),
    "views": ("Figures and widgets", "inspector.views", ()),
    "lab": ("The lab", "inspector.lab", ()),
    "reimpl": ("The reimplementation", "reimpl", ()),
}
LIVE = """
<iframe src="explore.html" title="Every attention head of SmolLM2-135M, to try" loading="lazy"
  style="width: 100%; height: 1000px; border: 1px solid var(--md-default-fg-color--lightest)"></iframe>

Above is the real thing, computed when this site was made: choose a head, a role or a token. [It stands alone in one
file](explore.html), which `views.explore_page(trace)` writes for a prompt of yours.
"""


def repository() -> str | None:
    """The repository's address, where pyproject.toml names it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: str | None = project.get("urls", {}).get("Repository")
    return found


def sources() -> dict[Path, str]:
    """Every page that comes from a file: the file, and its name on the site."""
    found = {path: path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    found |= {ROOT / name: other for name, other in OTHERS.items()}
    return found | {path: f"notebooks/{path.stem}.md" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}


def relinked(text: str, file: Path, name: str, *, home: str | None) -> str:
    """A page's Markdown with its links turned to the site's pages.

    Args:
        text: the Markdown.
        file: where it stands in the repository.
        name: its name on the site.
        home: the repository's address; None: it is not known.
    """
    places = {path.resolve(): other for path, other in sources().items()}

    def turned(found: re.Match[str]) -> str:
        picture, words, target, heading = found.groups()
        path = (file.parent / target).resolve()
        if path in places:
            return f"{picture}[{words}]({os.path.relpath(places[path], Path(name).parent)}{heading or ''})"
        if path.is_relative_to(ROOT / "docs" / "images"):
            return f"{picture}[{words}]({os.path.relpath(path.relative_to(ROOT / 'docs'), Path(name).parent)})"
        if not path.exists():
            raise SystemExit(f"{file.relative_to(ROOT)} has a broken link: {target}")
        if home is None:
            return words if not picture else ""
        return f"{picture}[{words}]({home.rstrip('/')}/blob/main/{path.relative_to(ROOT)}{heading or ''})"

    parts = _CODE.split(text)  # what stands in code is no link
    return "".join(part if at % 2 else _LINK.sub(turned, part) for at, part in enumerate(parts))


def notebook_page(file: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown: text, code, what it printed, and its pictures as files; HTML stays in the notebook."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(f"```python\n{cell.source}\n```")
        for out in cell.get("outputs", ()):
            data = out.get("data", {})
            if "image/png" in data:
                name = f"{file.stem}-{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the code above draws]({name})")
            elif printed := (out.get("text", "") or data.get("text/plain", "")).rstrip():
                parts.append(f"```text\n{printed}\n```")
    where = f"This page is the notebook `notebooks/{file.name}`, as it was run."
    return "\n\n".join([*parts[:1], where, *parts[1:]]) + "\n", pictures


def api_page(title: str, module: str) -> str:
    """The page of a module, which mkdocstrings fills from its docstrings."""
    import importlib

    found = importlib.import_module(module)
    lines = [f"# {title}", (found.__doc__ or "").strip().splitlines()[0]]
    names = getattr(found, "__all__", ())
    for name in names:
        thing = getattr(found, name)
        where = getattr(thing, "__module__", None)
        if callable(thing) and where:
            options = f"heading: {module}.{name}\n      toc_label: {name}\n      heading_level: 2"
            lines.append(f"::: {where}.{thing.__qualname__}\n    options:\n      {options}")
    return "\n\n".join(lines) + "\n"


def put_together(*, live: bool = True) -> None:
    """Write all pages into build/site.

    Args:
        live: run the packaged model for the first page's picture.
    """
    shutil.rmtree(PAGES, ignore_errors=True)
    home = repository()
    for file, name in sources().items():
        place, pictures = PAGES / name, {}
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".ipynb":
            text, pictures = notebook_page(file)
        else:
            text = relinked(file.read_text(encoding="utf-8"), file, name, home=home)
        for picture, content in pictures.items():
            (place.parent / picture).write_bytes(content)
        place.write_text(with_live_picture(text) if name == "index.md" else text, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", PAGES / "images")
    shutil.copy(ROOT / "docs" / "site.css", PAGES / "site.css")
    for name, (title, module, _) in API.items():
        (PAGES / "api").mkdir(exist_ok=True)
        (PAGES / "api" / f"{name}.md").write_text(api_page(title, module), encoding="utf-8")
    if live:
        import inspector
        from inspector import views

        views.explore_page(inspector.load().trace(PROMPT)).save(PAGES / "explore.html")


def with_live_picture(readme: str) -> str:
    """The first page: README with the live picture in place of its first screenshot."""
    text, count = re.subn(r"^!\[[^\]]*\]\(images/heads\.png\)\n", lambda _: LIVE, readme, flags=re.MULTILINE)
    if count != 1:
        raise SystemExit("README.md has no picture images/heads.png whose place the live one could take.")
    return f"---\nhide: [navigation, toc]\n---\n{text}"  # as wide as the picture needs


def main() -> int:
    """Put the pages together and build; a broken link fails."""
    put_together()
    zensical = Path(sys.executable).parent / "zensical"
    done = subprocess.run(
        [str(zensical), "build", "--clean", "--strict", "-f", str(ROOT / "zensical.toml")], cwd=ROOT, check=False
    )
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
