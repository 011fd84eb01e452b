"""Files of weights: read without running code from them, and compared with the network they are for."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from components.shared.dataset.text import some
from serving.runtime.errors import InputError

State = dict[str, torch.Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model")


class _Inert:
    """Replaces every class or function in a file that torch's restricted reader does not allow."""

    def __new__(cls, *_args: Any, **_keywords: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_keywords: Any) -> None: ...

    def __setstate__(self, _state: Any) -> None: ...


def read_weights(path: Path, source: str) -> Any:
    """Read what torch.save wrote to a file, onto the CPU.

    torch's `weights_only` reader refuses the objects that training scripts leave beside the tensors. Here they are
    read as empty objects: none of their code is imported or run.

    Raises InputError, naming `source`, when the file is damaged or torch cannot read it.
    """
    check_archive(path, source)
    try:
        with safe_globals([(_Inert, name) for name in _disallowed_globals(path)]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no common error type for foreign, cut or unsafe files
        raise InputError(
            f"{source}: torch cannot read weights from this file: {error}. Where you trust it, save its state_dict "
            "alone with torch.save and name that file"
        ) from error


def check_archive(path: Path, source: str) -> None:
    """Raise InputError when a file that torch wrote, a ZIP archive, has changed: torch does not compare the checksums.

    A file that is no ZIP archive passes; torch says what it is. `source` names the file in the error.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise InputError(f"{source}: the file is damaged: {error}; copy or train it again") from error
    if damaged is not None:
        raise InputError(f"{source}: the file has changed since it was written ({damaged}); copy or train it again")


def _disallowed_globals(path: Path) -> list[str]:
    try:
        return get_unsafe_globals_in_checkpoint(str(path))
    except ValueError:  # a file of before torch 1.6 cannot be searched; nothing more is allowed in it
        return []


def state_dict(content: Any, source: str) -> State:
    """Return the tensors of a file by name, without the prefix `module.` of DataParallel.

    They are the content itself or its entry `state_dict`, `model_state_dict` or `model`. Raises InputError, naming
    `source`, when there are other things than tensors by name.
    """
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{source} holds no state_dict: expected tensors by name, alone or under 'state_dict'")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise InputError(f"{source} holds no state_dict: expected tensors by name, got {name!r}: {type(value)}")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def check_fit(what: str, own: State, used: State, missing: Sequence[str]) -> None:
    """Raise InputError, beginning with `what`, unless nothing is missing and `used` is in `own`, shape for shape.

    Args:
        what: the first words of the message.
        own: the tensors of the network.
        used: the tensors of the file that are to be loaded.
        missing: names in the network that the file should have had.
    """
    problems = {
        "missing": missing,
        "unknown": [name for name in used if name not in own],
        "of another shape": [
            f"{name} {tuple(tensor.shape)} instead of {tuple(own[name].shape)}"
            for name, tensor in used.items()
            if name in own and tensor.shape != own[name].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(names)} {kind}: {some(names)}" for kind, names in problems.items() if names)
        raise InputError(f"{what}{listed}")
