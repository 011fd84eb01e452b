"""The options of trainings with ultralytics, and the parameters of pipelines that train a classifier with it.

They are checked where ultralytics is not installed, too.
"""

import re
from collections.abc import Iterator, Mapping, Set
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile, ZipFile

import yaml

from components.train_yolo.config import HEADS, NOT_DOWNLOADED, STARTS, Task, YoloConfig
from pipelines.parameters.addresses import Address, require
from pipelines.parameters.model import ClassifierParameters, require_checkpoint
from serving.runtime.errors import InputError
from serving.runtime.storage import is_s3
from serving.runtime.validation import Problem, problems_of

_WEIGHTS = ".pt"
_FILES = (".yaml", ".yml", _WEIGHTS)


def is_yolo(model: object) -> bool:
    """Whether the name of a network is one for ultralytics: an architecture (.yaml) or weights (.pt)."""
    return isinstance(model, str) and model.lower().endswith(_FILES)


def yolo_problems(
    own: Mapping[str, Any], field: str, parameters: Mapping[str, tuple[str, Any]], wrong: Set[str]
) -> Iterator[Problem]:
    """Yield what keeps options from being a training with ultralytics.

    Args:
        own: the options of YoloConfig in a field of the pipeline.
        field: its name.
        parameters: options that are parameters of the pipeline, by their name there, with that parameter and the value;
            a parameter "" is none.
        wrong: fields that have been reported already.
    """
    for name, (parameter, _) in parameters.items():
        if name in own:
            message = (
                f"is a parameter of its own: write it as {parameter}" if parameter else "follows from the pipeline"
            )
            yield Problem((field, name), own[name], message)
    options = {**own, **{name: value for name, (_, value) in parameters.items()}}

    def renamed(path: tuple[str, ...]) -> tuple[str, ...]:
        parameter = parameters.get(path[0], ("",))[0] if path else ""
        return (parameter,) if parameter else (field, *path)

    problems = [*problems_of(YoloConfig, options, hidden=parameters.keys())]
    for problem in problems:
        if renamed(problem.path)[0] not in wrong:
            yield Problem(renamed(problem.path), problem.value if problem.path else own, problem.message)
    model = str(options.get("model", ""))
    if not problems and is_s3(model) and not options.get("trust_weights"):
        message = "is a pickle, which can run anything: set trust_weights: true where you trust who wrote it"
        yield Problem(renamed(("model",)), model, message)


def yolo_addresses(config: YoloConfig, model: tuple[str, ...], resume: tuple[str, ...]) -> Iterator[Address]:
    """Yield what a training reads: the network at the path `model` of the configuration, and what it continues."""
    if not config.model.lower().endswith(_WEIGHTS):
        yield Address(model, config.model, partial(_require_architecture, config.task))
    elif not (config.download_weights and Path(config.model).name == config.model):
        yield Address(model, config.model, _require_weights)
    if config.resume:
        yield Address(resume, config.resume, require_checkpoint)


def _require_weights(address: str) -> None:
    """Raise InputError when there is nothing at an address, or no file of torch on this machine.

    A file is not loaded: it is a ZIP archive with a pickle in it.
    """
    path = Path(address)
    if not is_s3(address) and not path.exists() and path.name == address:
        raise InputError(NOT_DOWNLOADED)
    require(address)
    if is_s3(address):
        return
    if not path.is_file():
        raise InputError("is a folder, expected a .pt: name the file in it, such as best.pt")
    try:
        with ZipFile(path) as archive:
            holds_pickle = any(name.endswith("data.pkl") for name in archive.namelist())
    except (BadZipFile, OSError):
        holds_pickle = False
    if not holds_pickle:
        raise InputError("is no checkpoint of torch: expected a .pt, a ZIP archive with a pickle, as torch.save writes")


