import re
from dataclasses import asdict, replace
from html import escape
from pathlib import Path

import pytest
from kfp import dsl
from report_pages import cells, content, hand_made, image, report, write

from components.data_report.component import data_report as component
from components.data_report.data_report import data_report
from components.data_report.duplicates import find_duplicates
from components.data_report.sizes import measure_sizes
from components.data_report.statistics import statistics_of
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import Annotations, Face, write_annotations
from components.shared.dataset.info import DatasetInfo
from components.shared.dataset.label_spaces import label_space
from components.split.split import split
from pipelines.samples.profiles import draw_sample
from serving.runtime.errors import InputError, NotFoundError


def test_counts_are_those_of_a_hand_made_set(tmp_path: Path) -> None:
    images = hand_made()
    statistics = statistics_of(images, label_space("mask"))
    assert [asdict(part) for part in statistics.splits] == [
        {"name": "train", "images": 4, "faces": 4, "persons": 4},
        {"name": "val", "images": 2, "faces": 2, "persons": 2},
        {"name": None, "images": 1, "faces": 0, "persons": 1},
    ]
    assert statistics.classes.counts.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert statistics.classes.unlabeled.tolist() == [1, 0, 0] and statistics.classes.imbalance == 1.5
    attributes = {a.name: (a.values, a.counts.sum(axis=1).tolist(), int(a.absent.sum())) for a in statistics.attributes}
    assert attributes == {
        "mask": (("worn", "incorrect"), [3, 2], 1),
        "gender": (("male",), [1], 5),
        "age": (("<30", "30-59", ">=60"), [2, 1, 1], 2),
        "place": (("here", "there"), [1, 1], 4),
    }
    assert list(attributes) == ["mask", "gender", "age", "place"]
    assert statistics.ages.tolist() == [20, 60, 29, 31]
    persons = statistics.persons
    assert persons.crossing == (("p1", ("train", "val")),)
    assert persons.names == ("p1", "p3", "p4", "p6", "p7") and persons.images.tolist() == [2, 1, 1, 1, 1]
    assert (persons.images_without, statistics.not_trainable, statistics.folds) == (1, 1, {1: 1})
    assert statistics.extensions == {".jpg": 5, "": 1, ".png": 1}

    sizes = measure_sizes(images)
    assert (len(sizes.boxes), sizes.faces_without, sizes.images_without) == (5, 1, 2)
    assert sizes.examples == ("deep.er/005.PNG", "bare") and sizes.common == (((30, 40), 7),)
    assert sizes.areas.tolist() == [0.25, 0.25, 0.25, 0.25, 1.0]
    assert sizes.centers[0].tolist() == [12.5 / 30, 0.5] and sizes.smallest[0] == ("001.jpg", 15.0, 20.0)

    copies = find_duplicates(images, statistics.classes_of)
    assert [[one.id for one in group] for group in copies.exact] == [[2, 4]]
    assert [[one.id for one in group] for group in copies.near] == [[1, 3]]
    assert len(copies.crossing) == 2 and not copies.contradicting

    write(tmp_path, images, {"dropped": {"empty": 2, "truncated": 1}})
    figures, _ = report(tmp_path)
    assert figures == {
        "images": 7,
        "faces": 6,
        "persons": 5,
        "classes": 2,
        "imbalance": 1.5,
        "exact_duplicate_groups": 1,
        "near_duplicate_groups": 1,
        "duplicates_across_splits": 2,
        "crossing_persons": 1,
        "dropped": 3,
        "missing": 0,
    }


NOTICES = {
    "clean": ([image(1), image(2, "val")], {}, []),
    "no split yet": ([image(1, None, person="p"), image(2, None, person="p", sha256=content(1))], {}, []),
    "one split": ([image(1, person="p"), image(2, person="p", sha256=content(1))], {}, []),
    "person": ([image(1, person="p"), image(2, "val", person="p")], {}, ["Persons cross splits."]),
    "equal": ([image(1), image(2, "test", sha256=content(1))], {}, ["Duplicates cross splits."]),
    "alike": ([image(1), image(2, "test", dhash=image(1).dhash)], {}, ["Duplicates cross splits."]),
    "plain": ([image(1, dhash="0" * 32), image(2, "test", dhash="0" * 32)], {}, []),
    "leaks": ([image(1), image(2, "val")], {"leaks": True}, ["This data leaks."]),
    "both": (
        [image(1, person="p"), image(2, "val", person="p", sha256=content(1))],
        {"leaks": True},
        ["Persons cross splits.", "Duplicates cross splits.", "This data leaks."],
    ),
}


