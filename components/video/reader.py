"""Reading of a video: its properties, and its frames one at a time, upright and with their times."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, Pixels, read_header
from serving.runtime.machine import usable_cpus

# What is opened: containers and raw streams of video. Not pictures, and not playlists, which name other files.
_FORMATS = (
    "3gp,asf,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,webm,wtv,"
    "yuv4mpegpipe"
)
# Formats whose header says how long they are; the duration of others is what FFmpeg finds at their end.
_TELL_DURATION = {"asf", "avi", "flv", "matroska", "mov"}
# Seconds by which a file may end before the duration that it states.
_SLACK = 0.25

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a video.

    Attributes:
        index: how many frames that could be decoded come before it.
        pts: its time in units of `Video.time_base`, from the start of the video.
        duration: how long it is shown, in the same units; 0 where that is unknown.
        time: its time in seconds, from the start of the video.
        pixels: upright RGB, uint8 (h, w, 3).
    """

    index: int
    pts: int
    duration: int
    time: float
    pixels: Pixels


class Video:
    """A video file that is open. Of several video streams it is the first.

    Attributes:
        time_base: the unit of times, in seconds.
        rotation: degrees counterclockwise that the stored frames are turned by to be upright, 0 to 359.
        frames: how many frames were decoded so far.
        lost: how many frames could not be decoded.
        damaged: how many of `frames` the decoder found damaged.
        retimed: how many frames had no time, or one that is not after the last one's, and got another.
        end: why the file ended before its end; empty while it has not.

    Args:
        file: the file.
        source: names the video in errors.

    Raises:
        InputError: it is not a video, it has no video stream, or its first frame cannot be had.
    """

    def __init__(self, file: Path, source: str) -> None:
        self.source = source
        self._file = file
        self._container = _open(file, source)
        try:
            self._stream = self._video_stream(self._container)
            start = self._container.start_time or 0
            # Audio may start before 0, with samples that are not played.
            self._start = Fraction(start if (self._stream.start_time or 0) < 0 else max(0, start), av.time_base)
            self.time_base = self._stream.time_base or Fraction(1, av.time_base)
            self.frames = self.lost = self.damaged = self.retimed = 0
            self.end = ""
            self._origin = round(self._start / self.time_base)
            self._shift = -self._origin
            self._last_pts: int | None = None
            self.height, self.width, self.rotation = self._first_frame()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec, such as `h264`."""
        return str(self._stream.codec_context.codec.canonical_name)

    @property
    def container(self) -> str:
        """FFmpeg's names of the file format, such as `matroska,webm`."""
        return str(self._container.format.name)

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames per second on average, as the file says; None where it does not."""
        return self._stream.average_rate or self._stream.guessed_rate

    @property
    def duration(self) -> float | None:
        """Seconds, as the file says; None where it does not."""
        return None if self._container.duration is None else self._container.duration / av.time_base

    @property
    def expected_frames(self) -> int | None:
        """About how many frames there are, by rate and duration; None where the file does not say."""
        return round(self.frame_rate * Fraction(self.duration)) if self.frame_rate and self.duration else None

    @property
    def pixel_aspect(self) -> Fraction:
        """Width over height of a pixel of the upright frames."""
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        return 1 / aspect if self.rotation % 180 else aspect

    @property
    def audio(self) -> AudioStream | None:
        """The first audio stream."""
        return next(iter(self._container.streams.audio), None)

    def read(self, take_audio: "Callable[[Packet[Stream]], None]") -> Iterator[Frame]:
        """Yield the frames, once; one is decoded at a time.

        `frames`, `damaged` and `retimed` count meanwhile; `lost` and `end` are known at the end.

        Args:
            take_audio: called with each packet of `audio`; its times start with the video.
        """
        packets = 0
        ended = 0.0
        for packet in self._packets():
            if packet.pts is not None:
                ended = max(ended, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is self.audio:
                take_audio(self._shifted(packet))
            elif packet.stream is self._stream:
                packets += packet.size > 0 and not packet.is_discard
                for frame in _decode(self._stream, packet):
                    yield self._frame(frame)
        # A damaged packet can give an error, a damaged frame or nothing at all.
        self.lost = max(0, packets - self.frames)
        self._check_end(ended - float(self._start))

    def _video_stream(self, container: InputContainer) -> VideoStream:
        streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
        if not streams:
            kinds = sorted({one.type for one in container.streams})
            raise InputError(f"{self.source}: has no video stream, only {', '.join(kinds) or 'nothing'}; name a video")
        stream = streams[0]
        context = stream.codec_context
        if context is None:
            raise InputError(f"{self.source}: its video has a codec that is not known; convert it to H.264 or VP9")
        if stream.width * stream.height > DEFAULT_MAX_PIXELS:
            raise InputError(
                f"{self.source}: its frames have {stream.width} x {stream.height} pixels; "
                f"at most {DEFAULT_MAX_PIXELS:,} pixels are read"
            )
        # Threads by slice hand on each frame, and each error, with the packet that it came from.
        context.thread_type = "SLICE"
        context.thread_count = usable_cpus()
        context.options = {"max_pixels": str(DEFAULT_MAX_PIXELS)}
        return stream

    def _first_frame(self) -> tuple[int, int, int]:
        """Return height, width and rotation of the upright frames; another handle on the file decodes the first."""
        with _open(self._file, self.source) as container:
            stream = self._video_stream(container)
            packets = 0
            for packet in container.demux(stream):
                packets += packet.size > 0
                for frame in _decode(stream, packet):
                    transposed = _upright(np.empty((frame.height, frame.width), bool), frame).shape
                    return transposed[0], transposed[1], frame.rotation % 360
        raise InputError(f"{self.source}: none of its {packets} frames could be decoded; is the file complete?")

    def _packets(self) -> "Iterator[Packet[Stream]]":
        try:
            yield from self._container.demux()
        except av.FFmpegError as error:
            self.end = f"cannot be read any further: {error.strerror}"

    def _frame(self, frame: VideoFrame) -> Frame:
        # A stream may change its size; the frames do not.
        width, height = (self.height, self.width) if self.rotation % 180 else (self.width, self.height)
        stored = frame.reformat(width, height, "rgb24").to_ndarray()
        pixels = _upright(np.asarray(stored, np.uint8), frame)
        pts = self._time_of(frame)
        self.damaged += frame.is_corrupt
        self.frames += 1
        return Frame(self.frames - 1, pts, frame.duration, float(pts * self.time_base), pixels)

    def _time_of(self, frame: VideoFrame) -> int:
        """Return the time of the next frame, which is after the last one's in any case.

        Times that go back by more than a second are those of another recording, joined to the one before: all from
        there on are moved behind it.
        """
        earliest = following = 0
        if self._last_pts is not None:
            earliest = self._last_pts + 1
            following = self._last_pts + max(1, round(1 / (self.frame_rate or 25) / self.time_base))
        stamp = frame.pts if frame.pts is not None else frame.dts
        pts = following if stamp is None else stamp + self._shift
        if earliest - pts > 1 / self.time_base:
            self._shift += following - pts
            pts = following
        self._last_pts = max(pts, earliest)
        self.retimed += stamp is None or self._last_pts != stamp - self._origin
        return self._last_pts

    def _shifted(self, packet: "Packet[Stream]") -> "Packet[Stream]":
        start = round(self._start / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - start
        packet.dts = None if packet.dts is None else packet.dts - start
        return packet

    def _check_end(self, ended: float) -> None:
        told = self.duration if _TELL_DURATION & set(self.container.split(",")) else None
        if not self.end and told is not None and ended + _SLACK < told:
            self.end = f"ends after {ended:.2f} s; its header says {told:.2f} s"


def _open(file: Path, source: str) -> InputContainer:
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{file.absolute()}", options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise InputError(f"{source}: {_fault(file, error)}") from error


def _fault(file: Path, error: av.FFmpegError) -> str:
    """Say why a file is not a video that can be opened."""
    size = file.stat().st_size
    if not size:
        return "is empty; name a video"
    if size <= DEFAULT_MAX_PIXELS:
        try:
            read_header(file.read_bytes())
        except ImageError:
            pass
        else:
            return "is a picture; this step reads videos, and `predict` or the endpoint read pictures"
    return (
        f"is not a video that can be read ({error.strerror}); expected MP4, MOV, MKV, WebM, AVI, MPEG or a similar "
        "file. Of an MP4 that was cut off nothing can be read when its index is at the end"
    )


def _decode(stream: VideoStream, packet: "Packet[Any]") -> list[VideoFrame]:
    """Decode a packet; none where that fails, which the caller counts."""
    try:
        return stream.decode(packet)
    except av.FFmpegError as error:
        _log.debug("a packet at %s is not decoded: %s", packet.pts, error.strerror)
        return []


def _upright(pixels: Pixels, frame: VideoFrame) -> Pixels:
    """Turn and mirror the pixels of a frame as its display matrix says, to the nearest right angle.

    The matrix maps the stored x, y to a*x + c*y, b*x + d*y (ISO/IEC 14496-12, 8.5.2).
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5]
    if math.hypot(b, c) > math.hypot(a, d):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
