"""The app as a server runs it: Streamlit's own, behind our checks of each request, and mended before anybody comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from streamlit.starlette import App

from inspector.ui.server.request_checks import RequestChecks
from inspector.ui.server.streamlit_patches import mend_streamlit


@asynccontextmanager
async def mended(_app: Any) -> AsyncIterator[None]:
    """Mend Streamlit when the server starts."""
    mend_streamlit()
    yield


OPTIONS: dict[str, Any] = {"middleware": [Middleware(RequestChecks)], "lifespan": mended}

app = App(Path(__file__).resolve().parent / "main.py", **OPTIONS)
