"""Open a finished atlas: its table of heads at once, one head's card by reading that head's layer alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from inspector.atlas.plan import MANIFEST
from inspector.errors import InspectorError
from inspector.text import first_sentence

ALIKE = (
    "first", "itself", "back 1", "repeated", "same", "local", "delimiter", "far", "entropy", "distance",
)  # fmt: skip
NEEDED = {"model", "source", "corpus", "settings", "rows", "layers", "verification"}  # of a manifest


@dataclass(frozen=True)
class Card:
    """All that an atlas knows of one head.

    Attributes:
        scores: its row of `Atlas.heads`.
        histograms: by distance and by entropy: of, from, below, value.
        tokens: those that receive most, and those that give most.
        examples: the rows with its largest weights, and rows chosen by hash.
    """

    scores: pd.Series
    histograms: pd.DataFrame
    tokens: pd.DataFrame
    examples: pd.DataFrame


class Atlas:
    """A finished atlas in its folder; `open_atlas` opens one."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Take a folder and what its manifest says."""
        self.folder, self.manifest = folder, manifest

    @property
    def ok(self) -> bool:
        """Whether the rows that were computed again agree, and the planted mistake was caught wherever it was."""
        return bool(self.manifest["verification"]["ok"])

    @cached_property
    def heads(self) -> pd.DataFrame:
        """A row for each head: means over the corpus's query tokens, and their standard errors over its rows."""
        return self._read("heads.parquet")

    @cached_property
    def massive(self) -> pd.DataFrame:
        """A row for each layer: the residual's largest magnitude, where it stands, and times which median."""
        return self._read("massive.parquet")

    def card(self, layer: int, head: int) -> Card:
        """Return all that is known of one head.

        Args:
            layer: from 0.
            head: from 0.

        Returns:
            The card.

        Raises:
            InspectorError: there is no such head in this atlas, or a file is damaged.
        """
        rows = self.heads[(self.heads["layer"] == layer) & (self.heads["head"] == head)]
        if rows.empty:
            raise InspectorError(
                f"There is no head {head} of layer {layer} in this atlas of {self.manifest['model']}: it has "
                f"{len(self.heads)} heads in layers 0 to {int(self.heads['layer'].max())}."
            )
        tables = (self._read(f"{name}.parquet", layer, head) for name in ("histograms", "tokens", "examples"))
        return Card(rows.iloc[0], *tables)

    def examples(self, layer: int, head: int) -> pd.DataFrame:
        """Return one head's examples.

        Args:
            layer: from 0.
            head: from 0.

        Returns:
            A row each: the row of the corpus and its token ids, the query position, the keys with the largest weights.

        Raises:
            InspectorError: there is no such head in this atlas.
        """
        return self.card(layer, head).examples

    def alike(self, layer: int, head: int, count: int = 10) -> pd.DataFrame:
        """Return the heads whose scores are nearest to one head's, each score in units of its spread over heads.

        Args:
            layer: from 0.
            head: from 0.
            count: how many.

        Returns:
            Rows of `heads` with their `apart`, the nearest first.

        Raises:
            InspectorError: there is no such head in this atlas.
        """
        own = self.card(layer, head).scores
        names = [name for name in ALIKE if self.heads[name].notna().all()]
        spread = self.heads[names].std().replace(0, 1)
        apart = np.sqrt((((self.heads[names] - own[names].astype(float)) / spread) ** 2).sum(axis=1))
        found = self.heads.assign(apart=apart)
        others = ~((found["layer"] == layer) & (found["head"] == head))
        return found[others].nsmallest(count, "apart", keep="first")

    def summary(self) -> str:
        """Return what the atlas is of and how it was checked, as two sentences."""
        at, found = self.manifest, self.manifest["verification"]
        rows = f"{found['rows']} row{'' if found['rows'] == 1 else 's'}"
        checked = (
            f"Checked: {found['weights']:,} weights of {rows} in every layer and head, computed again by "
            f"the library's eager attention, differ by at most {found['max_abs']:.1g}, their parts of sums by "
            f"{found['max_sum']:.1g} a token; with heads shifted by one {found['caught']} of {found['planted']} layers "
            "differ by more than is allowed."
        )
        return (
            f"{at['model']} over {at['rows']:,} rows of up to {at['settings']['tokens']} tokens "
            f"({at['corpus']['from']}): {at['corpus']['in_words']} {checked}{'' if self.ok else ' IT DOES NOT AGREE.'}"
        )

    def __repr__(self) -> str:
        return f"<Atlas {self.folder}: {self.manifest['model']}, {self.manifest['rows']} rows>"

    def _read(self, name: str, layer: int | None = None, head: int | None = None) -> pd.DataFrame:
        try:
            with parquet.ParquetFile(self.folder / name) as file:
                if layer is None:
                    return file.read().to_pandas()
                column = file.schema_arrow.names.index("layer")
                groups = [
                    group
                    for group in range(file.num_row_groups)
                    if file.metadata.row_group(group).column(column).statistics.min == layer
                ]
                found = file.read_row_groups(groups).to_pandas()
        except (pyarrow.ArrowException, OSError) as error:
            raise InspectorError(
                f"{self.folder / name} cannot be read ({first_sentence(error)}): build the atlas again."
            ) from error
        return found[found["head"] == head].reset_index(drop=True)


def open_atlas(folder: str | Path) -> Atlas:
    """Open a finished atlas.

    Args:
        folder: what `build` was given as `out`.

    Returns:
        The atlas.

    Raises:
        InspectorError: the folder holds no finished atlas.
    """
    place = Path(folder)
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        if manifest["kind"] != "atlas" or manifest["schema"] != 1:
            raise KeyError("kind")
        if missing := NEEDED - manifest.keys():
            raise KeyError(*sorted(missing))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InspectorError(
            f"{place} holds no finished atlas ({MANIFEST} is missing or of another kind): build one there, or run the "
            "same build again if it was stopped."
        ) from error
    return Atlas(place, manifest)
