"""The predictor of detectors: it finds the faces of photos."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.runtime.card import DetectionCard, DetectionThresholds, InputSize
from serving.runtime.detection import Candidates, LetterboxedPart, candidates, choose, letterbox, tiles
from serving.runtime.errors import InputError
from serving.runtime.image.header import Pixels
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box
from serving.runtime.predictor import FaceResult
from serving.runtime.session import Outputs, Session
from serving.runtime.work import Work

LABEL_HEAD = "label"
"""The head of a detector of several labels: each label's score as the graph gives it; they need not sum to 1."""

_BATCH = 8
_SMALLEST_INPUT = 8
_SMALLEST_TILE = 32


class Detector:
    """A loaded detector, see `Predictor`.

    A face has the detector's box, its score and its points. A detector of several labels also gives the scores of all
    of them, as a head LABEL_HEAD.

    Args:
        session: the model.
        name: the name to serve it under.
        version: the version to serve it as.

    Raises:
        InputError: the graph is not what its card says.
    """

    def __init__(self, session: Session, *, name: str, version: str) -> None:
        assert isinstance(session.card, DetectionCard), session.card.task
        self.card = session.card
        self.name = name
        self.version = version
        self.sha256 = session.sha256
        self._session = session
        counts = {output: values.shape[1] for output, values in session.check_graph().items()}
        if len(set(counts.values())) != 1:
            raise InputError(f"{session.source}: the outputs differ in their number of candidates: {counts}")

    def detect(
        self,
        photos: Sequence[Photo],
        *,
        thresholds: DetectionThresholds | None = None,
        tile: int | None = None,
        work: Work | None = None,
    ) -> list[list[FaceResult]]:
        """Find the faces of photos; those of each by falling score.

        Photos that are equally large in the input are run together.

        Args:
            photos: the pictures.
            thresholds: in place of the card's.
            tile: search each photo in overlapping tiles too: the longer side of a tile in pixels of the photo. A tile
                fills the input, so a face becomes larger by the input's longer side over `tile`. At most `MAX_TILES`
                are searched, which are larger where more would be needed.
            work: checked between batches, and a photo's own before each of its parts.

        Raises:
            ImageError: an image cannot be used.
            InputError: `tile` is too small, or the graph gives numbers that are none.
            AbandonedError: nobody waits for the result any longer.
        """
        chosen = thresholds or self.card.thresholds
        found = self.candidates(photos, score=chosen.score, tile=tile, work=work)
        return [
            self._results(choose(several, chosen, photo.upright)) for several, photo in zip(found, photos, strict=True)
        ]

    def candidates(
        self, photos: Sequence[Photo], *, score: float, tile: int | None = None, work: Work | None = None
    ) -> list[Candidates]:
        """Return what may be faces of photos, before suppression: see `detect`, and `candidates` of `detection`.

        Args:
            photos: the pictures.
            score: the lowest score.
            tile: see `detect`.
            work: see `detect`.

        Raises:
            ImageError: an image cannot be used.
            InputError: `tile` is too small, or the graph gives numbers that are none.
            AbandonedError: nobody waits for the result any longer.
        """
        if tile is not None and tile < _SMALLEST_TILE:
            raise InputError(f"tile: {tile} pixels; expected {_SMALLEST_TILE} or more, or none")
        parts = [(index, part) for index, photo in enumerate(photos) for part in self._parts(photo, tile)]
        parts.sort(key=lambda entry: entry[1].size)
        found: list[list[Candidates]] = [[] for _ in photos]
        for _, group in groupby(parts, key=lambda entry: entry[1].size):
            same = list(group)
            for start in range(0, len(same), _BATCH):
                batch = same[start : start + _BATCH]
                outputs = self._session.run(np.stack([self._pixels(photos[i], part) for i, part in batch]), work)
                for row, (index, part) in enumerate(batch):
                    found[index].append(self._candidates(outputs, row, part, photos[index], score))
        return [Candidates.joined(several) for several in found]

    def predict(
        self, images: Sequence[tuple[Photo, Sequence[Box]]], *, work: Work | None = None
    ) -> list[list[FaceResult]]:
        """Find the faces of photos, see `Predictor`; boxes are refused."""
        if any(boxes for _, boxes in images):
            raise InputError(f"model {self.name} is a detector: it finds faces and takes no boxes; send only the image")
        return self.detect([photo for photo, _ in images], work=work)

    def infer(self, images: NDArray[np.uint8] | Sequence[bytes], *, work: Work | None = None) -> Outputs:
        """Return `boxes`, `scores` and `points` before any threshold, in pixels of the input, see `Predictor`.

        Files are placed in the input as `detect` places them; where that is free in size, all in the largest of theirs.
        """
        if not isinstance(images, np.ndarray):
            parts = [letterbox(_whole(Photo(data, work)), self.card.resize, self.card.input) for data in images]
            sizes = [part.size for part in parts] or [(self.card.input.height, self.card.input.width)]
            size = max(height for height, _ in sizes), max(width for _, width in sizes)
            pixels = np.empty((len(images), *size, 3), np.uint8)
            for row, (data, part) in enumerate(zip(images, parts, strict=True)):
                # Each file has a photo of its own here, so that one is decoded at a time.
                pixels[row] = self._pixels(Photo(data, work), LetterboxedPart(part.rect, part.target, size))
            images = pixels
        return self._session.run(images, work)

    def _parts(self, photo: Photo, tile: int | None) -> list[LetterboxedPart]:
        """Return the parts of a photo that are searched: all of it, and its tiles."""
        rule, size = self.card.resize, self.card.input
        parts = [letterbox(_whole(photo), rule, size)]
        if tile is not None:
            enlarge = max(size.height, size.width) / tile
            whole = parts[0]
            parts = [letterbox(rect, rule, size, enlarge=enlarge) for rect in tiles(photo.upright, tile, size)]
            parts = parts or [letterbox(_whole(photo), rule, size, enlarge=max(1.0, enlarge))]
            parts = parts if whole in parts else [whole, *parts]
        return parts

    def _pixels(self, photo: Photo, part: LetterboxedPart) -> Pixels:
        """Return a part of a photo in the input, uint8 (height, width, 3), resized antialiased."""
        x, y, width, height = part.target
        size = InputSize(height=max(height, _SMALLEST_INPUT), width=max(width, _SMALLEST_INPUT))
        cut, rect = photo.part(part.rect, size, 1.0)
        if cut.shape[:2] != (height, width) or rect != (0, 0, width, height):
            cut = np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.BILINEAR, box=rect))
        pixels = np.full((*part.size, 3), self.card.resize.background, np.uint8)
        pixels[y : y + height, x : x + width] = cut[..., :: 1 if self.card.color == "RGB" else -1]
        return pixels

    def _candidates(
        self, outputs: Outputs, row: int, part: LetterboxedPart, photo: Photo, threshold: float
    ) -> Candidates:
        boxes, scores = outputs["boxes"][row], outputs["scores"][row]
        points = outputs["points"][row] if self.card.points else np.empty((len(boxes), 0, 2), np.float32)
        try:
            return candidates(boxes, scores, points, part, photo.upright, threshold)
        except InputError as error:
            raise InputError(f"{self._session.source}: {error}") from None

    def _results(self, faces: Candidates) -> list[FaceResult]:
        labels = self.card.labels
        results = []
        for box, scores, points in zip(faces.boxes.tolist(), faces.scores.tolist(), faces.points.tolist(), strict=True):
            left, top, right, bottom = box
            heads = {LABEL_HEAD: dict(zip(labels, scores, strict=True))} if len(labels) > 1 else {}
            keypoints = {name: (x, y) for name, (x, y) in zip(self.card.points, points, strict=True)}
            results.append(
                FaceResult((left, top, right - left, bottom - top), max(scores), "detector", heads, keypoints)
            )
        return results


def _whole(photo: Photo) -> tuple[float, float, float, float]:
    height, width = photo.upright
    return 0.0, 0.0, float(width), float(height)
