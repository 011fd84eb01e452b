"""The step landmarks on drawn portraits, with a shape predictor that learned such portraits."""

import csv
import io
import json
import threading
import time
import zipfile
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from drawn_landmarks import error, portrait
from PIL import Image as Picture

from components.landmarks import landmarks as module
from components.landmarks.landmarks import Outputs, landmarks
from components.landmarks.outputs import png_names
from components.landmarks.point_names import DLIB_5, IBUG_68
from components.shared.dataset.annotations import (
    Annotations,
    Face,
    Image,
    Keypoint,
    read_annotations,
    write_annotations,
)
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo
from serving.runtime.errors import InputError

WIDTH, HEIGHT = 160, 192
MODES = ["gray", "color", "heatmap"]


def png(picture, kind="PNG", **options):
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def turned(picture):
    """As a phone stores it: a quarter turn, and EXIF data that say so."""
    exif = Picture.Exif()
    exif[0x0112] = 6
    return png(picture.transpose(Picture.Transpose.ROTATE_90), exif=exif)


def side_by_side(*seeds):
    sheet = Picture.new("RGB", (WIDTH * len(seeds), HEIGHT))
    for number, seed in enumerate(seeds):
        sheet.paste(portrait(seed)[0], (WIDTH * number, 0))
    return sheet


def blank():
    return Picture.new("RGB", (90, 70), (30, 90, 60))


@pytest.fixture
def outputs(tmp_path):
    return Outputs(tmp_path / "out.json", tmp_path / "points.csv", tmp_path / "drawn", tmp_path / "listing.json")


