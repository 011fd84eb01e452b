import pytest

from components.ingest.formats.class_folder import ClassFolderOptions, read_class_folders
from components.shared.options import parse_options
from serving.runtime.errors import InputError


@pytest.fixture
def found(listing):
    def read(paths, **options):
        return read_class_folders(listing(paths), parse_options(ClassFolderOptions, options, "class_folder"))

    return read


def facts(result):
    return [(record.path, record.split, record.faces[0].attributes, record.person) for record in result.records]


def test_classes_without_splits_at_any_depth(found):
    result = found(["sad/b.png", "happy/x/a.jpg", "happy/c.JPG", "loose.jpg", "happy/._c.jpg", "happy/notes.txt"])
    assert facts(result) == [
        ("happy/c.JPG", None, {"label": "happy"}, None),
        ("happy/x/a.jpg", None, {"label": "happy"}, None),
        ("sad/b.png", None, {"label": "sad"}, None),
    ]
    assert result.skipped.counts == {"not_in_a_class_folder": 1, "hidden": 1, "not_an_image_name": 1}


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_splits_above_classes(found, val):
    result = found(
        ["train/happy/a.jpg", f"{val}/happy/a.jpg", "test/sad/a.jpg", "train/loose.jpg"], attribute="emotion"
    )
    assert facts(result) == sorted(
        [
            ("test/sad/a.jpg", "test", {"emotion": "sad"}, None),
            ("train/happy/a.jpg", "train", {"emotion": "happy"}, None),
            (f"{val}/happy/a.jpg", "val", {"emotion": "happy"}, None),
        ]
    )
    assert result.skipped.counts == {"not_in_a_class_folder": 1}


@pytest.mark.parametrize(
    ("path", "split"),
    [("images/train/sad/a.jpg", "train"), ("images/val/sad/deep/a.jpg", "val"), ("images/sad/a.jpg", None)],
)
def test_a_folder_images_above_everything_is_no_class(found, path, split):
    assert facts(found([path, "labels/train/annotation.json"])) == [(path, split, {"label": "sad"}, None)]


def test_a_folder_images_beside_others_is_a_class(found):
    assert {record.faces[0].attributes["label"] for record in found(["images/a.jpg", "sad/b.jpg"]).records} == {
        "images",
        "sad",
    }


def test_splits_beside_classes_are_refused(found):
    with pytest.raises(InputError, match=r"splits \(train\), others are not \(happy\)"):
        found(["train/happy/a.jpg", "happy/b.jpg"])


def test_known_attributes_are_stored_in_their_one_spelling(found):
    result = found(["with_mask/a.jpg", "without_mask/b.jpg", "incorrect_mask/c.jpg"], attribute="mask")
    assert {record.faces[0].attributes["mask"] for record in result.records} == {"worn", "incorrect", "absent"}
    with pytest.raises(InputError, match="class folder 'other': attribute 'mask'"):
        found(["other/a.jpg"], attribute="mask")


def test_the_person_comes_from_the_name_only_when_asked(found):
    paths = ["happy/ann_1.jpg", "sad/ann_2.jpg", "sad/noname.jpg"]
    assert [record.person for record in found(paths).records] == [None, None, None]
    assert [record.person for record in found(paths, person="^(.+)_[0-9]+$").records] == ["ann", "ann", None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"person": "("}, "person = .*not a regular expression"),
        ({"person": "a"}, "person = 'a': .*exactly one group"),
        ({"attribute": "two words"}, "attribute = 'two words': "),
        ({"max_dropped": 2}, "max_dropped = 2: "),
        (
            {"atribute": "x"},
            "atribute = 'x': unknown key, did you mean 'attribute'.*known: attribute, .*max_dropped, .*person",
        ),
    ],
)
def test_wrong_options_are_named(found, options, message):
    with pytest.raises(InputError, match=message):
        found(["a/b.jpg"], **options)
