"""`streamlit run app.py` starts the app, as `attention-inspector app` does."""

from streamlit.starlette import App

from inspector.ui.asgi import OPTIONS

app = App("inspector/ui/main.py", **OPTIONS)
