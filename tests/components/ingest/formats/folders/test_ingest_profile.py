import pytest

from components.ingest.formats.folders.profile import MASK_OF_STEM, ProfileOptions, read_profiles
from components.shared.options import parse_options
from serving.runtime.errors import InputError

STEMS = list(MASK_OF_STEM)


@pytest.fixture
def found(listing):
    def read(files, **options):
        return read_profiles(listing(files), parse_options(ProfileOptions, options, "profile"))

    return read


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
        "not_an_image_name": ["persons.csv", "000001_male_Asian_20/mask1.txt", "000001_male_Asian_20/mask1"],
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
        ("000001_xy_Asian_20", "gender"),
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
    result = found([*paths, "notes.txt", "000009_male_Asian_20/mask1.jpg"])
    assert [record.path for record in result.records] == sorted(paths)
    assert result.skipped.counts == {"not_an_image_name": 1, "not_in_a_profile_folder": 1}
    assert result.records[0].person == "000001"


def test_the_order_of_the_listing_does_not_matter(found):
    paths = folder("b_male_Asian_20") + folder("a_male_Asian_20")
    assert found(paths).records == found(paths[::-1]).records == sorted(found(paths).records, key=lambda r: r.path)


def table(*rows, header="id,gender,race,age,path"):
    return "\n".join([header, *rows, ""]).encode()


def with_files(*names, **texts):
    """Profile folders below images/, and files beside them."""
    paths = [f"images/{path}" for name in names for path in folder(name)]
    return dict.fromkeys(paths) | {name.replace("_csv", ".csv").replace("_txt", ".txt"): t for name, t in texts.items()}


ANN, BOB, BOB_AGAIN = "000001_female_Asian_45", "000002_male_Asian_18", "000002_male_Asian_19"


def test_differences_between_the_table_and_the_folders_are_reported(found):
    rows = [
        f"000001,male,Asian,45,{ANN}",
        f"000002,male,Asian,19,{BOB}",
        "000003,male,Asian,30,000003_male_Asian_30",
        "000004,male,Asian,old,000004_male_Asian_40",
        f"000002,male,Asian,19,{BOB}",
        "5,male",
    ]
    files = with_files(ANN, BOB, "000009_male_Asian_60", train_csv=table(*rows))
    result = found(files)
    assert result.lost.examples == {
        "bad_table_row": [
            "train.csv: row 7 has 2 values, the header has 5",
            "train.csv: row 5: attribute 'age': 'old' is not an age; write whole years from 0 to 150",
        ]
    }
    assert result.notes.examples == {
        "duplicate_table_row": [f"train.csv: row 6: {BOB}"],
        "folder_without_row": ["000009_male_Asian_60"],
        "row_without_folder": ["000003_male_Asian_30"],
        "gender_differs": [f"{ANN}: the table says male"],
        "age_differs": [f"{BOB}: the table says 19"],
    }
    assert not result.skipped.total

    def facts(**options):
        records = found(files, **options).records
        return {(r.person, r.faces[0].attributes["gender"], r.faces[0].attributes["age"]) for r in records}

    alone = ("000009", "male", 60)
    assert facts() == facts(prefer="folder") == {("000001", "female", 45), ("000002", "male", 18), alone}
    assert facts(prefer="table") == {("000001", "male", 45), ("000002", "male", 19), alone}


def test_a_preferred_table_names_the_person_of_an_unreadable_folder(found):
    files = with_files("holiday", ANN, persons_csv=table("7,male,Asian,30,holiday"))
    assert found(files).dropped.counts == {"folder_name": 7}
    result = found(files, table="persons.csv", prefer="table")
    assert {record.person for record in result.records} == {"7", "000001"}
    assert not result.dropped.total
    assert result.notes.counts == {"folder_without_row": 1}


def test_rows_that_contradict_each_other_do_not_count(found):
    rows = [f"000001,female,Asian,45,{ANN}", f"000001,female,Asian,46,{ANN}"]
    result = found(with_files(ANN, train_csv=table(*rows)), prefer="table")
    assert {record.faces[0].attributes["age"] for record in result.records} == {45}
    assert result.lost.counts == {"conflicting_table_rows": 1}
    assert result.notes.counts == {"folder_without_row": 1}


def test_a_table_that_is_none_only_counts_unless_it_was_named(found):
    files = with_files(ANN, train_csv=b"a,b\n1,2\n")
    assert found(files).notes.counts == {"table_not_read": 1}
    with pytest.raises(InputError, match="expected a header with the columns id, gender, race, age, path"):
        found(files, table="train.csv")
    with pytest.raises(InputError, match="expected a header with the columns id, gender, race, age, path"):
        found(files, prefer="table")
    with pytest.raises(InputError, match="no table 'x.csv'"):
        found(files, table="x.csv")


def test_profile_lists_give_splits_by_folder_name_or_person(found):
    lists = {"train_txt": f"\ufeff{ANN}\r\n\r\n".encode(), "val_txt": b"000002\n"}
    files = with_files(ANN, BOB, BOB_AGAIN, "000003_male_Asian_20", **lists)
    result = found(files, train_list="train.txt", val_list="val.txt")
    splits = {record.path.split("/")[1]: record.split for record in result.records}
    assert splits == {ANN: "train", BOB: "val", BOB_AGAIN: "val", "000003_male_Asian_20": None}
    assert result.notes.examples == {"in_no_list": ["000003_male_Asian_20"]}
    assert not result.skipped.total


@pytest.mark.parametrize(
    ("name", "hint"), [(ANN[:-1], f", did you mean '{ANN}'"), ("O00001", ", did"), ("nobody", "$")]
)
def test_a_misspelt_name_in_a_list_is_refused(found, name, hint):
    files = with_files(ANN, BOB, train_txt=f"{name}\n{BOB}\n".encode())
    with pytest.raises(InputError, match=f"train.txt: 1 folders are in no list and no folder has .*: '{name}'{hint}"):
        found(files, train_list="train.txt")
    files["train.txt"] = f"{ANN}\n{name}\n{BOB}\n".encode()
    assert found(files, train_list="train.txt").notes.counts == {"unknown_name_in_list": 1}


@pytest.mark.parametrize("other", [BOB, BOB_AGAIN, "000002"])
def test_lists_that_share_a_person_are_refused(found, other):
    files = with_files(ANN, BOB, BOB_AGAIN, a_txt=f"{ANN}\n{BOB}\n".encode(), b_txt=other.encode())
    with pytest.raises(InputError, match="1 persons are in train and in val: 000002"):
        found(files, train_list="a.txt", val_list="b.txt")
    with pytest.raises(InputError, match="no list 'c.txt'; see the option 'val_list'"):
        found(files, val_list="c.txt")
