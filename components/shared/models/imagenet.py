"""torchvision's ImageNet weights, from the folder where torch keeps them or downloaded into it."""

import hashlib
import re
import shutil
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from torchvision.models import get_model_weights

from serving.runtime.errors import InputError
from serving.runtime.output import whole_file

_TIMEOUT = 20.0  # seconds without data
_HASH = re.compile(r"-([0-9a-f]{8,})\.")


def imagenet_file(backbone: str) -> Path:
    """Return the file of torchvision's default weights of a model, `TORCH_HOME/hub/checkpoints/<name>`.

    Raises InputError naming this file when it does not exist and cannot be downloaded.
    """
    url: str = get_model_weights(backbone).DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not file.is_file():
        try:
            _download(url, file)
        except (OSError, HTTPException) as error:
            raise InputError(
                f"pretrained: the ImageNet weights of '{backbone}' could not be downloaded from {url}: {error}. Fetch "
                f"that file elsewhere and put it at {file} (the folder hub/checkpoints of TORCH_HOME), or keep a copy "
                "and set 'pretrained' to its path or s3:// address"
            ) from error
    return file


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
