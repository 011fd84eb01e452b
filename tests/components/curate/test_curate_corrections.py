import csv
import itertools
from collections import Counter

import pytest

from components.curate.corrections import TABLES, read_corrections
from components.shared.dataset.annotations import Face, Image
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import make_bucket, upload

HEADER = "error_id,error_file_name,miss_col,before,after,type\n"
RAW = {
    ("male", 0): 549,
    ("male", 1): 410,
    ("male", 2): 83,
    ("female", 0): 732,
    ("female", 1): 817,
    ("female", 2): 109,
}
BAND_AGES = ([18, 19, 20, 25, 29], [30, 45, 50, 56, 59], [60])


def band(age):
    return (age >= 30) + (age >= 60)


def cells(images):
    """Persons by gender and age band."""
    return Counter({(i.person, i.faces[0].attributes["gender"], band(i.faces[0].attributes["age"])) for i in images})


def persons_by_cell(images):
    return Counter((gender, age_class) for _, gender, age_class in cells(images))


def rows(name):
    with TABLES[name].open(newline="") as file:
        return list(csv.DictReader(file))


def field():
    """2,700 persons with the raw counts of the field; those in the tables have what the tables expect.

    Eight of the women to correct are young, eight middle-aged and one is 60; one of the men is young.
    """
    ages = {"female": [20] * 8 + [45] * 8 + [60], "male": [20, 40, 40]}
    persons, used = [], Counter()
    for row in rows("gender_and_mask"):
        if row["miss_col"] == "gender":
            age = ages[row["before"]].pop(0)
            persons.append((row["error_id"], row["before"], age))
        else:
            persons.append((row["error_id"], "female", 22))
    listed = {who for who, _, _ in persons}
    for index, row in enumerate(rows("age_60")):
        assert row["error_id"] not in listed
        persons.append((row["error_id"], ["male", "female"][index % 2], 51 + index % 9))
    used.update((gender, band(age)) for _, gender, age in persons)
    numbers = itertools.count(10_000)
    for (gender, age_class), total in RAW.items():
        choice = itertools.cycle(BAND_AGES[age_class])
        persons += [(f"{next(numbers):06}", gender, next(choice)) for _ in range(total - used[gender, age_class])]
    return persons


def test_three_tables_ship():
    assert sorted(TABLES) == ["age_60", "gender_and_mask", "gender_flips"]
    assert {name: len(read_corrections(name)) for name in TABLES} == {
        "gender_and_mask": 23,
        "age_60": 14,
        "gender_flips": 8,
    }
    kinds = Counter((row["miss_col"], row["before"], row["after"], row["type"]) for row in rows("gender_and_mask"))
    assert kinds == {
        ("gender", "female", "male", "all"): 17,
        ("gender", "male", "female", "all"): 3,
        ("mask", "incorrect_mask", "normal", "file"): 3,
    }
    assert all((row["miss_col"], row["after"]) == ("age", "60") for row in rows("age_60"))


def test_the_23_rows_on_2700_persons(run, person_images):
    """Applied as an overlay, with the persons per class that the predecessors counted."""
    images = person_images(field())
    assert len(images) == 18_900
    assert persons_by_cell(images) == RAW
    report, data = run(images, {"corrections": {"table": "gender_and_mask"}})
    assert persons_by_cell(data.images) == {
        ("male", 0): 556,
        ("male", 1): 416,
        ("male", 2): 84,
        ("female", 0): 725,
        ("female", 1): 811,
        ("female", 2): 108,
    }
    assert report.operations[0].counts == {"applied": 23, "images_changed": 20 * 7 + 3 * 2}
    assert (
        report.operations[0].before.class_counts["mask"]
        == report.operations[-1].after.class_counts["mask"]
        == {
            "worn": 13_500,
            "incorrect": 2_700,
            "absent": 2_700,
        }
    )
    assert report.operations[0].before.class_counts["mask_gender_age"]["worn/male/<30"] == 2745
    assert report.operations[-1].after.class_counts["mask_gender_age"]["worn/male/<30"] == 556 * 5
    before = {image.id: (image.file_name, image.person, image.source) for image in images}
    assert {image.id: (image.file_name, image.person, image.source) for image in data.images} == before
    again, same = run(data.images, {"corrections": {"table": "gender_and_mask"}})
    assert again.operations[0].counts == {"already_so": 23}
    assert same.images == data.images