@pytest.fixture
def tree(tmp_path):
    """A folder of pictures: one face, two faces, none, a turned one."""
    folder = tmp_path / "photos"
    files = {
        "anger/one.face.png": png(portrait(100)[0]),
        "anger/two.faces.bmp": png(side_by_side(101, 102), "BMP"),
        "sad/none.png": png(blank()),
        "sad/turned.png": turned(portrait(103)[0]),
        "notes.txt": b"no picture",
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def store(folder, pictures):
    """An image archive and its annotations: encoded picture, size and faces by name."""
    images = []
    with ArchiveWriter(folder / "images") as writer:
        for number, (name, (data, (width, height), faces)) in enumerate(pictures.items(), start=1):
            writer.add(name, data)
            images.append(Image(number, name, width, height, faces, person=f"p{number}", split="val"))
    write_annotations(
        Annotations(tuple(images), DatasetInfo(format="coco"), ("left_eye",)), folder / "annotations.json"
    )
    return folder / "images", folder / "annotations.json"


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def points_of(row):
    return np.array([[float(row[f"x{number}"]), float(row[f"y{number}"])] for number in range(68)])


def test_found_faces_of_a_folder(tree, weights, outputs):
    report = landmarks(tree, None, outputs, {"weights": str(weights), "pictures": MODES})
    listing = {"several_faces": {"anger/two.faces.bmp": 2}, "no_face": ["sad/none.png"], "failed": {}}
    assert (report.images, report.faces) == (4, 4)
    assert json.loads(outputs.listing.read_text()) == listing
    names = {"anger/one.face.png", "anger/two.faces.png", "anger/two.faces_1.png", "sad/turned.png"}
    assert files_of(outputs.pictures) == {f"{mode}/{name}" for mode in MODES for name in names}

    table = rows(outputs.coordinates)
    two = ["anger/two.faces.bmp"] * 2
    assert [row["path"] for row in table] == ["anger/one.face.png", *two, "sad/turned.png"]
    assert [row["face_index"] for row in table] == ["0", "0", "1", "0"]
    for row, seed in ((table[0], 100), (table[3], 103)):
        assert error(points_of(row), portrait(seed)[1]) < 0.1

    data = read_annotations(outputs.annotations)
    assert data.keypoint_names == IBUG_68 and len(set(IBUG_68)) == 68
    assert [(image.file_name, image.width, image.height, len(image.faces)) for image in data.images] == [
        ("anger/one.face.png", 160, 192, 1),
        ("anger/two.faces.bmp", 320, 192, 2),
        ("sad/none.png", 90, 70, 0),
        ("sad/turned.png", 160, 192, 1),
    ]
    for row, face in zip(table, (face for image in data.images for face in image.faces), strict=True):
        assert face.box == tuple(float(row[name]) for name in ("x", "y", "width", "height"))
        assert np.abs(np.array(face.keypoints)[:, :2] - points_of(row)).max() <= 0.005 + 1e-9
        assert face.score is not None
    assert data.info.counts.faces == 4


def test_what_is_drawn(tree, weights, outputs):
    landmarks(tree, None, outputs, {"weights": str(weights), "pictures": MODES})
    by_name = {(row["path"], row["face_index"]): points_of(row) for row in rows(outputs.coordinates)}
    centers = np.rint(by_name["anger/two.faces.bmp", "1"]).astype(int)
    others = np.rint(by_name["anger/two.faces.bmp", "0"]).astype(int)
    photo = np.asarray(side_by_side(101, 102))
    drawn = {mode: Picture.open(outputs.pictures / mode / "anger/two.faces_1.png") for mode in MODES}
    assert {mode: (picture.mode, picture.size) for mode, picture in drawn.items()} == {
        "gray": ("L", (320, 192)), "color": ("RGB", (320, 192)), "heatmap": ("RGB", (320, 192)),
    }  # fmt: skip
    color, gray, heat = (np.asarray(drawn[mode]) for mode in ("color", "gray", "heatmap"))
    assert (color[centers[:, 1], centers[:, 0]] == (0, 0, 255)).all()
    assert (gray[centers[:, 1], centers[:, 0]] == 255).all()
    assert (color[others[:, 1], others[:, 0]] == photo[others[:, 1], others[:, 0]]).all(), "a copy without other faces"
    painted = (color != photo).any(axis=-1)
    assert painted.sum() <= 68 * 21 and (color[painted] == (0, 0, 255)).all()
    warm = heat.astype(int).sum(axis=-1)
    assert warm[centers[:, 1], centers[:, 0]].min() > warm[others[:, 1], others[:, 0]].max()


@pytest.mark.parametrize("modes", [modes for count in (1, 2, 3) for modes in combinations(MODES, count)], ids="+".join)
def test_only_the_folders_of_the_requested_modes_appear(modes, weights_5, outputs, tmp_path):
    face = Face(1, (30, 40, 100, 120), {})
    inputs = store(tmp_path, {"a.png": (png(portrait(100)[0]), (WIDTH, HEIGHT), (face,))})
    landmarks(*inputs, outputs, {"weights": str(weights_5), "faces": "given", "pictures": list(modes)})
    assert files_of(outputs.pictures) == {f"{mode}/a.png" for mode in modes}
    for mode in modes:
        assert Picture.open(outputs.pictures / mode / "a.png").mode == ("L" if mode == "gray" else "RGB")


def test_five_points_are_those_of_their_predictor(tree, weights_5, outputs):
    landmarks(tree, None, outputs, {"weights": str(weights_5)})
    data = read_annotations(outputs.annotations)
    assert data.keypoint_names == DLIB_5
    face = data.images[0].faces[0]
    expected = portrait(100)[1][[45, 42, 36, 39, 33]]
    assert np.abs(np.array(face.keypoints)[:, :2] - expected).max() < 8


def test_no_pictures_by_default_and_a_zip_of_pictures(tree, weights, outputs, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in tree.rglob("*.*"):
            archive.write(path, path.relative_to(tree))
    assert landmarks(tmp_path / "photos.zip", None, outputs, {"weights": str(weights)}).faces == 4
    assert list(outputs.pictures.iterdir()) == []


def test_any_number_of_threads_writes_the_same_bytes(tree, weights, tmp_path):
    written = []
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        here = Outputs(folder / "a.json", folder / "c.csv", folder / "pictures", folder / "l.json")
        landmarks(tree, None, here, {"weights": str(weights), "pictures": MODES}, workers=workers)
        written.append({name: (folder / name).read_bytes() for name in sorted(files_of(folder))})
    assert written[0] == written[1]


def test_given_faces_keep_what_the_annotations_say(weights, outputs, tmp_path):
    truth = portrait(100)[1]
    low, size = truth.min(axis=0), np.ptp(truth, axis=0)
    box = (*low.tolist(), *size.tolist())
    faces = (Face(7, box, {"emotion": "sad", "age": 30}, (Keypoint(1, 2, 2),), 0.5),)
    whole = (Face(3, None, {"emotion": "anger"}),)
    crop = portrait(101)[0].crop((10, 10, 150, 180))
    images, annotations = store(
        tmp_path,
        {
            "a.png": (png(portrait(100)[0]), (WIDTH, HEIGHT), faces),
            "crop.png": (png(crop), crop.size, whole),
            "without.png": (png(blank()), (90, 70), ()),
        },
    )
    before = annotations.read_bytes()
    report = landmarks(images, annotations, outputs, {"weights": str(weights), "faces": "given", "boxes": "points"})
    assert annotations.read_bytes() == before
    assert (report.faces, report.no_face) == (2, ["without.png"])
    old, new = read_annotations(annotations), read_annotations(outputs.annotations)
    marked = [face for image in new.images for face in image.faces]
    assert [replace(face, keypoints=None) for face in marked] == [replace(faces[0], keypoints=None), *whole]
    assert [replace(image, faces=()) for image in new.images] == [replace(image, faces=()) for image in old.images]
    assert new.info.format == "coco" and new.keypoint_names == IBUG_68
    points = np.array(marked[0].keypoints)
    assert error(points[:, :2], truth) < 0.12 and (points[:, 2] == 2).all()
    assert error(np.array(marked[1].keypoints)[:, :2] + 10, portrait(101)[1]) < 0.15, (
        "a face without a box is the one that is found"
    )


def test_found_faces_are_matched_with_those_of_the_annotations(weights, outputs, tmp_path):
    """By their boxes; a face without a box is the image's one face, and a face that nobody knew is new."""
    left = Face(5, (30, 40, 100, 120), {"emotion": "sad"})
    missed = Face(6, (0, 0, 12, 12), {"emotion": "happy"}, (Keypoint(1, 2, 2),))
    images, annotations = store(
        tmp_path,
        {
            "two.png": (png(side_by_side(100, 101)), (2 * WIDTH, HEIGHT), (missed, left)),
            "one.png": (png(portrait(102)[0]), (WIDTH, HEIGHT), (Face(9, None, {"emotion": "anger"}),)),
        },
    )
    landmarks(images, annotations, outputs, {"weights": str(weights)})
    two, one = read_annotations(outputs.annotations).images
    assert [(face.id, face.attributes) for face in two.faces] == [
        (6, {"emotion": "happy"}), (5, {"emotion": "sad"}), (10, {}),
    ]  # fmt: skip
    assert two.faces[0].keypoints is None, "old keypoints would be other points"
    assert two.faces[1].box == left.box and error(np.array(two.faces[1].keypoints)[:, :2], portrait(100)[1]) < 0.1
    assert two.faces[2].box[0] > WIDTH and two.faces[2].score is not None
    (face,) = one.faces
    assert (face.id, face.box, face.attributes) == (9, None, {"emotion": "anger"}) and face.keypoints is not None


def test_a_damaged_member_of_a_zip_counts_as_failed(tree, weights, outputs, tmp_path):
    file, damaged = tmp_path / "photos.zip", (tree / "anger" / "one.face.png").read_bytes()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("good.png", damaged)
        archive.writestr("damaged.png", damaged[:-9] + b"X" + damaged[-8:])
    file.write_bytes(file.read_bytes().replace(damaged[:-9] + b"X", damaged[:-9] + b"Y"))
    report = landmarks(file, None, outputs, {"weights": str(weights), "max_failed": 1})
    assert set(report.failed) == {"damaged.png"} and report.faces == 1


def test_pictures_that_cannot_be_read_are_bounded_and_listed(tree, weights, outputs):
    (tree / "sad" / "cut.png").write_bytes((tree / "anger" / "one.face.png").read_bytes()[:900])
    (tree / "sad" / "text.jpg").write_text("no picture")
    options = {"weights": str(weights), "pictures": ["gray"]}
    for allowed, message in enumerate([r"1 of 3 pictures .*cut.png", r"2 of 5 .* 1 not_an_image \(sad/text.jpg\)"]):
        with pytest.raises(InputError, match=rf"{message}.* stopped there, with max_failed={allowed}"):
            landmarks(tree, None, outputs, options | {"max_failed": allowed})
        assert not any(path.exists() for path in outputs.paths)
    report = landmarks(tree, None, outputs, options | {"max_failed": 2.0})
    assert set(report.failed) == {"sad/cut.png", "sad/text.jpg"}
    assert json.loads(outputs.listing.read_text())["failed"]["sad/text.jpg"].startswith("not_an_image: ")
    assert len(read_annotations(outputs.annotations).images) == 4


def test_an_interrupted_run_leaves_nothing(tree, weights, outputs, monkeypatch):
    drawing = threading.Event()

    def draw_slowly(folder, name, *_):
        if name.startswith("anger/two"):
            drawing.set()
            time.sleep(0.3)
        (folder / "gray").mkdir(parents=True, exist_ok=True)

    def interrupt(*_):
        drawing.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "draw_faces", draw_slowly)
    monkeypatch.setattr(module.PointTable, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        landmarks(tree, None, outputs, {"weights": str(weights), "pictures": ["gray"]}, workers=1)
    while any(thread.name.startswith("ordered-map") for thread in threading.enumerate()):
        time.sleep(0.01)
    assert [path.name for path in outputs.pictures.parent.iterdir()] == [tree.name]


def test_names_that_could_not_be_drawn_matter_only_where_they_are(weights, outputs, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "a.png", "a.jpg.png"):
        (tmp_path / "photos" / name).write_bytes(png(blank()))
    options = {"weights": str(weights), "upsample": 0}
    with pytest.raises(InputError, match="two pictures would be drawn"):
        landmarks(tmp_path / "photos", None, outputs, options | {"pictures": ["gray"]})
    assert landmarks(tmp_path / "photos", None, outputs, options).images == 3


def test_annotations_of_a_folder_of_photos(tree, weights, outputs, tmp_path):
    first = Image(1, "anger/one.face.png", WIDTH, HEIGHT, (Face(7, (30, 40, 100, 120), {"emotion": "anger"}),))
    write_annotations(Annotations((first,)), tmp_path / "faces.json")
    landmarks(tree, tmp_path / "faces.json", outputs, {"weights": str(weights), "faces": "given"})
    (marked,) = read_annotations(outputs.annotations).images
    assert error(np.array(marked.faces[0].keypoints)[:, :2], portrait(100)[1]) < 0.12


@pytest.mark.parametrize("box", [(-40, -30, 200, 230), (150, 180, 10, 12), (70, 80, 5, 5), (0, 0, 160, 1)])
def test_odd_boxes_have_points_all_the_same(box, weights, outputs, tmp_path):
    images, annotations = store(tmp_path, {"a.png": (png(portrait(100)[0]), (WIDTH, HEIGHT), (Face(1, box, {}),))})
    landmarks(images, annotations, outputs, {"weights": str(weights), "faces": "given", "pictures": MODES})
    points = read_annotations(outputs.annotations).images[0].faces[0].keypoints
    assert len(points) == 68
    assert all((point.visibility == 2) == (-0.5 < point.x < 159.5 and -0.5 < point.y < 191.5) for point in points)


def test_a_box_outside_its_picture_counts_as_failed(weights, outputs, tmp_path):
    good, bad = Face(1, (30, 40, 100, 120), {}), Face(2, (500, 500, 9, 9), {"age": 3})
    size, data = (WIDTH, HEIGHT), png(portrait(100)[0])
    images, annotations = store(tmp_path, {"a.png": (data, size, (good,)), "b.png": (data, size, (bad,))})
    options = {"weights": str(weights), "faces": "given"}
    with pytest.raises(InputError, match=r"1 box \(b.png\).*outside the picture of 160 x 192 pixels"):
        landmarks(images, annotations, outputs, options)
    landmarks(images, annotations, outputs, options | {"max_failed": 1})
    assert read_annotations(outputs.annotations).images[1].faces == (bad,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "^options of landmarks: weights: is missing; known: .*pictures"),
        ({"weights": "w.dat", "pictures": ["grey"]}, "did you mean 'gray'"),
        ({"weights": "w.dat", "threshhold": 1}, "did you mean"),
        ({"weights": "w.dat", "faces": "given"}, "pass annotations"),
    ],
)
def test_options_that_cannot_be(options, message, tree, outputs):
    with pytest.raises(InputError, match=message):
        landmarks(tree, None, outputs, options)


