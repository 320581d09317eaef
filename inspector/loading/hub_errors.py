"""Turn what goes wrong with a hub into one sentence with the next step."""

from __future__ import annotations

from inspector.errors import InspectorError
from inspector.loading.source import PACKAGED, WAY_OUT
from inspector.text import first_sentence


def client_errors() -> tuple[type[BaseException], ...]:
    """Return the kinds of errors that the hub's client raises."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    # Its first base is the HTTP client's error for all that goes wrong on the wire, whichever client it is.
    return (HfHubHTTPError.__bases__[0], EntryNotFoundError, OSError)


def unreachable(error: BaseException) -> bool:
    """Return whether the hub did not answer, or answered that it cannot now, so that a cached copy may be used."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status >= 500


def hub_refusal(error: BaseException, name: str, revision: str | None, *, downloading: bool = False) -> InspectorError:
    """Return the sentence for one of `client_errors`.

    Args:
        error: what the hub's client raised.
        name: the hub id that was asked for.
        revision: the revision that was asked for.
        downloading: whether the hub had answered, and a file was on its way.

    Returns:
        The error to raise instead.
    """
    from huggingface_hub import constants, errors

    hub = f"the hub at {constants.ENDPOINT}"
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(cause, errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{name}"
        text = f"'{name}' is gated: accept its terms on the model page {page}, then pass token= or set HF_TOKEN"
    elif isinstance(cause, errors.RepositoryNotFoundError):
        taken = "" if "/" in name else f" ('{name}' is no folder here and not the packaged '{PACKAGED}')"
        text = f"'{name}' is not on {hub}{taken}: check the spelling, pass token= for a private model, or {WAY_OUT}"
    elif isinstance(cause, errors.RevisionNotFoundError):
        text = f"'{name}' has no revision '{revision}' on {hub}: give an existing branch, tag or commit hash"
    elif isinstance(cause, errors.OfflineModeIsEnabled):
        text = (
            f"'{name}' is not in the cache {constants.HF_HUB_CACHE} and HF_HUB_OFFLINE forbids asking {hub}: "
            f"unset it, give a folder, or {WAY_OUT}"
        )
    elif status in (401, 403):
        text = f"{hub} refused '{name}' with status {status}: check the token in token= or HF_TOKEN"
    elif isinstance(cause, OSError) and cause.errno is not None and not isinstance(cause, ConnectionError):
        place = f"{constants.HF_HUB_CACHE} ({cause.strerror})"
        text = f"'{name}' could not be written to {place}: free space there, or set HF_HOME to another folder"
    else:
        why = f"answered {status}" if status else f"did not answer ({first_sentence(cause)})"
        text = f"{hub} {why} about '{name}', which is not in the cache: check the network, give a folder, or {WAY_OUT}"
        if downloading:
            why = why if status else f"broke off ({first_sentence(cause)})"
            text = f"{hub} {why} while '{name}' was downloading: load it again; files already complete are kept"
    return InspectorError(text[0].upper() + text[1:] + ".")
