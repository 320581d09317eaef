"""A scene of boxes, texts and cells goes in; the same picture as SVG text or as PNG bytes comes out.

Lengths are in SVG pixels, y downwards. Token text may hold anything: it is escaped, and what cannot be shown (control
characters) becomes a replacement character.
"""

from __future__ import annotations

import base64
import html
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

FAMILY = "system-ui, 'DejaVu Sans', 'Noto Sans', sans-serif"
# The first that is installed and has the text's characters; Pillow brings one for when none is.
FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKjp-Regular.otf",
    "wqy-zenhei.ttc",
    "msgothic.ttc",
    "Arial Unicode.ttf",
    "NotoEmoji-Regular.ttf",
    "Symbola.ttf",
)
BOLD = {"DejaVuSans.ttf": "DejaVuSans-Bold.ttf", "Arial.ttf": "Arial Bold.ttf"}
ONE_BY_ONE = 64  # cells a side: so many are drawn each with its own reading, more are drawn by colour

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Text:
    """`anchor`: start, middle or end, at (x, y), the middle of the line's height. `turn`: degrees, clockwise."""

    x: float
    y: float
    text: str
    colour: str
    size: int = 12
    anchor: str = "start"
    turn: float = 0
    bold: bool = False


@dataclass(frozen=True)
class Box:
    """A filled rectangle, or a frame around one (`fill` None)."""

    x: float
    y: float
    width: float
    height: float
    fill: str | None
    stroke: str | None = None


@dataclass(frozen=True)
class Cells:
    """Squares of side `step`, colours [rows, columns, 3]. With `values` and the two axes' labels each square says its
    own reading where there are not too many; where `shown` is False lies the `ground`."""

    x: float
    y: float
    step: float
    colours: npt.NDArray[np.uint8]
    ground: str
    shown: npt.NDArray[np.bool_]
    values: npt.NDArray[np.float32]
    rows: Sequence[str]
    columns: Sequence[str]
    what: str


@dataclass(frozen=True)
class Pixels:
    """A small picture, colours [rows, columns, 3], stretched over a box."""

    x: float
    y: float
    width: float
    height: float
    colours: npt.NDArray[np.uint8]


Part = Text | Box | Cells | Pixels


@dataclass
class Scene:
    """Everything of one picture. `title` and `description` are for those who cannot see it."""

    width: float
    height: float
    background: str
    title: str
    description: str
    parts: list[Part] = field(default_factory=list)


def clean(text: str) -> str:
    """`text` without what neither XML nor a font takes: controls, lone surrogates, line ends."""
    return "".join("\ufffd" if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in text)


def text_width(text: str, size: int = 12, *, bold: bool = False) -> float:
    """About how wide a text is."""
    return float(_font(clean(text), size, bold).getlength(clean(text)))


def fitted(text: str, room: float, size: int = 12) -> str:
    """As much of `text` as fits, with an ellipsis where it was cut."""
    if text_width(text, size) <= room:
        return text
    letters = list(text[:200])
    while len(letters) > 1 and text_width("".join(letters) + "…", size) > room:
        letters.pop()
    return "".join(letters) + "…"


# -- SVG -----------------------------------------------------------------------------------------------------


def to_svg(scene: Scene) -> str:
    """The scene as one SVG document."""
    size = f'width="{_n(scene.width)}" height="{_n(scene.height)}" viewBox="0 0 {_n(scene.width)} {_n(scene.height)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{html.escape(FAMILY)}" role="img">',
        f"<title>{_x(scene.title)}</title>",
        f"<desc>{_x(scene.description)}</desc>",
        f'<rect width="100%" height="100%" fill="{scene.background}"/>',
    ]
    for part in scene.parts:
        match part:
            case Text():
                lines.append(_svg_text(part))
            case Box():
                stroke = f' stroke="{part.stroke}"' if part.stroke else ""
                lines.append(f'<rect {_at(part)} fill="{part.fill or "none"}"{stroke}/>')
            case Pixels():
                data = base64.b64encode(_png(Image.fromarray(part.colours))).decode()
                how = 'style="image-rendering:pixelated" preserveAspectRatio="none"'
                lines.append(f'<image {_at(part)} {how} href="data:image/png;base64,{data}"/>')
            case Cells():
                lines += _svg_cells(part)
    return "\n".join([*lines, "</svg>\n"])


def _svg_text(part: Text) -> str:
    turn = f' transform="rotate({_n(part.turn)} {_n(part.x)} {_n(part.y)})"' if part.turn else ""
    anchor = f' text-anchor="{part.anchor}"' if part.anchor != "start" else ""
    weight = ' font-weight="600"' if part.bold else ""
    place = f'x="{_n(part.x)}" y="{_n(part.y)}" dy="0.35em" font-size="{part.size}"'
    # xml:space: a token's own spaces are part of it.
    return f'<text {place} fill="{part.colour}"{anchor}{weight}{turn} xml:space="preserve">{_x(part.text)}</text>'


