"""Class folders, COCO and YOLO over `facet step ingest`: what is read, what stops the step and what the log says."""

import json
import sys

import pytest
from source_trees import picture, write_folder

from components.shared.dataset.annotations import read_annotations
from pipelines.command.main import main


@pytest.fixture
def step(tmp_path, monkeypatch, capsys, caplog):
    """Ingest a tree; return the exit code, the log and the annotations, if there are any."""

    def run(tree, format_name, *options):
        folder = write_folder(tmp_path / "raw", {name: data or picture() for name, data in tree.items()})
        paths = ["--source", folder, "--images", tmp_path / "images", "--annotations", tmp_path / "a.json"]
        arguments = ["step", "ingest", *paths, "--format", format_name, *(["--options", *options] if options else [])]
        monkeypatch.setattr(sys, "argv", ["facet", *map(str, arguments)])
        with caplog.at_level("INFO"), pytest.raises(SystemExit) as end:
            main()
        code = int(end.value.code or 0)
        return code, caplog.text + capsys.readouterr().err, read_annotations(tmp_path / "a.json") if code == 0 else None

    return run


def pets(shape, *splits):
    return {
        shape.format(split, name) + f"/{number}.jpg": b""
        for split in splits for name in ("cat", "dog") for number in range(3)
    }  # fmt: skip


def coco(images, annotations):
    categories = [{"id": 0, "name": "pets"}, {"id": "1", "name": "cat"}, {"id": 2, "name": "dog"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode()


def entries(box):
    images = [{"id": n, "file_name": f"images\\{n}.jpg", "width": "20", "height": 24} for n in range(4)]
    return images, [{"id": n, "image_id": str(n), "category_id": n % 2 + 1, "bbox": box(n)} for n in range(4)]


def labels(data):
    return [(face.attributes.get("label"), image.split) for image in data.images for face in image.faces]


def test_a_tree_of_class_folders_with_a_folder_around_it(step):
    code, log, data = step(pets("pets/{}/{}", "Train", "val_set"), "class_folder")
    assert code == 0
    assert "folders: pets/<split>/<class>; label is the folder <class>: cat 6, dog 6" in log
    assert sorted(set(labels(data))) == [("cat", "train"), ("cat", "val"), ("dog", "train"), ("dog", "val")]
    assert data.info.layout[1] == "splits are the folders <split>: train 6, val 6"


def test_a_tree_that_does_not_tell_stops_the_step_and_is_shown(step):
    tree = pets("{}/{}", "here", "there")
    code, log, _ = step(tree, "class_folder")
    assert code == 2 and "here/ 6\n  cat/ 3\n  dog/ 3\n" in log and "option 'folders'" in log
    code, _, data = step(tree, "class_folder", "folders=<any>/<class>")
    assert code == 0 and set(labels(data)) == {("cat", None), ("dog", None)}


def test_coco_values_of_another_type(step):
    files = {f"photos/images/{n}.jpg": b"" for n in range(4)}
    code, log, data = step(files | {"labels/all.json": coco(*entries(lambda n: ["1", "2", "9", str(9 + n)]))}, "coco")
    assert code == 0
    assert labels(data) == [("cat", None), ("dog", None)] * 2
    assert [face.box for image in data.images for face in image.faces][:1] == [(1, 2, 9, 9)]
    assert "label is the category: cat 2, dog 2; without faces: pets" in log and "box_of_texts" in log


def test_coco_boxes_that_are_lost_stop_the_step(step):
    files = {f"images/{n}.jpg": b"" for n in range(4)}
    files |= {"all.json": coco(*entries(lambda n: [1, 2, 9, 9] if n else [5, 5, -4, 3]))}
    code, log, _ = step(files, "coco")
    assert code == 2 and "every_face_lost (images/0.jpg)" in log and "max_dropped" in log
    code, log, data = step(files, "coco", "max_dropped=0.3")
    assert code == 0 and [image.file_name for image in data.images] == [f"images/{n}.jpg" for n in (1, 2, 3)]
    assert data.info.lost == {"bad_box": 1} and "1 bad_box" in log


@pytest.mark.parametrize(
    ("names", "code", "told"),
    [
        ({"data.yaml": b"train: images\nnames: [no, yes]\n"}, 0, "label is the class: no 2, yes 2"),
        ({"classes.txt": b"cat\ndog\n"}, 0, "label is the class: cat 2, dog 2"),
        ({"data.yaml": b"train: images\nnames:\n\t- cat\n"}, 2, "data.yaml: describes a data set and cannot be read"),
        ({"data.yaml": b"train: images\nnames: [cat]\n"}, 2, "2 class_without_name"),
        ({}, 2, "name the classes with the option 'names'"),
    ],
)
def test_names_of_yolo_classes(step, names, code, told):
    files = {f"images/{n}.jpg": b"" for n in range(4)}
    files |= {f"labels/{n}.txt": f"{n % 2} 0.5 0.5 0.5 0.5\n".encode() for n in range(4)}
    result, log, _ = step(files | names, "yolo")
    assert result == code and told in log
