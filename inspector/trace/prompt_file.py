"""Read a prompt from a file's bytes."""

from __future__ import annotations

from inspector.errors import InspectorError

MOST_BYTES = 4 * 2**20  # of text: about a million tokens, more than a model here has positions for


def read_prompt(content: bytes, name: str) -> str:
    """Return the text in a file's bytes, read as UTF-8; a byte order mark is left out.

    Args:
        content: all bytes of the file.
        name: what the file is called, for the error's sentence.

    Returns:
        The text.

    Raises:
        InspectorError: there are more than MOST_BYTES, they are not UTF-8, or they hold nothing but white space.
    """
    if len(content) > MOST_BYTES:
        raise InspectorError(
            f"{name} has more than the {MOST_BYTES:,} bytes that a prompt may have: take a part of it."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InspectorError(
            f"{name} is not UTF-8 text (byte {error.start} is {content[error.start]:#04x}): save it as UTF-8."
        ) from error
    if not text.strip():
        raise InspectorError(f"{name} holds no text: put the prompt in it.")
    return text
