"""Refuse to judge by the library's numbers where its installed release computes otherwise than the config says."""

from __future__ import annotations

from collections.abc import Iterator

from inspector.errors import InspectorError
from inspector.loading.releases import Deviation, deviations_of, installed
from inspector.model.model import Model
from inspector.model.sizes import text_config


def deviations(model: Model) -> Iterator[Deviation]:
    """Find what the installed release computes otherwise for a model.

    Args:
        model: any model.

    Yields:
        The rows that apply.
    """
    config = text_config(model.model)
    under = str(getattr(config, "_attn_implementation", None) or "")
    for row in deviations_of(config.model_type):
        if row.under in ("", under):
            yield row


def refuse_deviation(model: Model) -> None:
    """Refuse to judge by the library's numbers where the release itself computes otherwise.

    Args:
        model: the model that is to be verified.

    Raises:
        InspectorError: names the release, what it does and what helps.
    """
    for row in deviations(model):
        also = f", or {row.instead}" if row.instead else ""
        raise InspectorError(
            f"transformers {installed()} computes {text_config(model.model).model_type} otherwise than its config.json "
            f"says: {row.what}. To verify it, install transformers {row.before} or newer{also}."
        )
