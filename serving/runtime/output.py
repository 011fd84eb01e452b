"""Outputs that appear whole or not at all, and never overwrite an input."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path

from serving.runtime.errors import InputError


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
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
    partial.mkdir(parents=True)
    try:
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