def _svg_cells(part: Cells) -> list[str]:
    rows, columns = part.shown.shape
    step = part.step
    lines = [
        f'<rect x="{_n(part.x)}" y="{_n(part.y)}" width="{_n(columns * step)}" height="{_n(rows * step)}" '
        f'fill="{part.ground}"/>',
        f'<g transform="translate({_n(part.x)} {_n(part.y)}) scale({_n(step)})" shape-rendering="crispEdges">',
    ]
    if max(rows, columns) <= ONE_BY_ONE:
        for row, column in zip(*np.nonzero(part.shown), strict=True):
            value = part.values[row, column]
            reading = f"{part.rows[row]} → {part.columns[column]}: {part.what} {value:.4g}"
            lines.append(
                f'<rect x="{column}" y="{row}" width="1" height="1" fill="{_hex(part.colours[row, column])}" '
                f'data-row="{row}" data-column="{column}" data-value="{value!s}"><title>{_x(reading)}</title></rect>'
            )
    else:
        by_colour: dict[str, list[str]] = {}
        for row in range(rows):
            keys = part.colours[row].astype(np.int64) @ np.array([65536, 256, 1])
            keys[~part.shown[row]] = -1
            starts = np.flatnonzero(np.diff(keys, prepend=-2))  # neighbours of one colour are one stroke
            for start, end in zip(starts, [*starts[1:], columns], strict=True):
                if keys[start] >= 0:
                    wide = end - start
                    by_colour.setdefault(f"#{keys[start]:06x}", []).append(f"M{start} {row}h{wide}v1h-{wide}z")
        lines += [f'<path fill="{colour}" d="{"".join(strokes)}"/>' for colour, strokes in by_colour.items()]
    return [*lines, "</g>"]


def _x(text: str) -> str:
    return html.escape(clean(text))


def _n(number: float) -> str:
    return f"{number:.4f}".rstrip("0").rstrip(".")


def _at(part: Box | Pixels) -> str:
    return f'x="{_n(part.x)}" y="{_n(part.y)}" width="{_n(part.width)}" height="{_n(part.height)}"'


def _hex(colour: npt.NDArray[np.uint8]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour.tolist())


# -- PNG -----------------------------------------------------------------------------------------------------


def to_png(scene: Scene, width: int) -> bytes:
    """The scene as PNG, `width` pixels wide."""
    scale = width / scene.width
    image = Image.new("RGB", (width, max(1, round(scene.height * scale))), scene.background)
    draw = ImageDraw.Draw(image)
    for part in scene.parts:
        match part:
            case Text():
                _draw_text(image, part, scale)
            case Box():
                corners = [part.x, part.y, part.x + part.width, part.y + part.height]
                left, top, right, bottom = (round(value * scale) for value in corners)
                line = max(1, round(scale))
                if part.stroke:
                    left, top, right, bottom = left - line, top - line, right + line, bottom + line
                if right > left and bottom > top:
                    draw.rectangle((left, top, right - 1, bottom - 1), part.fill, part.stroke, line)
            case Pixels():
                _stretch(image, part.colours, part.x, part.y, part.width, part.height, scale)
            case Cells():
                rows, columns = part.shown.shape
                _stretch(image, part.colours, part.x, part.y, columns * part.step, rows * part.step, scale)
    facts = PngInfo()
    facts.add_itxt("Title", clean(scene.title))
    facts.add_itxt("Description", clean(scene.description))
    return _png(image, facts)


def _stretch(
    image: Image.Image, colours: npt.NDArray[np.uint8], x: float, y: float, width: float, height: float, scale: float
) -> None:
    left, top = round(x * scale), round(y * scale)
    size = max(1, round((x + width) * scale) - left), max(1, round((y + height) * scale) - top)
    image.paste(Image.fromarray(colours).resize(size, Image.Resampling.NEAREST), (left, top))


def _draw_text(image: Image.Image, part: Text, scale: float) -> None:
    text = clean(part.text)
    if not text.strip():
        return
    font = _font(text, max(4, round(part.size * scale)), part.bold)
    long = int(font.getlength(text)) + 2
    high = int(2 * part.size * scale) + 2
    # On a sheet whose middle is the anchor, so that turning keeps the anchor where it is.
    sheet = Image.new("L", (2 * long, 2 * max(long, high) if part.turn else high), 0)
    middle = sheet.width / 2, sheet.height / 2
    shift = {"start": 0.0, "middle": -long / 2, "end": float(-long)}[part.anchor]
    anchor = "lm" if isinstance(font, ImageFont.FreeTypeFont) else None
    # A position and its token stay in this order, also where the token is written from right to left.
    shaped = isinstance(font, ImageFont.FreeTypeFont) and font.layout_engine == ImageFont.Layout.RAQM
    direction = "ltr" if shaped else None
    ImageDraw.Draw(sheet).text((middle[0] + shift, middle[1]), text, 255, font, anchor, direction=direction)
    if part.turn:
        sheet = sheet.rotate(-part.turn, Image.Resampling.BICUBIC)
    place = round(part.x * scale - middle[0]), round(part.y * scale - middle[1])
    image.paste(Image.new("RGB", sheet.size, part.colour), place, sheet)


def _png(image: Image.Image, facts: PngInfo | None = None) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=facts, optimize=image.width * image.height < 10_000)
    return out.getvalue()


def _font(text: str, size: int, bold: bool) -> Font:
    """The first installed font that has all of the text's characters; where none has, the first: it draws a box."""
    installed = [name for name in FONTS if _installed(name)]
    best = next((name for name in installed if all(_has(name, letter) for letter in set(text))), None)
    return _sized(best or (installed[0] if installed else ""), size, bold)


@lru_cache(maxsize=512)
def _sized(name: str, size: int, bold: bool) -> Font:
    for file in (BOLD.get(name) if bold else None, name or None):
        try:
            if file:
                return ImageFont.truetype(file, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def _installed(name: str) -> bool:
    try:
        ImageFont.truetype(name, 12)
    except OSError:
        return False
    return True


@lru_cache(maxsize=65536)
def _has(name: str, letter: str) -> bool:
    """Whether a font draws this character as something else than its sign for "I have none"."""
    if letter.isspace() or letter.isascii():
        return True
    font = _sized(name, 24, False)
    return bytes(font.getmask(letter)) != bytes(font.getmask("\U0010fffe"))
