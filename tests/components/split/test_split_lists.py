from collections import Counter
from dataclasses import replace

import pytest

from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.persons import crossing_persons
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import make_bucket, upload

PERSONS = [(f"{at:06}", ["male", "female"][at % 2], 20 + at) for at in range(1, 21)]


def folder(person):
    who, gender, age = person
    return f"{who}_{gender}_Asian_{age}"


@pytest.fixture
def lists(tmp_path):
    def write(**names):
        options = {"mode": "lists"}
        for name, lines in names.items():
            path = tmp_path / f"{name}.txt"
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            options[f"{name}_list"] = str(path)
        return options

    return write


def sides(data):
    found = {}
    for image in data.images:
        found.setdefault(image.person, set()).add(image.split)
    return found


@pytest.mark.parametrize("name", [folder, lambda person: person[0], lambda person: f"  {folder(person)}/ "])
def test_persons_of_a_list_get_its_split(divide, person_images, lists, name):
    options = lists(train=map(name, PERSONS[:12]), val=map(name, PERSONS[12:16]), test=map(name, PERSONS[16:]))
    report, data = divide(person_images(PERSONS), **options)
    expected = {who: {"train" if at < 12 else "val" if at < 16 else "test"} for at, (who, _, _) in enumerate(PERSONS)}
    assert sides(data) == expected
    assert report.persons == {"train": 12, "val": 4, "test": 4}
    assert report.images == {"train": 84, "val": 28, "test": 28}
    assert report.unlisted == 0
    assert data.info.leaks is False
    facts = data.info.split.record()
    assert (facts["mode"], facts["train_list"], facts["unknown_names"]) == ("lists", "train.txt", 0)


def test_an_overlap_is_refused_naming_the_persons(divide, person_images, lists, tmp_path):
    with pytest.raises(InputError, match="1 persons are in train and in val: 000003_female_Asian_23; a person belongs"):
        divide(person_images(PERSONS), **lists(train=map(folder, PERSONS[:5]), val=map(folder, PERSONS[2:3])))
    assert not (tmp_path / "split0.json").exists()


def test_an_overlap_of_an_id_and_a_folder_name_is_seen(divide, person_images, lists):
    with pytest.raises(InputError, match="persons are in train and in test: 000004;"):
        divide(person_images(PERSONS), **lists(train=["000003", "000004"], test=[folder(PERSONS[3])]))


def test_two_folders_of_one_person_cannot_be_on_two_sides(divide, person_images, lists):
    images = person_images([("003397", "female", 19), ("003397", "female", 20), ("1", "male", 30)])
    with pytest.raises(InputError, match="003397"):
        divide(images, **lists(train=["003397_female_Asian_19", "1"], val=["003397_female_Asian_20"]))
    report, data = divide(images, **lists(train=["003397_female_Asian_19", "1"]))
    assert Counter((image.file_name.split("/")[0], image.split) for image in data.images) == {
        ("003397_female_Asian_19", "train"): 7,
        ("003397_female_Asian_20", None): 7,
        ("1_male_Asian_30", "train"): 7,
    }
    assert report.unlisted == 7
    assert data.info.split.unlisted_persons == 0


