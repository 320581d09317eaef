"""Build an atlas: what every head of a model does over a corpus, shard by shard, on one machine or on many."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from inspector.atlas.corpus import write_corpus
from inspector.atlas.estimate import Estimate, estimated
from inspector.atlas.finished import Atlas, open_atlas
from inspector.atlas.plan import PARTS, ROWS, Plan, file_hashes, followed_ids, made_with
from inspector.atlas.texts import COLUMN, Source
from inspector.atlas.worker import part_path, run, work
from inspector.atlas.writing import finish
from inspector.errors import InspectorError
from inspector.model.model import Model, refuse_no_model
from inspector.text import Progress, no_progress
from inspector.trace.whole_numbers import shown, whole_number

TOKENS, ROWS_PER_SHARD, BATCH = 128, 256, 8
LONGEST = 1024  # tokens of a row: one layer's weights of one row are held whole


class Client(Protocol):
    """What runs work elsewhere: a `distributed.Client` of Dask's, or any `concurrent.futures` executor."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Start the function somewhere; the future that comes back has `.result()`."""


def build(
    model: Model,
    texts: Source = None,
    *,
    out: str | Path,
    client: Client | None = None,
    tokens: int = TOKENS,
    rows_per_shard: int = ROWS_PER_SHARD,
    batch: int = BATCH,
    threads: int | None = None,
    rows: int | None = None,
    seed: int = 0,
    column: str = COLUMN,
    progress: Progress = no_progress,
    on_estimate: Callable[[Estimate], None] | None = None,
) -> Atlas:
    """Measure what every head does over a corpus, and write it into a folder.

    A run that was stopped goes on where it was: call it again with the same arguments.

    Args:
        model: what inspector.load returns.
        texts: a file (one text a line, or Parquet or JSON lines), a folder of files, a hub's data set, any iterable of
            texts; None: 0.5 MB of English that every Python carries.
        out: the folder of the atlas, made where it does not exist.
        client: who computes shards: a Dask client or a `concurrent.futures` executor, whose workers see `out` and can
            load the model by its name; None: this process.
        tokens: texts are cut into rows of so many tokens.
        rows_per_shard: rows that are computed and written together.
        batch: rows of one pass, of equal length.
        threads: that torch uses in each worker; None: as many as here, or 1 with a client.
        rows: stop after so many rows; None: the whole corpus.
        seed: of the hashes that choose examples and checked rows.
        column: of tables, the column that holds the text.
        progress: called as progress(message, fraction); what it raises ends the run, and finished shards stay.
        on_estimate: told what is to be done and about how long it takes, before it begins; what it raises ends the
            run.

    Returns:
        The atlas; `.heads` has a row for each head.

    Raises:
        InspectorError: an argument or text cannot be taken, the folder holds another atlas, or a worker failed.
    """
    refuse_no_model(model, "build")
    for name, value in (("tokens", tokens), ("rows_per_shard", rows_per_shard), ("batch", batch), ("rows", rows)):
        if value is not None and (whole_number(value) or 0) < (2 if name == "tokens" else 1):
            raise InspectorError(f"{name}={shown(value)} is no number of them: give a whole number from 1 on.")
    longest = min(LONGEST, model.positions or LONGEST)
    if tokens > longest:
        raise InspectorError(f"tokens={tokens} is too long for a row of {model.name}: give at most {longest}.")
    if client is not None and model.source.folder is None:
        raise InspectorError(
            f"{model.name} was given as an object, which workers cannot load: leave client out, or load it by its name."
        )
    if not all(model.passes.asks_interface(layer) for layer in model.layers):
        raise InspectorError(
            f"Attention in {model.name} is computed in the modules' own code, which is recognised in single prompts "
            "only: an atlas of it cannot be made yet."
        )
    folder = Path(out)
    plan = _planned(model, texts, folder, tokens, rows_per_shard, batch, threads, rows, seed, column, client, progress)
    if on_estimate is not None:
        on_estimate(estimated(model, folder))
    started = time.perf_counter()
    _compute(model, folder, plan, client, progress)
    progress("adding up the shards", None)
    finish(model, folder, plan, seconds=time.perf_counter() - started)
    return open_atlas(folder)


def _planned(
    model: Model,
    texts: Source,
    folder: Path,
    tokens: int,
    rows_per_shard: int,
    batch: int,
    threads: int | None,
    rows: int | None,
    seed: int,
    column: str,
    client: Client | None,
    progress: Progress,
) -> Plan:
    """Write the corpus's rows and the plan; go on with those that are there, where they are the same."""
    if folder.exists() and not folder.is_dir():
        raise InspectorError(f"{folder} is a file: give the name of a folder.")
    known = (folder / "plan.json").exists()
    if not known and folder.is_dir() and any(one.name not in (ROWS, PARTS) for one in folder.iterdir()):
        raise InspectorError(f"{folder} has files in it and no atlas: give the name of a new folder.")
    for place in (folder / ROWS, folder / PARTS):
        place.mkdir(parents=True, exist_ok=True)
    progress("reading texts", None)
    old = Plan.load(folder) if known else None
    corpus = write_corpus(
        model, texts, folder / ROWS, tokens=tokens, rows_per_shard=rows_per_shard, column=column, most_rows=rows
    )
    if threads is None:
        threads = old.threads if old is not None else 1 if client is not None else torch.get_num_threads()
    plan = Plan(
        model=model.name,
        source=model.provenance,
        model_files=file_hashes(model),
        tokens=tokens,
        rows_per_shard=rows_per_shard,
        batch=batch,
        threads=threads,
        seed=seed,
        corpus={"from": _named(texts), "column": column, "sha256": corpus.sha256, "tokens": corpus.tokens}
        | {"texts": corpus.counts.to_dict(), "in_words": corpus.counts.in_words()},
        rows=corpus.rows,
        shards=corpus.shards,
        followed=followed_ids(corpus.occurrences, sum(info.heads for info in model.layers)),
    )
    if old is not None and (other := plan.differences(old)):
        raise InspectorError(
            f"{folder} holds an atlas of another {', '.join(other)}: give the name of a new folder, or the same "
            "arguments and texts as before."
        )
    plan.save(folder)
    return plan


def _named(texts: Source) -> str:
    if texts is None:
        return f"pydoc_data.topics of Python {made_with()['python']}"
    return str(texts) if isinstance(texts, str | Path) else "texts of the caller's"


def _compute(model: Model, folder: Path, plan: Plan, client: Client | None, progress: Progress) -> None:
    """Compute the shards that are not there yet."""
    missing = [number for number in range(plan.shards) if not part_path(folder, number).exists()]
    done = plan.shards - len(missing)
    if client is None:
        for number in missing:
            at = done

            def say(message: str, fraction: float | None, at: int = at, number: int = number) -> None:
                progress(f"shard {number + 1} of {plan.shards}: {message}", (at + (fraction or 0)) / plan.shards)

            run(model, folder, plan, number, say)
            done += 1
        return
    futures = [(number, client.submit(work, str(folder.resolve()), number)) for number in missing]
    try:
        for number, future in futures:
            _result(future, number)
            done += 1
            progress(f"{done} of {plan.shards} shards", done / plan.shards)
    except BaseException:
        for _, future in futures:
            future.cancel()
        raise


def _result(future: Any, number: int) -> None:
    try:
        future.result()
    except InspectorError:
        raise
    except Exception as error:  # of whatever kind the client's own are
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise InspectorError(
            f"A worker failed at shard {number + 1} ({what[:200]}): finished shards are kept, so run the same again."
        ) from error


__all__ = ["Client", "build"]
