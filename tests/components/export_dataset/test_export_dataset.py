import resource
import shutil
import time
from dataclasses import replace

import pytest
from export_samples import contents, export, jpeg, labeled, mapper, originals, store
from kfp import dsl

from components.export_dataset.component import export_dataset as export_component
from components.export_dataset.export_dataset import LAYOUTS
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from serving.runtime.errors import InputError


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_inputs_give_equal_bytes_and_inputs_stay(data, tmp_path, layout):
    before = contents(data)
    export(data, tmp_path / "one", layout=layout)
    time.sleep(0.01)
    shutil.copytree(data, tmp_path / "elsewhere")
    export(tmp_path / "elsewhere", tmp_path / "deep/two", layout=layout)
    assert contents(tmp_path / "one") == contents(tmp_path / "deep/two")
    assert contents(data) == before
    assert not list(tmp_path.rglob("*partial*"))


def test_what_is_left_out_is_counted_and_named(tmp_path):
    happy, sad = {"emotion": "happy"}, {"emotion": "sad"}
    both = Image(8, "8.jpg", 40, 30, (Face(80, (1, 1, 9, 9), happy), Face(81, (9, 9, 9, 9), sad)), split="val")
    half = Image(9, "9.jpg", 40, 30, (Face(90, (1, 1, 9, 9), {}), Face(91, (9, 9, 9, 9), sad)), split="val")
    pairs = [
        labeled(1, happy),
        labeled(2, {}),
        labeled(3, {"emotion": "bored"}),
        labeled(4, sad, split=None),
        labeled(5, sad, split=None, trainable=False),
        (Image(6, "6.jpg", 40, 30, (), split="test"), jpeg(6)),
        (Image(7, "7.jpg", 40, 30, (Face(70, None, happy),), split="test"), jpeg(7)),
        (both, jpeg(8)),
        (half, jpeg(9)),
    ]
    data = store(tmp_path / "data", pairs)
    coco = export(data, tmp_path / "coco")
    assert coco.images == {"train": 2, "val": 2, "test": 1}
    assert coco.faces == 6
    assert coco.left_out == {"no_face": 1, "not_trainable": 1, "unlabeled": 2}
    assert coco.notes == {"class_without_images": 16, "several_classes": 1, "unlabeled_face": 1, "unsplit_to_train": 1}
    assert mapper(tmp_path / "coco")["left_out"] == {
        "no_face": ["6.jpg"],
        "not_trainable": ["5.jpg"],
        "unlabeled": ["2.jpg", "3.jpg"],
    }
    skipped = export(data, tmp_path / "skipped", options={"unsplit": "skip"})
    assert skipped.left_out == coco.left_out | {"unsplit": 1}
    classes = export(data, tmp_path / "classes", layout="yolo_classification")
    assert classes.left_out == coco.left_out | {"several_classes": 1}
    boxes = export(data, tmp_path / "boxes", layout="yolo_detection")
    assert boxes.left_out == {"no_box": 1, "not_trainable": 1}
    assert boxes.notes == {"background": 1, "unsplit_to_train": 1}
    assert sorted(file.read_text().count("\n") for file in (tmp_path / "boxes").glob("labels/*/*.txt")) == [
        0,
        *[1] * 4,
        2,
        2,
    ]


def test_profile_lists(tmp_path):
    pairs = [
        labeled(1, {}, "train", person="b"),
        labeled(2, {}, "train", person="a-1"),
        labeled(3, {}, "val", person="a"),
        labeled(4, {}, None, person="a"),
        labeled(5, {}, None, person="c"),
        labeled(6, {}, "test"),
    ]
    report = export(store(tmp_path / "data", pairs), tmp_path / "lists", layout="profile_lists")
    assert {name: text.decode() for name, text in contents(tmp_path / "lists").items()} == {
        "train.txt": "a-1\nb\nc\n",
        "val.txt": "a\n",
        "test.txt": "",
    }
    assert report.images == {"train": 3, "val": 1}
    assert report.left_out == {"no_person": 1, "unsplit": 1}


