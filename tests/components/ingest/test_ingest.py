import hashlib
import io
import json
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from kfp import dsl
from PIL import Image

from components.ingest import ingest as ingest_module
from components.ingest.component import ingest as ingest_component
from components.ingest.ingest import FORMATS, ingest
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from serving.runtime.errors import InputError, StorageError
from serving.runtime.image.decode import decode
from serving.runtime.storage import Location, make_bucket, upload

STEMS = ("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal")


def picture(seed=0, kind="JPEG", width=40, height=48, **options):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data.getvalue()


def put(file, data):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


@pytest.fixture
def profiles(tmp_path):
    """Three persons in profile folders."""
    source = tmp_path / "raw"
    for number, name in enumerate(["000001_female_Asian_45", "000002_male_Asian_18", "000002-1_male_Asian_60"]):
        for at, stem in enumerate(STEMS):
            put(
                source / name / f"{stem}.{'png' if at == 2 else 'jpg'}",
                picture(10 * number + at, "PNG" if at == 2 else "JPEG"),
            )
    return source


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def run(source, out, **options):
    report = ingest(str(source), out / "images", out / "annotations.json", **options)
    return report, read_annotations(out / "annotations.json"), ImageArchive(out / "images")


def test_bytes_names_order_ids_and_facts(profiles, tmp_path):
    before = contents(profiles)
    report, data, images = run(profiles, tmp_path / "out")
    assert {name: images.read(name) for name in images.names} == before
    assert list(images.names) == [image.file_name for image in data.images] == sorted(before)
    assert [image.id for image in data.images] == list(range(1, 22))
    assert [face.id for image in data.images for face in image.faces] == list(range(1, 22))
    assert {(image.width, image.height) for image in data.images} == {(40, 48)}
    assert {image.person for image in data.images} == {"000001", "000002", "000002-1"}
    assert (report.counts.images, report.counts.faces, report.counts.persons) == (21, 21, 3)
    assert data.info.leaks is False
    assert data.info.persons_known is True
    assert data.info.source == "raw"
    assert data.info.format == "profile"
    assert data.info.counts.record() == {"images": 21, "faces": 21, "persons": 3, "images_without_person": 0}
    assert contents(profiles) == before


