"""Published weights for PosterV2: the authors' checkpoints, IR-50 alone, MobileFaceNet alone.

`content` is what `read_weights` returned and `source` names it in messages.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from torch import nn

from components.shared.dataset.text import some
from components.shared.models.weights_file import State, check_fit, state_dict
from components.shared.models.zoo.poster_v2.attention import reset_linear
from components.shared.models.zoo.poster_v2.model import PosterV2
from serving.runtime.errors import InputError

_log = logging.getLogger(__name__)

_HEAD = "VIT.head."
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
NOT_READ = frozenset(
    [
        # The face recognition embedding of IR-50.
        *(f"ir_back.output_layer.{layer}.{tensor}" for layer in (0, 4) for tensor in _BATCH_NORM),
        *("ir_back.output_layer.3.weight", "ir_back.output_layer.3.bias"),
        # Layers of the transformer from experiments before the published form.
        *("VIT.patch_embed.proj.weight", "VIT.patch_embed.proj.bias", "VIT.eca_block.conv.weight", "VIT.CON1.weight"),
        *(f"VIT.IRLinear{layer}.{tensor}" for layer in (1, 2) for tensor in ("weight", "bias")),
        *(f"VIT.blocks.{block}.conv.{tensor}" for block in (0, 1) for tensor in ("weight", "bias")),
    ]
)
"""The 24 tensors (14,466,637 parameters) of the published weights that no result depends on; they are not loaded."""


def load_official(
    model: PosterV2, content: Any, source: str = "the state dict", *, head: Literal["keep", "reset"] = "reset"
) -> None:
    """Load a checkpoint of the authors' code.

    Args:
        model: the network to fill; it is changed only when everything fits.
        content: tensors by name, alone or under `state_dict`: those of the network, and all or none of NOT_READ.
        source: the file, for messages.
        head: `reset` initializes the model's own head, for classes other than the checkpoint's (the public ones are
            surprise, fear, disgust, ...); `keep` takes the checkpoint's.

    Raises:
        InputError: a tensor is missing, unknown or of another shape, or `head` is not one of the two.
    """
    if head not in ("keep", "reset"):
        raise InputError(f"unknown head '{head}'; known: keep, reset")
    state = state_dict(content, source)
    not_read = NOT_READ & state.keys()
    absent = sorted(NOT_READ - not_read) if not_read else []
    state = {name: tensor for name, tensor in state.items() if name not in NOT_READ}
    if head == "reset":
        state = {name: tensor for name, tensor in state.items() if not name.startswith(_HEAD)}
    _load_strictly(model, state, source, missing=absent, optional=_HEAD if head == "reset" else "")
    if head == "reset":
        for layer in model.VIT.head.children():
            if isinstance(layer, nn.Linear):
                reset_linear(layer)


def load_mobilefacenet(model: PosterV2, content: Any, source: str = "the state dict") -> None:
    """Load the landmark network, whole and exactly. Raises InputError naming the tensors that do not fit."""
    _load_strictly(model.face_landback, state_dict(content, source), source)


def load_ir50(model: PosterV2, content: Any, source: str = "the state dict") -> None:
    """Load every tensor of a face recognition IR-50 that has the name and shape of one of the image stream.

    The names are those without `ir_back.`. What does not match is logged: tensors of the network that keep their
    values, and tensors of the file that are not used. Raises InputError when nothing matches.
    """
    state, own = state_dict(content, source), model.ir_back.state_dict()
    loaded = {name: tensor for name, tensor in state.items() if name in own and tensor.shape == own[name].shape}
    if not loaded:
        raise InputError(
            f"{source}: no tensor has the name and shape of one of IR-50's; expected names like {some(own)}, "
            f"got {some(state)}"
        )
    model.ir_back.load_state_dict(loaded, strict=False)
    kept = [name for name in own if name not in loaded]
    ignored = [name for name in state if name not in loaded]
    _log.info("%s: loaded %d of %d tensors of IR-50", source, len(loaded), len(own))
    if kept:
        _log.warning("%s: %d tensors of IR-50 keep their values: %s", source, len(kept), some(kept))
    if ignored:
        _log.warning("%s: %d tensors are not used: %s", source, len(ignored), some(ignored))


PARTS: Mapping[str, Callable[[PosterV2, Any, str], None]] = {"ir50": load_ir50, "mobilefacenet": load_mobilefacenet}
"""Part of PosterV2 with weights of its own -> loader."""


def _load_strictly(
    module: nn.Module, state: State, source: str, *, missing: Collection[str] = (), optional: str = ""
) -> None:
    """Load `state`, or raise InputError naming what does not fit, and what is `missing`, and load nothing.

    Tensors of the module whose name begins with `optional` may be absent.
    """
    own = module.state_dict()
    absent = [name for name in own if name not in state and not (optional and name.startswith(optional))]
    check_fit(f"{source}: these are not weights of this network. ", own, state, [*absent, *missing])
    module.load_state_dict(state, strict=False)
