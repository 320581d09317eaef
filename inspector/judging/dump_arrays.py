"""Find the arrays in a dump, a folder or one file of .npy, .npz or safetensors, and read them one at a time.

Nothing in a dump is trusted: no pickle is ever opened, and what a file says of its arrays' shapes is known before any
of their numbers are read.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from inspector.errors import InspectorError
from inspector.files import duplicate_keys
from inspector.text import few, first_sentence

KINDS = (".safetensors", ".npy", ".npz")
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib")
MOST_FILES, DEEPEST = 20_000, 3  # of a folder: ten stages of two thousand layers; folders in folders
MOST_ARRAYS = 100_000
MOST_AXES = 6
_INSTEAD = "write safetensors, .npy or .npz (of numbers) instead"


@dataclass(frozen=True)
class Array:
    """One array of a dump, not yet read.

    Attributes:
        name: of an .npy the file's place in the dump, without the ending; of others its name in the file.
        inside: the place of the file that it has that name in; empty for an .npy.
        file: where it stands, for sentences.
        shape: what the file says.
        read: reads its numbers, as they are stored.
    """

    name: str
    inside: str
    file: Path
    shape: tuple[int, ...]
    read: Callable[[], Tensor]

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def short_name(self) -> str:
        """The last word of its name."""
        return self.name.rpartition("/")[2].rpartition(".")[2]


def find_arrays(path: Path) -> list[Array]:
    """Find every array of a dump.

    Args:
        path: a folder, or one file.

    Returns:
        The arrays, by file and name; at least one.

    Raises:
        InspectorError: there is no such dump, no array in it, too many, or a file that cannot be read safely.
    """
    if not path.exists():
        raise InspectorError(f"{path} does not exist: give the folder or the file that your dumps are in.")
    found: list[Array] = []
    for file in _files(path):
        place = file.name if path.is_file() else file.relative_to(path).as_posix()
        try:
            found += _arrays_in(file, place.removesuffix(file.suffix))
        except Exception as error:  # whatever a damaged or a made-up file leads these readers to
            raise InspectorError(_unreadable(file, error)) from None
        if len(found) > MOST_ARRAYS:
            raise InspectorError(f"{path} has more than the {MOST_ARRAYS:,} arrays that a dump may have.")
    if not found:
        raise InspectorError(f"{path} has no arrays in it: put .safetensors, .npy or .npz files there.")
    for array in found:
        if len(array.shape) > MOST_AXES:
            raise InspectorError(
                f"{array.name} in {array.file} has {len(array.shape)} axes; at most {MOST_AXES} are read."
            )
    return found


def _files(path: Path) -> Iterator[Path]:
    """Give the files of a dump that may hold arrays, in order; pickled ones are refused."""
    if path.is_file():
        if path.suffix in PICKLED or path.suffix not in KINDS:
            raise InspectorError(_pickled(path) if path.suffix in PICKLED else f"{path} is no dump: {_INSTEAD}.")
        yield path
        return
    seen = 0
    for folder, below, names in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if len(Path(folder).relative_to(path).parts) >= DEEPEST:
            below.clear()
        for name in sorted(names):
            file, seen = Path(folder, name), seen + 1
            if seen > MOST_FILES:
                raise InspectorError(f"{path} has more than the {MOST_FILES:,} files that a dump may have.")
            if file.suffix in PICKLED:
                raise InspectorError(_pickled(file))
            if file.suffix in KINDS and not name.startswith(".") and file.is_file():
                yield file


def _pickled(file: Path) -> str:
    return f"{file} is a pickled file, which can run code when it is read, and is not opened: {_INSTEAD}."


def _unreadable(file: Path, error: Exception) -> str:
    """Say why a file's arrays cannot be read."""
    if "pickle" in str(error) or "Object arrays" in str(error):
        return _pickled(file)
    return f"{file} is damaged, or no {file.suffix} file ({first_sentence(error)}): write it again."