def test_persons_in_no_list_are_counted(divide, person_images, lists):
    report, data = divide(person_images(PERSONS), **lists(train=["000001"], val=["000002"]))
    assert report.persons == {"train": 1, "val": 1}
    facts = data.info.split.record()
    assert facts["unlisted_persons"] == 18
    assert facts["unlisted_images"] == report.unlisted == 18 * 7
    assert facts["unlisted_examples"] == [who for who, _, _ in PERSONS[2:]]
    assert facts["unknown_names"] == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("000003-1", ", did you mean '000003'"),
        ("000003_female_Asian_32", ", did you mean '000003_female_Asian_23'"),
        ("O00003", ", did you mean '0000"),
        ("nobody", "$"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_misspelt_name_is_refused(divide, person_images, lists, split, name, hint):
    """Names match exactly, 000003-1 is not 000003."""
    names = {"train": ["000001"], "val": ["000002"], "test": ["000004"]}
    names[split].append(name)
    with pytest.raises(
        InputError, match=f"{split}.txt: 17 persons are in no list and no image has 1 of its names: '{name}'{hint}"
    ):
        divide(person_images(PERSONS), **lists(**names))


def test_names_of_persons_who_are_gone_are_counted_where_all_others_are_in_a_list(divide, person_images, lists):
    """A misspelt name would leave a person out: these are lists of a larger data set."""
    _, data = divide(person_images(PERSONS[:3]), **lists(train=["000001", "000002"], val=["000003", "000009", "x"]))
    facts = data.info.split.record()
    assert (facts["unknown_names"], facts["unknown_examples"]) == (2, ["000009", "x"])


def test_the_persons_of_the_field(divide, person_images, lists):
    """2,430 and 270 persons, together all 2,700."""
    persons = [(f"{at:06}", ["male", "female"][at % 2], 18 + at % 43) for at in range(2700)]
    options = lists(train=map(folder, persons[270:]), val=map(folder, persons[:270]))
    report, data = divide(person_images(persons), **options)
    assert report.persons == {"train": 2430, "val": 270}
    assert crossing_persons(data.images) == []


def test_a_given_test_set_stays_when_there_is_no_test_list(divide, person_images, lists):
    images = [*person_images(PERSONS[:10]), *person_images(PERSONS[10:], "test", start=500)]
    report, data = divide(images, **lists(train=map(folder, PERSONS[:6]), val=map(folder, PERSONS[6:10])))
    assert report.persons == {"train": 6, "val": 4, "test": 10}
    assert data.info.split.given == ["test"]
    with pytest.raises(InputError, match="in train and in test: 000011"):
        divide(images, **lists(train=["000001", "000011"]))
    report, _ = divide(images, **lists(train=["000011"], test=["000001"]))
    assert report.persons == {"train": 1, "test": 1}


def test_pictures_whose_person_nobody_knows_are_found_by_their_folder(divide, lists):
    images = [
        Image(at, f"{name}/{at}.jpg", 9, 9, (Face(at, None, {"mask": "worn"}),), source=source)
        for at, (name, source) in enumerate([("a", None), ("a", None), ("b", None), ("x", "raw/c/1.jpg")], 1)
    ]
    _, data = divide(images, "mask", **lists(train=["a", "c"], val=["b"]))
    assert [image.split for image in data.images] == ["train", "train", "val", "train"]


def test_listed_images_without_a_label_or_not_trainable_get_no_split(divide, person_images, lists):
    images = [replace(image, trainable=image.person != "000001") for image in person_images(PERSONS)]
    images[10] = replace(images[10], faces=())
    report, data = divide(images, **lists(train=["000001", "000002"], val=["000003"]))
    assert (report.not_trainable, report.unlabeled) == (7, 1)
    assert report.images == {"train": 6, "val": 7}
    assert data.info.split.unlisted_persons == 17
    assert data.info.split.unknown_names == 0


def test_lists_in_s3(divide, person_images, s3, tmp_path):
    (tmp_path / "train.txt").write_text("\ufeff000001\r\n\r\n000002\r\n", encoding="utf-8")
    make_bucket("lists")
    upload(tmp_path / "train.txt", "s3://lists/train.txt")
    report, data = divide(person_images(PERSONS), mode="lists", train_list="s3://lists/train.txt")
    assert report.persons == {"train": 2}
    assert data.info.split.train_list == "s3://lists/train.txt"


def test_lists_that_are_none(divide, person_images, lists, tmp_path):
    images = person_images(PERSONS)
    with pytest.raises(NotFoundError, match="there is no such file"):
        divide(images, mode="lists", train_list=str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="contains no names"):
        divide(images, **lists(train=["", " "]))
    with pytest.raises(InputError, match="its 1 names are not persons of .*such as '000001'"):
        divide(images, **lists(train=["1"]))
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text in UTF-8"):
        divide(images, mode="lists", train_list=str(tmp_path / "odd.txt"))
