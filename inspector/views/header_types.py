"""Declare the headers of the canvases' messages, as views/js/types.d.ts declares them (tests/test_scripts.py compares).

map_headers.py, strips_headers.py and headers.py build them, for the app and for a saved page alike.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Scale = Literal["linear", "sqrt", "log"]


class MapHeader(TypedDict):
    """What heatmap.js is told of one table of numbers.

    rows, columns: labels (columns None: numbered). pool: how many labels one cell stands for. bare: labels say their
    position themselves. cell: square, or free to fill the width. limit: the number at both ends of diverging colours.
    top: the number of the strongest sequential colour (None: 1). threshold: smaller numbers are painted as zero. join:
    from this row on the model wrote the tokens itself. packing: "lower" where only the lower triangle travels.
    """

    rows: list[str]
    columns: list[str] | None
    pool: list[int]
    bare: bool
    cell: Literal["square", "free"]
    max_height: int
    row_name: str
    column_name: str
    value_name: str
    palette: Literal["sequential", "diverging"]
    scale: Scale
    limit: float
    top: float | None
    legend: str
    masked: str
    masked_reading: str
    hint: str
    label: str
    selected: list[int] | None
    picks: bool
    threshold: float
    strip: bool
    join: float | None
    shape: list[int]
    packing: Literal["lower", "full"]
    version: str


class GridHeader(TypedDict):
    """What grid.js is told of all heads' small pictures.

    heads, groups: query and key/value heads of each layer. side: cells along one side of a picture. pictures: a name
    of these pictures, which are painted once. order: (layer, head, reading) one after the other instead of by layer.
    """

    heads: list[int]
    groups: list[int]
    notes: list[str]
    side: int
    selected: list[int]
    scale: Scale
    pictures: str
    label: str
    order: list[list[Any]] | None
    ordered_by: str


class StripsPanel(TypedDict):
    """One strip of colour, or one row of bars: `rows` of the numbers, two of them where `also` names the second.

    limit: the number at full colour or height. scale: of shares from 0 to 1, else "". upward: nothing is below zero.
    """

    kind: Literal["strip", "bars"]
    title: str
    also: str
    rows: list[int]
    limit: float
    scale: Literal["", "linear", "sqrt", "log"]
    upward: bool


class StripsHeader(TypedDict):
    """What strips.js is told of numbers in line: panels over the same `count` columns, one name and label for each.

    partner: the column marked beside each (-1: none). marked: the chosen one. picks: what a choice of each sends.
    """

    test_id: str
    axis: list[str]
    axis_name: str
    turned: bool
    names: list[str]
    notes: list[str] | None
    partner: list[int] | None
    marked: int
    picks: list[int] | None
    panels: list[StripsPanel]
    series: list[str]
    hint: str
    label: str
    count: int
    version: str


class ExploreMeasure(TypedDict):
    """One measure of the heads: what it is called as an order and, where it is a role, as a chip.

    role: empty where it is no share of attention. repeats: whether only a repeated token shows it. note: below the
    role's name. best: the place of the head with the largest score among all heads; -1 where the prompt cannot show it.
    scores: one for each head, None where its weights are not known.
    """

    name: str
    title: str
    meaning: str
    role: str
    repeats: bool
    note: str
    best: int
    ascending: bool
    scores: list[float | None]


class ExploreHeader(TypedDict):
    """What explore.js is told of a prompt: all that stands on the screen without asking the server again.

    id: names the prompt and its numbers. join: from this token on the model wrote the text itself. side, pool: of
    the small pictures, as in GridHeader. sampled: from how many query tokens those without the first token are
    drawn, in words. next: for tokens from `next_from` on, the most probable next ones, each a label and a
    probability. map: the header of a head's map, where all heads' weights follow the small pictures, as float16 and
    without the upper triangle; else None. legends: what such a map's colours are, by scale. known: whether a
    layer's weights can be shown; where not, its note says why. pooled: whether a map's cell stands for several
    tokens. words: how many words the tokens make. found: what a finder says of each head over
    many texts, empty where there is none. counts_from: the least score with which a head has a role.
    most_scaled: the largest factor by which a row without the first token is scaled up.
    """

    id: str
    tokens: list[str]
    join: int
    heads: list[int]
    groups: list[int]
    notes: list[str]
    side: int
    pool: int
    sampled: str
    measures: list[ExploreMeasure]
    next: list[list[list[Any]]]
    next_from: int
    selected: list[int]
    map: MapHeader | None
    legends: dict[str, str]
    known: list[bool]
    pooled: bool
    words: int
    found: list[str]
    counts_from: float
    most_scaled: float


class HeadAsked(TypedDict):
    """What a question for one head asks for; its whole is read by views/head_question.py."""

    layer: int
    head: int
    show: str
    scale: str
    sink: str
    unit: str


class HeadAnswer(TypedDict):
    """What explore.js is told of one head that it asked for: its map, exact and in float32, as in the map's own header.

    id: of the prompt's message. turn: the question's own, so that an answer given twice is sent twice.
    """

    id: str
    asked: HeadAsked
    turn: int
    map: MapHeader


class FrameHeader(TypedDict):
    """What frame.js is told of a page in a frame."""

    title: str
    height: int
    width: int
