"""Writing of the annotated copy of a video."""

from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from components.video.reader import Frame, Video
from serving.runtime.image.header import Pixels
from serving.runtime.machine import usable_cpus

SUFFIX = ".mp4"
"""How the file of a copy is called, where its name has a suffix."""

# Audio that an MP4 can hold as it is.
_AUDIO = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"}
# Constant quality, at libvpx's highest speed that keeps it.
_ENCODER = {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1", "lag-in-frames": "0"}
_BT709 = 1
_LIMITED_RANGE = 1


class AnnotatedCopy:
    """A copy of a video that is being written: VP9 in an MP4, of the same size, with the same times and audio.

    Args:
        file: where to.
        video: what is copied.
    """

    def __init__(self, file: Path, video: Video) -> None:
        # The index is moved to the front at the end, so that a browser plays the file while it loads.
        self._container = av.open(str(file), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._container.add_stream("libvpx-vp9", rate=video.frame_rate, options=_ENCODER)
        self._stream.width, self._stream.height, self._stream.pix_fmt = video.width, video.height, "yuv420p"
        context = self._stream.codec_context
        context.time_base = video.time_base
        context.sample_aspect_ratio = video.pixel_aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        context.thread_count = usable_cpus()
        self._time_base = video.time_base
        self._audio_codec = ""
        self._audio: AudioStream | None = None
        self._audio_end: int | None = None
        self._audio_lost = 0
        if video.audio is not None:
            sound = video.audio.codec_context
            self._audio_codec = sound.codec.canonical_name if sound else "unknown"
            if self._audio_codec in _AUDIO:
                self._audio = self._container.add_stream_from_template(video.audio)

    @property
    def audio(self) -> str:
        """What became of the audio: `none`, `copied`, `copied without <n> packets`, or `left out: <codec>`."""
        if self._audio is None:
            return f"left out: {self._audio_codec}" if self._audio_codec else "none"
        return f"copied without {self._audio_lost} packets" if self._audio_lost else "copied"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def write(self, frame: Frame, pixels: Pixels) -> None:
        """Add a frame at its time, with other pixels of the same size."""
        picture = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        picture.pts, picture.time_base, picture.duration = frame.pts, self._time_base, frame.duration
        self._container.mux(self._stream.encode(picture))

    def write_audio(self, packet: "Packet[Stream]") -> None:
        """Add a packet of the video's audio, unless that is left out, or the packet comes before the last one."""
        if self._audio is None or not packet.size:
            return
        if packet.dts is None or (self._audio_end is not None and packet.dts <= self._audio_end):
            self._audio_lost += 1
            return
        self._audio_end = packet.dts
        packet.stream = self._audio
        self._container.mux(packet)
