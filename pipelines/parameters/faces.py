"""The parameters of pipelines that find the faces in raw photos first, and serve detector and classifier as one."""

import inspect
from collections.abc import Iterator, Mapping, Set
from typing import Annotated, Any, Self

from pydantic import Field

from components.crop_faces.options import CropOptions
from components.detect_faces.config import MEMBERS, ChooseOptions, DetectOptions, Onnx, parse_chain
from components.train_classifier.config.training import TrainConfig
from pipelines.parameters.addresses import Address
from pipelines.parameters.model import PublishParameters, TrainingParameters
from pipelines.parameters.pipeline import matching
from serving.runtime.card import CropShape
from serving.runtime.errors import InputError
from serving.runtime.validation import Problem, known, problems_of

_CompositeName = matching(r"([A-Za-z0-9][A-Za-z0-9._-]*)?", "use letters, digits, '.', '_' and '-', or nothing")


class Faces(DetectOptions, ChooseOptions):
    """What `faces` in a config may hold.

    Attributes:
        detectors: the chain, see `components.detect_faces.config`.
        crops: options of crop_faces, whose crops the training reads; None where it cuts the faces from the photos.
    """

    detectors: list[Any] = Field(default=["dlib_hog"], min_length=1)
    crops: dict[str, Any] | None = None


_PARTS = {
    "detectors": (
        list[Any],
        "The detectors in order, {name: options}: onnx, dlib_hog, dlib_cnn, table, annotations.",
    ),
    "detect_options": (dict[str, Any], "What a detected box must be like: min_side, min_share, max_share, min_inside."),
    "choose_options": (dict[str, Any], "Which of the faces found count: fallback, choose, min_iou and others."),
    "crop": (bool, "Whether the faces are cut out once before the training, which reads the photos otherwise."),
    "crop_options": (dict[str, Any], "How they are cut out: scale, height and width, format and others."),
}
"""The parameters that `faces` becomes in Kubeflow Pipelines: each goes to steps of its own, so that a change of one
leaves the results of the others in the cache."""


class FaceParameters(TrainingParameters):
    """Of pipelines that find the faces in raw photos and train on them."""

    faces: dict[str, Any] = Field(
        default_factory=dict,
        description="How faces are found: detectors (by default dlib_hog, which needs no weights), fallback, choose, "
        "crops and further options. With it a pipeline finds the faces first.",
    )
    images_per_shard: int = Field(
        default=20_000, ge=1, description="In how many images at a time faces are found; shards run side by side."
    )

    @classmethod
    def parameters(cls) -> dict[str, inspect.Parameter]:
        """The fields as KFP reads the parameters of a function, `faces` as its parts."""
        defaults = cls(pipeline=cls.model_fields["pipeline"].default).arguments()
        fields = super().parameters()
        del fields["faces"]
        for name, (kind, _) in _PARTS.items():
            fields[name] = inspect.Parameter(
                name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=defaults[name], annotation=kind
            )
        return fields

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """The descriptions of `parameters`."""
        return {**super().descriptions(), **{name: text for name, (_, text) in _PARTS.items()}}

    @classmethod
    def of_placeholders(cls, values: Mapping[str, Any]) -> Self:
        """The model inside a graph: `faces` holds its parts by name."""
        own = {name: value for name, value in values.items() if name not in _PARTS}
        return cls.model_construct(**own, faces={name: values[name] for name in _PARTS})

    @property
    def uses_dlib(self) -> bool:
        """Whether dlib must be installed where the faces are found."""
        return any(kind.startswith("dlib") for kind, _ in parse_chain(Faces.model_validate(self.faces).detectors))

    def arguments(self) -> dict[str, Any]:
        """The arguments that the pipeline is called with."""
        faces = Faces.model_validate(self.faces)
        written = faces.model_dump(exclude_unset=True)
        arguments = super().arguments()
        del arguments["faces"]
        return {
            **arguments,
            "detectors": faces.detectors,
            "detect_options": _options(DetectOptions, written),
            "choose_options": {"label_space": self.label_space, **_options(ChooseOptions, written)},
            "crop": faces.crops is not None,
            "crop_options": faces.crops or {},
        }

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, those of `faces` too."""
        yield from super().problems(wrong)
        if "faces" in wrong:
            return
        in_faces = list(problems_of(Faces, self.faces, path=("faces",)))
        yield from in_faces
        if any(problem.path[:2] == ("faces", "detectors") for problem in in_faces):
            return
        yield from self._of_crops(in_faces)
        detectors = self.faces.get("detectors", ["dlib_hog"])
        in_chain = [problem for number, item in enumerate(detectors) for problem in _member_problems(number, item)]
        yield from in_chain
        if not in_chain:
            try:
                parse_chain(detectors)
            except InputError as error:
                yield Problem(("faces", "detectors"), detectors, str(error))

    def _of_crops(self, in_faces: list[Problem]) -> Iterator[Problem]:
        """What is wrong with the crops: the training cuts them once more, by its own rule, as serving cuts a photo."""
        crops, path = self.faces.get("crops"), ("faces", "crops")
        if crops is None or any(problem.path[:2] == path for problem in in_faces):
            return
        hidden = CropShape.model_fields.keys()
        in_crops = list(problems_of(CropOptions, crops, path=path, hidden=hidden))
        yield from in_crops
        for name in sorted(crops.keys() & hidden):
            yield Problem((*path, name), crops[name], "is for crops that people use; a training has its own crop rule")
        least = self.training.get("crop_scale", TrainConfig.model_fields["crop_scale"].default)
        if not in_crops and isinstance(least, int | float) and CropOptions.model_validate(crops).scale < least:
            message = f"is less than the training cuts, which is training.crop_scale = {least}"
            yield Problem((*path, "scale"), crops.get("scale"), message)

    def addresses(self) -> Iterator[Address]:
        """What the steps read from elsewhere, the models, weights and tables of detectors too."""
        yield from super().addresses()
        for number, (kind, member) in enumerate(parse_chain(Faces.model_validate(self.faces).detectors)):
            address = getattr(member, member.address) if member.address else ""
            if address and not address.startswith("models:"):  # which the registry knows, and only while it is up
                yield Address(("faces", "detectors", str(number), kind, member.address), address)


class CompositeParameters(FaceParameters, PublishParameters):
    """Of pipelines that register the detectors and the classifier as one model, too."""

    composite: Annotated[str, _CompositeName] = Field(
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
        chain = parse_chain(Faces.model_validate(self.faces).detectors)
        if not any(isinstance(member, Onnx) for _, member in chain):
            message = "only an onnx detector can be served, and faces.detectors has none: add one, or leave this out"
            yield Problem(("composite",), self.composite, message)
        if self.composite == self.model_name:
            yield Problem(("composite",), self.composite, "is the name of the classifier, see model_name: take another")


def _options(model: type[DetectOptions | ChooseOptions], written: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if name in model.model_fields}


def _member_problems(number: int, item: Any) -> Iterator[Problem]:
    """What is wrong with one detector of the chain."""
    path = ("faces", "detectors", str(number))
    entry = {item: None} if isinstance(item, str) else item
    if not isinstance(entry, Mapping) or len(entry) != 1:
        yield Problem(path, item, f"expected one detector and its options{known('', MEMBERS)}")
        return
    ((kind, options),) = entry.items()
    if kind not in MEMBERS:
        yield Problem(path, kind, f"unknown detector{known(kind, MEMBERS)}")
        return
    model = MEMBERS[kind]
    if isinstance(options, str) and options and model.address:
        options = {model.address: options}
    yield from problems_of(model, options or {}, path=(*path, kind))
