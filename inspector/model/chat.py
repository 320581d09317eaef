"""Put chat messages through the tokenizer's chat template: one user's text, or a list of turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from inspector.errors import InspectorError
from inspector.text import first_sentence

Messages = Sequence[Mapping[str, Any]]  # each with "role" and "content", as the library's templates take them


def is_chat(prompt: Any) -> TypeGuard[Messages]:
    """Return whether a prompt is meant as a list of chat messages: a list or tuple with a mapping in it."""
    return isinstance(prompt, list | tuple) and any(isinstance(message, Mapping) for message in prompt)


def templated(prompt: str | Messages, tokenizer: Any, name: str) -> list[int]:
    """Return the token ids that a chat template makes of one user's text, or of messages.

    After a last message that is not the assistant's own, the template begins the assistant's answer.

    Args:
        prompt: a text, or messages with "role" and "content".
        tokenizer: the library's tokenizer.
        name: what sentences call the model.

    Returns:
        The ids, one at least.

    Raises:
        InspectorError: the tokenizer has no chat template, a message is none, or the template refuses them or makes
            no token of them.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InspectorError(f"The tokenizer of {name} has no chat template; use chat=False.")
    text = isinstance(prompt, str)
    if isinstance(prompt, str):
        turns = [{"role": "user", "content": prompt}]
        what = "single user's turn"
        step = "give the list of messages that it expects, or use chat=False"
    else:
        turns = [_checked(message, number) for number, message in enumerate(prompt, 1)]
        what = f"messages of the roles {', '.join(turn['role'] for turn in turns[:4])}{', ...' * (len(turns) > 4)}"
        step = "give messages that it takes"
    try:
        found = tokenizer.apply_chat_template(
            turns, add_generation_prompt=turns[-1]["role"] != "assistant", tokenize=True, return_dict=True
        )
        ids = [int(token) for token in found["input_ids"]]
    except Exception as error:  # a template is a program of the model's authors, which raises what it likes
        raise InspectorError(
            f"The chat template of {name} takes no {what} ({first_sentence(error)}); {step}."
        ) from error
    if not ids:
        raise InspectorError(
            f"The chat template of {name} makes no token of {'a' if text else 'these'} {what}: {step}."
        )
    return ids


def _checked(message: Any, number: int) -> dict[str, Any]:
    """Return a message as a dict; raises InspectorError where it has no role or nothing in it."""
    form = 'give each as {"role": "user", "content": "..."}'
    if not isinstance(message, Mapping):
        raise InspectorError(f"Message {number} of the chat is a {type(message).__name__} ({message!r:.40}): {form}.")
    if not isinstance(message.get("role"), str):
        raise InspectorError(f"Message {number} of the chat says no role (it has {sorted(map(str, message))}): {form}.")
    if message.get("content") is None and not message.get("tool_calls"):
        raise InspectorError(f"Message {number} of the chat (role {message['role']!r:.40}) has no content: {form}.")
    return dict(message)
