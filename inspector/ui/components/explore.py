"""Show the Explore screen: all heads, one head's map, the text and the next tokens, on one choice.

Two components: the screen, whose message does not change with a choice, and a small one that tells the server what was
chosen and brings the exact numbers of single heads. They meet in the browser (views/js/hub.js).
"""

from __future__ import annotations

from collections.abc import Callable

from inspector.ui.components.mounting import mounted, mounted_canvas, said_by

_screen = mounted_canvas("explore")
_talk = mounted("talk", html="")


def explore_screen(message: bytes, *, key: str) -> None:
    """Show a prompt's message.

    Args:
        message: as `views.explore_message` makes it.
        key: names the component.
    """
    _screen(data=message, key=key)


def talk(
    answer: bytes | None, *, on_selection: Callable[[object], None], on_question: Callable[[object], None], key: str
) -> None:
    """Bring an answer to the screen, and hear what was chosen and what is asked.

    Args:
        answer: one head's exact numbers; None for none.
        on_selection: called with what the browser says is chosen. It may have sent anything.
        on_question: called with what the browser asks for. It may have sent anything.
        key: names the component.
    """

    def chosen() -> None:
        if (said := said_by(key, "selection")) is not None:
            on_selection(said)

    def asked() -> None:
        if (said := said_by(key, "question")) is not None:
            on_question(said)

    _talk(data=answer or b"", key=key, on_selection_change=chosen, on_question_change=asked)
