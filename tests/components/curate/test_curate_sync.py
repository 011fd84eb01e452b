import json
import unicodedata
from dataclasses import replace

import pytest

from components.export_dataset.export_dataset import export_dataset
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import make_bucket, upload


def images(*names, sources=None):
    return [
        Image(
            index,
            name,
            9,
            9,
            (Face(index, None, {"emotion": name.split("/")[0]}),),
            source=sources and sources[index - 1],
        )
        for index, name in enumerate(names, 1)
    ]


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(data):
    return [image.file_name for image in data.images]


def test_a_plain_tree_that_was_cleaned_by_hand(run, tmp_path):
    """Entries of files that were deleted go, and are counted."""
    tree = tmp_path / "tree"
    touch(tree, "anger/1.jpg", "sad/1.jpg", "sad/new.jpg", "sad/._1.jpg", ".cache/2.jpg", "annotation.json")
    report, data = run(images("anger/1.jpg", "anger/2.jpg", "sad/1.jpg", "sad/2.jpg"), {"sync": {"folder": str(tree)}})
    assert names(data) == ["anger/1.jpg", "sad/1.jpg"]
    assert report.dropped == data.info.dropped == {"removed": 2}
    assert data.info.dropped_examples == {"removed": ["anger/2.jpg", "sad/2.jpg"]}
    entry = data.info.curation[0]
    assert entry.counts == {"removed": 2, "unknown": 1}
    assert entry.examples["unknown"] == ["sad/new.jpg"]
    assert entry.options == {"folder": "tree"}


def test_names_are_compared_in_composed_form_and_by_their_original_name(run, tmp_path):
    tree = tmp_path / "tree"
    touch(tree, unicodedata.normalize("NFD", "분노/남.jpg"), "raw/7.jpg")
    originals = images("분노/남.jpg", "분노/여.jpg", "x/3.jpg", sources=[None, None, "raw/7.jpg"])
    _, data = run(originals, {"sync": {"folder": str(tree)}})
    assert names(data) == ["분노/남.jpg", "x/3.jpg"]


@pytest.fixture
def exported(tmp_path):
    """An exported tree with a mapper: (new name, original name) pairs, of which only some files are left."""

    def make(pairs, left, wrap=lambda entries: {"images": entries}):
        tree = tmp_path / "exported"
        touch(tree, "labels/train/annotation.json", *left)
        entries = [{"name": name, "original": original, "split": "train", "class": "sad"} for name, original in pairs]
        (tree / "filename_mapper.json").write_text(json.dumps(wrap(entries)), encoding="utf-8")
        return {"sync": {"folder": str(tree)}}

    return make


@pytest.mark.parametrize("prefix", ["images/train/sad/", ""])
@pytest.mark.parametrize("wrap", [lambda entries: {"images": entries, "version": 1}, list])
def test_an_exported_tree_is_matched_through_its_mapper(run, exported, prefix, wrap):
    pairs = [(f"{prefix}aa.jpg", "sad/1.jpg"), (f"{prefix}bb.jpg", "sad/2.jpg"), (f"{prefix}cc.jpg", "gone/9.jpg")]
    operation = exported(pairs, ["images/train/sad/aa.jpg", "images/train/sad/zz.jpg"], wrap)
    report, data = run(images("sad/1.jpg", "sad/2.jpg", "sad/3.jpg"), operation)
    assert names(data) == ["sad/1.jpg", "sad/3.jpg"]
    entry = report.operations[0]
    assert entry.counts == {"unknown": 2, "not_exported": 1, "removed": 1}
    assert sorted(entry.examples["unknown"]) == ["gone/9.jpg", "images/train/sad/zz.jpg"]


def test_a_file_moved_to_another_class_stays_and_is_told(run, exported):
    pairs = [("images/train/sad/aa.jpg", "sad/1.jpg"), ("images/train/sad/bb.jpg", "sad/2.jpg")]
    report, data = run(
        images("sad/1.jpg", "sad/2.jpg"), exported(pairs, ["images/train/sad/aa.jpg", "images/train/pain/bb.jpg"])
    )
    assert names(data) == ["sad/1.jpg", "sad/2.jpg"]
    assert report.operations[0].counts == {"moved": 1}


def test_equal_names_in_two_classes_are_two_files(run, exported):
    """The file of one class does not stand for the deleted one of the other."""
    pairs = [("images/train/sad/1.jpg", "sad/1.jpg"), ("images/train/pain/1.jpg", "pain/1.jpg")]
    report, data = run(images("sad/1.jpg", "pain/1.jpg"), exported(pairs, ["images/train/pain/1.jpg"]))
    assert names(data) == ["pain/1.jpg"]
    assert report.dropped == {"removed": 1}


def test_a_tree_in_s3(run, s3, tmp_path):
    touch(tmp_path, "set/sad/1.jpg", "set/sad/3.jpg", "set2/sad/2.jpg")
    make_bucket("clean")
    upload(tmp_path / "set", "s3://clean/set")
    upload(tmp_path / "set2", "s3://clean/set2")
    _, data = run(images("sad/1.jpg", "sad/2.jpg"), {"sync": {"folder": "s3://clean/set"}})
    assert names(data) == ["sad/1.jpg"]
    entries = [{"name": "sad/9.jpg", "original": "sad/1.jpg"}, {"name": "sad/3.jpg", "original": "sad/2.jpg"}]
    (tmp_path / "filename_mapper.json").write_text(json.dumps({"images": entries}))
    upload(tmp_path / "filename_mapper.json", "s3://clean/set/")
    _, data = run(images("sad/1.jpg", "sad/2.jpg"), {"sync": {"folder": "s3://clean/set/"}})
    assert names(data) == ["sad/2.jpg"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("gone.txt", "sad/1.jpg\r\n\n  sad/2.jpg  \nsad/1.jpg\n"),
        ("gone.txt", "\ufeffsad/1.jpg\nsad/2.jpg"),
        ("gone.json", json.dumps(["sad/1.jpg", "sad/2.jpg"])),
    ],
)
def test_a_list_of_removed_names(run, tmp_path, file, content):
    (tmp_path / file).write_text(content, encoding="utf-8")
    report, data = run(images("sad/1.jpg", "sad/2.jpg", "sad/3.jpg"), {"sync": {"removed": str(tmp_path / file)}})
    assert names(data) == ["sad/3.jpg"]
    assert report.operations[0].counts == {"removed": 2}


