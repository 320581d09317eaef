"""Planted mistakes, the negative controls of a verification."""
