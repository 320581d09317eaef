"""The command `atlas`: measure what every head does over a corpus, into a folder that a stopped run goes on with."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.cli import common
from inspector.errors import InspectorError
from inspector.text import first_sentence

if TYPE_CHECKING:
    from inspector.atlas.estimate import Estimate
    from inspector.atlas.finished import Atlas

HELP = "measure what every head does over a corpus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    common.add_loading_arguments(parser)
    common.add_json_argument(parser, "the manifest")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the atlas is written")
    parser.add_argument(
        "--texts",
        metavar="WHERE",
        help="a text file (a text a line), .parquet, .jsonl, a folder of files, or a hub's data set owner/name "
        "(0.5 MB of English that every Python carries)",
    )
    parser.add_argument("--column", default="text", help="the column of tables that holds the text")
    parser.add_argument("--tokens", type=common.whole_number, default=128, metavar="N", help="tokens of a row (128)")
    parser.add_argument("--rows", type=common.whole_number, metavar="N", help="stop after so many rows")
    parser.add_argument("--rows-per-shard", type=common.whole_number, default=256, metavar="N", help="(256)")
    parser.add_argument("--batch", type=common.whole_number, default=8, metavar="N", help="rows of a pass (8)")
    parser.add_argument("--threads", type=common.whole_number, metavar="N", help="threads of each worker")
    parser.add_argument("--workers", type=common.whole_number, default=1, metavar="N", help="processes here (1)")
    parser.add_argument("--dask", metavar="ADDRESS", help="a Dask scheduler whose workers compute the shards")

    parser.add_argument(
        "--headvis", type=Path, metavar="FOLDER", help="write HeadVis' JSON layout too, into a new folder"
    )


def run(options: argparse.Namespace) -> int:
    """Build an atlas; return 0 where its checked rows agree and 1 where they do not."""
    common.refuse_unwritable(options.json)
    if options.workers < 1:
        raise InspectorError(f"--workers {options.workers} is no number of processes: give 1 or more.")
    if options.dask and options.workers > 1:
        raise InspectorError("Give either --workers or --dask, not both: Dask has workers of its own.")
    if not options.out.parent.is_dir():
        raise InspectorError(f"{options.out.parent} is not a folder that exists: make it first, or choose another.")
    model = common.load_model(options)
    from inspector import atlas

    with _client(options) as client:
        made: Atlas = atlas.build(
            model,
            options.texts,
            out=options.out,
            client=client,
            tokens=options.tokens,
            rows_per_shard=options.rows_per_shard,
            batch=options.batch,
            threads=options.threads,
            rows=options.rows,
            column=options.column,
            progress=_say,
            on_estimate=lambda found: _announce(found, options.workers),
        )
        if options.headvis is not None:
            atlas.write_headvis(made, model, options.headvis, progress=_say)
    common.show_progress("")
    if options.json != "-":
        print(made.summary())
        print(f"Written to {made.folder}: heads.parquet, cache_heads.csv and the other files that docs/atlas.md lists.")
    if options.json is not None:
        common.write_json(json.loads(json.dumps(made.manifest)), options.json)
    return 0 if made.ok else 1


def _say(message: str, fraction: float | None) -> None:
    common.show_progress(message if fraction is None else f"{message} {fraction:4.0%}")


def _announce(found: Estimate, workers: int) -> None:
    common.show_progress("")
    print(found.in_words(workers), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _client(options: argparse.Namespace) -> Iterator[Any]:
    """Yield what computes shards: nothing (this process), processes of this machine, or Dask's workers."""
    if options.dask:
        try:
            distributed = importlib.import_module("distributed")
        except ImportError as error:
            raise InspectorError(
                "--dask needs Dask's distributed: pip install 'attention-inspector[cluster]', or leave it out and give "
                "--workers."
            ) from error
        try:
            client = distributed.Client(options.dask)
        except (OSError, ValueError) as error:
            raise InspectorError(
                f"No Dask scheduler answers at {options.dask} ({first_sentence(error)}): give its address, such as "
                "tcp://10.0.0.5:8786."
            ) from error
        with client:
            yield client
    elif options.workers > 1:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool
    else:
        yield None
