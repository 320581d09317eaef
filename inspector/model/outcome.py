"""What a pass of the library's model ends in: next-token logits, or whatever the model has in place of these.

Class scores, marks of a span and hidden states come in the same fields and shapes as logits do; only the model's
language-model head tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto

from inspector.errors import InspectorError

_CAUSAL = {*modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()}
_MASKED = {*modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()} - _CAUSAL  # they fill in a token that is there


def has_language_model_head(model: PreTrainedModel) -> bool:
    """Return whether a model has a head that says how probable each next token is.

    Args:
        model: the library's model; one that fills in masked tokens has another kind of head.
    """
    return type(model).__name__ not in _MASKED and model.get_output_embeddings() is not None


def next_token_logits(model: PreTrainedModel, result: Any) -> Tensor | None:
    """Return the next-token logits of a pass.

    Args:
        model: the library's model.
        result: what it returned.

    Returns:
        Logits [batch, n, vocabulary]; None where the model has no language-model head.
    """
    logits: Tensor | None = getattr(result, "logits", None)
    return logits if logits is not None and logits.ndim == 3 and has_language_model_head(model) else None


@dataclass(frozen=True)
class Outcome:
    """What one pass over a prompt ends in.

    Attributes:
        logits: [1, vocabulary], those after the last token; None where the model has no language-model head.
        value: the logits, or else the last token's hidden state or class scores [1, ...], or the whole prompt's scores:
            what shows whether a model is still the same. None where nothing of the kind is there.
        marks: one number [n] for each token's last hidden state (inspector/capture/marks.py); None where none was seen.
    """

    logits: Tensor | None
    value: Tensor | None
    marks: Tensor | None = None

    @classmethod
    def of(cls, model: PreTrainedModel, result: Any) -> Outcome:
        """Read what the library's model returned for one prompt.

        Args:
            model: the library's model.
            result: what it returned.

        Returns:
            Its outcome.
        """
        return cls.of_rows(model, result, 1)[0]

    @classmethod
    def of_rows(cls, model: PreTrainedModel, result: Any, rows: int) -> list[Outcome]:
        """Read what the library's model returned for several prompts of equal length.

        Args:
            model: the library's model.
            result: what it returned.
            rows: how many prompts there were.

        Returns:
            The outcome of each.
        """
        logits = next_token_logits(model, result)
        if logits is not None:
            return [cls(logits[row, -1:], logits[row, -1:]) for row in range(rows)]
        parts = result.values() if isinstance(result, Mapping) else result
        found = (part for part in parts if isinstance(part, Tensor) and part.ndim in (2, 3))
        first = next(found, None) if isinstance(result, Mapping | tuple) else None
        if first is None or (rows > 1 and len(first) != rows):
            return [cls(None, None)] * rows
        if first.ndim == 3:
            return [cls(None, first[row, -1:]) for row in range(rows)]
        return [cls(None, first)] if rows == 1 else [cls(None, first[row : row + 1]) for row in range(rows)]


def no_head(name: str) -> InspectorError:
    """Return the error of a model that is asked for next tokens without a language-model head.

    Args:
        name: what the model is called.
    """
    return InspectorError(
        f"{name} has no language-model head that predicts the next token: load it as a causal language model "
        "(AutoModelForCausalLM) if its weights are one's; its attention can be looked at without."
    )
