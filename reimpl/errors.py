"""What is wrong with a checkpoint, in a sentence: the two errors that reading one raises."""

from __future__ import annotations


class CheckpointError(ValueError):
    """Say which file, tensor or field of a checkpoint cannot be read, and what was expected."""


class UnsupportedError(CheckpointError):
    """Name what a checkpoint asks for that is not modelled here, rather than guess."""
