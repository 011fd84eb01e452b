"""What every kind of model offers to the server and to the steps: the protocol, its results, and the classifier."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice, zip_longest
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.runtime.card import WHOLE, ClassificationCard, ModelCard
from serving.runtime.composite_card import CompositeCard
from serving.runtime.errors import InputError
from serving.runtime.image.header import Pixels
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box, Keypoints, Placement, place
from serving.runtime.image.preprocess import cut_placed
from serving.runtime.notice import Notice, judge, rule_of
from serving.runtime.reference import Reference, brightness
from serving.runtime.session import BATCH, Outputs, Session
from serving.runtime.work import Work

# How far the probabilities of one head may sum from 1.
_SUM_TOLERANCE = 1e-3

Crop = Literal["box", "detector", "eyes", "frame", "whole image"]
"""What was cut for a face.

The box in the request, or a detector's; what the eyes say, where the card aligns faces and they are known; the part
that the card names; or everything.
"""


@dataclass(frozen=True, slots=True)
class FaceResult:
    """One face of an image.

    Attributes:
        box: in upright pixels; None for the whole image.
        score: the detector's, in 0..1; None where no detector ran.
        crop: what the heads saw.
        heads: head name -> label -> probability, labels in the order of the card; a detector alone gives none.
        keypoints: name -> x, y in upright pixels, where a detector gave them.
        notice: about the face's mask; None where no model judged it.
        brightness: head name -> mean luma, 0 to 255, of what the head saw.
    """

    box: Box | None
    score: float | None
    crop: Crop
    heads: dict[str, dict[str, float]]
    keypoints: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    notice: Notice | None = None
    brightness: Mapping[str, float] = field(default_factory=dict)


class Predictor(Protocol):
    """A loaded model; several threads may use it at once."""

    @property
    def card(self) -> ModelCard | CompositeCard:
        """The model's card."""

    @property
    def name(self) -> str:
        """The name that it is served under."""

    @property
    def version(self) -> str:
        """The version that it is served as."""

    @property
    def sha256(self) -> str:
        """The digest of the model file."""

    def predict(
        self, images: Sequence[tuple[Photo, Sequence[Box]]], *, work: Work | None = None
    ) -> list[list[FaceResult]]:
        """Find or classify the faces of photos; the faces' boxes are given for each photo.

        `work` is checked between batches, and a photo's own before each of its faces.

        Raises:
            ImageError: an image cannot be used.
            InputError: a box cannot be used.
            AbandonedError: nobody waits for the result any longer.
        """

    def infer(self, images: NDArray[np.uint8] | Sequence[bytes], *, work: Work | None = None) -> Outputs:
        """Return the outputs of the graph for prepared pixels (N, height, width, 3), or for whole image files.

        `work` is checked as in `predict`, and bounds the memory for each file.

        Raises:
            ImageError: an image cannot be used.
            InputError: the array has another type or shape, or the model is a composite, which has no graph.
            AbandonedError: nobody waits for the result any longer.
        """


