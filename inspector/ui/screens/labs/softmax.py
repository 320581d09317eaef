"""To be written."""

from inspector.ui.screens import common


def show() -> None:
    """Draw the screen for the prompt on screen."""
    common.opening("To be written.")


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
