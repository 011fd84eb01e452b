"""The checkpoint format: weights, training state and the metadata that export and serving need, in one file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from pydantic import BaseModel, ValidationError
from torch.serialization import get_unsafe_globals_in_checkpoint

from components.shared.dataset.text import some
from components.shared.models import format_2
from components.shared.models.network import Network, build_network
from components.shared.models.spec import ModelSpec
from components.shared.models.weights_file import check_archive
from serving.runtime.card import CropRule, Head, InputSize, Normalization
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import whole_file
from serving.runtime.validation import shortened

FORMAT_VERSION = 3
_OF_ULTRALYTICS = (
    "it was written by train_yolo, or by ultralytics itself. The model.onnx of a training with train_yolo is in its "
    "folder exported; export-yolo makes another"
)

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training after an epoch.

    `model_state` holds the trained weights and `ema_state` their moving average, absent when it is off; the average
    is evaluated and exported where there is one. `training_state` is only in `last.pt`: the states of optimizer,
    schedule, scaler and average, and the history of all epochs. All random draws follow from `epoch`, which counts
    from 1, and `config`, the resolved training configuration as plain values.
    """

    model: ModelSpec
    label_space: str
    heads: tuple[Head, ...]
    input: InputSize
    crop: CropRule
    normalization: Normalization
    model_state: State
    ema_state: State | None
    config: dict[str, Any]
    epoch: int
    metrics: dict[str, float]
    dataset_digest: str
    training_digest: str
    leaks: bool
    run_id: str
    versions: dict[str, str]
    training_state: State | None = None

    def network(self) -> Network:
        """Build the network with the weights that are evaluated and exported, in evaluation mode."""
        network = build_network(self.model, self.heads, self.normalization, load_pretrained=False)
        network.load_state_dict(self.ema_state if self.ema_state is not None else self.model_state)
        return network.eval()


_MODELS: dict[str, type[BaseModel]] = {
    "model": ModelSpec,
    "input": InputSize,
    "crop": CropRule,
    "normalization": Normalization,
}


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` to `path`, whole or not at all."""
    values: dict[str, Any] = dict(vars(checkpoint))
    values["heads"] = [head.model_dump(mode="json") for head in checkpoint.heads]
    for name in _MODELS:
        values[name] = values[name].model_dump(mode="json")
    with whole_file(path) as partial:
        torch.save({"format_version": FORMAT_VERSION, **values}, partial)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU without running any code from it.

    Files of format 2 are read too. Raises NotFoundError when there is no such file and InputError when it is damaged or
    not a checkpoint of these formats.
    """
    if not path.is_file():
        raise NotFoundError(f"no checkpoint at {path}")
    check_archive(path, str(path))
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no common error type for foreign, cut or unsafe files
        raise InputError(f"{path} is not a checkpoint that train_classifier wrote: {_reason(error, path)}") from error
    version = values.pop("format_version", None) if isinstance(values, dict) else None
    if version == 2:
        values = format_2.upgraded(values)
    elif version != FORMAT_VERSION:
        if isinstance(values, dict) and any(type(one).__module__.startswith("ultralytics.") for one in values.values()):
            raise InputError(f"{path} is not a checkpoint that train_classifier wrote: {_OF_ULTRALYTICS}")
        actual = f"it has format {version}" if version else "it is another file of torch"
        raise InputError(
            f"{path} is not a checkpoint of format {FORMAT_VERSION}: {actual}. Train again with this version, or name "
            "the file as 'pretrained' weights of a training"
        )
    try:
        values["heads"] = tuple(Head.model_validate(head) for head in values["heads"])
        for name, model in _MODELS.items():
            values[name] = model.model_validate(values[name])
        return Checkpoint(**values)
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{path} is not a complete checkpoint: {error}") from error


def _reason(error: Exception, path: Path) -> str:
    """Say in one line why a file cannot be loaded."""
    try:
        names = get_unsafe_globals_in_checkpoint(path)
    except Exception:  # it is not what torch.save writes
        names = []
    if any(name.startswith("ultralytics.") for name in names):
        return _OF_ULTRALYTICS
    if names:
        return f"there are other things than tensors in it: {some(names)}"
    if not is_zipfile(path):
        return "it is no ZIP archive, as torch.save writes one"
    return shortened(str(error).split("\n", 1)[0])


def find_checkpoint(folder: Path, name: str) -> Path:
    """Return the file of the checkpoint called `name` in a checkpoints artifact.

    Raises NotFoundError listing the names in it.
    """
    names = sorted(path.stem for path in folder.glob("*.pt"))
    if name not in names:
        raise NotFoundError(f"no checkpoint '{name}' in {folder}; present: {', '.join(names) or 'none'}")
    return folder / f"{name}.pt"
