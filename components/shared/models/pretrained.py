"""First weights from a file: ImageNet's from torchvision, published state dicts, or one of our own checkpoints."""

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.vision_transformer import interpolate_embeddings

from components.shared.models.backbones import Classifier
from components.shared.models.fit import check_fit, some
from components.shared.models.imagenet import imagenet_file
from components.shared.models.spec.backbone_names import TORCHVISION
from components.shared.models.spec.spec import IMAGENET, NONE, ModelSpec
from serving.runtime.card import Head
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import download, is_s3

log = logging.getLogger(__name__)

State = dict[str, torch.Tensor]

_POSTER = "poster_v2"
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
# What published files call layers that torchvision has renamed since.
_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
_COUNTER = "num_batches_tracked"  # absent in old files, and of no effect


def load_pretrained(backbone: nn.Module, spec: ModelSpec, place: Classifier, heads: Sequence[Head]) -> None:
    """Load what `spec.pretrained` and `spec.parts` name into a backbone with its head.

    Every tensor of the backbone must be in the file, and the other way round, in the same shape; a position embedding
    of a ViT for another picture size is interpolated, auxiliary heads are passed over. A head is loaded where it has
    the same tensors and the file, if it is one of our checkpoints, the same labels. What was not loaded is logged.

    Raises:
        InputError: the weights cannot be had, the file is none of torch's, or its tensors are those of another model.
        StorageError: an S3 object cannot be read.
    """
    if spec.pretrained == IMAGENET:
        if spec.backbone not in TORCHVISION:
            raise InputError(
                f"pretrained: there are no ImageNet weights of backbone '{spec.backbone}'; known: {NONE}, a path or "
                "an s3:// address, and imagenet for torchvision's models"
            )
        file = imagenet_file(spec.backbone)
        _load(backbone, _read(file, str(file), spec.backbone), str(file), spec, place, heads)
    elif spec.pretrained != NONE:
        with _local(spec.pretrained) as file:
            content = _read(file, spec.pretrained, spec.backbone)
        _load(backbone, content, spec.pretrained, spec, place, heads)
    for part, address in spec.parts.items():
        with _local(address) as file:
            _part_loader(spec.backbone, part)(backbone, file)


def _part_loader(backbone: str, part: str) -> Callable[[Any, Path], object]:
    known: dict[str, Callable[[Any, Path], object]] = {}
    if backbone == _POSTER:
        from components.shared.models.zoo.poster_v2.weights import load_ir50, load_mobilefacenet

        known = {"ir50": load_ir50, "mobilefacenet": load_mobilefacenet}
    if part not in known:
        listed = ", ".join(known) or "none"
        raise InputError(f"parts: backbone '{backbone}' has no part '{part}' with weights of its own; known: {listed}")
    return known[part]


@contextmanager
def _local(address: str) -> Iterator[Path]:
    """Give the file at a path, or a copy of the one in S3 that is gone afterwards."""
    if is_s3(address):
        with TemporaryDirectory() as folder:
            yield download(address, Path(folder))[0]
    else:
        if not Path(address).is_file():
            raise NotFoundError(f"pretrained: there is no file {address}")
        yield Path(address)


def _read(file: Path, source: str, backbone: str) -> Any:
    """Read a weights file onto the CPU without running any code from it."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no common error type for foreign, cut or unsafe files
        if backbone == _POSTER:  # its authors' files hold objects beside the tensors
            from components.shared.models.zoo.poster_v2.weights_file import read_weights

            return read_weights(file)
        raise InputError(
            f"pretrained: {source} is not a file of weights: {error}. It must hold a state_dict, saved with torch.save"
        ) from error


def _load(
    backbone: nn.Module, content: Any, source: str, spec: ModelSpec, place: Classifier, heads: Sequence[Head]
) -> None:
    if spec.backbone == _POSTER and "format_version" not in content:
        from components.shared.models.zoo.poster_v2.model import PosterV2
        from components.shared.models.zoo.poster_v2.weights import load_official

        assert isinstance(backbone, PosterV2)
        load_official(backbone, content)
        log.warning("%s: all but the head, which is for other classes: not loaded", source)
        return
    state, same_labels = _tensors(content, source, place, heads)
    own = dict(backbone.state_dict())
    own_head = {name for name in own if name.startswith(f"{place.head}.")}
    file_head = {name for name in state if name.startswith(f"{place.head}.")}
    fits = same_labels and own_head == file_head and all(state[name].shape == own[name].shape for name in own_head)
    left_out = sorted(own_head ^ file_head | own_head) if not fits else []
    used = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(_AUXILIARY) and (fits or name not in file_head)
    }
    if isinstance(backbone, VisionTransformer) and "encoder.pos_embedding" in used:
        used = interpolate_embeddings(backbone.image_size, backbone.patch_size, OrderedDict(used))
    missing = [name for name in own if not (name in used or name in own_head or _COUNTER in name)]
    check_fit(f"pretrained: {source} does not hold weights of '{spec.backbone}'. Tensors ", own, used, missing)
    with torch.no_grad():
        for name, tensor in used.items():
            own[name].copy_(tensor)
    if left_out and spec.pretrained != IMAGENET:
        log.warning("%s: not loaded, since the head is another one: %s", source, some(left_out))
    log.info("%s: %d of %d tensors loaded", source, len(used), len(own))


def _tensors(content: Any, source: str, place: Classifier, heads: Sequence[Head]) -> tuple[State, bool]:
    """Return the tensors of a file by their names in our backbone, and whether its head may be for the same labels."""
    same_labels = True
    if isinstance(content, Mapping) and "format_version" in content:
        state: Any = content.get("ema_state") or content.get("model_state")
        same_labels = content.get("heads") == [head.model_dump(mode="json") for head in heads]
    else:
        state = content
        for wrapper in _WRAPPERS:
            if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
                state = state[wrapper]
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(value, torch.Tensor) for value in state.values())
    ):
        raise InputError(f"pretrained: {source} holds no state_dict: expected tensors by name")
    named = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    if all(name.startswith("backbone.") for name in named):
        return {name.removeprefix("backbone."): tensor for name, tensor in named.items()}, same_labels
    return {_current_name(name, place): tensor for name, tensor in named.items()}, same_labels


def _current_name(name: str, place: Classifier) -> str:
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    if name.startswith(f"{place.original}."):
        return (place.kept or place.head) + name.removeprefix(place.original)
    return name
