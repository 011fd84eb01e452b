import pytest

from components.ingest.profile import MASK_OF_STEM, ProfileOptions, read_profiles

STEMS = list(MASK_OF_STEM)


@pytest.fixture
def found(listing):
    return lambda paths: read_profiles(listing(paths), ProfileOptions())


def folder(name, stems=STEMS, suffix=".jpg"):
    return [f"{name}/{stem}{suffix}" for stem in stems]


def test_seven_pictures_of_a_person_and_their_facts(found):
    result = found(folder("000001_female_Asian_45"))
    assert {record.path.split("/")[1]: record.faces[0].attributes for record in result.records} == {
        **{f"mask{n}.jpg": {"mask": "worn", "gender": "female", "age": 45} for n in range(1, 6)},
        "incorrect_mask.jpg": {"mask": "incorrect", "gender": "female", "age": 45},
        "normal.jpg": {"mask": "absent", "gender": "female", "age": 45},
    }
    assert {record.person for record in result.records} == {"000001"}
    assert all(record.faces[0].box is None and record.split is None for record in result.records)
    assert result.dropped.total == result.skipped.total == result.notes.total == 0


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".JPG", ".Jpeg", ".PNG", ".BMP"])
def test_any_image_extension_in_any_case(found, suffix):
    assert len(found(folder("000001_male_Asian_20", suffix=suffix)).records) == 7


def test_junk_is_skipped_and_counted(found):
    junk = {
        "hidden": [
            "000001_male_Asian_20/._mask1.jpg",
            "000001_male_Asian_20/.DS_Store",
            "000001_male_Asian_20/.ipynb_checkpoints/mask1-checkpoint.jpg",
            "._000001_male_Asian_20",
            "__MACOSX/000001_male_Asian_20/mask1.jpg",
        ],
        "not_an_image_name": ["train.csv", "000001_male_Asian_20/mask1.txt", "000001_male_Asian_20/mask1"],
        "unknown_stem": ["000001_male_Asian_20/mask6.jpg", "000001_male_Asian_20/Mask1.jpg"],
        "not_in_a_profile_folder": ["mask1.jpg", "000001_male_Asian_20/more/mask2.jpg"],
        "second_file_of_a_stem": ["000001_male_Asian_20/mask1.png"],
    }
    result = found([*folder("000001_male_Asian_20"), *(path for paths in junk.values() for path in paths)])
    assert [record.path for record in result.records] == sorted(folder("000001_male_Asian_20"))
    assert result.skipped.counts == {reason: len(paths) for reason, paths in junk.items()}
    assert {reason: sorted(names) for reason, names in result.skipped.examples.items()} == {
        reason: sorted(paths) for reason, paths in junk.items()
    }


def test_persons_are_ids_not_folders_and_a_suffix_is_another_person(found):
    result = found(
        folder("003397_female_Asian_19")
        + folder("003397_female_Asian_20")
        + folder("001498-1_female_Asian_23")
        + folder("001498_male_Asian_60")
    )
    persons = {}
    for record in result.records:
        persons.setdefault(record.person, set()).add(record.path.split("/")[0])
    assert persons == {
        "003397": {"003397_female_Asian_19", "003397_female_Asian_20"},
        "001498-1": {"001498-1_female_Asian_23"},
        "001498": {"001498_male_Asian_60"},
    }


def test_missing_pictures_are_counted_by_stem(found):
    result = found(
        folder("1_male_Asian_20", STEMS[1:]) + folder("2_male_Asian_20", [s for s in STEMS if s != "normal"])
    )
    assert result.notes.counts == {"missing_mask1": 1, "missing_normal": 1}
    assert result.notes.examples == {"missing_mask1": ["1_male_Asian_20"], "missing_normal": ["2_male_Asian_20"]}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("holiday", "expected <id>_<gender>_<race>_<age>"),
        ("000001_male_20", "expected <id>_<gender>_<race>_<age>"),
        ("000001_male_Asian_20_x", "expected <id>_<gender>_<race>_<age>"),
        ("_male_Asian_20", "expected <id>_<gender>_<race>_<age>"),
        ("000001_man_Asian_20", "gender"),
        ("000001_male_Asian_old", "age"),
        ("000001_male_Asian_20.5", "age"),
        ("000001_male_Asian_-1", "age"),
    ],
)
def test_a_folder_name_that_cannot_be_understood_is_dropped_and_named(found, name, why):
    result = found(folder(name, STEMS[:3]) + folder("000002_FEMALE_Asian_33"))
    assert len(result.records) == 7
    assert result.records[0].faces[0].attributes["gender"] == "female"
    assert result.dropped.counts == {"folder_name": 3}
    (example,) = result.dropped.examples["folder_name"]
    assert example.startswith(f"{name}: ")
    assert why in example


def test_the_images_folder_one_level_down_is_found(found):
    paths = [f"images/{path}" for path in folder("000001_male_Asian_20")]
    result = found([*paths, "train.csv", "000009_male_Asian_20/mask1.jpg"])
    assert [record.path for record in result.records] == sorted(paths)
    assert result.skipped.counts == {"not_an_image_name": 1, "not_in_a_profile_folder": 1}
    assert result.records[0].person == "000001"


def test_the_order_of_the_listing_does_not_matter(found):
    paths = folder("b_male_Asian_20") + folder("a_male_Asian_20")
    assert found(paths).records == found(paths[::-1]).records == sorted(found(paths).records, key=lambda r: r.path)
