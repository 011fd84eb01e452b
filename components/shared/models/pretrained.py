"""Pretrained weights: ImageNet's from torchvision, published state dicts, or checkpoints of ours."""

import hashlib
import logging
import re
import shutil
import urllib.request
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn
from torchvision.models import VisionTransformer, get_model_weights
from torchvision.models.vision_transformer import interpolate_embeddings

from components.shared.dataset.text import some
from components.shared.models import format_2, poster_v2_weights
from components.shared.models.backbones import HeadLocation
from components.shared.models.spec import IMAGENET, NONE, TORCHVISION, ModelSpec
from components.shared.models.weights_file import State, check_fit, read_weights, state_dict
from components.shared.models.zoo.poster_v2.model import PosterV2
from serving.runtime.card import Head
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import whole_file
from serving.runtime.storage import download, is_s3

log = logging.getLogger(__name__)

_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
# Layers that torchvision has renamed since its published files.
_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
_TIMEOUT = 20.0  # seconds without data
_HASH = re.compile(r"-([0-9a-f]{8,})\.")
_COUNTER = "num_batches_tracked"  # absent in old files, and without effect


def load_pretrained(backbone: nn.Module, spec: ModelSpec, location: HeadLocation, heads: Sequence[Head]) -> None:
    """Load what `spec.pretrained` and `spec.parts` name into a backbone with its head.

    Every tensor of the backbone must be in the file, and the other way round, in the same shape; the position
    embedding of a ViT for another image size is interpolated, auxiliary heads are ignored. The head is loaded if it
    has the same tensors and, in a checkpoint of ours, the same labels. What was not loaded is logged.

    Raises:
        InputError: there are no such weights, torch cannot read the file, or its tensors are those of another model.
        StorageError: an S3 object cannot be read.
    """
    check_pretrained(backbone, spec)
    if spec.pretrained == IMAGENET:
        file = _imagenet_file(spec.backbone)
        _load(backbone, read_weights(file, str(file)), str(file), spec, location, heads)
    elif spec.pretrained != NONE:
        _load(backbone, _content(spec.pretrained), spec.pretrained, spec, location, heads)
    for part, address in spec.parts.items():
        assert isinstance(backbone, PosterV2)
        poster_v2_weights.PARTS[part](backbone, _content(address), address)


def check_pretrained(backbone: nn.Module, spec: ModelSpec) -> None:
    """Raise InputError when there can be no such weights, whatever is in their files."""
    if spec.pretrained == IMAGENET and spec.backbone not in TORCHVISION:
        raise InputError(
            f"pretrained: there are no ImageNet weights of backbone '{spec.backbone}'; known: {NONE}, a path or "
            "an s3:// address, and imagenet for torchvision's models"
        )
    parts = poster_v2_weights.PARTS if isinstance(backbone, PosterV2) else {}
    for part in spec.parts:
        if part not in parts:
            raise InputError(
                f"parts: backbone '{spec.backbone}' has no part '{part}' with weights of its own; "
                f"known: {', '.join(parts) or 'none'}"
            )


def _imagenet_file(backbone: str) -> Path:
    """Return the file of torchvision's default weights of a model, `TORCH_HOME/hub/checkpoints/<name>`.

    Raises InputError naming this file when it does not exist and cannot be downloaded.
    """
    url, file = _imagenet(backbone)
    if not file.is_file():
        with _explained(backbone, url, file):
            _download(url, file)
    return file


def require_imagenet(backbone: str) -> None:
    """Raise InputError when torchvision's weights of a model are neither here nor where they are downloaded from."""
    url, file = _imagenet(backbone)
    if not file.is_file():
        request = urllib.request.Request(url, method="HEAD")
        with _explained(backbone, url, file):
            urllib.request.build_opener().open(request, timeout=_TIMEOUT).close()


def _imagenet(backbone: str) -> tuple[str, Path]:
    url: str = get_model_weights(backbone).DEFAULT.url
    return url, Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


@contextmanager
def _explained(backbone: str, url: str, file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException) as error:
        raise InputError(
            f"pretrained: the ImageNet weights of '{backbone}' could not be downloaded from {url}: {error}. Fetch "
            f"that file elsewhere and put it at {file} (the folder hub/checkpoints of TORCH_HOME), or keep a copy "
            "and set 'pretrained' to its path or s3:// address"
        ) from error


def _download(url: str, file: Path) -> None:
    """Download a file and check it against the digest that torchvision puts into its name.

    torch.hub.download_url_to_file has no timeout: where a firewall drops packets it never returns.
    """
    opener = urllib.request.build_opener()  # unlike urlopen it reads the proxy variables each time
    with whole_file(file) as partial:
        with opener.open(url, timeout=_TIMEOUT) as response, partial.open("wb") as target:
            shutil.copyfileobj(response, target)
        with partial.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        expected = _HASH.search(file.name)
        if expected and not digest.startswith(expected[1]):
            raise OSError(f"the download has the sha256 {digest}, not one that begins with {expected[1]}")


def _content(address: str) -> Any:
    """Read the weights file at a path or `s3://` address."""
    with _local(address) as file:
        return read_weights(file, address)


@contextmanager
def _local(address: str) -> Iterator[Path]:
    """Yield the file at a path, or a temporary copy of the one in S3."""
    if is_s3(address):
        with TemporaryDirectory() as folder:
            yield download(address, Path(folder))[0]
    else:
        if not Path(address).is_file():
            raise NotFoundError(f"pretrained: there is no file {address}")
        yield Path(address)


def _load(
    backbone: nn.Module, content: Any, source: str, spec: ModelSpec, location: HeadLocation, heads: Sequence[Head]
) -> None:
    if isinstance(backbone, PosterV2) and not _is_checkpoint(content):
        poster_v2_weights.load_official(backbone, content, source)
        log.warning("%s: the head is for other classes and was not loaded", source)
        return
    state, same_labels = _tensors(content, source, location, heads)
    own = dict(backbone.state_dict())
    own_head = {name for name in own if name.startswith(f"{location.head}.")}
    file_head = {name for name in state if name.startswith(f"{location.head}.")}
    fits = same_labels and own_head == file_head and all(state[name].shape == own[name].shape for name in own_head)
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
    if not fits and own_head | file_head and spec.pretrained != IMAGENET:
        log.warning("%s: the head differs and was not loaded: %s", source, some(sorted(own_head | file_head)))
    log.info("%s: %d of %d tensors loaded", source, len(used), len(own))


def _is_checkpoint(content: Any) -> bool:
    return isinstance(content, Mapping) and "format_version" in content


def _tensors(content: Any, source: str, location: HeadLocation, heads: Sequence[Head]) -> tuple[State, bool]:
    """Return the tensors of a file by their names in our backbone, and whether its head may be for the same labels."""
    same_labels = True
    if _is_checkpoint(content):
        values = format_2.upgraded(content) if content["format_version"] == 2 else content
        content = values.get("ema_state") or values.get("model_state")
        same_labels = values.get("heads") == [head.model_dump(mode="json") for head in heads]
    named = state_dict(content, source)
    if all(name.startswith("backbone.") for name in named):
        return {name.removeprefix("backbone."): tensor for name, tensor in named.items()}, same_labels
    return {_current_name(name, location): tensor for name, tensor in named.items()}, same_labels


def _current_name(name: str, location: HeadLocation) -> str:
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    if name.startswith(f"{location.original}."):
        return (location.kept or location.head) + name.removeprefix(location.original)
    return name