def test_the_14_and_8_rows(run, person_images):
    """The eight flips go through the same table, and find what the 23 rows did."""
    images = person_images(field())
    report, data = run(images, {"corrections": {"table": "age_60"}}, {"corrections": {"table": "gender_flips"}})
    assert [entry.counts for entry in report.operations] == [
        {"applied": 14, "images_changed": 98},
        {"applied": 8, "images_changed": 56},
    ]
    assert sum(number for (_, age_class), number in persons_by_cell(data.images).items() if age_class == 2) == 192 + 14
    report, _ = run(images, {"corrections": {"table": "gender_and_mask"}}, {"corrections": {"table": "gender_flips"}})
    assert report.operations[1].counts == {"already_so": 8}


def test_an_id_matches_exactly(run, person_images):
    """001179 is not 001179-1, and no part of another id."""
    persons = [("001179-1", "male", 55), ("001179", "female", 57), ("1179", "male", 52), ("0011790", "male", 53)]
    report, data = run(person_images(persons), {"corrections": {"table": "age_60"}})
    ages = {image.person: image.faces[0].attributes["age"] for image in data.images}
    assert ages == {"001179-1": 55, "001179": 60, "1179": 52, "0011790": 53}
    entry = report.operations[0]
    assert entry.counts == {"applied": 1, "not_found": 13, "images_changed": 7}
    assert entry.examples["applied"] == ["001179 age"]
    assert "003403 age" in entry.examples["not_found"]


def test_a_suffixed_id_is_found_beside_its_stem(run, person_images):
    _, data = run(
        person_images([("001498", "male", 30), ("001498-1", "male", 20)]), {"corrections": {"table": "gender_flips"}}
    )
    genders = {image.person: image.faces[0].attributes["gender"] for image in data.images}
    assert genders == {"001498": "male", "001498-1": "female"}


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes((HEADER + text).encode(encoding))
        return {"corrections": {"table": str(path)}}

    return write


def labels(data, attribute):
    return {image.file_name.split("/")[1]: image.faces[0].attributes.get(attribute) for image in data.images}


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_mask_swap_exchanges_labels_not_files(run, person_images, table, extension):
    images = [
        Image(
            i.id,
            i.file_name.replace(".jpg", extension) if "normal" in i.file_name else i.file_name,
            9,
            9,
            i.faces,
            i.person,
        )
        for i in person_images([("000020", "male", 50)])
    ]
    operation = table("000020,000020_male_Asian_50,mask,incorrect_mask,normal,file\n")
    report, data = run(images, operation)
    after = labels(data, "mask")
    assert after["incorrect_mask.jpg"] == "absent"
    assert after[f"normal{extension}"] == "incorrect"
    assert [after[f"mask{index}.jpg"] for index in range(1, 6)] == ["worn"] * 5
    assert report.operations[0].counts == {"applied": 1, "images_changed": 2}
    report, again = run(data.images, operation)
    assert report.operations[0].counts == {"already_so": 1}
    assert again.images == data.images


def test_a_swap_finds_pictures_by_their_original_names(run, table):
    images = [
        Image(
            index,
            f"{index}.jpg",
            9,
            9,
            (Face(index, None, {"mask": mask}),),
            "000020",
            source=f"000020_male_Asian_50/{stem}.jpg",
        )
        for index, (stem, mask) in enumerate([("normal", "absent"), ("incorrect_mask", "incorrect")], start=1)
    ]
    _, data = run(images, table("000020,,mask,normal,incorrect_mask,file\n"))
    assert [image.faces[0].attributes["mask"] for image in data.images] == ["incorrect", "absent"]


def test_a_swap_with_one_picture_left_corrects_that_one(run, person_images, table):
    images = [image for image in person_images([("000020", "male", 50)]) if "incorrect" not in image.file_name]
    report, data = run(images, table("000020,,mask,incorrect_mask,normal,file\n"))
    assert labels(data, "mask")["normal.jpg"] == "incorrect"
    assert report.operations[0].counts == {"applied": 1, "images_changed": 1}


def test_half_a_swap_is_conflicting_and_changes_nothing(run, person_images, table):
    images = list(person_images([("000020", "male", 50)]))
    images[-1].faces[0].attributes["mask"] = "incorrect"
    report, data = run(images, table("000020,,mask,incorrect_mask,normal,file\n"))
    assert report.operations[0].counts == {"conflicting": 1}
    assert list(data.images) == images


