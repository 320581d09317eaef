"""What the server was told when it was started goes in; which models a visitor may ask for comes out.

It arrives by environment variables from `launch`, never by an address: a link cannot load a model.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import streamlit as st

from inspector.loading.source import PACKAGED

MODEL_VARIABLE = "ATTENTION_INSPECTOR_MODEL"
MODELS_VARIABLE = "ATTENTION_INSPECTOR_MODELS"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Offer:
    """`models` to choose from, the first one the default; `open`: any hub id or folder may be typed too."""

    models: tuple[str, ...]
    open: bool

    def allows(self, name: str) -> bool:
        return self.open or name in self.models


def offer() -> Offer:
    """The offer of this server. Without a list, only a server that listens on loopback alone, under loopback's names
    alone, is open: whoever can reach it has this machine's files already. Other names mean a proxy in front."""
    model = os.environ.get(MODEL_VARIABLE, "").strip()
    listed = _listed(os.environ.get(MODELS_VARIABLE, ""))
    first = [model] if model else []
    if listed:
        return Offer(tuple(dict.fromkeys([*first, *listed])), open=False)
    names = st.get_option("server.allowedHosts")
    local = st.get_option("server.address") in LOOPBACK and bool(names) and set(names) <= set(LOOPBACK)
    return Offer(tuple(dict.fromkeys([*first, PACKAGED])), open=local)


def _listed(text: str) -> list[str]:
    try:
        names = json.loads(text) if text else []
    except ValueError:
        names = text.split(",")  # set by hand: a comma-separated list
    return [str(name).strip() for name in names if str(name).strip()]
