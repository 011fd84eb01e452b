import pytest

from components.ingest.formats.folders.class_folder import ClassFolderOptions, read_class_folders
from components.shared.options import parse_options
from serving.runtime.errors import InputError


@pytest.fixture
def found(listing):
    def read(paths, **options):
        return read_class_folders(listing(paths), parse_options(ClassFolderOptions, options, "class_folder"))

    return read


def facts(result):
    return [(record.path, record.split, record.faces[0].attributes, record.person) for record in result.records]


def pictures(*folders):
    """The names of pictures in folders; `cat*3` has three."""
    counts = [folder.partition("*") for folder in folders]
    return [f"{name}/{number}.jpg".lstrip("/") for name, _, count in counts for number in range(int(count or 1))]


def labels(result):
    """The (label, split) of each picture's folder."""
    return {
        record.path.rpartition("/")[0]: (record.faces[0].attributes["label"], record.split) for record in result.records
    }


def test_classes_without_splits_at_any_depth(found):
    result = found(["sad/b.png", "happy/x/a.jpg", "happy/c.JPG", "loose.jpg", "happy/._c.jpg", "happy/notes.txt"])
    assert facts(result) == [
        ("happy/c.JPG", None, {"label": "happy"}, None),
        ("happy/x/a.jpg", None, {"label": "happy"}, None),
        ("sad/b.png", None, {"label": "sad"}, None),
    ]
    assert result.skipped.counts == {"not_in_a_class_folder": 1, "hidden": 1, "not_an_image_name": 1}


CAT, DOG = ("cat", None), ("dog", None)


def below(classes, folders, order="{0}/{1}"):
    """Each class with each of the folders in it, or in the other order."""
    return {order.format(name, folder): (name, None) for name in classes for folder in folders}


PER_CAMERA, NUMBERED = below(["cat", "dog"], ["cam1", "cam2"]), below(["cat", "dog"], ["01", "02"])
PER_PERSON, PERSONS_FIRST = (below(["happy", "sad"], ["ann", "bob"], order) for order in ("{0}/{1}", "{1}/{0}"))


@pytest.mark.parametrize(
    ("folders", "understood"),
    [
        (["cat", "dog"], {"cat": CAT, "dog": DOG}),
        (["pets/cat", "pets/dog"], {"pets/cat": CAT, "pets/dog": DOG}),
        (["a/b c/pets/cat", "a/b c/pets/dog"], {"a/b c/pets/cat": CAT, "a/b c/pets/dog": DOG}),
        (["images/cat", "images/dog"], {"images/cat": CAT, "images/dog": DOG}),
        (["JPEGImages/cat", "JPEGImages/dog"], {"JPEGImages/cat": CAT, "JPEGImages/dog": DOG}),
        (["", "images/cat", "images/dog"], {"images/cat": CAT, "images/dog": DOG}),
        (["", "cat*20", "dog"], {"cat": CAT, "dog": DOG}),
        (["pets", "pets/cat", "pets/dog"], {"pets/cat": CAT, "pets/dog": DOG}),
        (["cat/images", "dog/images"], {"cat/images": CAT, "dog/images": DOG}),
        (["cat", "dog/ann", "dog"], {"cat": CAT, "dog/ann": DOG, "dog": DOG}),
        (["cat/ann", "cat/bob", "dog/cid"], {"cat/ann": CAT, "cat/bob": CAT, "dog/cid": DOG}),
        ([*PER_CAMERA], PER_CAMERA),
        (["cat/camera a", "cat/camera b", "dog"], {"cat/camera a": CAT, "cat/camera b": CAT, "dog": DOG}),
        ([*NUMBERED], NUMBERED),
        ([*PER_PERSON], PER_PERSON),
        ([*PERSONS_FIRST], PERSONS_FIRST),
        (["0", "1", "2"], {name: (name, None) for name in "012"}),
        (["s1", "s2", "s3"], {name: (name, None) for name in ("s1", "s2", "s3")}),
    ],
)
def test_the_classes_are_told_from_the_whole_tree(found, folders, understood):
    result = found([*pictures(*folders), "__MACOSX/x/1.jpg", ".cache/y/1.jpg"])
    assert labels(result) == understood
    beside = [folder for folder in folders if folder in ("", "pets")]
    assert result.skipped.counts == {"hidden": 2} | ({"not_in_a_class_folder": 1} if beside else {})
    assert not result.dropped.total


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train/{}", "test/{}"),
        ("pets/train/{}", "pets/test/{}"),
        ("Train/{}", "TEST/{}"),
        ("training_set/{}", "test_set/{}"),
        ("train2017/{}", "testing/{}"),
        ("Training/{}", "PrivateTest/{}"),
        ("trainset/{}", "testset/{}"),
        ("train/train/{}", "test/test/{}"),
        ("training_set/training_set/{}", "test_set/test_set/{}"),
        ("train/images/{}", "test/images/{}"),
        ("train/train_images/{}", "test/test_images/{}"),
        ("images/train/{}", "images/test/{}"),
        ("train/{}/ann", "test/{}/bob"),
        ("pets_train/{}", "pets_test/{}"),
        ("{}/train", "{}/test"),
        ("pets/{}/Train", "pets/{}/Test"),
        ("{}/train/p1", "{}/test/p2"),
        ("test/train/{}", "test/test/{}"),
    ],
)
def test_splits_above_or_below_the_classes(found, train, test):
    shapes = {"train": train, "test": test}
    folders = {shape.format(name): (name, split) for split, shape in shapes.items() for name in ("cat", "dog")}
    result = found(pictures(*folders))
    assert labels(result) == folders
    assert "cat 2, dog 2" in result.layout[0] and "test 2, train 2" in result.layout[1]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Validation", "val_set", "VAL"])
