"""Compute the numbers behind the Walkthrough and the laboratories, from which people learn attention.

Numbers come from a trace, or from what a visitor types, and always by `reimpl`'s own functions. No Streamlit in here.
"""