def test_lists_are_disjoint_or_refused(tmp_path):
    pairs = [labeled(1, {}, "train", person="x"), labeled(2, {}, "val", person="x")]
    data = store(tmp_path / "data", pairs)
    with pytest.raises(InputError, match=r"1 persons have images in more than one split \(x\)"):
        export(data, tmp_path / "lists", layout="profile_lists")
    nobody = store(tmp_path / "nobody", [labeled(1, {}, "train")])
    with pytest.raises(InputError, match="no image has a person"):
        export(nobody, tmp_path / "lists", layout="profile_lists")
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "voc"}, "unknown layout 'voc'; known: coco, profile_lists, yolo_classification, yolo_detection"),
        ({"label_space": "hats"}, "unknown label space 'hats'"),
        ({"options": {"unsplit": "val"}}, "unsplit = 'val': unknown name"),
        ({"options": {"unplit": "skip"}}, "unplit = 'skip': unknown key, did you mean 'unsplit'"),
        ({"label_space": "mask"}, "no image to export as coco.*'unlabeled': 21"),
    ],
)
def test_wrong_arguments_are_named_and_leave_nothing(data, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        export(data, tmp_path / "tree", **arguments)
    assert not list(tmp_path.iterdir())


def test_an_output_in_the_input_or_in_use_is_refused(data, tmp_path):
    before = contents(data)
    (tmp_path / "link").symlink_to(data / "images")
    for output in (data / "images", data / "images/tree", data, data / "annotations.json", tmp_path / "link/tree"):
        with pytest.raises(InputError, match="the output would overwrite the input|already exists"):
            export(data, output)
    assert contents(data) == before


def test_an_image_that_is_not_in_the_archive_leaves_no_tree(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    images = (*originals(data).values(), replace(labeled(500, {"emotion": "sad"})[0], sha256="0" * 64))
    write_annotations(Annotations(images), tmp_path / "data/annotations.json")
    with pytest.raises(InputError, match=r"no image '500.jpg' in the archive"):
        export(tmp_path / "data", tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("layout", ["coco", "yolo_detection"])
def test_a_file_that_cannot_be_written_is_named_and_leaves_no_tree(data, tmp_path, layout):
    """As on a full disk, where only the number of the error differs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/images/(train|val|test)/.*'"):
            export(data, tmp_path / "tree", layout=layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_killed_export_leaves_no_tree(data, tmp_path, kill_when_ready):
    program = (
        "import sys, time; from pathlib import Path; from components.shared.dataset.export import files as module\n"
        "from components.export_dataset.export_dataset import export_dataset\n"
        "write = module.write_images\n"
        "def slow(*arguments):\n"
        "    write(*arguments); print('ready', flush=True); time.sleep(60)\n"
        "module.write_images = slow\n"
        "export_dataset(*map(Path, sys.argv[1:]))\n"
    )
    kill_when_ready(program, data / "images", data / "annotations.json", tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert export(data, tmp_path / "tree").faces == 21


def test_the_door(data, tmp_path):
    dataset = dsl.Dataset(uri=str(tmp_path / "out" / "dataset"))
    metrics = dsl.Metrics(uri=str(tmp_path / "out" / "metrics"))
    export_component.python_func(
        images=dsl.Dataset(uri=str(data / "images")),
        annotations=dsl.Dataset(uri=str(data / "annotations.json")),
        dataset=dataset,
        metrics=metrics,
        layout="yolo_classification",
    )
    assert (tmp_path / "out/dataset/filename_mapper.json").is_file()
    assert metrics.metadata["images"] == metrics.metadata["faces"] == 21.0
    assert metrics.metadata["val_images"] == 7.0
    assert metrics.metadata["left_out"] == 0.0
    assert all(type(value) is float for value in metrics.metadata.values())
