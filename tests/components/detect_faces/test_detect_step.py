"""Detection of a data set: the chain's order, plausible boxes, shards, the cache, hard and broken pictures."""

import io
import json
import logging
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from face_samples import GREEN, SIZE, DataSet, encoded, found_in, image, png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from tiny_detector import draw_faces

from components.detect_faces.detect import detect_faces
from components.detect_faces.shards import detection_shards
from components.shared import cache
from components.shared.dataset.annotations import read_annotations
from pipelines.samples.drawing.expression import EXPRESSIONS
from pipelines.samples.drawing.face import draw_portrait
from pipelines.samples.drawing.person import draw_person
from serving.runtime.errors import InputError

STRICT, LOOSE = {"onnx": {"score": 0.9, "name": "strict"}}, {"onnx": {"score": 0.5, "name": "loose"}}


def test_a_later_detector_sees_what_the_earlier_ones_missed(tmp_path: Path) -> None:
    bright, dim, tiny = (10, 10, 40, 50), (100, 20, 60, 60), (250, 10, 6, 6)
    data = DataSet(
        tmp_path,
        {
            "1.png": png([bright]),
            "2.png": png([dim], [180]),
            "3.png": png([bright, dim], [255, 180]),
            "4.png": png([tiny, dim], [255, 180]),
            "5.png": png([]),
        },
    )
    found = found_in(data.detect(STRICT, LOOSE))
    assert [found[name].member for name in "12345"] == ["strict", "loose", "strict", "loose", ""]
    assert [len(found[name].plausible) for name in "12345"] == [1, 1, 1, 1, 0]
    reasons = [(face.member, face.implausible, face.box) for face in found["4"].faces]
    assert reasons[0] == ("strict", "too_small", (250, 10, 6, 6))
    assert reasons[1:] == [("loose", "too_small", (250, 10, 6, 6)), ("loose", "", (100, 20, 60, 60))]
    assert found["1"].faces[0].keypoints["left_eye"] == (22.0, 30.0)
    expected = {"images": 5, "failed": 0, "faces": 4, "implausible": 2, "none": 1, "several": 0}
    assert data.counts == expected | {"found_by/strict": 2, "found_by/loose": 2}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(levels=st.lists(st.lists(st.sampled_from([120, 180, 255]), max_size=4), min_size=1, max_size=4))
