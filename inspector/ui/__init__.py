"""Show traces in a browser: the Streamlit app."""
