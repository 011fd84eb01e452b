"""What is wrong with the options of a training, as far as it can be said before there are data."""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from components.shared.models.spec import is_import_path
from components.train_classifier.config.augmentation import NAMES
from components.train_classifier.config.training import TrainConfig
from serving.runtime.validation import Problem, problems_of

_TRIED = ("network", "objective", "optimizer", "scheduler", "augmentation")
"""What a library or code of the user is called with."""
_MATTER = {
    *(*_TRIED, "label_space", "model", "epochs", "weight_decay"),
    *("image_height", "image_width", "crop_scale", "crop_rule"),
}
_DEFAULT = TrainConfig(label_space="mask_gender_age")


def training_problems(options: Mapping[str, Any], *, hidden: Collection[str] = ()) -> Iterator[Problem]:
    """Yield what keeps `options` from being a training.

    Where they are more than names and numbers of ours, and torch is installed, network, loss, optimizer, schedule and
    augmentation are made and used once. Code that is not installed here, but may be in an image, is not.

    Args:
        options: of TrainConfig.
        hidden: fields that are not suggested for an unknown key.
    """
    problems = list(problems_of(TrainConfig, options, hidden=hidden))
    yield from problems
    if problems:
        return
    config = TrainConfig.model_validate(options)
    if _ordinary(config) or find_spec("torch") is None or missing_packages(config):
        return
    for entry, message in _faults(config.model_dump_json(include=_MATTER)):
        name = "model" if entry == "network" and not config.network else entry
        yield Problem((name,), options.get(name), message)


def missing_packages(config: TrainConfig) -> list[str]:
    """Return the import paths in a configuration whose package is not installed here."""
    objective = config.objective
    losses = [loss.name for loss in (objective.loss, *objective.heads.values())]
    names = [config.spec.backbone, *losses, config.optimizer.name, config.scheduler.name, config.augmentation.name]
    return [name for name in names if is_import_path(name) and find_spec(re.split("[.:]", name)[0]) is None]


def _ordinary(config: TrainConfig) -> bool:
    """Whether nothing can be wrong that the types of the configuration allow."""
    parts = set(_TRIED) - {"augmentation"}
    augmentation = config.augmentation
    return (
        all(getattr(config, name) == getattr(_DEFAULT, name) for name in parts)
        and ":" not in config.model
        and augmentation.name in NAMES
        and not augmentation.steps
    )


@cache
def _faults(config: str) -> list[tuple[str, str]]:
    from components.train_classifier.tryout import faults

    return list(faults(TrainConfig.model_validate_json(config)))