@pytest.mark.parametrize(
    ("name", "hint"), [("sad/1.jpeg", ", did you mean 'sad/1.jpg'"), ("Sad/1.jpg", ", did"), ("q", "$")]
)
def test_a_misspelt_name_in_a_list_is_refused(run, tmp_path, name, hint):
    (tmp_path / "gone.txt").write_text(f"sad/2.jpg\n{name}\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"gone.txt: no image has 1 of its names: '{name}'{hint}"):
        run(images("sad/1.jpg", "sad/2.jpg"), {"sync": {"removed": str(tmp_path / "gone.txt")}})


def test_a_folder_without_any_of_the_images_drops_nothing(run, tmp_path):
    tree = tmp_path / "tree"
    touch(tree, "deep/sad/1.jpg")
    with pytest.raises(InputError, match="no file in there is one of the images: it has deep/sad/1.jpg"):
        run(images("sad/1.jpg"), {"sync": {"folder": str(tree)}})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it has nothing"):
        run(images("sad/1.jpg"), {"sync": {"folder": str(tmp_path / "empty")}})


TWO_ORIGINALS = '[{"name": "a", "original": "b"}, {"name": "a", "original": "c"}]'


@pytest.mark.parametrize(
    "mapper",
    ['{"images": 3}', '{"images": [{"name": "a"}]}', "[1]", "{", TWO_ORIGINALS, '{"images": [], "images": [1]}'],
)
def test_a_damaged_mapper_is_refused(run, tmp_path, mapper):
    tree = tmp_path / "tree"
    touch(tree, "a.jpg")
    (tree / "filename_mapper.json").write_text(mapper)
    with pytest.raises(InputError, match="filename_mapper.json"):
        run(images("a.jpg"), {"sync": {"folder": str(tree)}})


def test_a_missing_or_damaged_list_is_refused(run, tmp_path):
    with pytest.raises(NotFoundError, match="there is no such file"):
        run(images("a.jpg"), {"sync": {"removed": str(tmp_path / "none.txt")}})
    (tmp_path / "odd.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="expected a JSON list of names"):
        run(images("a.jpg"), {"sync": {"removed": str(tmp_path / "odd.json")}})
    for options in ({}, {"folder": "a", "removed": "b"}):
        with pytest.raises(InputError, match="give 'folder' or 'removed'"):
            run(images("a.jpg"), {"sync": options})


def test_an_export_that_was_cleaned_by_hand_comes_back(run, tmp_path):
    """Export, delete files, sync, with Korean names and equal pictures."""
    originals = [
        replace(image, split="train" if index % 3 else "val")
        for index, image in enumerate(images("anger/남_1.jpg", "anger/2.JPG", "sad/남_1.jpg", "sad/4.png", "sad/5.jpg"))
    ]
    with ArchiveWriter(tmp_path / "images") as writer:
        for index, image in enumerate(originals):
            writer.add(image.file_name, bytes([index % 4]))
    write_annotations(Annotations(tuple(originals)), tmp_path / "all.json")
    tree = tmp_path / "tree"
    export_dataset(tmp_path / "images", tmp_path / "all.json", tree, layout="coco", label_space="emotion")
    report, data = run(originals, {"sync": {"folder": str(tree)}})
    assert list(data.images) == originals
    assert report.operations[0].counts == {}
    exported = json.loads((tree / "filename_mapper.json").read_text(encoding="utf-8"))["images"]
    gone = exported[0]["original"], exported[3]["original"]
    for entry in (exported[0], exported[3]):
        (tree / entry["name"]).unlink()
    report, data = run(originals, {"sync": {"folder": str(tree)}})
    assert set(names(data)) == {image.file_name for image in originals} - set(gone)
    assert report.operations[0].counts == {"removed": 2}


def test_strange_files_of_one_name_are_all_counted(run, exported):
    pairs = [("images/train/sad/aa.jpg", "sad/1.jpg")]
    left = ["images/train/sad/aa.jpg", "images/train/sad/zz.jpg", "images/train/pain/zz.jpg"]
    report, _ = run(images("sad/1.jpg"), exported(pairs, left))
    assert report.operations[0].counts == {"unknown": 2}


@pytest.mark.parametrize("here", [None, "a" * 64, "b" * 64])
def test_a_tree_exported_from_other_pictures_of_the_same_names_is_refused(run, tmp_path, here):
    tree = tmp_path / "tree"
    touch(tree, "images/train/sad/aa.jpg")
    entries = [{"name": "images/train/sad/aa.jpg", "original": "sad/1.jpg", "sha256": "a" * 64}]
    (tree / "filename_mapper.json").write_text(json.dumps({"images": entries}), encoding="utf-8")
    mine = [replace(image, sha256=here) for image in images("sad/1.jpg")]
    if here == "b" * 64:
        with pytest.raises(InputError, match=r"tree: exported from another data set: 1 of its pictures .* sad/1\.jpg"):
            run(mine, {"sync": {"folder": str(tree)}})
    else:
        _, data = run(mine, {"sync": {"folder": str(tree)}})
        assert names(data) == ["sad/1.jpg"]
