"""Where a training starts: with a new network, after the last epoch of a killed process, or after an earlier training.

The checkpoints of killed processes and of earlier trainings are pickles, and are read with the allow-list only.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from components.shared.dataset.text import some
from components.shared.training.resumable_folder import LAST, ResumableFolder, link
from components.train_yolo.checkpoint import Checkpoint, check_continues, is_best, read_checkpoint
from components.train_yolo.config import YoloConfig
from components.train_yolo.library import tasks
from components.train_yolo.record import BEST, BOARD, CONFIG, OWN, library_versions
from components.train_yolo.weights import load_weights, read_description, start_description
from serving.runtime.errors import InputError

_READ_OF_CONFIG = ("config", "dataset_digest", "training_digest", "versions", "run_id")

_ADVICE = "name a folder that train_yolo wrote"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a training starts: the description of a network, and weights, or the checkpoint that it continues from.

    Attributes:
        description: of the network.
        weights: a network whose weights are taken where they fit; None for random ones, or with a checkpoint.
        checkpoint: LAST of the training; None for a new one.
        run_id: the MLflow run to continue; "" for a new one.
    """

    description: dict[str, Any]
    weights: nn.Module | None = None
    checkpoint: Checkpoint | None = None
    run_id: str = ""

    @property
    def epoch(self) -> int:
        """The number of epochs behind it."""
        return 0 if self.checkpoint is None else int(self.checkpoint["epoch"]) + 1


def find_start(folder: ResumableFolder, config: YoloConfig, dataset_digest: str, scratch: Path) -> Start:
    """Return where the training starts: after its last epoch, or with the network of the configuration.

    Raises:
        InputError: the checkpoints in `config.resume` are of another training, or of one that is complete; the network
            cannot be used.
        NotFoundError: there are none.
    """
    path = folder.path
    if folder.started:
        earlier = _read_config(path, str(path))
        checkpoint = read_checkpoint(path / LAST)
        check_continues(checkpoint, str(path))
        checkpoint = _repaired(path, checkpoint, str(path))
    elif config.resume:
        folder.fetch(config.resume)
        source = f"resume: {config.resume}"
        try:
            checkpoint, earlier = read_checkpoint(path / LAST, source), _read_config(path, source)
            check_continues(checkpoint, source)
            _check_same(earlier, checkpoint, config, dataset_digest)
            checkpoint = _repaired(path, checkpoint, source)
        except InputError:
            (path / LAST).unlink()
            raise
    else:
        for folder_of_killed in (path / OWN, path / BOARD):
            shutil.rmtree(folder_of_killed, ignore_errors=True)
        return _new_start(config, scratch)
    if earlier["versions"] != library_versions():
        log.warning("libraries changed since epoch %d, so results may differ", checkpoint["epoch"] + 1)
    log.info("continuing after epoch %d", checkpoint["epoch"] + 1)
    same = earlier["training_digest"] == config.digest(dataset_digest)
    return Start(checkpoint["ema"].yaml, None, checkpoint, earlier["run_id"] if same else "")


def _new_start(config: YoloConfig, scratch: Path) -> Start:
    weights: Any = None
    if config.model.lower().endswith(".pt"):
        weights = load_weights(config.model, scratch, trust=config.trust_weights, download=config.download_weights)
    description = read_description(config.model) if weights is None else weights.yaml
    description = start_description(description, config.task, config.model)
    _check_freeze(_build(description, config), config.settings.get("freeze"))
    return Start(description, weights)


def _build(description: dict[str, Any], config: YoloConfig) -> Any:
    """Build the network of a description once, so that what is wrong with it is said before anything is unpacked."""
    kind = tasks.ClassificationModel if config.task == "classify" else tasks.DetectionModel
    if description["head"][-1][-2] == "RTDETRDecoder":
        kind = tasks.RTDETRDetectionModel
    try:
        return kind(deepcopy(description), nc=len(config.labels), verbose=False)
    except Exception as error:  # layers, arguments and shapes that do not fit have no common error type
        reason = str(error).split("\n", 1)[0]
        raise InputError(
            f"model: {config.model} does not describe a network that can be built: {type(error).__name__}: {reason}"
        ) from error


def _check_freeze(network: Any, freeze: Any) -> None:
    """Raise InputError unless every layer that is not to be trained exists, and something is left to train."""
    count, names = len(network.model), [name for name, _ in network.named_parameters()]
    frozen = [*range(min(freeze, count + 1))] if isinstance(freeze, int) else freeze or []
    missing = [
        layer
        for layer in frozen
        if (not 0 <= layer < count if isinstance(layer, int) else not any(f"model.{layer}." in name for name in names))
    ]
    if missing:
        raise InputError(
            f"freeze: there is no layer {some([*map(str, missing)])}; the network has the layers 0 to {count - 1}"
        )
    if all(any(f"model.{layer}." in name for layer in frozen) for name in names):
        raise InputError(f"freeze = {freeze}: leaves nothing to train of a network with {count} layers; name fewer")


def _check_same(earlier: Mapping[str, Any], checkpoint: Checkpoint, config: YoloConfig, dataset_digest: str) -> None:
    there, here = earlier["config"], config.model_dump(mode="json")
    if differing := config.differences(there):
        pairs = ", ".join(f"{name} (there {there.get(name)!r}, here {here.get(name)!r})" for name in differing)
        raise InputError(f"resume: {config.resume} is of a training that was configured differently: {pairs}")
    if earlier["dataset_digest"] != dataset_digest:
        raise InputError(f"resume: {config.resume} was trained on other annotations")
    if (epochs := checkpoint["epoch"] + 1) >= config.epochs:
        raise InputError(f"resume: {config.resume} has had {epochs} epochs already; raise epochs to continue")


def _repaired(path: Path, checkpoint: Checkpoint, source: str) -> Checkpoint:
    """Make LAST and BEST fit each other, where a training was killed between the two; return LAST.

    `checkpoint` is LAST. A better epoch that is already in BEST becomes LAST: an epoch is complete with either.
    """
    if is_best(checkpoint):
        link(path / LAST, path / BEST)
        return checkpoint
    if not (path / BEST).exists():
        raise InputError(f"{source}: lacks {BEST}; name the whole folder of checkpoints")
    best = read_checkpoint(path / BEST, source)
    if best["epoch"] <= checkpoint["epoch"]:
        return checkpoint
    check_continues(best, source)
    link(path / BEST, path / LAST)  # they were being copied to `state`, LAST after all else
    return best


def _read_config(path: Path, source: str) -> Any:
    try:
        content = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{source}: there is no {CONFIG} beside {LAST}; {_ADVICE}") from error
    except ValueError as error:
        raise InputError(f"{source}: {CONFIG} cannot be read: {error}; {_ADVICE}") from error
    if not isinstance(content, dict) or not content.keys() >= {*_READ_OF_CONFIG}:
        raise InputError(f"{source}: {CONFIG} is not one of train_yolo; {_ADVICE}")
    return content