@pytest.mark.parametrize("case", NOTICES)
def test_notices_are_shown_exactly_for_their_problems(case: str, tmp_path: Path) -> None:
    images, info, expected = NOTICES[case]
    write(tmp_path, images, info)
    assert report(tmp_path)[1].notices == expected


def test_missing_and_broken_images_are_reported(tmp_path: Path) -> None:
    images = [image(1), image(2, sha256=None), image(3, width=31)]
    write(tmp_path, images, contents={"001.jpg": b"", "002.jpg": b"no picture"})
    figures, page = report(tmp_path)
    assert figures["missing"] == 1 and page.notices == ["Images are missing."]
    assert "1 image of the annotations is not in the archive, such as 001.jpg" in cells(page)
    assert "3 images could not be shown: 001.jpg: " in cells(page)
    assert "002.jpg: the data is not an image" in cells(page) and "003.jpg: the image is 30 x 40 pixels" in cells(page)
    assert page.text.count("not shown") == 3 and page.sources == []


def test_missing_attributes_and_splits_are_reported(tmp_path: Path) -> None:
    bare = [
        replace(image(i, None), person=None, sha256=None, dhash=None, faces=(Face(i, None, {}),)) for i in range(1, 4)
    ]
    write(tmp_path, bare)
    figures, page = report(tmp_path)
    text = cells(page)
    assert (figures["persons"], figures["classes"], figures["imbalance"]) == (0, 0, 0.0) and page.notices == []
    for said in (
        "No image has a split yet.",
        "No face has a class of the label space 'mask'.",
        "3 faces lack an attribute that the label space reads.",
        "No face has an attribute.",
        "No image has a person id, so each counts as one person.",
        "Nothing was lost, left out or noted.",
        "no face has one: the whole image counts as the face",
        "3 images, not compared",
        "without a class",
    ):
        assert said in text, said
    assert "Annotators" not in text and "Curation" not in text and len(page.sources) == 3


def test_dropped_images_and_curation_are_listed(tmp_path: Path) -> None:
    step = {
        "operation": "drop",
        "options": {"reasons": ["no_box"]},
        "counts": {"no_box": 1234},
        "examples": {"no_box": ["a.jpg"]},
        "before": {"images": 5000},
        "after": {"images": 3766},
    }
    info = {
        "dropped": {"truncated": 7},
        "dropped_examples": {"truncated": ["cut.jpg"]},
        "lost": {"unknown_category": 2},
        "lost_examples": {"unknown_category": ["a.json: annotations[3]"]},
        "layout": ["label is the name of the folder below pets/train"],
        "skipped": {"hidden": 1},
        "notes": {"box_clipped": 3},
        "curation": [step],
    }
    write(tmp_path, [image(1)], info)
    text = cells(report(tmp_path)[1])
    assert "Nothing was lost" not in text
    for sentence in (
        "kept lost not part of the data images 0 7 1 faces 0 2 faces, labels or boxes",
        "label is the name of the folder below pets/train",
        "image lost truncated cut.jpg 7",
        "face, label or box lost unknown_category a.json: annotations[3] 2",
        "not part of the data hidden",
        "noted box_clipped",
        "1. drop",
        "1,234 no_box",
    ):
        assert sentence in text, sentence
    assert '{"reasons": ["no_box"]}' in text and "5,000 → 3,766" in text


def test_a_note_on_the_layout_is_not_nothing(tmp_path: Path) -> None:
    write(tmp_path, [image(1)], {"layout": ["pixels are counted from 0"]})
    text = cells(report(tmp_path)[1])
    assert "pixels are counted from 0" in text and "Nothing was lost, left out or noted." not in text


def test_missing_classes_and_invalid_values_are_reported(tmp_path: Path) -> None:
    images = [image(1), image(2, "val"), image(3, attributes={"mask": "absent"}), image(4, attributes={"mask": "?!"})]
    write(tmp_path, images)
    text = cells(report(tmp_path)[1])
    assert "val lacks 1 of the 2 classes." in text and "train lacks" not in text
    assert "1 face has an invalid value, such as 004.jpg: attribute 'mask': '?!'" in text


def test_without_a_label_space_faces_alone_are_counted(tmp_path: Path) -> None:
    images = hand_made()
    write(tmp_path, images)
    figures, page = report(tmp_path, space="")
    assert (figures["faces"], figures["classes"]) == (6, 1)
    assert "face (1 class)" in cells(page)


def test_equal_files_of_different_classes_are_reported(tmp_path: Path) -> None:
    images = [image(1), image(2, sha256=content(1), attributes={"mask": "absent"}), image(3), image(4)]
    write(tmp_path, images)
    assert "1 group of equal files has different classes, such as 001.jpg" in cells(report(tmp_path)[1])


