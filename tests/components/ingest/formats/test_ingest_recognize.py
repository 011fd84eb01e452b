"""The format of a source, recognized by its names and the heads of a few files."""

import json

import pytest
from source_trees import picture, run, write_folder, write_zip
from tool_files import MIN_ROW, TASK, VERSION_3, annotation, export, labelme, region, task, thing, voc
from tool_files import shape as labelme_shape

from components.ingest.formats.recognize import candidates, recognize
from components.ingest.ingest import FORMATS, ingest
from components.ingest.sources.members import LooseFiles
from components.ingest.sources.source import Source
from serving.runtime.errors import InputError

COCO = json.dumps(
    {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "id": 1, "bbox": [1, 2, 3, 4]}],
     "categories": [{"id": 1, "name": "face"}]}
).encode()  # fmt: skip
AIHUB = json.dumps([{"filename": "a.jpg", "faceExp_uploader": "기쁨"}], ensure_ascii=False).encode("cp949")
SAMPLES = [
    ("profile", {"1_male_Asian_30/mask1.jpg": b"", "1_male_Asian_30/normal.jpg": b"", "train.csv": b"id,path\n"}),
    ("profile", {"images/000001_female_Asian_45/normal.png": b""}),
    ("aihub", {"happy/raw/train/a.jpg": b"", "happy/labeled/train/a.json": AIHUB}),
    ("class_folder", {"cat/a.jpg": b"", "dog/b.jpg": b""}),
    ("class_folder", {"train/cat/a.jpg": b"", "train/dog/b.jpg": b"", "Val/cat/c.jpg": b"", "Val/dog/d.jpg": b""}),
    ("class_folder", {"pets/images/cat/a.jpg": b"", "pets/images/dog/b.jpg": b""}),
    ("manifest", {"manifest.csv": b"path,label\na.jpg,cat\n", "cat/a.jpg": b"", "dog/b.jpg": b""}),
    ("manifest", {"manifest.csv": "\ufeffPath,Age\na.jpg,3\n".encode(), "a.jpg": b""}),
    ("manifest", {"manifest.csv": b"path,age,age_group\na.jpg,31,30-59\n", "a.jpg": b""}),
    ("manifest", {"labels.csv": b"file;happy;sad\na.jpg;1;0\n", "photos/a.jpg": b""}),
    ("manifest", {"train/_annotations.csv": b"filename,class,xmin,ymin,xmax,ymax\na.jpg,x,1,2,3,4\n",
                  "valid/_annotations.csv": b"filename,class,xmin,ymin,xmax,ymax\nb.jpg,x,1,2,3,4\n",
                  "train/a.jpg": b"", "valid/b.jpg": b""}),
    ("coco", {"annotations/instances_train.json": COCO, "images/a.jpg": b"", "filename_mapper.json": b'{"a": "b"}'}),
    ("coco", {"train/_annotations.coco.json": COCO, "train/a.jpg": b""}),
    ("coco", {"labels/train/annotation.json": b"\xef\xbb\xbf " + COCO, "images/train/cat/a.jpg": b"",
              "images/train/dog/b.jpg": b""}),
    ("yolo", {"images/a.jpg": b"", "labels/a.txt": b"0 0.5 0.5 0.1 0.1\n", "classes.txt": b"face\n"}),
    ("yolo", {"train/images/a.jpg": b"", "train/labels/a.txt": b"", "train/images/b.jpg": b"",
              "train/labels/b.txt": b"0 0.5 0.5 0.1 0.1\r\n", "data.yaml": b"names: [face]\n"}),
    ("fer2013", {"fer2013.csv": b"emotion,pixels,Usage\n0," + b"70 80 " * 20_000}),
    ("fer2013", {"train.csv": b"emotion,pixels\r\n0,70 80 82 72\r\n"}),
    ("evaluation", {"info.csv": b"ImageID,ans\na.jpg,0\n", "images/a.jpg": b""}),
    ("voc", {"Annotations/a.xml": voc(thing()), "JPEGImages/a.jpg": b"", "ImageSets/Main/train.txt": b"a\n"}),
    ("voc", {"a.xml": b"<?xml version='1.0'?>\n<!-- a comment -->\n" + voc(thing()), "a.jpg": b""}),
    ("voc", {"a.xml": voc(thing()).decode().encode("utf-16"), "a.jpg": b""}),
    ("voc", {"a.xml": voc(thing()), "a.jpg": b"", "manifest.csv": b"path,annotation,n_faces\na.jpg,a.xml,1\n"}),
    ("cvat", {"annotations.xml": TASK, "images/a.jpg": b""}),
    ("labelme", {"a.json": labelme(labelme_shape()), "a.jpg": b""}),
    ("labelme", {"x/a.json": VERSION_3, "x/a.jpg": b"", "y/b.jpg": b""}),
    ("label_studio", {"project.json": export(task(annotation(region()))), "a.jpg": b""}),
    ("label_studio", {"project.json": export(MIN_ROW), "a.jpg": b""}),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "files"), SAMPLES)
