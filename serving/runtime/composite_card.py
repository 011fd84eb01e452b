"""The card of a composite: which models answer together under one name. It is a file `composite.json`, not a graph."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import from_json

from serving.runtime.errors import InputError
from serving.runtime.plausible import BoxLimits
from serving.runtime.validation import UNSET, Frozen, explain

COMPOSITE_FILE = "composite.json"

_ELSEWHERE = ("models:/", "s3://")


def is_relative(uri: str) -> bool:
    """Tell whether a member lies below the folder of its composite."""
    return not uri.startswith(_ELSEWHERE)


def _member_uri(uri: str) -> str:
    parts = uri.removesuffix("/").split("/")
    if is_relative(uri) and ("\0" in uri or ":" in parts[0] or any(part in ("", ".", "..") for part in parts)):
        raise ValueError(
            f"'{uri}' is not a member; expected models:/name/version, models:/name@alias, s3://bucket/path, or a path "
            f"below the folder of {COMPOSITE_FILE}, without . and .."
        )
    return uri


MemberUri = Annotated[str, AfterValidator(_member_uri)]
"""`models:/name/version`, `models:/name@alias`, `s3://bucket/path`, or a path below the folder of the composite."""


class DetectorMember(Frozen):
    """A detector of a composite. Thresholds that are not None take the place of those of its own card.

    With `tile` large photos are also searched in tiles, whose longer side is that many pixels of the photo.
    """

    uri: MemberUri
    score: float | None = Field(default=None, ge=0.0, le=1.0)
    nms_iou: float | None = Field(default=None, gt=0.0, le=1.0)
    tile: int | None = Field(default=None, ge=32)

    @model_validator(mode="before")
    @classmethod
    def _of_uri(cls, values: Any) -> Any:
        return {"uri": values} if isinstance(values, str) else values


class CompositeCard(Frozen):
    """Detectors that find faces and the classifiers that see them. Each of them stays a model of its own.

    Attributes:
        name: the name to serve it under.
        detectors: each a URI, or an object with `uri` and thresholds; a later one sees the photos in which those
            before it have found no face.
        heads: URIs of classifiers; the names of all their heads differ.
        faces: which of the found faces are classified: `all`, the `largest`, or the one of the highest `score`.
        max_faces: the most faces of a photo, those of the highest scores.
        limits: which found boxes are faces; a photo in which a detector finds no others is one for the next detector.
            None, of files that were written before, takes all.
    """

    card_version: Literal[1] = 1
    task: Literal["composite"] = "composite"
    name: str = Field(min_length=1)
    detectors: tuple[DetectorMember, ...] = Field(min_length=1)
    heads: tuple[MemberUri, ...] = Field(min_length=1)
    faces: Literal["all", "largest", "score"] = "all"
    max_faces: int = Field(default=100, ge=1, le=1000)
    limits: BoxLimits | None = UNSET

    @property
    def members(self) -> tuple[str, ...]:
        """The URIs of all members: the detectors, then the classifiers."""
        return (*(detector.uri for detector in self.detectors), *self.heads)


def read_composite_card(content: bytes, source: str) -> CompositeCard:
    """Read a `composite.json`; `source` names it in errors. Raises InputError where it is not one."""
    try:
        return CompositeCard.model_validate(from_json(content))
    except ValidationError as error:
        raise InputError(f"{source}: not a composite for this version of Facet: {explain(error)}") from error
    except ValueError as error:
        raise InputError(f"{source}: not valid JSON: {error}") from error
