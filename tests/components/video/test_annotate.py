"""Faces of drawn clips, by a detector of green rectangles: the labels, the copy, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tiny_detector import draw_faces
from tiny_model import build_model
from video_clips import RATE, SIZE, decoded, moving, write_clip

from components.video.annotate import VideoReport, annotate_video
from serving.runtime.errors import InputError, NotFoundError, StorageError
from serving.runtime.face_json import face_json
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model
from serving.runtime.s3 import s3_client

Run = Callable[..., tuple[VideoReport, list[dict[str, Any]], Path]]


@pytest.fixture
def run(detector: Path, tmp_path: Path) -> Run:
    """Annotates a video; returns the report, the lines of the labels, and the copy."""

    def run(video: Path, **options: Any) -> tuple[VideoReport, list[dict[str, Any]], Path]:
        labels, copy = tmp_path / "out" / "labels.jsonl", tmp_path / "out" / "copy.mp4"
        report = annotate_video(str(detector), str(video), labels, copy, options)
        lines = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
        assert [lines[0]["type"], lines[-1]["type"]] == ["video", "end"]
        assert {line["type"] for line in lines[1:-1]} <= {"frame"}
        assert sorted(file.name for file in labels.parent.iterdir()) == ["copy.mp4", "labels.jsonl"]
        return report, lines, copy

    return run


def frames_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return lines[1:-1]


def test_every_frame_has_its_time_and_its_numbered_faces(run: Run, tmp_path: Path, detector: Path) -> None:
    video = write_clip(tmp_path / "clip.mp4")
    report, lines, _ = run(video)
    header, *frames, end = lines
    assert header == header | {
        "schema": 1, "model": "green", "video": str(video), "width": 128, "height": 96, "rotation": 0,
        "frame_rate": 25.0, "duration": 1.2, "codec": "h264", "container": "mov,mp4,m4a,3gp,3g2,mj2",
    }  # fmt: skip
    assert header["options"]["iou"] == 0.3
    assert [frame["frame"] for frame in frames] == list(range(30))
    assert [frame["time"] for frame in frames] == pytest.approx([index / RATE for index in range(30)])
    for index, frame in enumerate(frames):
        by_number = {face["id"]: face for face in frame["faces"]}
        boxes = [by_number[number]["box"] for number in (1, 2)]
        expected = [(4 + 2 * index, 20, 20, 24), (80, 60, 16, 20)]
        assert sorted(boxes) == pytest.approx(np.array(sorted(expected)), abs=1.5)
        assert set(by_number[1]) == {"id", "box", "score", "crop", "heads", "keypoints"}
        assert by_number[1]["crop"] == "detector"
    assert len({frames[index]["faces"][0]["box"][0] for index in range(30)}) > 10
    assert end == {
        "type": "end", "complete": True, "frames": 30, "analyzed": 30, "faces": 2, "lost": 0, "damaged": 0,
        "retimed": 0, "end": "", "audio": "none",
    }  # fmt: skip
    assert report.complete


def test_a_composite_says_of_each_frame_what_it_says_of_the_picture(detector: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "green.onnx").write_bytes(detector.read_bytes())
    (tmp_path / "model" / "mask.onnx").write_bytes(build_model())
    members = {"name": "people", "detectors": ["green.onnx"], "heads": ["mask.onnx"]}
    (tmp_path / "model" / "composite.json").write_text(json.dumps(members))
    video, labels = write_clip(tmp_path / "clip.mp4", 6), tmp_path / "labels"
    annotate_video(str(tmp_path / "model"), str(video), labels, tmp_path / "copy", {"every": 3})
    model = load_model(str(tmp_path / "model"))
    header, *frames, _ = map(json.loads, labels.read_text().splitlines())
    assert (header["model"], header["version"]) == ("people", model.version)
    pictures = decoded(video)[::3]
    assert len(frames) == len(pictures)
    for frame, (_, pixels) in zip(frames, pictures, strict=True):
        (faces,) = model.predict([(Photo.of_pixels(pixels), [])])
        numbers = [face.pop("id") for face in frame["faces"]]
        assert sorted(numbers) == [1, 2]
        assert frame["faces"] == json.loads(json.dumps([face_json(face) for face in faces]))
        assert all(face["heads"] for face in frame["faces"])


def test_the_copy_has_the_frames_times_and_size_of_the_video_and_shows_the_boxes(run: Run, tmp_path: Path) -> None:
    times = [40 * index if index < 10 else 400 + 117 * (index - 10) for index in range(25)]
    video = write_clip(tmp_path / "clip.mp4", 25, times=times)
    _, lines, copy = run(video, every=5)
    frames, shown = decoded(video), decoded(copy)
    assert [time for time, _ in shown] == [time for time, _ in frames] == pytest.approx(np.array(times) / 1000)
    assert [frame["frame"] for frame in frames_of(lines)] == [0, 5, 10, 15, 20]
    assert [frame["time"] for frame in frames_of(lines)] == pytest.approx(
        [times[index] / 1000 for index in range(0, 25, 5)]
    )
    for (_, before), (_, after) in zip(frames, shown, strict=True):
        assert before.shape == after.shape
        gray = after[70:, :60].astype(int)
        assert np.abs(gray - before[70:, :60]).max() < 12, "where nothing is drawn nothing changes"
    # Between two seen frames the last boxes stay: the left border of the resting face is colored in all of them.
    assert all(np.abs(after[62:78, 80].astype(int) - (0, 255, 0)).max(axis=1).mean() > 60 for _, after in shown)
    with av.open(str(copy)) as container:
        assert container.streams.video[0].codec_context.name in ("vp9", "libvpx-vp9")
        assert container.format.name.startswith("mov,mp4")


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"every": 4}, [0, 4, 8, 12, 16, 20, 24, 28]),
        ({"fps": 6.25}, [0, 4, 8, 12, 16, 20, 24, 28]),
        ({"fps": 10}, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28]),
        ({"fps": 100}, list(range(30))),
        ({"fps": 0.5}, [0]),
    ],
)
def test_which_frames_the_model_sees(run: Run, tmp_path: Path, options: dict[str, Any], seen: list[int]) -> None:
    report, lines, copy = run(write_clip(tmp_path / "clip.mp4"), copy_video=False, **options)
    assert [frame["frame"] for frame in frames_of(lines)] == seen
    assert (report.frames, report.analyzed, report.faces) == (30, len(seen), 2)
    assert copy.read_bytes() == b""


@pytest.mark.parametrize(("faces", "width"), [("largest", 20), ("score", 16)])
def test_one_face_of_each_frame(run: Run, tmp_path: Path, faces: str, width: int) -> None:
    def picture(index: int) -> Any:
        return draw_faces(SIZE, [(4 + 2 * index, 20, 20, 24), (80, 60, 16, 20)], [200, 255])

    _, lines, _ = run(write_clip(tmp_path / "clip.mp4", picture=picture), faces=faces, copy_video=False)
    assert {len(frame["faces"]) for frame in frames_of(lines)} == {1}
    assert {frame["faces"][0]["id"] for frame in frames_of(lines)} == {1}
    assert [frame["faces"][0]["box"][2] for frame in frames_of(lines)] == pytest.approx([width] * 30, abs=1.5)


@pytest.mark.parametrize(
    ("rotation", "mirrored"), [(90, False), (180, False), (-90, False), (0, True), (90, True), (180, True)]
)
def test_a_turned_video_comes_upright(run: Run, tmp_path: Path, rotation: int, mirrored: bool) -> None:
    """The upright frame is what the display matrix makes of the stored one: turned first, then mirrored."""

    def stored(index: int) -> Any:
        upright = moving(index)
        return np.ascontiguousarray(np.rot90(upright[:, ::-1] if mirrored else upright, -rotation // 90))

    video = write_clip(tmp_path / "clip.mp4", 3, picture=stored, rotation=rotation, mirrored=mirrored)
    _, lines, copy = run(video)
    assert (lines[0]["height"], lines[0]["width"]) == SIZE
    boxes = sorted(face["box"] for face in frames_of(lines)[0]["faces"])
    assert boxes == pytest.approx(np.array([(4, 20, 20, 24), (80, 60, 16, 20)]), abs=1.5)
    ((_, first), *_) = decoded(copy)
    with av.open(str(copy)) as container:
        assert next(container.decode(video=0)).rotation == 0
    assert np.abs(first[70:, :60].astype(int) - moving(0)[70:, :60]).max() < 12


@pytest.mark.parametrize(
    ("name", "codec", "size"),
    [
        ("clip.mkv", "libx264", SIZE),
        ("clip.webm", "libvpx-vp9", (47, 33)),
        ("clip.avi", "mpeg4", (120, 160)),
        ("clip.avi", "mjpeg", (34, 50)),
        ("clip.ts", "libx264", SIZE),
        ("clip.mov", "mpeg4", (64, 64)),
    ],
)
def test_formats_and_odd_sizes(run: Run, tmp_path: Path, name: str, codec: str, size: tuple[int, int]) -> None:
    def picture(index: int) -> Any:
        return draw_faces(size, [(8, 8, 16, 16)])

    video = write_clip(tmp_path / name, 12, codec=codec, picture=picture)
    report, lines, copy = run(video)
    assert (report.complete, report.frames, report.retimed, report.faces) == (True, 12, 0, 1)
    assert [frame["time"] for frame in frames_of(lines)] == pytest.approx(np.arange(12) / RATE, abs=0.001)
    shown = decoded(copy)
    assert [time for time, _ in shown] == pytest.approx(np.arange(12) / RATE, abs=0.001)
    assert {pixels.shape for _, pixels in shown} == {(*size, 3)}


def test_frames_without_times_get_equal_steps(run: Run, tmp_path: Path) -> None:
    report, lines, _ = run(write_clip(tmp_path / "clip.h264", 12))
    assert [frame["time"] for frame in frames_of(lines)] == pytest.approx(np.arange(12) / RATE, abs=0.001)
    assert report.retimed == 12


def test_joined_recordings_go_on_behind_each_other(run: Run, tmp_path: Path) -> None:
    """The second starts at 0 again, has frames of another size, and its audio goes back too."""
    first = write_clip(tmp_path / "first.ts", 60, audio="aac")
    second = write_clip(tmp_path / "second.ts", 10, audio="aac", picture=lambda index: moving(index, (64, 104)))
    video = tmp_path / "joined.ts"
    video.write_bytes(first.read_bytes() + second.read_bytes())
    report, lines, copy = run(video)
    times = np.array([frame["time"] for frame in frames_of(lines)])
    assert len(times) == report.frames == 70
    assert np.diff(times) == pytest.approx([1 / RATE] * 69, abs=0.002)
    assert (report.retimed, {pixels.shape for _, pixels in decoded(copy)}) == (10, {(*SIZE, 3)})
    assert report.audio.startswith("copied without ")


def test_colors_stay(run: Run, tmp_path: Path) -> None:
    colors = [(200, 40, 40), (40, 40, 200), (180, 180, 30), (90, 90, 90)]

    def picture(index: int) -> Any:
        return np.repeat(np.repeat(np.uint8([colors]), 64, 0), 32, 1)

    _, _, copy = run(write_clip(tmp_path / "clip.mp4", 4, picture=picture))
    ((_, pixels), *_) = decoded(copy)
    for index, color in enumerate(colors):
        assert pixels[32, 32 * index + 16] == pytest.approx(color, abs=6)


def test_black_frames_have_no_faces(run: Run, tmp_path: Path) -> None:
    report, lines, _ = run(write_clip(tmp_path / "black.mp4", picture=lambda _: np.zeros((64, 64, 3), np.uint8)))
    assert [frame["faces"] for frame in frames_of(lines)] == [[]] * 30
    assert (report.complete, report.faces) == (True, 0)


@pytest.mark.parametrize(
    ("name", "audio", "kept"),
    [
        ("clip.mp4", "aac", "copied"),
        ("clip.mkv", "libopus", "copied"),
        ("clip.mkv", "pcm_s16le", "left out: pcm_s16le"),
    ],
)
def test_audio_is_copied_where_an_mp4_holds_it(run: Run, tmp_path: Path, name: str, audio: str, kept: str) -> None:
    video = write_clip(tmp_path / name, audio=audio)
    report, lines, copy = run(video)
    assert report.audio == lines[-1]["audio"] == kept
    with av.open(str(copy)) as ours, av.open(str(video)) as theirs:
        assert len(ours.streams.audio) == (kept == "copied")
        if kept == "copied":
            packets, before = ([packet for packet in one.demux(audio=0) if packet.size] for one in (ours, theirs))
            assert [bytes(packet) for packet in packets] == [bytes(packet) for packet in before]
            times = [[float(packet.pts * packet.time_base) for packet in one] for one in (packets, before)]
            assert times[0] == pytest.approx(times[1], abs=0.002)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_a_video_that_ends_in_the_middle_is_annotated_up_to_there(
    run: Run, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    video = write_clip(tmp_path / name, 60, codec="mpeg4", options={"movflags": "faststart"} if "mp4" in name else {})
    with av.open(str(video)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][30]
    video.write_bytes(video.read_bytes()[:place])
    report, lines, copy = run(video)
    assert not report.complete
    assert 28 <= report.frames <= 31
    assert "ends after 1.2" in lines[-1]["end"]
    if not name.endswith("avi"):  # FFmpeg guesses the duration of an AVI whose index is cut off
        assert "its header says 2.40 s" in lines[-1]["end"]
    assert len(frames_of(lines)) == len(decoded(copy)) == report.frames
    assert "up to there are annotated" in caplog.text


@pytest.mark.parametrize(
    ("name", "codec"), [("clip.mp4", "libx264"), ("clip.webm", "libvpx-vp9"), ("clip.mp4", "libx265")]
)
def test_a_frame_that_cannot_be_decoded_is_counted_and_the_others_keep_their_times(
    run: Run, tmp_path: Path, name: str, codec: str
) -> None:
    video = write_clip(tmp_path / name, 40, codec=codec, g="10")
    with av.open(str(video)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][15]
        content = bytearray(video.read_bytes())
        start = content.index(bytes(packet), packet.pos)
        content[start : start + packet.size] = bytes(packet.size)
    video.write_bytes(content)
    report, lines, copy = run(video)
    assert not report.complete
    assert report.lost >= 1
    assert report.frames + report.lost == 40
    assert report.end == ""
    assert frames_of(lines)[-1]["time"] == pytest.approx(39 / RATE, abs=0.001)
    assert len(decoded(copy)) == report.frames


def test_the_step_counts_and_says_whether_every_frame_was_there(tmp_path: Path, detector: Path) -> None:
    from kfp import dsl

    from components.video.component import annotate_video as component

    video = write_clip(tmp_path / "clip.mkv", 40, codec="mpeg4")
    whole = video.read_bytes()
    for content, complete in ((whole, True), (whole[: len(whole) // 2], False)):
        video.write_bytes(content)
        metrics = dsl.Metrics(uri="")
        result = component.python_func(
            model=dsl.Model(uri=str(detector)), labels=dsl.Dataset(uri=str(tmp_path / "labels")),
            annotated=dsl.Artifact(uri=str(tmp_path / "annotated")), metrics=metrics, video=str(video),
            options={"every": 2.0, "copy_video": True},
        )  # fmt: skip
        assert result is complete
        assert metrics.metadata["frames"] > 10
        assert metrics.metadata["analyzed"] == (metrics.metadata["frames"] + 1) // 2


def test_a_video_in_s3(detector: Path, tmp_path: Path, s3: Any) -> None:
    s3_client().create_bucket(Bucket="clips")
    s3_client().put_object(Bucket="clips", Key="day 1/clip.mp4", Body=write_clip(tmp_path / "clip.mp4", 5).read_bytes())
    labels, copy = tmp_path / "labels", tmp_path / "copy"
    report = annotate_video(str(detector), "s3://clips/day 1/clip.mp4", labels, copy)
    assert (report.complete, report.frames) == (True, 5)
    assert json.loads(labels.read_text().splitlines()[0])["video"] == "s3://clips/day 1/clip.mp4"
    with pytest.raises(InputError, match="s3://clips/day 1: is a prefix with objects below it"):
        annotate_video(str(detector), "s3://clips/day 1", labels, copy)
    with pytest.raises(StorageError, match="there is nothing at or below"):
        annotate_video(str(detector), "s3://clips/day 2", labels, copy)


def picture_file(folder: Path) -> Path:
    from PIL import Image

    Image.fromarray(moving(0)).save(folder / "photo.jpg")
    return folder / "photo.jpg"


def sound_file(folder: Path) -> Path:
    with av.open(str(folder / "sound.mp4"), "w") as container:
        sound: Any = container.add_stream("aac", rate=48000)
        samples = av.AudioFrame.from_ndarray(np.zeros((2, 4800), np.float32), format="fltp", layout="stereo")
        samples.sample_rate = 48000
        container.mux([*sound.encode(samples), *sound.encode()])
    return folder / "sound.mp4"


def file_of(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def without_frames(folder: Path) -> Path:
    """Its index is there and none of its frames."""
    file = write_clip(folder / "none.mp4", options={"movflags": "faststart"})
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"mdat") + 4] + bytes(len(content) - content.index(b"mdat") - 4))
    return file


def without_index(folder: Path) -> Path:
    """Its index is at its end, which is cut off."""
    content = write_clip(folder / "clip.mp4").read_bytes()
    return file_of("cut.mp4", content[: content.index(b"moov") - 100])(folder)


BAD: list[tuple[Callable[[Path], Path], str]] = [
    (lambda folder: folder / "none.mp4", r"none\.mp4: there is no such file"),
    (lambda folder: folder, r": is not a file; name one video"),
    (file_of("empty.mp4", b""), r"empty\.mp4: is empty"),
    (file_of("text.mp4", b"no video at all\n" * 100), r"text\.mp4: is not a video that can be read .*expected MP4"),
    (
        file_of("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nclip.ts\n#EXT-X-ENDLIST\n"),
        "is not a video",
    ),
    (file_of("list.ffconcat", b"ffconcat version 1.0\nfile 'clip.ts'\n"), "is not a video"),
    (picture_file, r"photo\.jpg: is a picture; this step reads videos"),
    (sound_file, r"sound\.mp4: has no video stream, only audio"),
    (without_frames, r"none\.mp4: none of its \d+ frames could be decoded"),
    (without_index, r"cut\.mp4: is not a video that can be read .*index is at the end"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_what_is_not_a_video_is_refused_in_one_sentence(
    detector: Path, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        annotate_video(str(detector), str(make(tmp_path)), tmp_path / "out/labels", tmp_path / "out/copy.mp4")
    assert not (tmp_path / "out").exists()


def test_a_missing_video_is_not_found(detector: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        annotate_video(str(detector), str(tmp_path / "none"), tmp_path / "labels", tmp_path / "copy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"every": 2, "fps": 3}}, "every and fps both say"),
        ({"options": {"every": 0}}, "every"),
        ({"options": {"iuo": 0.5}}, "did you mean 'iou'"),
        ({"options": {"faces": "best"}}, "known: all, largest, score"),
        ({"annotated": "copy.webm"}, r"copy\.webm: the annotated copy is an MP4; name it copy\.mp4"),
        ({"annotated": "clip.mp4"}, "would overwrite the input"),
        ({"labels": "clip.mp4"}, "would overwrite the input"),
        ({"labels": "copy.mp4"}, "would overwrite another output"),
        ({"model": "classifier.onnx"}, "is a classifier, which finds no faces"),
    ],
)
def test_other_wrong_input(detector: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    video = write_clip(tmp_path / "clip.mp4", 3)
    (tmp_path / "classifier.onnx").write_bytes(build_model())
    before = video.read_bytes()
    labels, copy = tmp_path / change.get("labels", "labels"), tmp_path / change.get("annotated", "copy.mp4")
    model = str(tmp_path / change["model"]) if "model" in change else str(detector)
    with pytest.raises(InputError, match=message):
        annotate_video(model, str(video), labels, copy, change.get("options"))
    assert video.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"clip.mp4", "classifier.onnx"}


def test_an_interruption_leaves_no_output(detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.video import annotate

    calls: Iterator[int] = iter(range(5))

    def interrupted(*arguments: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return arguments[0]

    monkeypatch.setattr(annotate, "draw_faces", interrupted)
    with pytest.raises(KeyboardInterrupt):
        annotate_video(
            str(detector), str(write_clip(tmp_path / "clip.mp4")), tmp_path / "out/labels", tmp_path / "out/copy.mp4"
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_memory_does_not_grow_with_the_length(detector: Path, tmp_path: Path) -> None:
    """Three times as many frames: all of them decoded would be 230 MB more."""
    program = (
        "import resource, sys; from pathlib import Path; from components.video.annotate import annotate_video;"
        "annotate_video(*sys.argv[1:3], Path(sys.argv[3] + '.jsonl'), Path(sys.argv[3] + '.mp4'), {'every': 10});"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peaks = []
    for frames in (250, 750):
        video = write_clip(tmp_path / f"{frames}.mp4", frames, codec="mpeg4", picture=lambda _: moving(9, (320, 480)))
        arguments = [str(detector), str(video), str(tmp_path / f"out{frames}")]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=120
        )
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 60, f"{peaks} MiB"
