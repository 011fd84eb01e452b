"""The parameters of pipelines that find the faces in raw photos first, and serve detector and classifier as one."""

from collections.abc import Iterator, Mapping, Sequence, Set
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar

from pydantic import Field

from components.crop_faces.options import CropOptions
from components.detect_faces.config import (
    MEMBERS,
    TRAINED,
    ChooseOptions,
    DetectOptions,
    Member,
    Onnx,
    Trained,
    parse_chain,
)
from components.train_classifier.config.training import TrainConfig
from components.train_yolo.config import YoloConfig
from pipelines.parameters.addresses import Address, require
from pipelines.parameters.model import ClassifierParameters
from pipelines.parameters.pipeline import matching
from pipelines.parameters.publish import PublishParameters
from serving.runtime.errors import InputError
from serving.runtime.storage import is_s3
from serving.runtime.validation import Problem, known, problems_of

CompositeName = matching(r"([A-Za-z0-9][A-Za-z0-9._-]*)?", "use letters, digits, '.', '_' and '-', or nothing")


class Faces(DetectOptions, ChooseOptions):
    """What `faces` in a config may hold.

    Attributes:
        detectors: the chain, see `components.detect_faces.config`.
        crops: `scale` and `max_failed` of crop_faces, whose crops the training reads; None where it cuts the faces from
            the photos.
    """

    detectors: list[Any] = Field(default_factory=list, min_length=1)
    crops: dict[str, Any] | None = None


_PARTS = {
    "detectors": (
        list[Any],
        "The detectors in order, {name: options}: onnx, trained (in emotion), dlib_hog, dlib_cnn, table, annotations.",
    ),
    "detect_options": (dict[str, Any], "What a detected box must be like: min_side, min_share, max_share, min_inside."),
    "choose_options": (dict[str, Any], "Which of the faces found count: fallback, choose, min_iou and others."),
    "crop": (bool, "Whether the faces are cut out once before the training, which reads the photos otherwise."),
    "crop_options": (dict[str, Any], "How they are cut out: aspect or mode as the training cuts, scale, max_failed."),
}
"""The parameters that `faces` becomes in Kubeflow Pipelines."""


_OF_CROPS = frozenset(("scale", "max_failed"))
"""What `faces.crops` may hold: everything else would change the pixels that the training sees."""

_MARGIN = 1.25
"""How much larger than the box, and than what the training cuts, crops must be: by an eighth at both ends, which is a
pixel of the smallest input. Less than the box is cut where the border of the photo moves it, so it needs the whole."""


