"""Which frames of a video the model sees, and what it finds in them."""

import math
from collections.abc import Iterable, Iterator

from components.video.options import VideoOptions
from components.video.reader import Frame
from serving.runtime.image.photo import Photo
from serving.runtime.ordered_map import ordered_map
from serving.runtime.predictor import FaceResult, Predictor

# Frames that are decoded and wait for the model, or for their turn to be written.
_AHEAD = 3
# Seconds by which rounding may move a time.
_TICK = 1e-6


def analyze(
    model: Predictor, frames: Iterable[Frame], options: VideoOptions
) -> Iterator[tuple[Frame, list[FaceResult] | None]]:
    """Yield every frame with the faces found in it; None for a frame that the model does not see.

    The model computes on a thread of its own, while the caller writes a frame and the next ones are decoded.
    """

    def find(item: tuple[Frame, bool]) -> list[FaceResult] | None:
        frame, seen = item
        return _choose(model.predict([(Photo.of_pixels(frame.pixels), [])])[0], options) if seen else None

    for (frame, _), faces in ordered_map(find, _with_turns(frames, options), workers=1, ahead=_AHEAD):
        yield frame, faces


def _with_turns(frames: Iterable[Frame], options: VideoOptions) -> Iterator[tuple[Frame, bool]]:
    """Yield every frame, and whether the model sees it: by count, or the first one of each 1/fps of a second."""
    due = 0.0
    for frame in frames:
        seen = frame.index % options.every == 0 and frame.time + _TICK >= due
        if seen and options.fps:
            due = (math.floor((frame.time + _TICK) * options.fps) + 1) / options.fps
        yield frame, seen


def _choose(faces: list[FaceResult], options: VideoOptions) -> list[FaceResult]:
    if options.faces == "all" or not faces:
        return faces
    return [max(faces, key=_area if options.faces == "largest" else _score)]


def _area(face: FaceResult) -> float:
    return face.box[2] * face.box[3] if face.box else 0.0


def _score(face: FaceResult) -> float:
    return face.score or 0.0
