"""Clips of drawn faces, which the detector in `tiny_detector` finds."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from tiny_detector import draw_faces

RATE = 25
SIZE = (96, 128)
"""Height and width."""


def moving(index: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A frame with one face that moves to the right by 2 pixels a frame, and one that stays."""
    return draw_faces(size, [(4 + 2 * index, 20, 20, 24), (80, 60, 16, 20)])


def write_clip(
    file: Path,
    frames: int = 30,
    *,
    picture: Callable[[int], NDArray[np.uint8]] = moving,
    codec: str = "libx264",
    audio: str = "",
    rotation: float = 0,
    mirrored: bool = False,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    **encoder: Any,
) -> Path:
    """Write a clip of `RATE` frames a second, its format named by the suffix.

    Args:
        file: where to.
        frames: how many.
        picture: draws each.
        codec: of the video.
        audio: codec of a silent audio; none by default.
        rotation: degrees counterclockwise that a player turns it by.
        mirrored: a player mirrors it before that.
        times: of the frames in milliseconds, in place of equal steps.
        options: of the file format.
        encoder: its options.
    """
    height, width = picture(0).shape[:2]
    quality = {"crf": "5"} if codec in ("libx264", "libvpx-vp9") else {"qscale": "1"}
    with av.open(str(file), "w", options=options or {}) as container:
        video: Any = container.add_stream(codec, rate=RATE, options=quality | encoder)
        video.width, video.height = width, height
        video.pix_fmt = "yuvj444p" if codec == "mjpeg" else "yuv420p"
        if times is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        if rotation or mirrored:
            video.set_display_rotation(rotation, hflip=mirrored)
        sound: Any = container.add_stream(audio, rate=48000) if audio else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            unit = Fraction(1, RATE if times is None else 1000)
            frame.pts, frame.time_base = index if times is None else times[index], unit
            container.mux(video.encode(frame))
            if sound:
                container.mux(sound.encode(_silence(sound.format, 1920 * index)))
        container.mux(video.encode())
        if sound:
            container.mux(sound.encode())
    return file


def _silence(form: Any, pts: int) -> av.AudioFrame:
    """40 ms of stereo."""
    kind = np.float32 if form.name.startswith("flt") else np.int16
    samples = np.zeros((2, 1920) if form.is_planar else (1, 3840), kind)
    frame = av.AudioFrame.from_ndarray(samples, format=form.name, layout="stereo")
    frame.sample_rate, frame.pts = 48000, pts
    return frame


def decoded(file: Path) -> list[tuple[float, NDArray[np.uint8]]]:
    """Times and pixels of the frames of a video, as they are stored."""
    with av.open(str(file)) as container:
        return [
            (float(frame.time), np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
            for frame in container.decode(video=0)
        ]