@pytest.mark.parametrize(
    ("row", "person", "counts", "gender", "age"),
    [
        ("1,,gender,female,male,all", ("1", "female", 30), {"applied": 1, "images_changed": 7}, "male", 30),
        ("1,,gender,female,male,all", ("1", "male", 30), {"already_so": 1}, "male", 30),
        ("1,,age,51,60,all", ("1", "male", 52), {"conflicting": 1}, "male", 52),
        ("1,,age,51,60,all", ("1", "male", 60), {"already_so": 1}, "male", 60),
        ("1,,age,51,60,all", ("2", "male", 51), {"not_found": 1}, "male", 51),
        ("1,,age,51-59,60,all", ("1", "male", 50), {"conflicting": 1}, "male", 50),
        ("1,,age,51-59,60.0,all", ("1", "male", 51), {"applied": 1, "images_changed": 7}, "male", 60),
        ("1,,age,,60,all", ("1", "male", 18), {"applied": 1, "images_changed": 7}, "male", 60),
        (" 1 ,x_y,Gender, Female,MALE , ALL ", ("1", "female", 9), {"applied": 1, "images_changed": 7}, "male", 9),
    ],
)
def test_how_a_row_ends(run, person_images, table, row, person, counts, gender, age):
    report, data = run(person_images([person]), table(f"{row}\n"))
    assert report.operations[0].counts == counts
    assert {(i.faces[0].attributes["gender"], i.faces[0].attributes["age"]) for i in data.images} == {(gender, age)}


def test_of_two_folders_of_one_id_the_one_with_the_expected_age_changes(run, person_images, table):
    images = person_images([("003397", "female", 19), ("003397", "female", 20)])
    report, data = run(images, table("003397,,age,19,21,all\n"))
    assert report.operations[0].counts == {"applied": 1, "images_changed": 7}
    assert Counter(image.faces[0].attributes["age"] for image in data.images) == {21: 7, 20: 7}


def test_missing_values_conflict_and_pictures_of_several_faces_stay(run, table):
    faces = (Face(1, (0, 0, 5, 5), {"gender": "female"}), Face(2, (5, 5, 4, 4), {"gender": "female"}))
    images = [Image(1, "a.jpg", 9, 9, faces, "1"), Image(2, "b.jpg", 9, 9, (Face(3, None, {}),), "2")]
    report, data = run(images, table("1,,gender,female,male,all\n2,,gender,female,male,all\n"))
    assert report.operations[0].counts == {"several_faces": 1, "not_found": 1, "conflicting": 1}
    assert list(data.images) == images


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_tables_in_every_encoding(run, person_images, table, encoding):
    report, _ = run(person_images([("1", "female", 30)]), table("1,이름,gender,female,male,all\r\n\r\n", encoding))
    assert report.operations[0].counts["applied"] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,,race,a,b,all", "line 2: 'miss_col' must be gender, age, mask, got 'race'"),
        ("1,,gender,female,x,all", "line 2: attribute 'gender': 'x'"),
        ("1,,gender,female,male,file", "'type' must be 'all' for gender, got 'file'"),
        ("1,,age,x,60,all", "attribute 'age': 'x'"),
        ("1,,age,51,,all", "attribute 'age': ''"),
        (",,gender,female,male,all", "'error_id' is empty"),
        ("1,,mask,incorrect_mask,mask1,file", "incorrect_mask and normal can be exchanged"),
        ("1,,gender,female", "row 2 has 4 values, the header has 6"),
        (
            "1,,gender,female,male,all\n1,,gender,male,female,all",
            "lines 2 and 3 set the gender of 1 to male and female",
        ),
    ],
)
def test_a_row_that_cannot_be_understood_is_named(run, person_images, table, row, message):
    with pytest.raises(InputError, match=message):
        run(person_images([("1", "female", 30)]), table(f"{row}\n"))


def test_a_table_that_is_none(run, person_images, tmp_path):
    images = person_images([("1", "female", 30)])
    with pytest.raises(NotFoundError, match="no such file. Tables that ship: age_60, gender_and_mask, gender_flips"):
        run(images, {"corrections": {"table": "age60"}})
    (tmp_path / "odd.csv").write_text("id,before\n1,2\n")
    with pytest.raises(InputError, match="odd.csv: expected a header with the columns error_id, miss_col, before,"):
        run(images, {"corrections": {"table": str(tmp_path / "odd.csv")}})
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xff\x00\x81")
    with pytest.raises(InputError, match="not a text in UTF-8 or CP949"):
        run(images, {"corrections": {"table": str(tmp_path / "bytes.csv")}})


def test_a_table_in_s3(run, person_images, s3, tmp_path):
    (tmp_path / "mine.csv").write_text(HEADER + "1,,gender,female,male,all\n")
    make_bucket("tables")
    upload(tmp_path / "mine.csv", "s3://tables/mine.csv")
    report, data = run(person_images([("1", "female", 30)]), {"corrections": {"table": "s3://tables/mine.csv"}})
    assert report.operations[0].counts["applied"] == 1
    assert data.info.curation[0].options == {"table": "s3://tables/mine.csv"}
