"""The table of FER2013: pictures made from gray values in text."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from serving.runtime.errors import InputError

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 256, (6, 48, 48), dtype=np.uint8)


def put(file, data):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def run(source, out, **options):
    ingest(str(source), out / "images", out / "annotations.json", format="fer2013", options=options)
    data = read_annotations(out / "annotations.json")
    return data.images, data, ImageArchive(out / "images")


def pixels(number):
    return " ".join(map(str, FACES[number].ravel()))


ROWS = [(0, "Training"), (3, "Training"), (6, "PublicTest"), (2, "PrivateTest")]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("emotion,pixels,Usage", "{0},{1},{2}"),
        ("emotion, Usage, pixels", "{0}, {2}, {1}"),
        ("Emotion;Pixels;usage", '"{0}";"{1}";{2}'),
    ],
)
def test_pictures_labels_and_splits(tmp_path, header, row):
    lines = [row.format(emotion, pixels(number), usage) for number, (emotion, usage) in enumerate(ROWS)]
    put(tmp_path / "raw" / "fer2013.csv", "\n".join([header, *lines]).encode())
    images, data, archive = run(tmp_path / "raw", tmp_path / "out")
    assert [(image.file_name, image.split, image.faces[0].attributes) for image in images] == [
        ("fer2013/000002.png", "train", {"emotion": "angry"}),
        ("fer2013/000003.png", "train", {"emotion": "happy"}),
        ("fer2013/000004.png", "val", {"emotion": "neutral"}),
        ("fer2013/000005.png", "test", {"emotion": "fear"}),
    ]
    assert {(image.width, image.height) for image in images} == {(48, 48)}
    for number, image in enumerate(images):
        stored = Image.open(io.BytesIO(archive.read(image.file_name)))
        assert stored.mode == "L" and np.array_equal(np.asarray(stored), FACES[number])
    assert not data.info.dropped and not data.info.lost


def test_rows_that_cannot_be_read_are_counted(tmp_path):
    bad = ["0,1 2 3,Training", f"0,{pixels(1)} 7,Training", f"0,{'256 ' * 2304},Training", f"0,{'a ' * 2304},Training"]
    rows = [f"7,{pixels(0)},Training", f",{pixels(1)},Elsewhere", f"x,{pixels(2)},"]
    put(tmp_path / "raw" / "all.csv", "\n".join(["emotion,pixels,Usage", *bad, *rows]).encode())
    options = {"table": "all.csv", "max_dropped": 1}
    images, data, _ = run(tmp_path / "raw", tmp_path / "out", **options)
    assert [(image.split, image.faces[0].attributes) for image in images] == [("train", {}), (None, {}), (None, {})]
    assert data.info.dropped == {"bad_pixels": 4} and data.info.lost == {"bad_emotion": 2, "unknown_split": 1}


def test_in_an_archive_and_with_other_classes(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("fer2013/fer2013.csv", f"emotion,pixels\n1,{pixels(0)}\n0,{pixels(1)}\n")
    options = {"table": "fer2013/fer2013.csv", "classes": ["smile", "frown"]}
    images, _, _ = run(tmp_path / "archive.zip", tmp_path / "out", **options)
    assert [image.faces[0].attributes for image in images] == [{"emotion": "frown"}, {"emotion": "smile"}]


def test_another_table_is_refused(tmp_path):
    put(tmp_path / "raw" / "fer2013.csv", b"path,label\na.jpg,x\n")
    with pytest.raises(InputError, match="expected a header with the columns pixels"):
        run(tmp_path / "raw", tmp_path / "out")
    with pytest.raises(InputError, match="no table 'gone.csv'; see the option 'table'"):
        run(tmp_path / "raw", tmp_path / "out", table="gone.csv")