def test_names_of_the_validation_split(found, val):
    result = found(
        ["train/happy/a.jpg", "train/sad/a.jpg", f"{val}/happy/a.jpg", "test/sad/a.jpg", "train/loose.jpg", "b.jpg"],
        attribute="emotion",
    )
    assert facts(result) == sorted(
        [
            ("test/sad/a.jpg", "test", {"emotion": "sad"}, None),
            ("train/happy/a.jpg", "train", {"emotion": "happy"}, None),
            ("train/sad/a.jpg", "train", {"emotion": "sad"}, None),
            (f"{val}/happy/a.jpg", "val", {"emotion": "happy"}, None),
        ]
    )
    assert (result.skipped.examples, result.dropped.examples) == (
        {"not_in_a_class_folder": ["b.jpg"]},
        {"not_in_a_class_folder": ["train/loose.jpg"]},
    )


@pytest.mark.parametrize(
    ("folders", "why"),
    [
        (["cat*3"], "one class only: cat"),
        (["pets/cat*3"], "one class only: cat"),
        (["*3"], "no folders that could be classes"),
        (["train/cat", "test/cat"], "one class only: cat"),
        (["train*3", "test*3"], "no folders that could be classes"),
        (["train/cat", "train/dog", "test/fox", "test/cow"], "not the same in the splits"),
        (["train/cat", "train/dog", "test/unknown*5"], "not the same in the splits"),
        (["cat", "animals/dog", "animals/fox"], "different depths: 'animals'.*dog, fox.*'cat'"),
        (["train/cat", "train/animals/dog", "test/cat", "test/animals/dog"], "different depths"),
        (["cat", "animals/dog"], "different depths"),
        (["cat/left_cam", "dog"], "different depths"),
        (["site a/cat", "site a/dog", "site b/cat", "site b/dog"], "could be site a, site b, or .* cat, dog"),
        (["male/young", "male/old", "female/young", "female/old"], "could be female, male, or .* old, young"),
        (["train/happy", "happy"], r"splits \(train\), others are not \(happy\)"),
        (["cat/train", "cat/test", "dog"], r"splits \(test, train\), others are not"),
        (["train/cat/test", "test/cat/train", "train/dog/test"], "two levels"),
        (["train_cat", "train_dog", "test_cat", "test_dog"], "names of splits are part of those of classes"),
        (["images/cat", "images/dog", "masks/cat", "masks/dog"], "'images' lies where the classes should be"),
        (["images", "sad"], "'images' lies where the classes should be"),
        (["*9", "cat", "dog"], "9 pictures lie beside"),
    ],
)
def test_a_tree_that_does_not_tell_is_refused_and_shown(found, folders, why):
    with pytest.raises(InputError, match=f"(?s){why}.*The folders and their pictures:.*option 'folders'"):
        found(pictures(*folders))


def test_the_tree_in_an_error_is_short_and_has_counts(found):
    folders = ["pets/cat*4", *(f"pets/other/{a}{b}/{inner}" for a in "abcdef" for b in "vwxyz" for inner in "mn")]
    with pytest.raises(InputError) as error:
        found(pictures(*folders))
    lines = str(error.value).splitlines()[1:-1]
    assert lines[:4] == ["pets/ 64", "  cat/ 4", "  other/ 60", "    av/ 2"]
    assert lines[-1] == "    and 25 more folders 50"


@pytest.mark.parametrize(
    ("folders", "option", "understood", "beside"),
    [
        (["cat*3"], "<class>", {"cat": CAT}, 0),
        (["a/cat", "a/dog", "b/cat", "x"], "<any>/<class>", {"a/cat": CAT, "a/dog": DOG, "b/cat": CAT}, 1),
        (["x/train/cat", "y/q"], "x/<split>/<class>/", {"x/train/cat": ("cat", "train")}, 1),
        (["test", "blank"], "<class>", {"test": ("test", None), "blank": ("blank", None)}, 0),
    ],
)
def test_an_option_says_what_the_folders_are(found, folders, option, understood, beside):
    result = found(pictures(*folders), folders=option)
    assert labels(result) == understood
    assert result.skipped.total == beside


def test_the_folder_of_a_person(found):
    result = found(pictures("cat/ann", "dog/bob"), folders="<class>/<person>")
    assert [record.person for record in result.records] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("cat", "needs the folder <class>"),
        ("<class>/<class>", "<class> more than once"),
        ("<klass>/<class>", "'<klass>' is no folder"),
        ("../<class>", "'..' is no folder"),
        ("<split>/<class>", "'a' names no split"),
        ("b/<class>", "no pictures in folders like 'b/<class>'"),
    ],
)
def test_wrong_folders_are_named(found, option, message):
    with pytest.raises(InputError, match=message):
        found(pictures("a/cat", "a/dog"), folders=option)


def test_classes_that_differ_in_case_are_one(found):
    result = found(pictures("Cat*3", "cat", "dog", "DOG*2"))
    assert {label for label, _ in labels(result).values()} == {"Cat", "DOG"}
    assert result.notes.counts == {"spelling_of_class": 2}


def test_known_attributes_are_stored_in_their_one_spelling(found):
    result = found(["with_mask/a.jpg", "without_mask/b.jpg", "incorrect_mask/c.jpg"], attribute="mask")
    assert {record.faces[0].attributes["mask"] for record in result.records} == {"worn", "incorrect", "absent"}
    with pytest.raises(InputError, match="class folder 'other': attribute 'mask'"):
        found(["other/a.jpg", "mask/a.jpg"], attribute="mask")


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
