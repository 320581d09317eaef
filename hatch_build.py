"""Make the README that stands on an index page: its relative links and pictures lead to the repository, or go.

On an index page there are no files beside README.md. Where pyproject.toml names the repository ([project.urls]
Repository), links become absolute; where it does not, a link becomes its text and a picture is left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")


def index_page(text: str, repository: str | None) -> str:
    """Return the README for a place that has no files beside it.

    Args:
        text: README.md.
        repository: the repository's address; None: it is not known.

    Returns:
        Markdown without a relative link.
    """

    def placed(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if repository is None:
            return "" if picture else words
        kind = "raw" if picture else "blob"
        return f"{picture}[{words}]({repository.rstrip('/')}/{kind}/main/{target})"

    return _LINK.sub(placed, text)


class ReadmeHook(MetadataHookInterface):
    """Set the readme as the wheel is built."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Put the text into the metadata."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        metadata["readme"] = {"content-type": "text/markdown", "text": index_page(text, repository)}
