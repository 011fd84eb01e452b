"""Whether tensors by name fit a network, and words for those that do not."""

from collections.abc import Collection, Mapping, Sequence

import torch

from serving.runtime.errors import InputError

_NAMED = 5


def check_fit(
    what: str, own: Mapping[str, torch.Tensor], used: Mapping[str, torch.Tensor], missing: Sequence[str]
) -> None:
    """Raise InputError, beginning with `what`, unless nothing is missing and `used` is in `own`, shape for shape.

    Args:
        what: the first words of the message.
        own: the tensors of the network.
        used: those that are to be loaded.
        missing: names of the network that the file should have had.
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


def some(names: Collection[str]) -> str:
    """Return the first few names, and how many there are beyond them."""
    shown = ", ".join(list(names)[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
