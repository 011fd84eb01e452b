import pytest

from components.ingest.formats.listing import Record
from components.ingest.formats.tables.evaluation import EvaluationOptions, read_evaluation
from components.shared.dataset.annotations import Face
from components.shared.dataset.label_spaces import label_space
from components.shared.options import parse_options
from serving.runtime.errors import InputError


@pytest.fixture
def found(listing):
    def read(text, images=("a.jpg", "b.jpg"), folder="", **options):
        files = {f"{folder}info.csv": text.encode(), **{f"{folder}images/{name}": None for name in images}}
        return read_evaluation(listing(files), parse_options(EvaluationOptions, options, "evaluation"))

    return read


def test_pictures_of_nobody_known_in_the_test_split(found):
    result = found("ImageID,ans\nb.jpg,0\na.jpg,0\n")
    assert result.records == [
        Record("images/a.jpg", (Face(0, None, {}),), split="test"),
        Record("images/b.jpg", (Face(0, None, {}),), split="test"),
    ]
    assert not (result.dropped.total or result.skipped.total or result.notes.total)


def test_the_table_without_answers_with_a_byte_order_mark_or_in_a_folder(found):
    assert len(found("\ufeffImageID\r\na.jpg\r\nb.jpg\r\n").records) == 2
    result = found("ImageID\na.jpg\n", images=["a.jpg"], folder="eval/", table="eval/info.csv")
    assert [record.path for record in result.records] == ["eval/images/a.jpg"]


def test_missing_and_extra_pictures_and_bad_rows_are_counted(found):
    table = "ImageID,ans\na.jpg,1\ngone.jpg,1\n../info.csv,1\na.jpg,1\nb.jpg\n\nb.jpg,2\n"
    result = found(table, images=["a.jpg", "b.jpg", "extra.jpg", "deep/b.jpg", "._a.jpg", "x.txt"])
    assert [record.path for record in result.records] == ["images/a.jpg", "images/b.jpg"]
    assert result.dropped.counts == {"bad_row": 1, "missing_file": 2}
    assert result.skipped.counts == {"hidden": 1, "no_row": 2, "not_an_image_name": 1}
    assert result.notes.counts == {"duplicate_row": 1}


@pytest.mark.parametrize(
    ("space", "answer", "attributes"),
    [
        ("mask_gender_age", 0, {"mask": "worn", "gender": "male", "age_band": "<30"}),
        ("mask_gender_age", 17, {"mask": "absent", "gender": "female", "age_band": ">=60"}),
        ("mask_gender_age", 9, {"mask": "incorrect", "gender": "female", "age_band": "<30"}),
        ("all", 10, {"mask": "incorrect", "gender": "female", "age_band": "30-59"}),
        ("gender_age", 2, {"gender": "male", "age_band": ">=60"}),
        ("age", 1, {"age_band": "30-59"}),
        ("mask", 2, {"mask": "absent"}),
        ("emotion", 6, {"emotion": "sad"}),
        ("label:cat,dog", 1, {"label": "dog"}),
    ],
)
def test_answers_become_the_facts_they_stand_for_and_no_age_is_made_up(found, space, answer, attributes):
    result = found(f"ImageID,ans\na.jpg,{answer}\nb.jpg,\n", ans=space)
    assert [record.faces[0].attributes for record in result.records] == [attributes, {}]
    assert not result.notes.total


@pytest.mark.parametrize("name", ["mask_gender_age", "all", "gender_age", "age", "gender+age", "mask", "emotion"])
def test_every_class_of_a_space_comes_back(found, name):
    space = label_space(name)
    names = [f"{number:02d}.jpg" for number in range(len(space.class_labels))]
    table = "ImageID,ans\n" + "".join(f"{name},{number}\n" for number, name in enumerate(names))
    for number, record in enumerate(found(table, images=names, ans=name).records):
        assert space.class_of(record.faces[0].attributes) == number


def test_answers_that_cannot_be_used(found):
    result = found("ImageID,ans\na.jpg,18\nb.jpg,1\nb.jpg,2\n", ans="mask_gender_age")
    assert not result.records
    assert result.dropped.counts == {"bad_ans": 1, "conflicting_rows": 1}


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("ImageID\na.jpg\n", {"table": "x.csv"}, "no table 'x.csv'"),
        ("name\na.jpg\n", {}, "columns ImageID.*found name"),
        ("", {}, "found nothing"),
        ("ImageID\na.jpg\n", {"ans": "mask"}, "columns ImageID, ans"),
        ("ImageID,ans\na.jpg,1\n", {"ans": "hats"}, "unknown label space 'hats'"),
    ],
)
def test_what_stops_the_reader(found, table, options, message):
    with pytest.raises(InputError, match=message):
        found(table, **options)
