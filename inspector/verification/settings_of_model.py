"""Numbers and switches of a model's attention modules that are not what their class makes of its config."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from inspector.capture.hooks import plain_name
from inspector.model.model import Model

SIMPLE = (bool, int, float, str, type(None))
WHILE_RUNNING = ("training", "max_seq_len_cached", "original_max_seq_len")  # the library changes these itself


class OwnSetting(NamedTuple):
    """One attribute of a module: its name in the model, what it is, and what the class makes of the config."""

    module: nn.Module
    place: str
    attribute: str
    now: Any
    due: Any


def own_settings(model: Model) -> list[OwnSetting]:
    """Find what was set in a model's attention and rotary modules after they were made.

    Args:
        model: any.

    Returns:
        The settings; none where the class cannot be made again of the config.
    """
    try:
        with torch.device("meta"):
            fresh = type(model.model)(copy.deepcopy(model.model.config))
    except Exception:  # a class of somebody's own may need more than its config
        return []
    made: dict[str, nn.Module] = dict(fresh.named_modules())
    attention = tuple(info.name for info in model.layers)
    found: list[OwnSetting] = []
    for name, module in model.model.named_modules():
        place = plain_name(name)
        due = made.get(place)
        if due is not None and type(due) is type(module) and (place.startswith(attention) or "rotary" in place):
            found += _differing(module, due, place)
    return found


def _differing(module: nn.Module, due: nn.Module, place: str) -> Iterator[OwnSetting]:
    for attribute, value in vars(due).items():
        now = vars(module).get(attribute)
        comparable = isinstance(value, SIMPLE) and isinstance(now, SIMPLE)
        if comparable and now != value and not attribute.startswith("_") and attribute not in WHILE_RUNNING:
            yield OwnSetting(module, place, attribute, now, value)


@contextlib.contextmanager
def as_the_class_has_them(settings: Sequence[OwnSetting]) -> Iterator[None]:
    """Set modules to what their class makes of the config, for a while.

    Args:
        settings: what `own_settings` returned.
    """
    try:
        for each in settings:
            setattr(each.module, each.attribute, each.due)
        yield
    finally:
        for each in settings:
            setattr(each.module, each.attribute, each.now)


def settings_in_words(settings: Sequence[OwnSetting]) -> str:
    """Name the first setting, and say how many more there are.

    Args:
        settings: what `own_settings` returned.
    """
    first, more = settings[0], len(settings) - 1
    others = f" (and {more} more)" if more else ""
    return f"{first.place}.{first.attribute} is {first.now} where its class makes {first.due} of the config{others}"
