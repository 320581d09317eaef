"""The library's numbers compared with the reimplementation's, and the report of what was found."""