def _arrays_in(file: Path, place: str) -> Iterator[Array]:
    """Give the arrays of one file, which has this place in the dump."""
    if file.suffix == ".npy":
        with file.open("rb") as stream:
            yield Array(place, "", file, _npy_shape(stream, file.stat().st_size), lambda: _npy(file.open("rb")))
    elif file.suffix == ".npz":
        with zipfile.ZipFile(file) as members:
            for member in members.infolist():
                with members.open(member) as stream:
                    shape = _npy_shape(stream, member.file_size)
                name = member.filename.removesuffix(".npy")
                yield Array(name, place, file, shape, partial(_member, file, member))
    else:
        with safe_open(file, framework="pt") as whole:
            if twice := duplicate_keys(file):
                raise ValueError(f"its header has {few(twice)} twice")
            for key in whole.keys():  # noqa: SIM118  (not a dict)
                shape = tuple(whole.get_slice(key).get_shape())
                yield Array(key, place, file, shape, partial(_safetensor, file, key))


def _npy_shape(stream: IO[bytes], size: int) -> tuple[int, ...]:
    """Return the shape in an .npy's header; ValueError for objects and for more numbers than bytes."""
    start = stream.read(8)
    if start[:1] == b"\x80":
        raise ValueError("a pickle")
    if start[:6] != np.lib.format.MAGIC_PREFIX or start[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError("it does not begin as an .npy of version 1 or 2 does")
    read = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("Object arrays are a pickle")
    if any(length < 0 for length in shape) or dtype.itemsize * math.prod(shape) > size:
        raise ValueError(f"its header says shape {list(shape)}, which is more than its {size:,} bytes")
    return tuple(shape)


def _npy(stream: IO[bytes]) -> Tensor:
    """Read an .npy's numbers."""
    with stream:
        found = np.lib.format.read_array(stream, allow_pickle=False)
    native = found.astype(found.dtype.newbyteorder("="), copy=False)
    if native.dtype == np.uint16:  # which torch has little of; bfloat16 is often written so
        native = native.view(np.int16)
    return torch.from_numpy(np.ascontiguousarray(native).reshape(found.shape) if native.flags.c_contiguous else native)


def _member(file: Path, member: zipfile.ZipInfo) -> Tensor:
    """Read one array of an .npz."""
    with zipfile.ZipFile(file) as members:
        return _npy(members.open(member))


def _safetensor(file: Path, key: str) -> Tensor:
    """Read one tensor of a safetensors file, away from the mapped file, whose odd addresses change last bits."""
    with safe_open(file, framework="pt") as whole:
        tensor: Tensor = whole.get_tensor(key)
    return tensor.clone()


def read_numbers(array: Array, *, dtype: str | None = None) -> Tensor:
    """Read an array's numbers as floating-point ones.

    Args:
        array: which.
        dtype: what the dump says they were computed in; 16-bit integers are bfloat16 where it says so.

    Returns:
        The tensor, in the dtype that the file has.

    Raises:
        InspectorError: the file has changed or is cut short, or holds no real numbers.
    """
    try:
        found = array.read()
    except Exception as error:  # as above
        raise InspectorError(_unreadable(array.file, error)) from None
    if dtype == "bfloat16" and found.dtype == torch.int16:
        found = found.view(torch.bfloat16)
    if not found.is_floating_point() or found.dtype.itemsize < 2:
        also = (
            ' (bfloat16 as 16-bit integers needs "dtype": "bfloat16" in dump.json)' if found.dtype.itemsize == 2 else ""
        )
        raise InspectorError(
            f"{array.name} in {array.file} holds {str(found.dtype).removeprefix('torch.')} numbers: write float32, "
            f"float64, float16 or bfloat16{also}."
        )
    return found


def read_ids(array: Array) -> tuple[int, ...]:
    """Read an array of token ids.

    Args:
        array: which, [n] or [1, n].

    Returns:
        The ids.

    Raises:
        InspectorError: it holds no list of whole numbers of a prompt's length.
    """
    if array.elements > 2**20:
        raise InspectorError(
            f"{array.name} in {array.file} has shape {list(array.shape)}: token ids are [n] or [1, n]."
        )
    try:
        found = array.read()
    except Exception as error:  # as above
        raise InspectorError(_unreadable(array.file, error)) from None
    if found.is_floating_point() or found.is_complex() or (found.ndim != 1 and found.shape[:-1].numel() != 1):
        raise InspectorError(f"{array.name} in {array.file} holds no token ids: write whole numbers, [n] or [1, n].")
    return tuple(int(each) for each in found.flatten())
