"""What people learn attention from: the numbers behind the Walkthrough and the laboratories. No Streamlit in here.

Numbers come from a trace, or from what a visitor types, and always by `reimpl`'s own functions.
"""
