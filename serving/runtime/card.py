"""The model card: the facts a `model.onnx` carries about itself, as JSON in its ONNX metadata."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.runtime.errors import InputError

METADATA_KEY = "facet_card"
INPUT_NAME = "images"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Head(_Frozen):
    """One output of the graph: `name` is its ONNX output, float32 (N, len(labels)) probabilities."""

    name: str = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=2)


class InputSize(_Frozen):
    """Height and width in pixels of the graph's `images` input, uint8 (N, height, width, 3) RGB."""

    height: int = Field(ge=8, le=4096)
    width: int = Field(ge=8, le=4096)


Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _has_area(frame: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = frame
    if left >= right or top >= bottom:
        raise ValueError("frame is left, top, right, bottom with left < right and top < bottom")
    return frame


Frame = Annotated[tuple[Share, Share, Share, Share], AfterValidator(_has_area)]
"""A fixed part of an upright picture: left, top, right, bottom as shares of its width and height."""

WHOLE: Frame = (0.0, 0.0, 1.0, 1.0)


class CropRule(_Frozen):
    """What is cut from a photo, and how its JPEG is decoded.

    The cut keeps the face box's center, takes the input's aspect ratio, is `scale` times as large as the smallest one
    around the box, and clipped to the image. With a `frame` it is that part of every photo instead, wherever the
    face is, stretched to the input. A JPEG is decoded at the smallest of 1/8, 1/4, 1/2 and 1 at which the cut
    still measures `min_decode` times the input size on both sides.
    """

    scale: float = Field(default=1.3, ge=0.5, le=4.0)
    min_decode: float = Field(default=1.0, ge=1.0, le=8.0)
    frame: Frame | None = None


class Normalization(_Frozen):
    """Per-channel RGB mean and standard deviation in 0..1, applied inside the graph."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class PseudoLabels(_Frozen):
    """A training on faces without a label, with those that the network gave them itself (Lee, 2013).

    `share` of each batch were such faces; their loss counted `weight` times at most.
    """

    share: float = Field(gt=0.0, lt=1.0)
    weight: float = Field(ge=0.0)


class ModelCard(_Frozen):
    """Everything serving needs to know about a classifier; validated when written and when read.

    What is None is left out of the JSON, so that an older version reads every card without what it does not know.
    """

    card_version: Literal[1] = 1
    name: str = Field(min_length=1)
    task: Literal["classification"] = "classification"
    label_space: str
    heads: tuple[Head, ...] = Field(min_length=1)
    input: InputSize
    crop: CropRule = CropRule()
    normalization: Normalization
    leaks: bool = Field(description="trained on a split that has a person on both sides")
    pseudo_labels: PseudoLabels | None = None
    versions: dict[str, str] = Field(description="library versions that made the graph")
    dataset_digest: str = Field(description="sha256 of the annotations the model was trained on")
    training_digest: str = Field(description="sha256 of the resolved training config and dataset digest")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [head.name for head in self.heads]
        if len(set(names)) != len(names):
            raise ValueError(f"head names must differ, got {names}")
        return self

    def to_metadata(self) -> dict[str, str]:
        """Return the card as ONNX metadata, which `from_metadata` reads."""
        return {METADATA_KEY: self.model_dump_json(exclude_none=True)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], source: str) -> "ModelCard":
        """Read the card from ONNX metadata; `source` names the file in errors.

        Raises InputError when there is no card, or one that this version does not understand.
        """
        if METADATA_KEY not in metadata:
            raise InputError(
                f"{source}: the ONNX file has no '{METADATA_KEY}' metadata, so it is not a Facet model; "
                "export it with the export_onnx step"
            )
        try:
            return cls.model_validate_json(metadata[METADATA_KEY])
        except ValidationError as error:
            raise InputError(f"{source}: its model card is not valid for this version of Facet: {error}") from error
