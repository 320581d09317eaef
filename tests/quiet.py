"""Leaves the background alone in the apps that tests start."""

from inspector.ui.server import results


def be_quiet() -> None:
    """Compare in the background only prompts with the word "verify" in them: all that tests ask for would take longer
    than the tests."""
    compares = results.compares_in_background
    results.compares_in_background = lambda request: "verify" in request.prompt and compares(request)