def test_inputs_are_not_overwritten(tree, weights, tmp_path):
    inside = Outputs(tree / "a.json", tmp_path / "c.csv", tmp_path / "p", tmp_path / "l.json")
    with pytest.raises(InputError, match="would overwrite the input"):
        landmarks(tree, None, inside, {"weights": str(weights)})
    same = Outputs(tmp_path / "p/a.json", tmp_path / "c.csv", tmp_path / "p", tmp_path / "l.json")
    with pytest.raises(InputError, match="would overwrite another output"):
        landmarks(tree, None, same, {"weights": str(weights)})


@pytest.mark.parametrize(
    ("names", "drawn"),
    [
        (["a/b.c.jpg", "x.JPG"], ["a/b.c", "x"]),
        (["a.jpg", "a.png", "b/a.jpg"], ["a.jpg", "a.png", "b/a"]),
        (["a.jpg", "a_1.jpg", "b_1.jpg"], ["a", "a_1.jpg", "b_1"]),
        (["a.jpg", "a_1.jpg", "a_1_1.jpg"], ["a", "a_1.jpg", "a_1_1.jpg"]),
    ],
)
def test_no_drawing_takes_the_name_of_another(names, drawn):
    assert list(png_names(names).values()) == drawn


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "b/../../a.jpg"])
def test_names_that_lead_elsewhere(name):
    with pytest.raises(InputError, match="leads out of the folder"):
        png_names([name])
