"""`streamlit run app.py` starts the app, as `attention-inspector app` does."""

from inspector.ui.main import show_app

show_app()
