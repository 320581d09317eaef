"""A whole model of somebody's own, token ids to logits, beside the library's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from inspector.errors import InspectorError
from inspector.judging.findings import LEAST_SHOWN, LEAST_SHOWN_IN_HALF, Power, StepCheck, Verdict, Way
from inspector.judging.guarded_call import guarded
from inspector.judging.layouts import as_tensor
from inspector.judging.limits import EPS, Limit
from inspector.judging.power import EVER
from inspector.judging.report import Judgement
from inspector.judging.stage_check import compared, rounded_to
from inspector.model.model import Model
from inspector.model.options import dtype_name
from inspector.trace.trace import Trace
from inspector.verification.compare import distance, largest
from inspector.verification.mistakes.core import MISTAKES
from inspector.verification.mistakes.unchanged import another_text_may_show
from inspector.verification.prepare import Prompt, refuse_no_model
from inspector.verification.spliced_run import spliced_logits
from inspector.verification.tolerances import ROUNDINGS_A_LAYER

MOST_TOKENS = 256  # up to which each known mistake has a pass of the model


def judge_logits(model: Model, mine: Callable[..., Any], prompt: Prompt, started: float) -> Judgement:
    """Compare somebody's logits for a prompt with the library's.

    Args:
        model: the reference.
        mine: token ids -> logits [n, vocabulary], or [1, n, vocabulary].
        prompt: as `judge` takes it.
        started: when the judgement began.

    Returns:
        The judgement.

    Raises:
        InspectorError: it raised something, or returned no logits of these shapes.
    """
    refuse_no_model(model)
    tokens = prompt.tokens if isinstance(prompt, Trace) else model.tokenize(prompt)
    ids = torch.tensor(list(tokens.ids))
    due = model.passes.logits(tokens.ids)
    eager = model.passes.logits(tokens.ids, eager=True)
    reset = getattr(mine, "reset", None)
    if callable(reset):
        reset()
    found, dtype = _asked(mine, ids, batch=isinstance(mine, torch.nn.Module))
    unit = max(torch.finfo(dtype).eps, torch.finfo(model.dtype).eps)
    room = max(4 * distance(due, eager), ROUNDINGS_A_LAYER * unit * len(model.layers) * largest(due))
    room += EPS * len(ids) * largest(due)  # of rounded angles
    reason = f"{len(model.layers)} layers, each summed in another order: {room:.1e}"
    if found.shape == (*due.shape[:1], 1, *due.shape[1:]):
        found = found[:, 0]
    if found.ndim == 2 and found.shape[0] == 1 and due.shape[0] > 1:
        due = due[-1:]
    check = compared(
        len(model.layers) - 1, "logits", "output projection", found, due.float(), Limit(torch.tensor(room), reason)
    )
    planted, why = _power(model, tokens.ids, due, room) if check.ok else ([], "no power of what differs")
    half = dtype in (torch.bfloat16, torch.float16) and model.dtype == torch.float32
    ways = (Way("whole", True, check.ok, 1, None, "", None, None, None, "logits compared"),)
    advice = "Logits alone name no step: hand over attention's stages, by a function (x, layer), to find it."
    return Judgement(
        model=model.name,
        note=model.source.note,
        prompt=prompt if isinstance(prompt, str) else None,
        n=len(ids),
        dtype=dtype_name(model.dtype),
        device=str(model.device),
        verdict_found=_verdict(check, planted, str(dtype)[6:] if half else ""),
        step=None,
        causes=(),
        measured={"dtype": str(dtype)[6:]},
        checks=(check,),
        ways_run=ways,
        planted=tuple(planted),
        why_no_power=why,
        said=("a function of token ids: your logits were compared with the model's",),
        seconds=time.perf_counter() - started,
        remarks=() if check.ok else (advice,),
    )


def _asked(mine: Callable[..., Any], ids: torch.Tensor, *, batch: bool) -> tuple[torch.Tensor, torch.dtype]:
    """Ask for logits, with a batch dimension where it wants one."""
    given = ids.clone()[None] if batch else ids.clone()
    try:
        answer = guarded(mine, None, given, (given,), {})
    except InspectorError:
        given = ids.clone() if batch else ids.clone()[None]
        answer = guarded(mine, None, given, (given,), {})
    answer = getattr(answer, "logits", answer)
    answer = answer[0] if isinstance(answer, tuple | list) else answer
    if isinstance(answer, dict):
        answer = answer.get("logits")
    logits = as_tensor(answer, "your logits")
    dtype = logits.dtype
    logits = logits[0] if logits.ndim == 3 and logits.shape[0] == 1 else logits
    return logits.float(), rounded_to({"output": logits.float()}, {"output": dtype}) or torch.float32


def _verdict(check: StepCheck, planted: Sequence[Power], half: str) -> Verdict:
    """Choose the verdict on logits; half: the half precision that they were computed in, if any."""
    if not check.ok:
        return "different"
    able = [row for row in planted if row.applies]
    if able and sum(row.shown for row in able) < (LEAST_SHOWN_IN_HALF if half else LEAST_SHOWN) * len(able):
        return "not shown"
    return "right to bfloat16" if half == "bfloat16" else "right to float16" if half else "right"


def _power(model: Model, ids: Sequence[int], due: torch.Tensor, room: float) -> tuple[list[Power], str]:
    """Put each known mistake into every layer of a copy of the model, and see whether its logits would show it."""
    unknown = "which mistakes logits would have shown is not known"
    if len(ids) > MOST_TOKENS:
        return [], f"{unknown} (it is measured up to {MOST_TOKENS} tokens)"
    rows: list[Power] = []
    try:
        ours = model.reimplementation
        right = spliced_logits(model, ids, ours)
        for mistake in MISTAKES:
            tried = [mistake.plant(layer, EVER) for layer in ours]
            reasons = [one for one in tried if isinstance(one, str)]
            if len(reasons) == len(tried):
                rows.append(Power(mistake.name, mistake.meaning, False, False, None, "", "whole", reasons[0]))
                continue
            layers = [layer if isinstance(one, str) else one for one, layer in zip(tried, ours, strict=True)]
            logits = spliced_logits(model, ids, layers)
            shown = bool((~((logits[-len(due) :].float() - due.float()).abs() <= room)).any())
            moved = shown or not torch.equal(logits, right)
            able = moved or any(
                another_text_may_show(mistake, layer, len(ids))
                for one, layer in zip(tried, ours, strict=True)
                if not isinstance(one, str)
            )
            why = "" if shown else "it moves these logits by no more than rounding"
            stage = "logits" if shown else ""
            rows.append(Power(mistake.name, mistake.meaning, able, shown, None, stage, "whole", why))
    except InspectorError as error:
        return [], f"{unknown} ({str(error).rstrip('.')})"
    return rows, ""