def test_the_drawn_sample_from_ingest_to_report(tmp_path: Path) -> None:
    draw_sample(tmp_path / "raw", persons=18)
    ingest(str(tmp_path / "raw"), tmp_path / "images", tmp_path / "all.json")
    options = {"label_space": "gender_age", "val_ratio": 0.34, "test_ratio": 0.0, "seed": 0}
    split(tmp_path / "all.json", tmp_path / "a.json", **options)
    figures, page = report(tmp_path, "mask_gender_age")
    assert (figures["images"], figures["persons"], figures["classes"], figures["imbalance"]) == (126, 18, 18, 5.0)
    assert figures["duplicates_across_splits"] == 0 and page.notices == []
    assert "Ratios val 0.333 (asked 0.34)" in cells(page)
    assert len(page.sources) >= 18 * 3
    for label in label_space("mask_gender_age").class_labels:
        assert escape(label) in (tmp_path / "report").read_text()
    first = (tmp_path / "report").read_bytes()
    report(tmp_path, "mask_gender_age")
    assert (tmp_path / "report").read_bytes() == first


def test_persons_attributes_classes_imbalance_and_extensions_are_shown(tmp_path: Path) -> None:
    people = [("male", 20), ("male", 45), ("female", 20), ("female", 60), ("female", 60)]
    masks = ["worn"] * 5 + ["incorrect", "absent"]
    images = [
        image(
            7 * who + at + 1,
            "train" if who else "val",
            file_name=f"{who}/{at}{'.png' if at == 6 else '.jpg'}",
            person=f"p{who}",
            attributes={"mask": mask, "gender": gender, "age": age},
        )
        for who, (gender, age) in enumerate(people)
        for at, mask in enumerate(masks)
    ]
    write(tmp_path, images)
    figures, page = report(tmp_path, "mask_gender_age")
    assert (figures["images"], figures["persons"], figures["classes"]) == (35, 5, 12)
    assert figures["imbalance"] == 10.0
    text = cells(page)
    for said in (
        "Persons 5 7.0 images each",
        "Imbalance 10.0 : 1",
        "worn/female/>=60 10 28.6% 10 0",
        "absent/male/<30 1 2.9% 0 1",
        "gender value faces share male 14 40.0% female 21 60.0%",
        "age value faces share <30 14 40.0% 30-59 7 20.0% >=60 14 40.0%",
        "extension images share .jpg 30 85.7% .png 5 14.3%",
    ):
        assert f" {said}" in text, said


def test_the_order_of_the_annotations_changes_only_their_digest(tmp_path: Path) -> None:
    images = hand_made()
    write(tmp_path, images)
    report(tmp_path)
    first = (tmp_path / "report").read_text()
    write_annotations(Annotations(tuple(reversed(images)), DatasetInfo(leaks=False)), tmp_path / "a.json")
    report(tmp_path)
    second = (tmp_path / "report").read_text()
    digest = re.compile(r"<dd>[0-9a-f]{12}…</dd>")
    assert digest.sub("", first) == digest.sub("", second) and first != second


def test_inputs_are_never_overwritten_and_named_in_errors(tmp_path: Path) -> None:
    write(tmp_path, [image(1)])
    before = (tmp_path / "a.json").read_bytes()
    for target in (tmp_path / "a.json", tmp_path / "images" / "report"):
        with pytest.raises(InputError, match="would overwrite the input"):
            data_report(tmp_path / "images", tmp_path / "a.json", target, label_space="mask")
    with pytest.raises(InputError, match="unknown label space 'masks'"):
        data_report(tmp_path / "images", tmp_path / "a.json", tmp_path / "r", label_space="masks")
    with pytest.raises(NotFoundError, match="no image archive"):
        data_report(tmp_path / "nothing", tmp_path / "a.json", tmp_path / "r", label_space="mask")
    write_annotations(Annotations(()), tmp_path / "none.json")
    with pytest.raises(InputError, match="nothing to report"):
        data_report(tmp_path / "images", tmp_path / "none.json", tmp_path / "r", label_space="mask")
    assert (tmp_path / "a.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "images", "none.json"]


def test_the_component(tmp_path: Path) -> None:
    write(tmp_path, hand_made())
    metrics = dsl.Metrics(uri=str(tmp_path / "m"))
    component.python_func(
        images=dsl.Dataset(uri=str(tmp_path / "images")),
        annotations=dsl.Dataset(uri=str(tmp_path / "a.json")),
        report=dsl.HTML(uri=str(tmp_path / "report")),
        metrics=metrics,
        label_space="mask",
    )
    figures, _ = report(tmp_path)
    assert metrics.metadata == figures
    assert all(type(value) is float for value in metrics.metadata.values())
