"""Reading weight files of other projects without running anything from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from serving.runtime.errors import InputError, NotFoundError

State = dict[str, torch.Tensor]


class _Inert:
    """What a file gets in place of any class or function that torch's restricted reader does not know."""

    def __new__(cls, *_args: Any, **_keywords: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_keywords: Any) -> None: ...

    def __setstate__(self, _state: Any) -> None: ...


def read_weights(path: Path) -> State:
    """Read the tensors by name from a `.pth` or `.pth.tar` file, onto the CPU.

    The file holds a state dict, alone or under `state_dict`; `module.` is stripped from its names. Objects beside
    the tensors, as authors' training scripts leave them, are read as empty stand-ins: no code of theirs is imported
    or run, and torch's `weights_only` reader stays in charge of everything else.

    Raises NotFoundError when there is no such file and InputError when it holds no such tensors.
    """
    if not path.is_file():
        raise NotFoundError(f"no weights at {path}")
    try:
        with safe_globals([(_Inert, name) for name in _unknown_names(path)]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no common error type for foreign, cut or unsafe files
        raise InputError(
            f"{path}: torch cannot read weights from this file: {error}. Where you trust it, save its state_dict "
            "alone with torch.save and give that file"
        ) from error
    return plain_names(content, str(path))


def plain_names(state: object, source: str) -> State:
    """Return the tensors of a state dict, alone or under `state_dict`, without the prefix `module.` of their names.

    Raises InputError, naming `source`, when `state` is not a mapping of names to tensors.
    """
    if isinstance(state, Mapping):
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping) or not state:
        raise InputError(f"{source}: expected a state dict, alone or under 'state_dict'")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise InputError(f"{source}: expected names and tensors in the state dict, found {name!r}: {type(value)}")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _unknown_names(path: Path) -> list[str]:
    """Names of the classes and functions in the file that torch does not read by itself."""
    try:
        return get_unsafe_globals_in_checkpoint(str(path))
    except ValueError:  # a file of before torch 1.6, which cannot be searched: nothing is let through
        return []
