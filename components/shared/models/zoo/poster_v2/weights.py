"""Published weights into a PosterV2: the authors' checkpoints, IR-50 alone, MobileFaceNet alone."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from components.shared.models.fit import check_fit, some
from components.shared.models.zoo.poster_v2.layers import reset_linear
from components.shared.models.zoo.poster_v2.model import PosterV2
from components.shared.models.zoo.poster_v2.unused import UNUSED
from components.shared.models.zoo.poster_v2.weights_file import State, plain_names, read_weights
from serving.runtime.errors import InputError

_log = logging.getLogger(__name__)

_HEAD = "VIT.head."


def load_official(
    model: PosterV2, weights: Path | Mapping[str, torch.Tensor], *, head: Literal["keep", "reset"] = "reset"
) -> None:
    """Load a checkpoint of the authors' code, a file or its state dict, into either form of the model.

    Args:
        model: the network to fill; it is changed only when everything fits.
        weights: see `read_weights`. The tensors of UNUSED may be there or not.
        head: `reset` makes a new head, for classes other than the checkpoint's (the public ones know surprise, fear,
            disgust, ...), where it is the model's own; `keep` takes the checkpoint's.

    Raises:
        NotFoundError: there is no such file.
        InputError: a tensor is missing, unknown or of another shape, or `head` is not one of the two.
    """
    if head not in ("keep", "reset"):
        raise InputError(f"unknown head '{head}'; known: keep, reset")
    source, state = _state(weights)
    if head == "reset":
        state = {name: tensor for name, tensor in state.items() if not name.startswith(_HEAD)}
    own_head = [name for name in model.state_dict() if name.startswith(_HEAD)] if head == "reset" else []
    _load_strictly(model, state, source, optional=[*UNUSED, *own_head])
    if head == "reset":
        for layer in model.VIT.head.children():
            if isinstance(layer, nn.Linear):
                reset_linear(layer)


def load_mobilefacenet(model: PosterV2, weights: Path | Mapping[str, torch.Tensor]) -> None:
    """Load the landmark network, whole and exactly; `weights` as for `load_official`.

    Raises NotFoundError when there is no such file and InputError naming the tensors that do not fit.
    """
    source, state = _state(weights)
    _load_strictly(model.face_landback, state, source, optional=[])


@dataclass(frozen=True, slots=True)
class PartialLoad:
    """What became of weights that fit in part.

    Attributes:
        loaded: names that were loaded.
        kept: names of the network without a counterpart of the same name and shape; they keep their values.
        ignored: names of the file without a use.
    """

    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    ignored: tuple[str, ...]


def load_ir50(model: PosterV2, weights: Path | Mapping[str, torch.Tensor]) -> PartialLoad:
    """Load every tensor of a face recognition IR-50 that has the name and shape of one of the image stream.

    `weights` as for `load_official`, names without `ir_back.`. What does not match is returned and logged.

    Raises NotFoundError when there is no such file and InputError when nothing in it matches.
    """
    source, state = _state(weights)
    own = model.ir_back.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and tensor.shape == own[name].shape}
    if not fitting:
        raise InputError(
            f"{source}: no tensor has the name and shape of one of IR-50's; expected names like {some(own)}, "
            f"found {some(state)}"
        )
    model.ir_back.load_state_dict(fitting, strict=False)
    result = PartialLoad(
        loaded=tuple(fitting),
        kept=tuple(name for name in own if name not in fitting),
        ignored=tuple(name for name in state if name not in fitting),
    )
    _log.info("%s: loaded %d of %d tensors of IR-50", source, len(result.loaded), len(own))
    if result.kept:
        _log.warning("%s: %d tensors of IR-50 keep their values: %s", source, len(result.kept), some(result.kept))
    if result.ignored:
        _log.warning("%s: %d tensors are not used: %s", source, len(result.ignored), some(result.ignored))
    return result


def _state(weights: Path | Mapping[str, torch.Tensor]) -> tuple[str, State]:
    """What to call the weights in messages, and their tensors under plain names."""
    if isinstance(weights, Path):
        return str(weights), read_weights(weights)
    return "the state dict", plain_names(weights, "the state dict")


def _load_strictly(module: nn.Module, state: State, source: str, *, optional: Collection[str]) -> None:
    """Load `state`, or raise InputError naming what does not fit and load nothing.

    A name in `optional` may be absent on either side.
    """
    own = module.state_dict()
    used = {name: tensor for name, tensor in state.items() if name in own or name not in optional}
    missing = [name for name in own if name not in used and name not in optional]
    check_fit(f"{source}: these are not weights of this network. ", own, used, missing)
    module.load_state_dict(used, strict=False)