class FaceParameters(ClassifierParameters):
    """Of pipelines that find the faces in raw photos and train on them."""

    faces: dict[str, Any] = Field(
        default_factory=dict,
        description="How faces are found: detectors (by default dlib_hog, which needs no weights; in emotion trained, "
        "the detector of the run), fallback, choose, crops and further options. With it a pipeline finds the faces "
        "first; emotion always does.",
    )
    images_per_shard: int = Field(
        default=20_000, ge=1, description="In how many images at a time faces are found; shards run side by side."
    )

    members: ClassVar[Mapping[str, type[Member]]] = {name: one for name, one in MEMBERS.items() if name != TRAINED}
    """The detectors that a chain may have."""
    default_chain: ClassVar[Sequence[Any]] = ("dlib_hog",)

    @classmethod
    def parts(cls) -> dict[str, Mapping[str, tuple[Any, str]]]:
        """The fields that are several parameters for KFP."""
        return {**super().parts(), "faces": _PARTS}

    @property
    def chain(self) -> list[tuple[str, Member]]:
        """The kind and the options of every detector of the chain."""
        return parse_chain(self._finding.detectors)

    @property
    def _finding(self) -> Faces:
        return Faces.model_validate({"detectors": list(self.default_chain), **self.faces})

    @property
    def uses_dlib(self) -> bool:
        """Whether dlib must be installed where the faces are found."""
        return any(kind.startswith("dlib") for kind, _ in self.chain)

    def arguments(self) -> dict[str, Any]:
        """The arguments that the pipeline is called with."""
        faces = self._finding
        written = faces.model_dump(exclude_unset=True)
        arguments = super().arguments()
        del arguments["faces"]
        return {
            **arguments,
            "detectors": faces.detectors,
            "detect_options": _options(DetectOptions, written),
            "choose_options": {"label_space": self.label_space, **_options(ChooseOptions, written)},
            "crop": faces.crops is not None,
            "crop_options": {} if faces.crops is None else {**crop_shape(self.train_config), **faces.crops},
        }

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, those of `faces` too."""
        found = list(super().problems(wrong))
        yield from found
        if "faces" in wrong:
            return
        in_faces = list(problems_of(Faces, self.faces, path=("faces",)))
        yield from in_faces
        if any(problem.path[:2] == ("faces", "detectors") for problem in in_faces):
            return
        in_crops = list(self._of_crops(in_faces))
        yield from in_crops
        if not (found or wrong or in_faces or in_crops):
            yield from self.unlike(self.train_config)
        detectors = self.faces.get("detectors", self.default_chain)
        in_chain = [problem for number, item in enumerate(detectors) for problem in self._of_member(number, item)]
        yield from in_chain
        if not in_chain:
            try:
                parse_chain(detectors)
            except InputError as error:
                yield Problem(("faces", "detectors"), detectors, str(error))

    def _of_member(self, number: int, item: Any) -> Iterator[Problem]:
        """What is wrong with one detector of the chain."""
        path = ("faces", "detectors", str(number))
        entry = {item: None} if isinstance(item, str) else item
        if not isinstance(entry, Mapping) or len(entry) != 1:
            yield Problem(path, item, f"expected one detector and its options{known('', self.members)}")
            return
        ((kind, options),) = entry.items()
        if kind not in self.members:
            yield Problem(path, kind, f"unknown detector{known(kind, self.members)}")
            return
        model = self.members[kind]
        if isinstance(options, str) and options and model.address:
            options = {model.address: options}
        yield from problems_of(model, options or {}, path=(*path, kind))

    def _of_crops(self, in_faces: list[Problem]) -> Iterator[Problem]:
        """What is wrong with the crops by themselves."""
        crops, path = self.faces.get("crops"), ("faces", "crops")
        if crops is None or any(problem.path[:2] == path for problem in in_faces):
            return
        others = CropOptions.model_fields.keys() - _OF_CROPS
        for name in sorted(crops.keys() & others):
            message = "is for crops that people use; those of a training have the shape and the pixels that it cuts"
            yield Problem((*path, name), crops[name], f"{message}{known('', _OF_CROPS)}")
        kept = {name: value for name, value in crops.items() if name not in others}
        yield from problems_of(CropOptions, kept, path=path, hidden=others)

    def unlike(self, training: TrainConfig | YoloConfig) -> Iterator[Problem]:
        """Why `training` would not see the pixels on the crops that serving cuts from a photo.

        It cuts each crop once more by its own rule, and a resize reads the pixels around what is cut, one pixel of the
        input wide.
        """
        crops, path = self.faces.get("crops"), ("faces", "crops")
        if crops is None:
            return
        rule = training.crop
        message = "serving would see other pixels than a training on crops, since {}: leave faces.crops out"
        if rule.frame is not None:
            yield Problem(path, crops, message.format("the augmentation cuts a fixed part of every photo"))
        elif rule.eyes is not None:
            yield Problem(path, crops, message.format("crop_rule.eyes may reach beyond every crop around a box"))
        elif crop_shape(training) != crop_shape(self.train_config):
            yield Problem(path, crops, message.format("it changes the shape that is cut"))
        elif CropOptions.model_validate(crops).scale < (least := _MARGIN * max(1.0, rule.scale)):
            message = f"is less than the training reads: {round(least, 4)} or more, with its crop_scale = {rule.scale}"
            yield Problem((*path, "scale"), crops.get("scale", CropOptions().scale), message)

    def addresses(self) -> Iterator[Address]:
        """What the steps read from elsewhere, the models, weights and tables of detectors too."""
        yield from super().addresses()
        for number, (kind, member) in enumerate(self.chain):
            address = getattr(member, member.address) if member.address else ""
            if address and not address.startswith("models:"):  # which the registry knows, and only while it is up
                path = ("faces", "detectors", str(number), kind, member.address)
                yield Address(path, address, _require_detector if isinstance(member, Onnx) else require)


class CompositeParameters(FaceParameters, PublishParameters):
    """Of pipelines that register the detectors and the classifier as one model, too."""

    composite: Annotated[str, CompositeName] = Field(
        default="",
        description="Name under which the detectors and the classifier are registered as one model, which serves raw "
        "photos; one detector must be onnx. Empty for none.",
    )

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, the detectors of the composite too."""
        found = list(super().problems(wrong))
        yield from found
        if not self.composite or wrong & {"composite", "faces"} or any(one.path[0] == "faces" for one in found):
            return
        if not any(isinstance(member, Onnx | Trained) for _, member in self.chain):
            message = "only an onnx detector can be served, and faces.detectors has none: add one, or leave this out"
            yield Problem(("composite",), self.composite, message)
        if self.composite in self.model_names and not wrong & {"model_name", "precision"}:
            yield Problem(("composite",), self.composite, "is the name of the classifier, see model_name: take another")


def _require_detector(address: str) -> None:
    """Raise InputError when there is nothing at an address, or no detector on this machine, as adopt_detectors does."""
    require(address)
    if is_s3(address) or find_spec("onnx") is None:
        return
    from components.shared.models.adopt import check_detector, fetch_weights  # seconds, for the few that name a file

    try:
        check_detector(fetch_weights(address), address)
    except InputError as error:
        raise InputError(str(error).removeprefix(f"{address}: ")) from error


def crop_shape(training: TrainConfig | YoloConfig) -> dict[str, Any]:
    """Return the options of crop_faces with which a crop holds what `training` cuts around every box."""
    rule = training.crop
    if rule.mode is None:
        return {"aspect": rule.aspect or training.input.height / training.input.width}
    return {"aspect": 1.0} if rule.mode == "square" else {"mode": "rectangle"}


def _options(model: type[DetectOptions | ChooseOptions], written: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if name in model.model_fields}
