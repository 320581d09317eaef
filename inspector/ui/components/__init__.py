"""Components of Streamlit: the canvases of views/js, a frame, and what the app writes about a check."""
