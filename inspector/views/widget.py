"""The Explore screen as a widget of notebooks (anywidget): the app's own script, and numbers when they are looked at.

What cannot run a widget (a page of GitHub's, another day's notebook, HTML from nbconvert without a network) shows words
that say what to do. They are an output of their own below the widget's: beside it, as another form of the same output,
JupyterLab and nbconvert would choose the widget and then show nothing. A view of the widget hides them while it is
there.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from inspector.errors import InspectorError
from inspector.text import first_sentence
from inspector.views import canvases
from inspector.views.explore_data import explore_payload
from inspector.views.head_answer import answer_question
from inspector.views.head_question import read_question

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

_FALLBACK = (
    "This is an interactive picture that a running kernel fills. Where you read only these words, there is none or the "
    "notebook is not trusted: trust it and run the cell again, or keep <code>views.explore_page(trace)</code>, which "
    "needs no kernel."
)


class Explorer(anywidget.AnyWidget):  # type: ignore[misc]
    """The Explore screen of one trace.

    Args:
        trace: the prompt's trace.
        selected: the layer and head to begin with; None: one is chosen.
    """

    _esm = canvases.joined(canvases.JS / "widget.js")
    _css = canvases.text(canvases.JS / "widget.css")
    _skeleton = traitlets.Unicode(canvases.SKELETONS["explore"]).tag(sync=True)
    _style = traitlets.Unicode(canvases.style("explore")).tag(sync=True)
    _instead = traitlets.Unicode().tag(sync=True)  # the class of this widget's words
    message = traitlets.Bytes().tag(sync=True)

    def __init__(self, trace: Trace, selected: tuple[int, int] | None = None) -> None:
        self._trace = trace
        self._name, message = explore_payload(trace, selected)
        super().__init__(message=message, _instead=f"attention-inspector-{self._name}")
        self.on_msg(self._asked)

    def _asked(self, _: Any, said: object, __: object) -> None:
        """Answer a view's question, which comes from a browser and may be anything; no error leaves this."""
        view = said.get("view") if isinstance(said, dict) else None
        if not isinstance(view, str) or len(view) > 40:
            return
        try:
            question = read_question(said.get("question") if isinstance(said, dict) else None)
            answer = answer_question(self._trace, question) if question.id == self._name else None
        except InspectorError as error:
            self.send({"view": view, "refused": str(error)})
            return
        except Exception as error:  # a kernel goes on whatever a question did
            self.send({"view": view, "refused": f"This head could not be drawn ({first_sentence(error)})."})
            return
        if answer is None:
            self.send({"view": view, "refused": "This head's numbers cannot be shown: run the cell again."})
        else:
            self.send({"view": view}, buffers=[answer])

    def _ipython_display_(self) -> None:
        """Show the widget, and below it the words."""
        from IPython.display import display

        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)
        display({"text/html": self._words()}, raw=True)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget, and its name for places without pictures."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data["text/plain"] = repr(self)
        return data, metadata

    def _words(self) -> str:
        """Return what to do where no widget runs."""
        return f'<div class="{self._instead}"><p>{html.escape(repr(self._trace))}</p><p>{_FALLBACK}</p></div>'

    def __repr__(self) -> str:
        return f"Explorer of {self._trace!r}"
