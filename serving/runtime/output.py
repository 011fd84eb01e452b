"""Outputs that appear whole or not at all, and never overwrite an input."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path

from serving.runtime.errors import InputError, StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LITTLE = 1 << 20
"""Bytes that are left where a library could not write, and says nothing of the disk."""

_MIB = 1 << 20


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that is moved to `path` when the block ends, and removed when it raises.

    Folders above `path` are made. Raises InputError when it is a folder, or a device, which would be
    replaced.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device, pipe or socket"
        raise InputError(f"{path}: is {kind}, and a file is written here; name another one")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        with full_disk_named(path.parent):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Say which disk is full, and how full, where the block cannot write; what is below `folder` is still there.

    The system names no file where a write fails, and torch and others raise errors of their own. It is the disk of the
    file that is named, else the one of `folder` or of temporary files with less space.

    Raises StorageError.
    """
    try:
        yield
    except StorageError:
        raise
    except (OSError, RuntimeError) as error:
        named = getattr(error, "filename", None)
        places = [Path(named).absolute().parent] if isinstance(named, str) else [folder, Path(tempfile.gettempdir())]
        spaces = {place: shutil.disk_usage(place) for place in map(_existing, places)}
        place = min(spaces, key=lambda one: spaces[one].free)
        space = spaces[place]
        code = getattr(error, "errno", None)
        if code not in _FULL and (code is not None or space.free > _LITTLE):
            raise
        raise StorageError(
            f"{place}: the disk is full: {space.free / _MIB:.1f} of {space.total / _MIB:.1f} MiB are free now; free "
            "some space there, or name a place on another disk"
        ) from error


def _existing(folder: Path) -> Path:
    """Return the nearest folder at or above a path that is there."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or its parts in order, in UTF-8 as a `whole_file`."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path` that is moved to `path` when the block ends, and removed when it raises.

    Raises InputError when `path` exists and is not an empty folder, or is the current one or the root.
    """
    if not path.name:
        raise InputError(f"{path}: is the current folder or the root; name a folder in it")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: already exists and is not empty; remove it or name another output folder")
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with full_disk_named(path.parent):
            partial.mkdir(parents=True)
            yield partial
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_output(output: Path, *inputs: Path) -> None:
    """Raise InputError when an output is one of the inputs or lies in one that is a folder; links are resolved."""
    target = output.resolve()
    for entry in inputs:
        if target.is_relative_to(entry.resolve()):
            raise InputError(f"{output}: the output would overwrite the input {entry}; name another path")


def check_outputs(outputs: Sequence[Path], *inputs: Path) -> None:
    """Raise InputError when one of several outputs would overwrite an input or another output, see `check_output`."""
    for output in outputs:
        check_output(output, *inputs)
    for first, second in permutations(outputs, 2):
        if second.resolve().is_relative_to(first.resolve()):
            raise InputError(f"{second}: would overwrite another output, {first}; give each output a path of its own")


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")