def test_same_bytes_whatever_the_workers_and_the_place(profiles, tmp_path):
    run(profiles, tmp_path / "one", workers=1)
    time.sleep(0.01)
    shutil.copytree(profiles, tmp_path / "elsewhere" / "raw")
    run(tmp_path / "elsewhere" / "raw", tmp_path / "many", workers=7)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def bad_images():
    jpeg, png = picture(1), picture(1, "PNG")
    return {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"hello, this is no image", "not_an_image"),
        "cut.jpg": (jpeg[: len(jpeg) * 2 // 3], "truncated"),
        "cut.png": (png[: len(png) * 2 // 3], "truncated"),
        "html.png": (b"<html><body>404</body></html>", "not_an_image"),
    }


def test_bad_images_are_dropped_and_counted_with_names(profiles, tmp_path):
    bad = bad_images()
    for name, (data, _) in bad.items():
        put(profiles / "happy" / name, data)
    for number in range(100):
        put(profiles / "happy" / f"good{number:03d}.jpg", picture(number))
    shutil.rmtree(profiles / "000001_female_Asian_45")
    report, data, images = run(profiles, tmp_path / "out", format="class_folder")
    expected = {reason: sum(r == reason for _, r in bad.values()) for _, reason in bad.values()}
    assert report.dropped == data.info.dropped == expected
    assert data.info.dropped_examples == {
        reason: [f"happy/{name}" for name in sorted(bad) if bad[name][1] == reason] for reason in expected
    }
    assert len(images) == len(data.images) == report.counts.images == 114
    assert not any("empty.jpg" in name or "cut" in name for name in images.names)
    assert [image.id for image in data.images] == list(range(1, 115))


def test_too_many_bad_images_fail_with_their_names_and_leave_nothing(profiles, tmp_path):
    put(profiles / "000001_female_Asian_45" / "mask1.jpg", b"broken")
    put(profiles / "000001_female_Asian_45" / "mask2.jpg", b"")
    with pytest.raises(InputError, match=r"2 of 21 images cannot be used.*max_dropped.*000001_female_Asian_45/mask"):
        run(profiles, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
    report, _, _ = run(profiles, tmp_path / "out", options={"max_dropped": 0.1})
    assert report.counts.images == 19


def test_dropped_folders_count_too(profiles, tmp_path):
    (profiles / "000001_female_Asian_45").rename(profiles / "000001_xy_Asian_45")
    with pytest.raises(InputError, match=r"7 of 21 images.*folder_name.*000001_xy_Asian_45"):
        run(profiles, tmp_path / "out")


def test_more_than_twenty_examples_are_not_kept(tmp_path):
    for number in range(30):
        put(tmp_path / "raw" / "x" / f"{number:02d}.jpg", picture() if number == 0 else b"")
    options = {"max_dropped": 1, "folders": "<class>"}
    _, data, _ = run(tmp_path / "raw", tmp_path / "out", format="class_folder", options=options)
    assert data.info.dropped == {"empty": 29}
    assert data.info.dropped_examples["empty"] == [f"x/{number:02d}.jpg" for number in range(1, 21)]
    assert data.info.persons_known is False


def test_sizes_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    put(tmp_path / "raw" / "x" / "turned.jpg", picture(exif=exif))
    _, data, _ = run(tmp_path / "raw", tmp_path / "out", format="class_folder", options={"folders": "<class>"})
    assert (data.images[0].width, data.images[0].height) == (48, 40)


BOX_TABLE = "path,label,xmin,ymin,xmax,ymax\nb.jpg,x,1,1,20,20\n"


@pytest.mark.parametrize(
    ("box", "stored", "notes"),
    [
        ("4,5,20,30", (4, 5, 16, 25), {}),
        ("-4,-5,20,30", (0, 0, 20, 30), {"box_clipped": 1}),
        ("20,24,60,72", (20, 24, 20, 24), {"box_clipped": 1}),  # a fourth of it is inside
    ],
)
def test_boxes_are_clipped_to_the_image(tmp_path, box, stored, notes):
    report, data = _boxes(tmp_path, BOX_TABLE + f"a.jpg,x,{box}\n")
    (face,) = data.images[0].faces
    assert face.box == stored
    assert face.attributes == {"label": "x"}
    assert (report.notes, report.lost) == (notes, {})


@pytest.mark.parametrize("box", ["21,25,60,72", "30,30,99,99", "40,0,50,10", "-9,-9,0,0", "0,48,40,90"])
def test_a_face_with_its_box_outside_is_lost_with_its_image(tmp_path, box):
    report, data = _boxes(tmp_path, BOX_TABLE + f"a.jpg,x,{box}\n")
    assert [image.file_name for image in data.images] == ["b.jpg"]
    assert (report.lost, report.dropped) == ({"box_outside": 1}, {"every_face_lost": 1})
    assert report.lost_examples == {"box_outside": ["a.jpg"]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,x,30,30,99,99", r"1 of 2 images cannot be used, at most 30% .*'max_dropped'.*every_face_lost"),
        ("b.jpg,x,30,30,99,99", r"1 of 2 faces.* cannot be used, at most 30% .*'max_dropped'.*box_outside"),
    ],
)
def test_too_many_lost_faces_stop_the_step(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        _boxes(tmp_path, BOX_TABLE + row + "\n", 0.3)


def _boxes(tmp_path, table, max_dropped=0.5):
    for name in ("a.jpg", "b.jpg"):
        put(tmp_path / "raw" / name, picture())
    (tmp_path / "raw" / "manifest.csv").write_text(table)
    options = {"max_dropped": max_dropped}
    report, data, _ = run(tmp_path / "raw", tmp_path / "out", format="manifest", options=options)
    return report, data


def test_of_several_faces_one_outside_goes(tmp_path):
    report, data = _boxes(tmp_path, BOX_TABLE + "a.jpg,x,90,90,95,95\na.jpg,y,1,1,5,5\n")
    assert [face.attributes["label"] for face in data.images[0].faces] == ["y"]
    assert (report.lost, report.dropped) == ({"box_outside": 1}, {})


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((40, 48), [4, 5, 16, 25], (4, 5, 16, 25)),
        ((80, 96), [8, 10, 32, 50], (4, 5, 16, 25)),
        ((20, 24), [2, 2.5, 8, 12.5], (4, 5, 16, 25)),
        ((60, 71), [6, 7.4, 24, 37], (4, pytest.approx(5, abs=0.1), 16, pytest.approx(25, abs=0.1))),
        ((48, 40), [4, 5, 16, 25], None),
        ((100, 100), [4, 5, 16, 25], None),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_boxes_made_for_another_size_are_scaled_or_lost(tmp_path, size, box, expected, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation == 6:  # stored 48x40, upright 40x48; a size of 48x40 would mean the stored pixels
        put(tmp_path / "raw" / "a.jpg", picture(width=48, height=40, exif=exif))
        if expected is None and size == (48, 40):
            expected = (10, 4, 25, 16)
    else:
        put(tmp_path / "raw" / "a.jpg", picture())
    put(tmp_path / "raw" / "b.jpg", picture())
    images = [
        {"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]},
        {"id": 2, "file_name": "b.jpg", "width": 40, "height": 48},
    ]
    faces = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": box},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 1, 9, 9]},
    ]
    document = {"images": images, "annotations": faces, "categories": [{"id": 1, "name": "face"}]}
    (tmp_path / "raw" / "coco.json").write_text(json.dumps(document))
    options = {"max_dropped": 0.5}
    report, data, _ = run(tmp_path / "raw", tmp_path / "out", format="coco", options=options)
    boxes = {image.file_name: image.faces[0].box for image in data.images}
    assert boxes.get("a.jpg") == expected
    assert report.lost == ({} if expected else {"size_differs": 1})
    exact = size in ((40, 48), (48, 40))
    assert report.notes == ({"boxes_scaled": 1} if expected and not exact else {})
    if not expected:
        assert f"stated {size[0]}x{size[1]}" in report.lost_examples["size_differs"][0]


def test_nothing_found_says_what_was_there(tmp_path):
    put(tmp_path / "raw" / "mask1.jpg", picture())
    with pytest.raises(
        InputError, match=r"no image found in the format 'profile'.*not_in_a_profile_folder \(mask1\.jpg\)"
    ):
        run(tmp_path / "raw", tmp_path / "out", format="profile")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no image found"):
        run(tmp_path / "none", tmp_path / "out", format="profile")
    with pytest.raises(StorageError, match="nowhere"):
        run(tmp_path / "nowhere", tmp_path / "out")


def test_unknown_formats_and_options_list_the_known_ones(profiles, tmp_path):
    with pytest.raises(InputError, match=f"unknown format 'kitti'.*; known: {', '.join(sorted([*FORMATS, 'auto']))}"):
        run(profiles, tmp_path / "out", format="kitti")
    for format_name in ("profile", "auto"):
        with pytest.raises(InputError, match=r"format 'profile': attribute = .*: unknown key.*max_dropped"):
            run(profiles, tmp_path / "out", format=format_name, options={"attribute": "x"})


@pytest.mark.parametrize(("images", "annotations"), [("raw", "a.json"), ("raw/out", "a.json"), ("out", "raw/a.json")])
def test_an_output_in_the_source_is_refused(profiles, tmp_path, images, annotations, monkeypatch):
    before = contents(profiles)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(profiles)
    for source in ("raw", "raw/", "./link/../raw", str(profiles), "link", f"file://{profiles}"):
        with pytest.raises(InputError, match="the output would overwrite the input"):
            ingest(source, Path(images), Path(annotations))
    assert contents(profiles) == before


def test_an_old_output_is_not_overwritten(profiles, tmp_path):
    run(profiles, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match="not empty"):
        run(profiles, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_a_killed_run_leaves_nothing_that_is_accepted(profiles, tmp_path, kill_when_ready):
    program = (
        "import sys, time; from pathlib import Path; from components.ingest import ingest as module\n"
        "real = module.ArchiveWriter.add\n"
        "def add(self, name, data):\n"
        "    real(self, name, data)\n"
        "    if 'normal' in name: print('ready', flush=True); time.sleep(60)\n"
        "module.ArchiveWriter.add = add\n"
        "module.ingest(sys.argv[1], Path(sys.argv[2]) / 'images', Path(sys.argv[2]) / 'annotations.json')\n"
    )
    kill_when_ready(program, profiles, tmp_path / "out")
    (left,) = (tmp_path / "out").iterdir()
    assert left.name.startswith(".images.")
    with pytest.raises(InputError):
        ImageArchive(left)
    report, _, _ = run(profiles, tmp_path / "out")
    assert report.counts.images == 21


def test_images_are_not_all_held_in_memory(tmp_path, monkeypatch):
    """What was read ahead of what is in the archive stays small, however slow the archive is."""
    for number in range(200):
        put(tmp_path / "raw" / "x" / f"{number:03d}.png", picture(number, "PNG", 8, 8))
    ahead, read, written = [], 0, 0
    real_read, real_add = Location.read, ingest_module.ArchiveWriter.add

    def count_read(self, path=""):
        nonlocal read
        read += 1
        return real_read(self, path)

    def count_add(self, name, data):
        nonlocal written
        written += 1
        ahead.append(read - written)
        real_add(self, name, data)

    monkeypatch.setattr(Location, "read", count_read)
    monkeypatch.setattr(ingest_module.ArchiveWriter, "add", count_add)
    options = {"folders": "<class>"}
    run(tmp_path / "raw", tmp_path / "out", format="class_folder", options=options, workers=2)
    assert written == 200
    assert max(ahead) < 60


def test_from_s3_as_from_the_disk(s3, profiles, tmp_path):
    make_bucket("raw")
    (profiles / "manifest.csv").write_text("path,label\n000001_female_Asian_45/normal.jpg,x\n")
    upload(profiles, "s3://raw/faces")
    for kind in ("profile", "manifest"):
        _, local, local_images = run(profiles, tmp_path / f"local-{kind}", format=kind)
        _, remote, remote_images = run("s3://raw/faces", tmp_path / f"s3-{kind}", format=kind, source_digest="abc")
        assert remote.images == local.images
        assert remote.info.source == "s3://raw/faces"
        assert remote.info.source_digest == "abc"
        name = "images/images-00000.zip"
        assert (tmp_path / f"local-{kind}" / name).read_bytes() == (tmp_path / f"s3-{kind}" / name).read_bytes()
        assert local_images.names == remote_images.names
    for source in ("s3://missing/x", "s3://raw/none"):
        with pytest.raises(StorageError):
            run(source, tmp_path / "none")
    assert not any((tmp_path / "none").iterdir())


def test_the_door(profiles, tmp_path):
    put(profiles / "000001_female_Asian_45" / "mask1.jpg", b"broken")
    images, annotations = (
        dsl.Dataset(uri=str(tmp_path / "o" / "images")),
        dsl.Dataset(uri=str(tmp_path / "o" / "annotations")),
    )
    metrics = dsl.Metrics(uri=str(tmp_path / "o" / "metrics"))
    ingest_component.python_func(
        source=str(profiles), images=images, annotations=annotations, metrics=metrics, options={"max_dropped": 1.0}
    )
    lost = {"lost_images": 1.0, "lost_faces": 0.0, "not_part_of_the_data": 0.0}
    assert metrics.metadata == {"images": 20.0, "faces": 20.0, "persons": 3.0, **lost}
    assert all(type(value) is float for value in metrics.metadata.values())
    assert len(ImageArchive(Path(images.path))) == len(read_annotations(Path(annotations.path)).images) == 20


def test_real_photos(tmp_path):
    if not os.environ.get("FACET_PHOTOS"):
        pytest.skip("FACET_PHOTOS is not set")
    photos = Path(os.environ["FACET_PHOTOS"], "mask3")
    report, data, images = run(photos, tmp_path / "out", format="manifest", options={"rename": {"label": "mask"}})
    assert report.counts.images == len(data.images) == len(images)
    assert not report.dropped
    assert {face.attributes["mask"] for image in data.images for face in image.faces} == {"worn", "incorrect", "absent"}
    assert all(image.person and image.faces[0].box for image in data.images)
    name = random.Random(0).choice(images.names)
    assert hashlib.sha256(images.read(name)).digest() == hashlib.sha256(Path(photos, name).read_bytes()).digest()
    assert (
        json.loads((tmp_path / "out" / "annotations.json").read_text())["info"]["counts"]["persons"]
        == report.counts.persons
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["stored", "upright"])
def test_a_box_frames_the_same_face_however_the_photo_is_turned(tmp_path, orientation, drawn_on):
    """A white patch on black is found again in upright pixels, for every orientation and both kinds of boxes."""
    pixels = np.zeros((40, 64, 3), np.uint8)
    pixels[4:12, 8:32] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    put(tmp_path / "raw" / "a.png", png := turned(pixels, exif))
    upright = decode(png)
    rows, columns = np.nonzero(upright[..., 0])
    expected = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    box = (8, 4, 24, 8) if drawn_on == "stored" else expected
    (tmp_path / "raw" / "manifest.csv").write_text("path,x,y,w,h\na.png," + ",".join(map(str, box)))
    _, data, _ = run(tmp_path / "raw", tmp_path / "out", format="manifest", options={"box_frame": drawn_on})
    assert data.images[0].faces[0].box == expected
    assert (data.images[0].height, data.images[0].width) == upright.shape[:2]


def turned(pixels, exif):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", exif=exif)
    return data.getvalue()
