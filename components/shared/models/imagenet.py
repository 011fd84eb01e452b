"""torchvision's ImageNet weights: found where torch keeps them, downloaded otherwise."""

import hashlib
import os
import re
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from torchvision.models import get_model_weights

from serving.runtime.errors import InputError

_TIMEOUT = 20.0
_CHUNK = 1 << 20
_HASH = re.compile(r"-([0-9a-f]{8,})\.")


def imagenet_file(backbone: str) -> Path:
    """Return the file of torchvision's default weights of a model, `TORCH_HOME/hub/checkpoints/<name>`.

    Raises InputError saying which file to put there when it is neither there nor can be downloaded.
    """
    url: str = get_model_weights(backbone).DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if file.is_file():
        return file
    try:
        _fetch(url, file)
    except (OSError, HTTPException) as error:
        raise InputError(
            f"pretrained: the ImageNet weights of '{backbone}' could not be downloaded from {url}: {error}. Fetch that "
            f"file elsewhere and put it at {file} (the folder hub/checkpoints of TORCH_HOME), or keep a copy and set "
            "'pretrained' to its path or s3:// address"
        ) from error
    return file


def _fetch(url: str, file: Path) -> None:
    """Download to a temporary name, check the digest that torchvision puts into the file's name, move into place."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    digest = hashlib.sha256()
    opener = urllib.request.build_opener()  # unlike urlopen it reads the proxy's variables each time
    try:
        with opener.open(url, timeout=_TIMEOUT) as response, partial.open("wb") as target:
            while chunk := response.read(_CHUNK):
                digest.update(chunk)
                target.write(chunk)
        expected = _HASH.search(file.name)
        if expected and not digest.hexdigest().startswith(expected[1]):
            raise OSError(f"what came has the sha256 {digest.hexdigest()}, not one that begins with {expected[1]}")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