def test_a_chain_never_finds_fewer_faces_than_its_first_detector(
    levels: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    pictures = {f"{n}.png": png([(60 * i, 20, 40, 40) for i in range(len(row))], row) for n, row in enumerate(levels)}
    data = DataSet(tmp_path_factory.mktemp("set"), pictures)
    first, both = (found_in(data.detect(*chain, name=f"n{len(chain)}")) for chain in ([STRICT], [STRICT, LOOSE]))
    for name, faces in first.items():
        assert len(both[name].plausible) >= len(faces.plausible)
        if faces.plausible:
            assert both[name].faces == faces.faces


@pytest.mark.parametrize(
    ("box", "limits", "reason"),
    [
        ((10, 10, 12, 40), {}, ""),
        ((10, 10, 11, 40), {}, "too_small"),
        ((10, 10, 5, 5), {"min_side": 5}, ""),
        ((10, 10, 20, 20), {"min_share": 0.01}, "too_small"),
        ((0, 0, 300, 190), {"max_share": 0.9}, "too_large"),
        ((0, 0, 300, 200), {}, ""),
    ],
)
def test_a_box_is_plausible_within_limits(
    box: tuple[int, int, int, int], limits: dict, reason: str, tmp_path: Path
) -> None:
    (face,) = found_in(DataSet(tmp_path, {"1.png": png([box])}).detect(GREEN, **limits))["1"].faces
    assert (face.implausible, face.box) == (reason, box)


def test_boxes_of_a_table_are_clipped_or_not_plausible(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "path,s_X,s_Y,e_X,e_Y\n"
        "/home/other/data/1.png,-20,10,60,50\n"  # cut by the border
        "/home/other/data/1.png,-90,10,10,50\n"
        "/home/other/data/1.png,60,50,20,90\n"
        "C:\\photos\\2.png,,,,\n"
        "/home/other/data/9.png,1,1,50,50\n"
    )
    data = DataSet(tmp_path, {"1.png": png([]), "2.png": png([(5, 5, 50, 50)])})
    path = data.detect({"table": str(tmp_path / "t.csv")}, GREEN)
    found = found_in(path)
    assert [(face.box, face.implausible) for face in found["1"].faces] == [
        ((0, 10, 60, 40), ""),
        ((-90, 10, 100, 40), "outside"),
        ((60, 50, -40, 40), "too_small"),
    ]
    assert [faces.member for faces in found.values()] == ["table", "green"]
    assert json.loads(path.read_text().splitlines()[0])["unused"] == {"table: missing_file": 1}


def test_a_table_names_images_by_their_names_in_the_raw_data(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,s_X,s_Y,e_X,e_Y\n/raw/people/anna/face.jpg,10,10,60,70\n")
    images = [image(1, None, source="people/anna/face.jpg"), image(2, None, source="people/ben/face.jpg")]
    data = DataSet(tmp_path, {"1.png": png([]), "2.png": png([])}, images)
    found = found_in(data.detect({"table": str(tmp_path / "t.csv")}))
    assert [len(found[name].plausible) for name in "12"] == [1, 0]


def test_own_boxes_are_a_member(tmp_path: Path) -> None:
    images = [image(1, (5.5, 5, 50, 50), None), image(2, None)]
    data = DataSet(tmp_path, {"1.png": png([]), "2.png": png([(5, 5, 50, 50)])}, images)
    found = found_in(data.detect("annotations", GREEN))
    assert [(found[name].member, found[name].faces[0].box) for name in "12"] == [
        ("annotations", (5.5, 5, 50, 50)),
        ("green", (5, 5, 50, 50)),
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_upright_however_the_photo_lies_in_its_file(orientation: int, tmp_path: Path) -> None:
    turns = {1: (), 2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (2,), 7: (6,), 8: (4,)}
    stored = Picture.fromarray(draw_faces(SIZE, [(30, 20, 80, 60)]))
    for turn in turns[orientation]:
        stored = stored.transpose(Picture.Transpose(turn))
    exif = Picture.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=95, exif=exif, subsampling=0)
    found = found_in(DataSet(tmp_path, {"1.png": buffer.getvalue()}).detect(GREEN))["1"]
    assert (found.height, found.width) == SIZE
    np.testing.assert_allclose(found.faces[0].box, (30, 20, 80, 60), atol=1.5)


def test_hard_pictures_are_searched(tmp_path: Path) -> None:
    """A hundred faces, faces that the border cuts, faces of five pixels, and black frames."""
    grid = [(28 * column, 19 * row, 14, 14) for row in range(10) for column in range(10)]
    cut = [(0, 0, 30, 30), (280, 180, 20, 20)]
    data = DataSet(
        tmp_path,
        {
            "1.png": png(grid),
            "2.png": png(cut),
            "3.png": png([(50, 50, 5, 5)]),
            "4.png": encoded(np.zeros((*SIZE, 3), np.uint8)),
            "5.png": encoded(np.zeros((1, 1, 3), np.uint8)),
        },
    )
    found = found_in(data.detect(GREEN, "dlib_hog"))
    assert [len(found[name].plausible) for name in "12345"] == [100, 2, 0, 0, 0]
    assert {face.box for face in found["2"].faces} == {(0, 0, 30, 30), (280, 180, 20, 20)}


def test_pictures_that_cannot_be_decoded_are_counted_up_to_a_limit(tmp_path: Path) -> None:
    pictures = {"1.png": png([(5, 5, 50, 50)]), "2.png": png([(5, 5, 50, 50)])[:200], "3.png": b"no picture"}
    data = DataSet(tmp_path, pictures)
    found = found_in(data.detect(GREEN, max_failed=2))
    assert [faces.failed[:1] for faces in found.values()] == [(), ("truncated",), ("not_an_image",)]
    assert data.counts["failed"] == 2
    with pytest.raises(InputError, match=r"(?s)2 images cannot be decoded.*3.png.*max_failed"):
        data.detect(GREEN, name="other", max_failed=1)
    assert not (tmp_path / "other--1.jsonl").exists()


def test_hog_finds_a_drawn_face_and_gives_none_to_the_next(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    portrait, (left, top, right, bottom) = draw_portrait(draw_person(False, 1, rng), EXPRESSIONS["normal"], rng)
    big = portrait.resize((320, 384), Picture.Resampling.BICUBIC)
    data = DataSet(tmp_path, {"1.png": encoded(np.asarray(big)), "2.png": png([(10, 10, 50, 50)])})
    found = found_in(data.detect({"dlib_hog": {"threshold": -0.9, "max_side": 300}}, GREEN))
    assert [found[name].member for name in "12"] == ["dlib_hog", "green"]
    x, y, width, height = found["1"].plausible[0].box
    center = (left + right, top + bottom)  # twice as large
    assert abs(x + width / 2 - center[0]) < 40 and abs(y + height / 2 - center[1]) < 60


def test_shards_part_the_images_and_together_give_all(tmp_path: Path) -> None:
    names = [3, 1, 2, 7, 5]
    images = [image(number, None) for number in names]
    data = DataSet(tmp_path, {f"{n}.png": png([(n, n, 40, 40)]) for n in names}, images)
    assert data.annotations is not None
    assert detection_shards(data.annotations, 2) == [0, 1, 2] and detection_shards(data.annotations, 9) == [0]
    whole = found_in(data.detect(GREEN))
    parts = [found_in(data.detect(GREEN, shard=shard, per=2)) for shard in range(3)]
    assert [list(part) for part in parts] == [["1", "2"], ["3", "5"], ["7"]]
    assert list(whole.items()) == [item for part in parts for item in part.items()]
    with pytest.raises(InputError, match="shard: 3; 5 images are in shards 0 to 2"):
        data.detect(GREEN, shard=3, per=2)
    with pytest.raises(InputError, match="images_per_shard"):
        detection_shards(data.annotations, 0)


def test_unchanged_inputs_are_not_searched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def taken(data: DataSet, name: str, **options: float) -> bool:
        caplog.clear()
        data.detect(GREEN, name=name, **options)
        return "taken from the cache" in caplog.text

    def data_set(folder: str, width: int, box: float) -> DataSet:
        (tmp_path / folder).mkdir()
        return DataSet(tmp_path / folder, {"1.png": png([(5, 5, width, 50)])}, [image(1, (box, 1, 9, 9))])

    first = data_set("first", 50, 1)
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    assert not taken(first, "one")
    searched = first.detect(GREEN, name="one").read_bytes()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    assert not taken(first, "one") and taken(first, "two")
    assert first.detect(GREEN, name="two").read_bytes() == searched
    assert taken(data_set("other-boxes", 50, 2), "one"), "boxes of the annotations are nothing to this chain"
    assert not taken(data_set("other-picture", 51, 1), "one")
    assert not taken(first, "three", min_side=13)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0" if name == "onnxruntime" else version(name))
    assert not taken(first, "four"), "another version of a library may find other faces"


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_photos_without_annotations_are_searched(kind: str, tmp_path: Path) -> None:
    photos = {"a/1.png": png([(5, 5, 50, 50)]), "b/2.JPG": encoded(draw_faces(SIZE, []), "JPEG"), "notes.txt": b"x"}
    source = tmp_path / "photos"
    for name, data in photos.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    if kind == "zip":
        source = tmp_path / "photos.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in photos.items():
                archive.writestr(name, data)
    chain = DataSet(tmp_path, {}).adopt(GREEN)
    counts = detect_faces(source, chain, tmp_path / "found.jsonl")
    assert (counts["images"], counts["faces"]) == (2, 1)
    found = found_in(tmp_path / "found.jsonl")
    assert [(faces.file_name, faces.width, len(faces.sha256 or "")) for faces in found.values()] == [
        ("a/1.png", 300, 64),
        ("b/2.JPG", 300, 64),
    ]


def test_a_damaged_member_of_a_zip_counts_as_failed(tmp_path: Path) -> None:
    good, damaged = png([(5, 5, 50, 50)]), png([(60, 60, 90, 90)])
    source = tmp_path / "photos.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("1.png", good)
        archive.writestr("2.png", damaged)
    source.write_bytes(source.read_bytes().replace(damaged, damaged[:-9] + b"X" + damaged[-8:]))
    chain = DataSet(tmp_path, {}).adopt(GREEN)
    with pytest.raises(InputError, match=r"2.png: the ZIP archive is d"):
        detect_faces(source, chain, tmp_path / "none.jsonl")
    counts = detect_faces(source, chain, tmp_path / "found.jsonl", options={"max_failed": 1})
    assert (counts["images"], counts["faces"]) == (2, 1)
    failed = found_in(tmp_path / "found.jsonl")["2"].failed
    assert failed is not None and failed[0] == "truncated"


def test_missing_images_and_outputs_over_inputs_are_refused(tmp_path: Path) -> None:
    data = DataSet(tmp_path, {"1.png": png([])}, [image(1, None), image(2, None)])
    with pytest.raises(InputError, match=r"1 images of the annotations are not in the image archive \(2.png\)"):
        data.detect(GREEN)
    with pytest.raises(InputError, match="would overwrite the input"):
        detect_faces(data.images, data.adopt(GREEN), data.images / "found.jsonl")
    assert data.annotations is not None and len(read_annotations(data.annotations).images) == 2
