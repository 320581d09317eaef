"""Download a model from a hub into the hub client's cache, and ask a hub about a model.

This is the only file that talks to a hub, through the hub's own client. What cannot be inspected is refused by its
settings before its weights are downloaded; of the weights only safetensors are, never pickled files.
"""

from __future__ import annotations

import glob
import io
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from inspector.errors import InspectorError
from inspector.loading import adapter
from inspector.loading.folder_checks import (
    SINGLE,
    refuse_other_kinds,
    refuse_unreadable,
    refuse_without_weights,
    wanted_weights,
)
from inspector.loading.hub_cache import cached_folder, drop_damaged
from inspector.loading.hub_errors import client_errors, hub_refusal, unreachable
from inspector.loading.source import PACKAGED, Source
from inspector.text import Progress

# The client has one session a process. While any download waits for a hub, that session has a time limit; what it had
# before is put back by the last to finish.
_session_lock = threading.Lock()
_waiting: list[bool] = []
_before: list[Any] = []


def from_hub(name: str, revision: str | None, token: str | None, say: Progress, *, trust_remote_code: bool) -> Source:
    """Download a hub model's safetensors, settings and tokenizer into the hub client's cache.

    What is there already is not downloaded again. Where the hub cannot be reached, the cached copy of `revision` is
    used, if there is one.

    Args:
        name: the hub id, owner/name.
        revision: a branch, tag or commit; the main branch where None.
        token: the access token; the client's own where None.
        say: called with a message and the fraction done; what it raises ends the download.
        trust_remote_code: whether to download the repository's Python files as well.

    Returns:
        The source, whose folder is the snapshot in the client's cache.

    Raises:
        InspectorError: for everything a user can mend.
    """
    with _time_limit():
        return _from_hub(name, revision, token, say, trust_remote_code=trust_remote_code)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Give the hub's client a time limit for each silence.

    It has none for most questions, and would wait for ever. Its own variable HF_HUB_DOWNLOAD_TIMEOUT sets the limit
    (10 s); what the client asks several times takes longer.
    """
    from huggingface_hub import constants, get_session

    session = get_session()
    with _session_lock:
        if not _waiting:
            _before.append(session.timeout)
            session.timeout = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        _waiting.append(True)
    try:
        yield
    finally:
        with _session_lock:
            _waiting.pop()
            if not _waiting:
                session.timeout = _before.pop()


def _from_hub(name: str, revision: str | None, token: str | None, say: Progress, *, trust_remote_code: bool) -> Source:
    """Do what `from_hub` says, without the time limit."""
    from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache

    say(f"Asking the hub about {name}", None)
    try:
        commit, sizes = _ask(name, revision, token)
    except client_errors() as error:
        cached = cached_folder(name, revision) if unreachable(error) else None
        if cached is None:
            raise hub_refusal(error, name, revision) from error
        refuse_unreadable(cached, name, trust_remote_code=trust_remote_code)
        note = f"The weights are the cached copy of {name} at commit {cached.name}; the hub was not reached."
        return Source("hub", name, cached, cached.name, note)
    refuse_without_weights(name, list(sizes), f"the hub's '{name}'")
    drop_damaged(name, commit, sizes)

    def download(file: str) -> Path:  # by the branch's name, so that the cache remembers which commit it stood for
        return Path(hf_hub_download(name, file, revision=revision, token=token, tqdm_class=_bar(say, "", 0)))

    try:
        # The settings first: what cannot be inspected is refused before its gigabytes arrive.
        refuse_other_kinds(download("config.json").parent, name, trust_remote_code=trust_remote_code)
        wanted = [*wanted_weights(name, sizes, download), *(f for f in sizes if _wanted_beside(f, trust_remote_code))]
        absent = [f for f in wanted if try_to_load_from_cache(name, f, revision=commit) is None]
        total = sum(sizes.get(f, 0) for f in absent)
        message = f"Downloading {name} ({total / 1e6:,.0f} MB)"
        folder = Path(
            snapshot_download(
                name,
                revision=commit,
                token=token,
                allow_patterns=[glob.escape(f) for f in wanted],
                tqdm_class=_bar(say, message, total),
            )
        )
    except client_errors() as error:
        raise hub_refusal(error, name, revision, downloading=True) from error
    refuse_unreadable(folder, name, trust_remote_code=trust_remote_code)
    say(f"Downloaded {name}", 1.0)
    return Source("hub", name, folder, commit, f"The weights are the hub's {name} at commit {commit}.")


def check_hub(name: str, *, revision: str | None = None, token: str | None = None) -> str:
    """Ask the hub about a model, and say in a sentence what would be downloaded.

    Args:
        name: the hub id, owner/name.
        revision: a branch, tag or commit; the main branch where None.
        token: the access token; the client's own where None.

    Returns:
        A sentence with the commit and the size of its safetensors.

    Raises:
        InspectorError: where the hub does not have it, refuses, or does not answer.
    """
    try:
        commit, sizes = _ask(name, revision, token)
    except client_errors() as error:
        raise hub_refusal(error, name, revision) from error
    # Of shards only their names tell here; the index that lists them is a file to be fetched.
    shards = {file: size for file, size in sizes.items() if re.fullmatch(r"model-\d+-of-\d+\.safetensors", file)}
    weights = sizes[SINGLE] if SINGLE in sizes else sum(shards.values())
    return f"{name} is on the hub at commit {commit}, with {weights / 1e6:,.1f} MB of safetensors."


def _ask(name: str, revision: str | None, token: str | None) -> tuple[str, dict[str, int]]:
    """Return the commit that `revision` stands for on the hub, and the sizes of its files in bytes."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError

    limit = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
    try:
        info = HfApi(token=token or None).model_info(name, revision=revision, files_metadata=True, timeout=limit)
    except HFValidationError as error:
        raise InspectorError(
            f"'{name}' is no folder or file here and no valid hub id: write owner/name in letters, digits, "
            f"'-', '_' and '.', or give '{PACKAGED}'."
        ) from error
    return cast(str, info.sha), {f.rfilename: f.size or 0 for f in info.siblings or []}


def _wanted_beside(file: str, trust_remote_code: bool) -> bool:
    """Return whether a file besides the weights is needed: settings, tokenizer, templates; code only if trusted."""
    if file.endswith(".py"):
        return trust_remote_code
    if file.endswith(".index.json"):
        return False
    if file == adapter.WEIGHTS:  # the library adds an adapter that lies beside the weights
        return True
    return file.endswith((".json", ".txt", ".model", ".jinja", ".tiktoken")) and (
        "/" not in file or file.startswith("additional_chat_templates/")
    )


def _bar(say: Progress, message: str, total: int) -> type:
    """Return a tqdm class for the hub's client that draws nothing and reports the bytes of all files together."""
    from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

    state = {"done": 0.0, "said": 0.0}
    lock = threading.Lock()

    class Bar(tqdm):  # type: ignore[misc,type-arg,unused-ignore]
        monitor_interval = 0  # no thread of its own

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False, "file": io.StringIO()})

        def display(self, *_: Any, **__: Any) -> None:
            pass

        def update(self, n: float | None = 1) -> bool | None:
            done: bool | None = super().update(n)
            with lock:  # several files arrive at once, and the client keeps two bars of the same bytes
                if self.unit == "B" and total and self.n > state["done"]:
                    state["done"] = self.n
                    if time.monotonic() - state["said"] > 0.1 or self.n >= total:
                        state["said"] = time.monotonic()
                        say(message, min(1.0, self.n / total))
            return done

    return Bar
