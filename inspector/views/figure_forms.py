"""One picture in four forms: SVG, PDF, PNG and an HTML page, each made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.errors import InspectorError
from inspector.files import written_whole
from inspector.views.notebook_frame import framed

if TYPE_CHECKING:
    from inspector.views.static_files import Drawing

_SUFFIXES = (".svg", ".pdf", ".png", ".html")


@dataclass(frozen=True)
class Figure:
    """One picture in four forms. `title` and `height` (pixels, of the HTML page) are for whoever frames it."""

    title: str
    height: int
    _draw: Callable[[], Drawing] = field(repr=False)
    _page: Callable[[], str] = field(repr=False)

    @cached_property
    def drawing(self) -> Drawing:
        """What SVG, PDF and PNG show; its `figure` is matplotlib's."""
        from inspector.views import static_files

        with static_files.settings():
            return self._draw()

    @cached_property
    def svg(self) -> str:
        """A vector picture: labels are text; up to 64 tokens each cell says its reading (data-value: exact)."""
        from inspector.views import static_files

        return static_files.to_svg(self.drawing)

    @cached_property
    def pdf(self) -> bytes:
        """The same picture as a PDF page, its fonts embedded as TrueType."""
        from inspector.views import static_files

        return static_files.to_pdf(self.drawing)

    def png(self, width: int = 1600) -> bytes:
        """Draw the same picture as PNG.

        Args:
            width: in pixels, 100 to 20,000.

        Returns:
            The file's bytes.

        Raises:
            InspectorError: the width is out of range.
        """
        if not 100 <= width <= 20_000:
            raise InspectorError(f"A picture {width} pixels wide cannot be drawn; choose 100 to 20,000.")
        from inspector.views import static_files

        return static_files.to_png(self.drawing, width)

    @cached_property
    def html(self) -> str:
        """One page with exact readings on hover and keyboard, for any browser, without a network."""
        return self._page()

    def save(self, path: str | Path) -> Path:
        """Write .svg, .pdf, .png or .html, as the name ends; whole or not at all.

        Args:
            path: the file to write; one that is there is replaced.

        Returns:
            The path.

        Raises:
            InspectorError: the name ends otherwise, or the file could not be written.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in _SUFFIXES:
            raise InspectorError(f'{path.name} ends in "{path.suffix}"; a figure is saved as {", ".join(_SUFFIXES)}.')
        if suffix in (".png", ".pdf"):
            content = self.png() if suffix == ".png" else self.pdf
        else:
            content = (self.svg if suffix == ".svg" else self.html).encode()
        with written_whole(path) as part:
            part.write_bytes(content)
        return path

    def _repr_html_(self) -> str:
        """Return the page in a frame."""
        return framed(self.html, title=self.title, height=self.height)