class Classifier:
    """A loaded classifier: it cuts, resizes and classifies faces, see `Predictor`.

    Args:
        session: the model.
        name: the name to serve it under.
        version: the version to serve it as.
        reference: what it saw on its test split, where that is known.

    Raises:
        InputError: the graph is not what its card says.
    """

    def __init__(self, session: Session, *, name: str, version: str, reference: Reference | None = None) -> None:
        assert isinstance(session.card, ClassificationCard), session.card.task
        self.reference = reference
        self.card = session.card
        self.name = name
        self.version = version
        self.sha256 = session.sha256
        self._session = session
        self._rule = rule_of(self.card)
        for head, values in session.check_graph().items():
            if not np.all(values >= 0) or not np.allclose(values.sum(axis=1), 1, atol=_SUM_TOLERANCE):
                raise InputError(f"{session.source}: head '{head}' does not give probabilities that sum to 1")

    def predict(
        self,
        images: Sequence[tuple[Photo, Sequence[Box]]],
        *,
        work: Work | None = None,
        keypoints: Sequence[Sequence[Keypoints]] = (),
    ) -> list[list[FaceResult]]:
        """Classify the boxes of each photo; without a box the whole photo is one face, see `Predictor`.

        `keypoints` are the points of every box of every photo, where they are known.
        """
        parts: list[tuple[Photo, Placement]] = []
        seen: list[list[tuple[Box | None, Crop]]] = []
        for (photo, boxes), of_photo in zip(images, keypoints or [()] * len(images), strict=True):
            faces = list(zip_longest(boxes or (None,), of_photo))
            placed = [self._place(photo, box, points) for box, points in faces]
            parts += [(photo, placement) for placement in placed]
            seen.append(
                [(box, self.crop_kind(box, placement)) for (box, _), placement in zip(faces, placed, strict=True)]
            )
        levels: list[float] = []

        def crops() -> Iterator[Pixels]:
            for part in parts:
                crop = self._crop(*part)
                levels.append(brightness(crop))
                yield crop

        outputs = self._classify(crops(), work)
        rows = zip(count(), levels)
        return [[self._result(*next(rows), box, kind, outputs) for box, kind in faces] for faces in seen]

    def infer(self, images: NDArray[np.uint8] | Sequence[bytes], *, work: Work | None = None) -> Outputs:
        """Return head name -> float32 (N, number of labels) probabilities; files are not cut, see `Predictor`."""
        if isinstance(images, np.ndarray):
            return self._session.run(images, work)
        return self.infer_files(images, work=work)[0]

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the network's last feature map for one or more prepared pixels, float32 (N, C, h, w).

        Raises InputError where the graph does not give it, or the array has another type or shape.
        """
        if self.card.features is None:
            raise InputError(
                f"model {self.card.name} does not give the feature map of its network; "
                "export it with the option `features` of export_onnx"
            )
        return self._session.unserved(self.card.features, images)

    def infer_files(self, images: Sequence[bytes], *, work: Work | None = None) -> tuple[Outputs, list[FaceResult]]:
        """Return what `infer` returns for whole image files, and what `predict` says of each; errors as of `infer`.

        The graph runs once for both, and the files are decoded one after the other.
        """
        levels: list[float] = []
        placements: list[Placement] = []

        def crops() -> Iterator[Pixels]:
            for data in images:
                photo = Photo(data, work)
                placements.append(self._place(photo, None))
                crop = self._crop(photo, placements[-1])
                levels.append(brightness(crop))
                yield crop

        outputs = self._classify(crops(), work)
        faces = [
            self._result(row, level, None, self.crop_kind(None, placement), outputs)
            for row, level, placement in zip(count(), levels, placements)
        ]
        return outputs, faces

    def _classify(self, crops: Iterable[Pixels], work: Work | None) -> Outputs:
        """Run the graph; the pixels of one batch are in memory at a time."""
        rest = iter(crops)
        batches = iter(lambda: list(islice(rest, BATCH)), [])
        outputs = [self._session.run(self._batch(batch), work) for batch in batches]
        outputs = outputs or [self._session.run(self._batch([]), work)]
        return {name: np.concatenate([part[name] for part in outputs]) for name in self.card.outputs}

    def _place(self, photo: Photo, box: Box | None, keypoints: Keypoints | None = None) -> Placement:
        return place(photo.upright, box, self.card.crop, self.card.input, keypoints)

    def _crop(self, photo: Photo, placement: Placement) -> Pixels:
        return cut_placed(photo, placement, self.card.input, self.card.crop.min_decode)

    def crop_kind(self, box: Box | None, placement: Placement) -> Crop:
        """Return what a placement of a face shows."""
        frame = self.card.crop.frame
        if placement.aligned:
            return "eyes"
        return "box" if box and frame is None else "whole image" if frame in (None, WHOLE) else "frame"

    def _batch(self, crops: list[Pixels]) -> Pixels:
        size = self.card.input
        return np.stack(crops) if crops else np.empty((0, size.height, size.width, 3), np.uint8)

    def _result(self, row: int, level: float, box: Box | None, crop: Crop, outputs: Outputs) -> FaceResult:
        heads = {
            head.name: dict(zip(head.labels, outputs[head.name][row].tolist(), strict=True)) for head in self.card.heads
        }
        notice = judge(self._rule, heads) if self._rule else None
        return FaceResult(box, None, crop, heads, notice=notice, brightness=dict.fromkeys(heads, level))
