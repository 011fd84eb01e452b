"""Networks to start from: descriptions (.yaml) with random weights, and checkpoints of ultralytics (.pt).

A .pt is a pickle: reading one without restrictions runs what is in it. Here every .pt is read with the allow-list of
ultralytics, which makes its own networks and torch's layers and nothing else, unless the caller says that the file is
trusted. One from `s3://` must be: whoever can write there could change it.
"""

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from components.shared.models.weights_file import check_archive
from components.train_yolo.checkpoint import reason_of
from components.train_yolo.config import HEADS, NOT_DOWNLOADED, STARTS, Task
from components.train_yolo.library import downloads, downloads_allowed, pickles_trusted, tasks
from serving.runtime.errors import InputError, NotFoundError, StorageError
from serving.runtime.storage import download as download_s3
from serving.runtime.storage import is_s3
from serving.runtime.validation import nearest


def fetch_weights(address: str, folder: Path, *, trust: bool = False, download: bool = False) -> Path:
    """Return the path of a local .pt that is a checkpoint of ultralytics for detect, pose or classify.

    Args:
        address: a path or `s3://` address, or the plain name of a file that ultralytics publishes.
        folder: where a file that is not local is put.
        trust: read the pickle without an allow-list of classes, which runs what is in it; needed for `s3://`.
        download: let ultralytics download a file that it publishes and that is not here.

    Raises:
        InputError: the file may not be read, is no checkpoint, or one of another task.
        NotFoundError: there is none.
        StorageError: it cannot be read.
    """
    path = _local_file(address, folder, trust=trust, download=download)
    read_model(path, trust=trust, source=address)
    return path


def load_weights(address: str, folder: Path, *, trust: bool = False, download: bool = False) -> nn.Module:
    """Return the network of such a file; arguments and errors as of `fetch_weights` and `read_model`."""
    return read_model(_local_file(address, folder, trust=trust, download=download), trust=trust, source=address)


def read_model(path: Path, *, trust: bool = False, source: str = "") -> nn.Module:
    """Read the network of a checkpoint, in float32; where there is a moving average of the weights, that.

    Args:
        path: a .pt of ultralytics.
        trust: read the pickle without an allow-list of classes, which runs what is in it.
        source: what errors call the file; by default its path.

    Raises InputError when it is no checkpoint of a network that can be served: see `task_of`.
    """
    source = source or str(path)
    check_archive(path, source)
    try:
        if trust:
            with pickles_trusted():
                model, _ = tasks.load_checkpoint(path)
        else:
            model, _ = tasks.load_checkpoint(path)
    except Exception as error:  # foreign, cut and unsafe files have no common error type
        refused = not trust and _is_refused(path)
        hint = "; where you trust the file, set trust_weights, which runs what is in it" if refused else ""
        reason = reason_of(error, path)
        raise InputError(f"{source}: is no checkpoint of ultralytics that can be read: {reason}{hint}") from error
    if not isinstance(getattr(model, "yaml", None), dict):
        raise InputError(f"{source}: is no checkpoint of ultralytics: there is no description of its network in it")
    task_of(model.yaml, source)
    return model  # type: ignore[no-any-return]


def _is_refused(path: Path) -> bool:
    """Tell whether a file is whole, and names classes or functions that the allow-list has not."""
    try:
        return bool(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # it is not what torch.save writes
        return False


def read_description(name: str) -> dict[str, Any]:
    """Read a network's description: a .yaml that ultralytics ships, with or without its scale, or a file.

    Raises InputError when there is none, or it is of no network that can be served.
    """
    try:
        content = tasks.yaml_model_load(name)
        content["yaml_file"] = Path(name).name
    except FileNotFoundError as error:
        shipped = {path.name for path in Path(tasks.__file__).parents[1].glob("cfg/models/*/*.yaml")}
        raise NotFoundError(f"model: there is no {name}, and ultralytics ships none{nearest(name, shipped)}") from error
    except Exception as error:  # yaml, and whatever a description of another shape runs into
        raise InputError(f"model: {name} does not describe a network of ultralytics: {error}") from error
    task_of(content, name)
    return content  # type: ignore[no-any-return]


def task_of(description: dict[str, Any], source: str) -> str:
    """Return detect, pose or classify, by the last layer. Raises InputError for a network of another task."""
    try:
        head = description["head"][-1][-2]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"{source}: does not describe a network of ultralytics: it has no head") from error
    for task, heads in HEADS.items():
        if head in heads:
            return task
    known = ", ".join(name for heads in HEADS.values() for name in heads)
    raise InputError(f"{source}: its last layer is {head}, which cannot be served here; it must be one of {known}")


def start_description(description: dict[str, Any], task: Task, source: str) -> dict[str, Any]:
    """Return the description of a network for `task` with the layers of the described one.

    A pose head becomes one of detection: a detector has all layers of a pose network but those of the keypoints, under
    the same names, so it takes all other weights. Weights of torchvision are not loaded.

    Raises InputError when a network of `task` cannot start from the described one.
    """
    found = task_of(description, source)
    if found not in STARTS[task]:
        raise InputError(
            f"{source}: is a network for {found}, and the task is {task}; expected one for {' or '.join(STARTS[task])}"
        )
    description = deepcopy(description)
    head = description["head"][-1]
    if task == "detect" and found == "pose":
        head[-2:] = ["Detect", [argument for argument in head[-1] if argument == "nc"]]
        description.pop("kpt_shape", None)
    for layer in [*description["backbone"], *description["head"]]:
        if layer[2] == "TorchVision":
            layer[3][2] = None
    return description


def _local_file(address: str, folder: Path, *, trust: bool, download: bool) -> Path:
    if is_s3(address):
        if not trust:
            raise InputError(
                f"{address}: a .pt is a pickle, which can run code when it is read; set trust_weights where you trust "
                "the file and everybody who can write there, or name a local file"
            )
        (path,) = download_s3(address, folder)
        return path
    path = Path(address)
    if path.is_file():
        return path
    if address not in downloads.GITHUB_ASSETS_NAMES:
        raise NotFoundError(f"{address}: there is no such file, and ultralytics publishes none of this name")
    if not download:
        raise NotFoundError(f"{address}: {NOT_DOWNLOADED}")
    try:
        with downloads_allowed():
            target = Path(downloads.attempt_download_asset(folder / address))
    except Exception as error:  # requests, urllib and sockets have no common error type
        (folder / address).unlink(missing_ok=True)
        raise StorageError(f"{address}: ultralytics cannot download it: {error}") from error
    if target != folder / address:
        shutil.copyfile(target, folder / address)
    return folder / address