def _require_architecture(task: Task, name: str) -> None:
    """Raise InputError when there is no file of a network for the task: a path, or one that ultralytics ships.

    `yolo11n-cls.yaml` is the file yolo11-cls.yaml at the scale n.
    """
    without_scale = re.sub(r"(\d+)([nslmx])(.+)$", r"\1\3", name)
    file = next((path for path in (Path(name), Path(without_scale)) if path.is_file()), None)
    if file is None:
        spec = find_spec("ultralytics")
        if spec is None or not spec.submodule_search_locations:
            return
        shipped = {path.name: path for path in Path(spec.submodule_search_locations[0], "cfg/models").rglob("*.yaml")}
        file = shipped.get(name, shipped.get(without_scale))
        if file is None:
            examples = "yolo11n.yaml, yolov8s.yaml" if task == "detect" else "yolo11n-cls.yaml, yolov8s-cls.yaml"
            raise InputError(f"does not exist, and ultralytics ships none of that name; it has {examples} and others")
    try:
        head = str(yaml.safe_load(file.read_text(encoding="utf-8"))["head"][-1][2])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError, IndexError) as error:
        raise InputError("is no network of ultralytics: expected YAML with backbone and head") from error
    if not any(head in HEADS[kind] for kind in STARTS[task]):
        raise InputError(f"is a network that ends with {head}, which is not for the task {task}")


class YoloParameters(ClassifierParameters):
    """Of pipelines that train a classifier with ultralytics."""

    without: ClassVar[Mapping[str, str]] = {
        "features": "a classifier of ultralytics is exported without its feature map: leave it out",
    }

    learning_rate: float | None = None

    @classmethod
    def parts(cls) -> dict[str, Mapping[str, tuple[Any, str]]]:
        """The fields that are other parameters for KFP: `learning_rate` is in `training`, the width is the height."""
        return {**super().parts(), "learning_rate": {}, "image_width": {}}

    def arguments(self) -> dict[str, Any]:
        """The arguments that the pipeline is called with."""
        arguments = super().arguments()
        rate = arguments.pop("learning_rate")
        del arguments["image_width"]
        return {**arguments, "training": {**self.training, **({} if rate is None else {"lr": rate})}}

    def training_arguments(self) -> dict[str, Any]:
        """The arguments of the training step that are parameters of the pipeline."""
        return {
            "name": self.model_name,
            "task": "classify",
            "label_space": self.label_space,
            "model": self.model,
            "epochs": self.epochs,
            "batch": self.batch_size,
            "imgsz": self.image_height,
            "seed": self.seed,
            "training": self.training,
        }

    @property
    def train_config(self) -> YoloConfig:
        """The configuration of the training."""
        parameters = {name: value for name, (_, value) in self._parameters.items()}
        return YoloConfig.model_validate({**self.training, **parameters})

    @property
    def _parameters(self) -> dict[str, tuple[str, Any]]:
        """The options of the training that are parameters, by their name there: that of the parameter, the value."""
        parameters: dict[str, tuple[str, Any]] = {
            "task": ("", "classify"),
            "label_space": ("label_space", self.label_space),
            "model": ("model", self.model),
            "epochs": ("epochs", self.epochs),
            "batch": ("batch_size", self.batch_size),
            "imgsz": ("image_height", self.image_height),
            "seed": ("seed", self.seed),
            "lr": ("learning_rate", self.learning_rate),
        }
        return parameters

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, those of the training too."""
        yield from super().problems(wrong)
        parameters = self._parameters
        optimizer = self.training.get("optimizer", "auto")
        if self.learning_rate is not None and optimizer == "auto":
            message = "the optimizer auto chooses its own: name another by training.optimizer, such as AdamW"
            yield Problem(("learning_rate",), self.learning_rate, message)
            parameters["lr"] = ("learning_rate", None)
        yield from yolo_problems(self.training, "training", parameters, wrong)
        if self.image_width != self.image_height and not wrong & {"image_height", "image_width"}:
            message = f"the input of a YOLO classifier is square: write {self.image_height}, as image_height"
            yield Problem(("image_width",), self.image_width, message)

    def addresses(self) -> Iterator[Address]:
        """What the steps read from elsewhere, the network and the weights of the training too."""
        yield from super().addresses()
        yield from yolo_addresses(self.train_config, ("model",), ("training", "resume"))