def test_every_format_is_recognized(tmp_path, expected, files):
    folder, archive = write_folder(tmp_path / "raw", files), write_zip(tmp_path / "raw.zip", files)
    first, second = (recognize(Source(str(source))) for source in (folder, archive))
    assert first.format == expected and first == second and first.evidence


def test_the_samples_are_of_all_formats():
    assert {name for name, _ in SAMPLES} == FORMATS.keys() - {"photos"}


def test_photos_without_labels_are_read_when_that_is_said_and_never_by_themselves(tmp_path):
    files = {"a.jpg": picture(1), "deep/in/it/b.jpg": picture(2), ".hidden/c.jpg": b"", "notes.txt": b""}
    folder = write_folder(tmp_path / "raw", files)
    with pytest.raises(InputError, match="not recognized; name it with 'format', 'photos' where nothing is labeled"):
        run(folder, tmp_path / "auto", format="auto")
    images, info, _ = run(folder, tmp_path / "out", format="photos")
    assert [(image.file_name, image.split) for image in images] == [("a.jpg", None), ("deep/in/it/b.jpg", None)]
    assert {(face.box, str(face.attributes)) for image in images for face in image.faces} == {(None, "{}")}
    assert info.format == "photos" and info.layout == ("photos without labels: each is one face",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.xml": voc(thing()), "a.jpg": b"", "all.json": COCO}, r"more than one format.*coco: .*; voc: .*"),
        ({"a.json": VERSION_3, "a.jpg": b"", "a.txt": b"0 0.5 0.5 0.1 0.1"}, r"more than one.*labelme: .*; yolo: "),
        ({"manifest.csv": b"path,label\na.jpg,x\n", "info.csv": b"ImageID\n", "a.jpg": b""}, "manifest: .*; eval"),
        ({"a.jpg": b"", "b.jpg": b"", "notes.txt": b"read me"}, r"recognized.*Files: 2 \.jpg, 1 \.txt; folders: none"),
        ({"one/a.jpg": b"", "one/b.jpg": b""}, "not recognized.*folders: one"),
        ({"a.csv": b"\xff\xfe\0"}, "not recognized"),
        ({"a.xml": b"", "b.json": b"", "c.csv": b"", "manifest.csv": b"", "c.jpg": b"", "c.txt": b""}, "recognized"),
        ({}, "no files"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_an_error_with_what_is_there(tmp_path, files, message):
    folder = tmp_path / "raw"
    folder.mkdir()
    with pytest.raises(InputError, match=message):
        ingest(str(write_folder(folder, files)), tmp_path / "images", tmp_path / "annotations.json")


@pytest.mark.parametrize("wrong", sorted(FORMATS.keys() - {"voc", "class_folder", "photos"}))
def test_a_wrong_format_is_answered_with_what_the_source_looks_like(tmp_path, wrong):
    files = {"Annotations/a.xml": voc(thing(), size=(20, 24)), "JPEGImages/a.jpg": picture()}
    folder = write_folder(tmp_path / "raw", files)
    if wrong == "yolo":
        files["labels/a.txt"] = b""
    with pytest.raises(
        InputError, match=r"The source looks like voc: the XML file Annotations/a\.xml has <annotation>"
    ):
        ingest(str(folder), tmp_path / "images", tmp_path / "annotations.json", format=wrong)


def test_why_is_said_in_the_layout(tmp_path):
    files = {f"{name}.xml": voc(thing(), filename=f"{name}.jpg", size=(20, 24)) for name in "abc"}
    folder = write_folder(tmp_path / "raw", files | {f"{name}.jpg": picture(seed) for seed, name in enumerate("abc")})
    _, info, _ = run(folder, tmp_path / "out", format="auto")
    assert info.format == "voc"
    assert info.layout[0] == "format voc: 3 XML files with <annotation>, beside 3 pictures"
    _, named, _ = run(folder, tmp_path / "named", format="voc")
    assert named.layout == info.layout[1:]


def test_few_files_are_read_and_only_their_heads(tmp_path, monkeypatch):
    files = {f"{n:03}.json": labelme(labelme_shape(), path=f"{n:03}.jpg", imageData="x" * 200_000) for n in range(50)}
    source = Source(str(write_folder(tmp_path / "raw", files)))
    read = []
    head = LooseFiles.head
    monkeypatch.setattr(LooseFiles, "head", lambda *given, **named: read.append(len(head(*given, **named))) or b"")
    assert candidates(source) == []
    assert len(read) <= 8 and max(read) <= 64 * 2**10


def test_a_format_named_auto_takes_the_options_of_the_one_it_is(tmp_path):
    folder = write_folder(tmp_path / "raw", {"cat/a.jpg": picture(1), "dog/b.jpg": picture(2)})
    images, _, _ = run(folder, tmp_path / "out", options={"attribute": "pet"})
    assert [image.faces[0].attributes for image in images] == [{"pet": "cat"}, {"pet": "dog"}]
    with pytest.raises(InputError, match=r"options of format 'class_folder': manifest = .*unknown key"):
        run(folder, tmp_path / "out2", options={"manifest": "x.csv"})
