"""Faces of a video: numbered from frame to frame, as JSON lines and in an annotated copy."""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from components.shared.options import parse_options, whole_numbers
from components.shared.progress import progress
from components.video.analyze import analyze
from components.video.copy import SUFFIX, AnnotatedCopy
from components.video.drawing import draw_faces
from components.video.options import VideoOptions
from components.video.reader import Video
from components.video.tracks import Tracker
from serving.runtime.card import ClassificationCard
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.face_json import face_json
from serving.runtime.load import load_model
from serving.runtime.output import check_outputs, whole_file
from serving.runtime.predictor import FaceResult, Predictor
from serving.runtime.storage import Location, download, is_s3

SCHEMA = 1
"""Version of the format of the labels."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VideoReport:
    """What became of a video.

    Attributes:
        frames: how many frames were decoded.
        analyzed: how many of them the model saw.
        faces: how many numbers were given.
        lost: how many frames could not be decoded.
        damaged: how many of `frames` are damaged.
        retimed: how many of `frames` had no time, or none after that of the frame before, and got another.
        end: why the video ended before its end; empty when it did not.
        audio: what became of the audio in the copy, see `AnnotatedCopy.audio`.
    """

    frames: int
    analyzed: int
    faces: int
    lost: int
    damaged: int
    retimed: int
    end: str
    audio: str

    @property
    def complete(self) -> bool:
        """Whether every frame was there and undamaged."""
        return not (self.end or self.lost or self.damaged)


def annotate_video(
    model: str, video: str, labels: Path, annotated: Path, options: Mapping[str, Any] | None = None
) -> VideoReport:
    """Find and classify the faces of a video, number them, and write what was found.

    The frames are decoded, seen, drawn on and encoded one after the other: a long video takes no more memory than a
    short one. A video that ends in its middle is annotated up to there.

    Args:
        model: a composite or a detector, as `load_model` takes it.
        video: a path or an `s3://` address.
        labels: the JSON lines to write, see docs/video.md.
        annotated: the copy to write, an MP4; an empty file without `copy_video`.
        options: the fields of `VideoOptions`.

    Raises:
        InputError: an option is wrong, the model finds no faces, the video is none or has no frame that can be decoded,
            or an output would overwrite an input or the other output.
        StorageError: the model or the video cannot be reached.
    """
    chosen = parse_options(VideoOptions, whole_numbers(options or {}), "options of annotate_video")
    if annotated.suffix.lower() not in ("", SUFFIX):
        raise InputError(f"{annotated}: the annotated copy is an MP4; name it {annotated.with_suffix(SUFFIX).name}")
    check_outputs((labels, annotated), Path(model))
    with _local(video) as file:
        check_outputs((labels, annotated), file)
        with Video(file, video) as opened:
            report = _annotate(_finder(model), opened, labels, annotated, chosen)
    _warn(video, report)
    return report


@contextmanager
def _local(video: str) -> Iterator[Path]:
    """Give the file of a video; one in S3 is downloaded into a temporary folder for as long."""
    location = Location(video)
    if not is_s3(video):
        if not location.folder.exists():
            raise NotFoundError(f"{video}: there is no such file; name a video, a path or s3://bucket/path")
        if not location.folder.is_file():
            raise InputError(f"{video}: is not a file; name one video")
        yield location.folder
        return
    if [entry.path for entry in location.list()] != [""]:
        raise InputError(f"{video}: is a prefix with objects below it; name one video")
    with tempfile.TemporaryDirectory(prefix="facet-video-") as folder:
        (file,) = download(video, Path(folder))
        yield file


def _finder(uri: str) -> Predictor:
    model = load_model(uri)
    if isinstance(model.card, ClassificationCard):
        raise InputError(
            f"{uri}: model '{model.name}' is a classifier, which finds no faces; expected a detector, or a "
            "composite of a detector and classifiers"
        )
    return model


def _annotate(model: Predictor, video: Video, labels: Path, annotated: Path, options: VideoOptions) -> VideoReport:
    with ExitStack() as stack:
        # What is entered last is left first: the copy is finished before either file appears.
        copy_path, lines_path = (stack.enter_context(whole_file(path)) for path in (annotated, labels))
        lines = stack.enter_context(lines_path.open("w", encoding="utf-8", newline="\n"))
        copy_path.touch()
        copy = stack.enter_context(AnnotatedCopy(copy_path, video)) if options.copy_video else None
        _write_line(lines, "video", _header(model, video, options))
        tracker = Tracker(iou=options.iou, memory=options.memory)
        faces: list[tuple[int, FaceResult]] = []
        analyzed = 0
        frames = video.read(copy.write_audio if copy else lambda _: None)
        for frame, found in progress(analyze(model, frames, options), "annotate_video", video.expected_frames):
            if found is not None:
                analyzed += 1
                numbers = tracker.update(frame.time, [face.box for face in found if face.box])
                faces = list(zip(numbers, found, strict=True))
                described = [{"id": number, **face_json(face)} for number, face in faces]
                _write_line(lines, "frame", {"frame": frame.index, "time": round(frame.time, 6), "faces": described})
            if copy:
                copy.write(frame, draw_faces(frame.pixels, faces))
        counts = {name: getattr(video, name) for name in ("frames", "lost", "damaged", "retimed", "end")}
        audio = copy.audio if copy else "none"
        report = VideoReport(analyzed=analyzed, faces=tracker.count, audio=audio, **counts)
        _write_line(lines, "end", {"complete": report.complete, **asdict(report)})
    return report


def _header(model: Predictor, video: Video, options: VideoOptions) -> dict[str, Any]:
    rate = video.frame_rate
    return {
        "schema": SCHEMA,
        "model": model.name,
        "version": model.version,
        "video": video.source,
        "width": video.width,
        "height": video.height,
        "rotation": video.rotation,
        "frame_rate": None if rate is None else round(float(rate), 6),
        "duration": video.duration,
        "codec": video.codec,
        "container": video.container,
        "options": options.model_dump(),
    }


def _write_line(lines: TextIO, kind: str, values: Mapping[str, Any]) -> None:
    lines.write(json.dumps({"type": kind, **values}, ensure_ascii=False, allow_nan=False) + "\n")


def _warn(video: str, report: VideoReport) -> None:
    if report.end:
        _log.warning("%s: %s; its %d frames up to there are annotated", video, report.end, report.frames)
    for count, what in (
        (report.lost, "could not be decoded and are left out"),
        (report.damaged, "are damaged; they are annotated as they are"),
        (report.retimed, "had no time of their own, or one before that of the frame before, and got another"),
    ):
        if count:
            _log.warning("%s: %d frames %s", video, count, what)
    if report.audio not in ("none", "copied"):
        _log.warning(
            "%s: the copy's audio: %s (MP4 takes AAC, MP3, Opus and a few more, in order)", video, report.audio
        )
