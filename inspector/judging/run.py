"""`inspector.judge`: somebody's own attention beside the model's, with the first step that differs and why.

    the model   forward pass ─► attention input of each layer ─► its own module again, eager ─► reference stages
    yours       a copy of the same input ─► your attention, whole, in chunks, token by token ──► the same stages

Each stage is compared with the model's, and with what the right step makes of your own numbers before it, so that a
second mistake is not hidden by the first. Causes are then measured (search.py), and so is which mistakes this prompt
and these stages would have shown (power.py): the verdict claims no more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from inspector.errors import InspectorError
from inspector.judging.answers import Handed, Registered, answers_of
from inspector.judging.asking import LONG, ask_layers, dtype_read
from inspector.judging.causes import Explained, explain, same_in_another_layout
from inspector.judging.dropout import another_answer, dropout_in
from inspector.judging.findings import NOT_ASKED, Power, StepCheck
from inspector.judging.gradient_checks import Gradients, compare_gradients
from inspector.judging.layer_at import LayerAt
from inspector.judging.library_modules import attending_by
from inspector.judging.measured import measure
from inspector.judging.packing import of_packing, run_packed
from inspector.judging.power import Compared, of_caches, whole_text
from inspector.judging.report import Judgement
from inspector.judging.several_ways import run_ways
from inspector.judging.stage_check import HALF
from inspector.judging.verdicts import advice_on, first_step, verdict_of
from inspector.judging.whole_model import judge_logits
from inspector.model.load_model import load
from inspector.model.model import Model
from inspector.model.options import dtype_name
from inspector.trace.trace import Trace
from inspector.verification.prepare import Prompt, recorded_prompt, remarks_on, weights_remarks
from reimpl.attention import CausalSelfAttention

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def judge(
    model: Model | str | Path,
    mine: Any,
    prompt: Prompt,
    *,
    decode: Literal["auto"] | int | bool = "auto",
    dtype: str | torch.dtype | None = None,
    gradients: bool = False,
) -> Judgement:
    """Judge your own attention by a model's: the first step that differs, the measured cause, and what was not shown.

    Args:
        model: the reference: a model as `inspector.load` returns it, or what load takes: a name, a folder.
        mine: your attention: a function (attention input [n, d_model], layer), or of the input alone for one layer; an
            nn.Module that takes [b, n, d_model]; a list of them, one for each layer; a model object; the name of a
            registered attention function; a folder or file of dumps; a function of token ids that returns logits; an
            object with reset() that is called with new tokens only; a function that takes past= and gives back "past";
            or an object that follows `Handed` of judging/answers.py. It may return the output, a pair (output,
            weights), or a mapping with any of the stages query_pre, key_pre, query, key, value, weights, context,
            output; of torch, numpy or JAX.
        prompt: a text, token ids (a list, or an integer tensor [n] or [1, n]), or a trace.
        decode: "auto": give the text also token by token and in chunks, where your attention can go on after earlier
            tokens; a number: so many last tokens one by one; False: the whole text alone.
        dtype: what your code computes in, such as "bfloat16"; None: read from its numbers.
        gradients: also compare the gradients of a loss, by the input, by each stage that you return and by your
            matrices, in each layer whose output is right; of torch alone.

    Returns:
        The report: `.ok`, `.verdict`, `.step`, `.causes`, `.measured`, `.table`, `.ways`, `.gradients`, `.power`;
        printed, a page.

    Raises:
        InspectorError: your attention raised something or returned nothing that can be read, or the model or the prompt
            cannot be taken.
    """
    started = time.perf_counter()
    model = model if isinstance(model, Model) else load(model)
    steps = _decoded(decode)
    handed = answers_of(mine, model)
    if handed is None:
        if gradients:
            raise InspectorError(
                "gradients=True compares those of attention layers, and you handed over a function of token ids: give "
                "a function (x, layer), or leave gradients out."
            )
        return judge_logits(model, mine, prompt, started)
    model.layers  # noqa: B018  (probed before the model is told to attend otherwise)
    with attending_by(model, handed.name) if isinstance(handed, Registered) else contextlib.nullcontext():
        trace, remarks = recorded_prompt(model, prompt)
        if hasattr(handed, "attach"):
            handed.attach(trace)
        return _Judging(model, handed, trace, remarks, steps, _chosen(dtype), gradients).run(started)


def _decoded(decode: object) -> int | Literal[False] | None:
    """Read the option `decode`: None for "auto", a number of tokens, or False."""
    if decode == "auto" or decode is True:
        return None
    if decode is False or decode == 0:
        return False
    if isinstance(decode, int) and decode > 0:
        return decode
    raise InspectorError(f'decode={decode!r} is neither "auto", a number of tokens, nor False.')


def _chosen(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or dtype in DTYPES.values():
        return dtype  # type: ignore[return-value]
    if dtype not in DTYPES:
        raise InspectorError(f"dtype={dtype!r} is not known: choose {', '.join(DTYPES)}.")
    return DTYPES[dtype]


class _Judging:
    """One judgement, from the answers to the report."""

    def __init__(
        self,
        model: Model,
        handed: Handed,
        trace: Trace,
        remarks: Sequence[str],
        decode: int | Literal[False] | None,
        dtype: torch.dtype | None,
        gradients: bool,
    ) -> None:
        self.model, self.handed, self.trace, self.decode, self.dtype = model, handed, trace, decode, dtype
        self.gradients = gradients
        self.said: list[str] = []
        self.remarks = list(remarks)
        self.ours, self.why_not_ours = _reimplemented(model)
        self.remarks += remarks_on(model.reimplementation) if self.ours else []
        self.remarks += weights_remarks(model, None)

    def run(self, started: float) -> Judgement:
        """Ask, compare, run the other ways, look for causes, measure what would have shown."""
        asked, self.said = ask_layers(self.handed, self.trace, self.ours, self.model.name)
        # A dump may say that it is coarse; that it is not, it may only have copied from a reference's dump.json.
        told = _chosen(getattr(self.handed, "dtype", None))
        dtype = self.dtype or (told if told in HALF else None) or dtype_read(asked, self.model.dtype)
        checks: list[StepCheck] = []
        for at in asked:
            at.dtype = dtype
            found = at.checks()
            checks += [self._with_own(at, check) for check in found] if any(not c.ok for c in found) else found
            if self.trace.n > LONG:
                at.forget()
        wrong = [at for at in asked if any(c.layer == at.index and not c.ok for c in checks)]
        layout = same_in_another_layout(wrong, checks) if wrong else None
        way_rows, of_ways, pieces = run_ways(self.handed, asked, [] if layout else wrong, self.decode, dtype)
        rights = [at for at in asked if layout or at not in wrong]
        packed, of_packed, done = run_packed(self.handed, rights if self.decode is not False else [], dtype)
        way_rows.append(packed)
        back = compare_gradients(self.handed, self.model, rights, dtype) if self.gradients else Gradients()
        later = [of_ways, of_packed, back.explained]
        explained = next((one for one in later if one.causes), Explained())
        if wrong and not layout:
            explained = self._cause(wrong, checks, dtype)
        planted, why = self._power(asked, checks, pieces, done)
        verdict = verdict_of(
            checks,
            way_rows,
            back.checks,
            planted,
            in_another_layout=layout is not None,
            dtype=dtype,
            models_dtype=self.model.dtype,
            n=self.trace.n,
        )
        if self.gradients and not rights:
            self.remarks.append("Gradients were not compared: the outputs differ already.")
        measured = measure(asked, wrong) | explained.measured | {"dtype": str(dtype)[6:]}
        return Judgement(
            model=self.model.name,
            note=self.model.source.note,
            prompt=self.trace.prompt,
            n=self.trace.n,
            dtype=dtype_name(self.model.dtype),
            device=str(self.model.device),
            verdict_found=verdict,
            step=first_step(verdict, checks, way_rows, back.checks, explained),
            causes=(*explained.causes, *(layout or ())),
            measured=measured,
            checks=tuple(checks),
            ways_run=tuple(way_rows),
            planted=(*planted, *back.planted),
            why_no_power=why,
            said=tuple(dict.fromkeys([*self.handed.said, *self.said, *back.said])),
            seconds=time.perf_counter() - started,
            remarks=(*self.remarks, *advice_on(verdict, self.model.name)),
            gradient_checks=tuple(back.checks),
        )

    def _with_own(self, at: LayerAt, check: StepCheck) -> StepCheck:
        own = at.own(check)
        return check if own is None else replace(check, own_abs=own[0], own_tolerance=own[1], own_ok=own[2])

    def _cause(self, wrong: Sequence[LayerAt], checks: Sequence[StepCheck], dtype: torch.dtype) -> Explained:
        """Find why the whole text differs: by a mistake that gives your numbers, or by what dropout does."""
        found = dropout_in(wrong[0])
        found = found if found.causes else explain(wrong, checks, self.ours, dtype)
        return found if found.causes else another_answer(self.handed, wrong[0])

    # -- what it comes to -----------------------------------------------------------------------------------------

    def _power(
        self,
        asked: Sequence[LayerAt],
        checks: Sequence[StepCheck],
        pieces: dict[str, Any],
        packed: dict[int, LayerAt],
    ) -> tuple[list[Power], str]:
        """Measure which known mistakes would have shown; where ours is not known, say why not."""
        if not self.ours:
            return [], f"how much that shows is not known ({self.why_not_ours})"
        kinds: dict[Any, LayerAt] = {}
        for at in asked:
            kinds.setdefault((at.ours[at.index].spec, tuple(at.found)), at)
        compared = {
            at.index: Compared(
                at.right_chain, at.reference, at.limits, [c.stage for c in checks if c.layer == at.index]
            )
            for at in kinds.values()
        }
        why = "" if pieces else NOT_ASKED
        rows = [*whole_text(compared), *of_caches(compared, pieces, why), *of_packing(packed, compared)]
        return rows, ""


def _reimplemented(model: Model) -> tuple[list[CausalSelfAttention], str]:
    """Return our layers, in float32 at least, or none and why."""
    try:
        ours = model.reimplementation
    except InspectorError as error:
        return [], str(error).rstrip(".")
    if model.dtype in HALF:
        ours = [CausalSelfAttention.like(layer).float() for layer in ours]
    return ours, ""
