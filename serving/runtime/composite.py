"""Several models behind one name: detectors find the faces of a photo, and classifiers see each of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from serving.runtime.card import DetectionThresholds, Head
from serving.runtime.composite_card import CompositeCard
from serving.runtime.detector import LABEL_HEAD, Detector
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box
from serving.runtime.plausible import implausible
from serving.runtime.predictor import Classifier, Crop, FaceResult, Predictor
from serving.runtime.session import Outputs
from serving.runtime.work import Work

# Height and width in pixels of the black photo that a composite is tried on, and a box in it.
_TRIAL_SIZE = (96, 128)
_TRIAL_BOX = (32.0, 24.0, 48.0, 48.0)
# What is said of a face that several classifiers saw cut in several ways: the first of these.
_CROPS: tuple[Crop, ...] = ("box", "detector", "eyes", "frame", "whole image")


class Composite:
    """Detectors and classifiers that answer as one model, see `CompositeCard` and `Predictor`.

    Attributes:
        members: the models, as `card.members`.
        heads: those that its faces may have.

    Args:
        card: what the file of the composite holds.
        members: the models, as `card.members`.
        name: the name to serve it under.
        version: the version to serve it as.
        sha256: digest of the file and of its members.
        source: names the composite in errors.

    Raises:
        InputError: a member has another task, two members have a head of the same name, or one fails on a black photo.
    """

    def __init__(
        self,
        card: CompositeCard,
        members: Sequence[Predictor],
        *,
        name: str,
        version: str,
        sha256: str,
        source: str = "the composite",
    ) -> None:
        self.card = card
        self.name = name
        self.version = version
        self.sha256 = sha256
        self.members = tuple(members)
        self._detectors: list[tuple[Detector, DetectionThresholds, int | None]] = []
        self._classifiers: list[Classifier] = []
        detectors, heads = members[: len(card.detectors)], members[len(card.detectors) :]
        for one, model in zip(card.detectors, detectors, strict=True):
            if not isinstance(model, Detector):
                raise _wrong_task(source, one.uri, model, "a detector")
            self._detectors.append((model, model.card.thresholds.changed(one.model_dump()), one.tile))
        for uri, model in zip(card.heads, heads, strict=True):
            if not isinstance(model, Classifier):
                raise _wrong_task(source, uri, model, "a classifier")
            self._classifiers.append(model)
        self.heads = _heads(card, members, source)
        black = Photo.of_pixels(np.zeros((*_TRIAL_SIZE, 3), np.uint8))
        try:
            self.predict([(black, []), (black, [_TRIAL_BOX])])
        except Exception as error:  # any failure here is that of the files
            raise InputError(f"{source}: fails on a black photo: {error}") from error

    def predict(
        self, images: Sequence[tuple[Photo, Sequence[Box]]], *, work: Work | None = None
    ) -> list[list[FaceResult]]:
        """Find and classify the faces of each photo; of a photo with given boxes classify these and find none.

        A photo without a face gives an empty list. See `Predictor`.
        """
        found = iter(self._find([photo for photo, boxes in images if not boxes], work))
        faces = [
            [FaceResult(box, None, "box", {}) for box in boxes] if boxes else self._choose(next(found))
            for _, boxes in images
        ]
        # A classifier takes a photo without boxes for one face.
        boxed = [
            (photo, [face.box for face in of_photo if face.box])
            for (photo, _), of_photo in zip(images, faces, strict=True)
            if of_photo
        ]
        points = [[face.keypoints for face in of_photo] for of_photo in faces if of_photo]
        seen = (classifier.predict(boxed, work=work, keypoints=points) for classifier in self._classifiers)
        results = zip(*seen, strict=True)
        return [
            [_joined(*face) for face in zip(of_photo, *next(results), strict=True)] if of_photo else []
            for of_photo in faces
        ]

    def infer(self, images: NDArray[np.uint8] | Sequence[bytes], *, work: Work | None = None) -> Outputs:
        """Raise InputError: a composite has no graph."""
        raise InputError(f"model '{self.name}' is a composite, which has no graph; predict with it")

    def _find(self, photos: Sequence[Photo], work: Work | None) -> list[list[FaceResult]]:
        found: list[list[FaceResult]] = [[] for _ in photos]
        for detector, thresholds, tile in self._detectors:
            left = [index for index, faces in enumerate(found) if not faces]
            results = detector.detect([photos[index] for index in left], thresholds=thresholds, tile=tile, work=work)
            for index, faces in zip(left, results, strict=True):
                found[index] = self._plausible(faces, photos[index].upright)
        return found

    def _plausible(self, faces: list[FaceResult], upright: tuple[int, int]) -> list[FaceResult]:
        limits = self.card.limits
        if limits is None:
            return faces
        return [face for face in faces if face.box and not implausible(face.box, upright, limits)]

    def _choose(self, faces: list[FaceResult]) -> list[FaceResult]:
        """Return those that are classified, see `CompositeCard`; the detector gives them by falling score."""
        if self.card.faces == "largest":
            return sorted(faces, key=_area, reverse=True)[:1]
        return faces[: 1 if self.card.faces == "score" else self.card.max_faces]


def _area(face: FaceResult) -> float:
    assert face.box is not None, "a found face has a box"
    return face.box[2] * face.box[3]


def _joined(face: FaceResult, *seen: FaceResult) -> FaceResult:
    """Return a face with the heads of all classifiers that saw it, and the most urgent of their notices."""
    crops = {face.crop if one.crop == "box" else one.crop for one in seen}
    crop: Crop = next(kind for kind in _CROPS if kind in crops)
    heads = face.heads | {name: head for one in seen for name, head in one.heads.items()}
    notices = [one.notice for one in seen if one.notice]
    notice = max(notices, key=lambda notice: notice.urgency, default=None)
    brightness = {name: level for one in seen for name, level in one.brightness.items()}
    return replace(face, crop=crop, heads=heads, notice=notice, brightness=brightness)


def _wrong_task(source: str, uri: str, model: Predictor, expected: str) -> InputError:
    return InputError(f"{source}: its member {uri} is a model of task '{model.card.task}'; expected {expected}")


def _heads(card: CompositeCard, members: Sequence[Predictor], source: str) -> tuple[Head, ...]:
    """Return the heads of all members; InputError where two have the same name."""
    heads: dict[str, tuple[str, Head]] = {}
    for uri, member in zip(card.members, members, strict=True):
        own: Sequence[Head] = ()
        if isinstance(member, Classifier):
            own = member.card.heads
        elif isinstance(member, Detector) and len(member.card.labels) > 1 and LABEL_HEAD not in heads:
            own = (Head(name=LABEL_HEAD, labels=member.card.labels),)
        for head in own:
            if head.name in heads:
                raise InputError(f"{source}: both {heads[head.name][0]} and {uri} have a head '{head.name}'; drop one")
            heads[head.name] = (uri, head)
    return tuple(head for _, head in heads.values())
