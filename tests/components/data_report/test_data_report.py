import base64
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfp import dsl
from PIL import Image as Picture

from components.data_report.annotators import OTHERS, WORDS, count_votes
from components.data_report.component import data_report as door
from components.data_report.copies import find_copies
from components.data_report.data_report import DataReport, data_report
from components.data_report.examples import FACES, PER_CLASS, choose_examples
from components.data_report.facts import collect
from components.data_report.sizes import measure
from components.data_report.thumbnails import SIDE, Thumbnails
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from components.shared.dataset.label_spaces import label_space
from components.split.split import split
from pipelines.sample_data import draw_sample
from serving.runtime.errors import InputError, NotFoundError

LIMIT = 2_000_000
VOID = {"meta", "img", "br", "wbr"}
MASKS = ("worn", "incorrect", "absent")


class Page(HTMLParser):
    """Checks that every tag is closed in its place, and collects what a page shows, loads and shouts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: Counter[str] = Counter()
        self.sources: list[str] = []
        self.notices: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        self.faults += [f"<{tag}> stays open" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name in ("href", "srcset", "action"):
                self.faults.append(f"<{tag} {name}={value}>")
            if name == "src":
                self.sources.append(value or "")
            if (name, value) == ("role", "alert"):
                self.notices.append("")

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open[-1:] == ["strong"]:
            self.notices[-1] = data


def jpeg(height: int = 40, width: int = 30, seed: int = 0, exif: bytes = b"") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "JPEG", quality=80, exif=exif)
    return buffer.getvalue()


def image(number: int, split: str | None = "train", **facts: Any) -> Image:
    """An image of its own person with one face that wears a mask, unlike every other image."""
    attributes = facts.pop("attributes", {"mask": "worn"})
    print_ = np.random.default_rng(number).integers(0, 256, 16, dtype=np.uint8).tobytes().hex()
    defaults: dict[str, Any] = {
        "file_name": f"{number:03d}.jpg",
        "width": 30,
        "height": 40,
        "faces": (Face(number, facts.pop("box", (5.0, 10.0, 15.0, 20.0)), attributes),),
        "person": f"p{number}",
        "sha256": f"{number:064x}",
        "dhash": print_,
    }
    return Image(id=number, split=split, **(defaults | facts))


def write(
    folder: Path, images: Sequence[Image], info: Mapping[str, Any] | None = None, contents: Mapping[str, bytes] = {}
) -> None:
    plain = jpeg()
    with ArchiveWriter(folder / "images") as writer:
        for one in images:
            if contents.get(one.file_name, plain):
                writer.add(one.file_name, contents.get(one.file_name, plain))
    write_annotations(Annotations(tuple(images), {"leaks": False, **(info or {})}), folder / "a.json")


def report(folder: Path, space: str = "mask") -> tuple[DataReport, Page]:
    figures = data_report(folder / "images", folder / "a.json", folder / "report", label_space=space)
    text = (folder / "report").read_bytes()
    page = Page(text.decode())
    assert page.faults == [] and len(text) < LIMIT
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    return figures, page


def cells(page: Page) -> str:
    return re.sub(r"\s+", " ", " ".join(page.text))


def hand_made() -> list[Image]:
    """Two splits and an image without one; 3 worn, 2 incorrect, no absent, one face without a label, one image bare."""
    near = image(1).dhash or ""
    flipped = f"{int(near[0], 16) ^ 1:x}" + near[1:]
    return [
        image(1, attributes={"mask": "worn", "age": 20, "gender": "male", "place": "here"}),
        image(2, "val", person="p1", attributes={"mask": "worn", "age": 60}),
        image(3, "val", dhash=flipped, attributes={"mask": "incorrect", "age": 29, "place": "there"}),
        image(4, "train", sha256=f"{2:064x}", attributes={"mask": "with_mask"}),
        image(5, "train", file_name="deep.er/005.PNG", person=None, box=None, attributes={"mask": "incorrect"}),
        image(6, None, file_name="bare", faces=(), trainable=False, fold=1),
        image(7, "train", box=(0.0, 0.0, 30.0, 40.0), attributes={"age": 31}),
    ]


def test_counts_are_those_of_a_hand_made_set(tmp_path: Path) -> None:
    images = hand_made()
    facts = collect(images, label_space("mask"))
    assert [asdict(part) for part in facts.parts] == [
        {"name": "train", "images": 4, "faces": 4, "persons": 4},
        {"name": "val", "images": 2, "faces": 2, "persons": 2},
        {"name": None, "images": 1, "faces": 0, "persons": 1},
    ]
    assert facts.classes.counts.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert facts.classes.unlabelled.tolist() == [1, 0, 0] and facts.classes.imbalance == 1.5
    attributes = {a.name: (a.values, a.counts.sum(axis=1).tolist(), int(a.absent.sum())) for a in facts.attributes}
    assert attributes == {
        "mask": (("worn", "incorrect"), [3, 2], 1),
        "gender": (("male",), [1], 5),
        "age": (("<30", "30-59", ">=60"), [2, 1, 1], 2),
        "place": (("here", "there"), [1, 1], 4),
    }
    assert list(attributes) == ["mask", "gender", "age", "place"]
    assert facts.ages.tolist() == [20, 60, 29, 31]
    assert facts.persons.crossing == (("p1", ("train", "val")),)
    assert facts.persons.names == ("p1", "p3", "p4", "p6", "p7") and facts.persons.images.tolist() == [2, 1, 1, 1, 1]
    assert (facts.persons.images_without, facts.not_trainable, facts.folds) == (1, 1, {1: 1})
    assert facts.extensions == {".jpg": 5, "": 1, ".png": 1}

    sizes = measure(images)
    assert (len(sizes.boxes), sizes.faces_without, sizes.images_without) == (5, 1, 2)
    assert sizes.examples == ("deep.er/005.PNG", "bare") and sizes.common == (((30, 40), 7),)
    assert sizes.shares.tolist() == [0.25, 0.25, 0.25, 0.25, 1.0]
    assert sizes.centres[0].tolist() == [12.5 / 30, 0.5] and sizes.smallest[0] == ("001.jpg", 15.0, 20.0)

    copies = find_copies(images, facts.classes_of)
    assert [[one.id for one in group] for group in copies.exact] == [[2, 4]]
    assert [[one.id for one in group] for group in copies.near] == [[1, 3]]
    assert len(copies.crossing) == 2 and not copies.contradicting

    write(tmp_path, images, {"dropped": {"empty": 2, "truncated": 1}})
    figures, _ = report(tmp_path)
    assert figures == DataReport(
        images=7, faces=6, persons=5, classes=2, imbalance=1.5, exact_duplicate_groups=1, near_duplicate_groups=1,
        duplicates_across_splits=2, crossing_persons=1, dropped=3, missing=0,
    )  # fmt: skip


LOUD = {
    "clean": ([image(1), image(2, "val")], {}, []),
    "no split yet": ([image(1, None, person="p"), image(2, None, person="p", sha256=f"{1:064x}")], {}, []),
    "one split": ([image(1, person="p"), image(2, person="p", sha256=f"{1:064x}")], {}, []),
    "person": ([image(1, person="p"), image(2, "val", person="p")], {}, ["Persons cross splits."]),
    "equal": ([image(1), image(2, "test", sha256=f"{1:064x}")], {}, ["The same picture is in several splits."]),
    "alike": ([image(1), image(2, "test", dhash=image(1).dhash)], {}, ["The same picture is in several splits."]),
    "plain": ([image(1, dhash="0" * 32), image(2, "test", dhash="0" * 32)], {}, []),
    "leaks": ([image(1), image(2, "val")], {"leaks": True}, ["This data leaks."]),
    "both": (
        [image(1, person="p"), image(2, "val", person="p", sha256=f"{1:064x}")],
        {"leaks": True},
        ["Persons cross splits.", "The same picture is in several splits.", "This data leaks."],
    ),
}


@pytest.mark.parametrize("case", LOUD)
def test_it_is_loud_exactly_when_it_should_be(case: str, tmp_path: Path) -> None:
    images, info, expected = LOUD[case]
    write(tmp_path, images, info)
    assert report(tmp_path)[1].notices == expected


def test_pictures_that_are_missing_or_broken_are_said(tmp_path: Path) -> None:
    images = [image(1), image(2), image(3, width=31)]
    write(tmp_path, images, contents={"001.jpg": b"", "002.jpg": b"no picture"})
    figures, page = report(tmp_path)
    assert figures.missing == 1 and page.notices == ["Pictures are missing."]
    assert "1 image of the annotations is not in the archive, such as 001.jpg" in cells(page)
    assert "3 pictures could not be shown: 001.jpg: " in cells(page)
    assert "002.jpg: the data is not an image" in cells(page) and "003.jpg: the image is 30 x 40 pixels" in cells(page)
    assert page.text.count("not shown") == 3 and page.sources == []


def test_missing_facts_are_said_plainly(tmp_path: Path) -> None:
    bare = [
        replace(image(i, None), person=None, sha256=None, dhash=None, faces=(Face(i, None, {}),)) for i in range(1, 4)
    ]
    write(tmp_path, bare)
    figures, page = report(tmp_path)
    text = cells(page)
    assert (figures.persons, figures.classes, figures.imbalance) == (0, 0, 0.0) and page.notices == []
    for said in (
        "No image has a split yet.",
        "No face has a class of the label space 'mask'.",
        "3 faces lack an attribute that the label space reads.",
        "No face has an attribute.",
        "Nothing tells which images show one person",
        "Nothing was dropped, skipped or noted.",
        "no face has one: the whole image counts as the face",
        "3 images, not compared",
        "without a class",
    ):
        assert said in text, said
    assert "Annotators" not in text and "Curated" not in text and len(page.sources) == 3


def test_what_was_left_out_and_curated_is_listed(tmp_path: Path) -> None:
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
        "skipped": {"hidden": 1},
        "notes": {"box_clipped": 3},
        "curation": [step],
    }
    write(tmp_path, [image(1)], info)
    text = cells(report(tmp_path)[1])
    for said in ("dropped truncated cut.jpg 7", "skipped hidden", "noted box_clipped", "1. drop", "1,234 no_box"):
        assert said in text, said
    assert '{"reasons": ["no_box"]}' in text and "5,000 → 3,766" in text


@pytest.mark.parametrize(
    "info",
    [
        {
            "dropped": 5,
            "dropped_examples": 3,
            "notes": {"a": "b", "c": True},
            "skipped": {"x": 1},
            "skipped_examples": [],
        },
        {"curation": "yes", "split": 7, "source": None},
        {"curation": [None, 3, {"counts": 5, "examples": 5, "before": 1, "after": {"images": "x"}}]},
    ],
)
def test_facts_of_other_shapes_do_no_harm(info: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, [image(1)], info)
    report(tmp_path)


def test_a_class_that_a_split_lacks_and_a_value_nobody_knows_are_named(tmp_path: Path) -> None:
    images = [image(1), image(2, "val"), image(3, attributes={"mask": "absent"}), image(4, attributes={"mask": "?!"})]
    write(tmp_path, images)
    text = cells(report(tmp_path)[1])
    assert "val lacks 1 of the 2 classes." in text and "train lacks" not in text
    assert "1 faces have a value that is not understood, such as 004.jpg: attribute 'mask': '?!'" in text


def test_equal_files_of_different_classes_are_named(tmp_path: Path) -> None:
    images = [image(1), image(2, sha256=f"{1:064x}", attributes={"mask": "absent"}), image(3), image(4, sha256="3")]
    write(tmp_path, images)
    assert "1 groups of equal files have different classes, such as 001.jpg" in cells(report(tmp_path)[1])


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "</style><style>*{display:none}",
    "a&lt;b&amp;",
    "\u202egpj.exe\x00\x1b[31m\r\n",
    "x" * 5000,
    "가나다" * 100,
)


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    images = []
    for number, bad in enumerate(HOSTILE, start=1):
        attributes = {"label": bad, bad[:50]: bad, "mask": "worn", "votes": [bad, "sad"], "emotion": bad}
        name = f"{bad[:150].replace(chr(0), '').encode('utf-8', 'replace').decode()}.jpg".replace("..", "")
        images.append(image(number, person=bad, file_name=name, attributes=attributes))
        images.append(image(50 + number, "val", person=bad, sha256=f"{number:064x}"))
    info = {
        "source": HOSTILE[0],
        "format": HOSTILE[1],
        "dropped": dict.fromkeys(HOSTILE, 1),
        "dropped_examples": {bad: list(HOSTILE) for bad in HOSTILE},
        "curation": [{"operation": HOSTILE[0], "options": {HOSTILE[1]: HOSTILE[2]}, "counts": {HOSTILE[0]: 1}}],
    }
    plain = jpeg()
    with ArchiveWriter(tmp_path / "images") as writer:
        for one in images:
            writer.add(one.file_name, plain)
    write_annotations(Annotations(tuple(images), info), tmp_path / "a.json")
    # Half a character can come in as an escape of JSON only.
    document = (tmp_path / "a.json").read_text(encoding="utf-8").replace("gpj.exe", "gpj.exe\\ud800")
    (tmp_path / "a.json").write_text(document, encoding="utf-8")
    _, page = report(tmp_path)
    source = (tmp_path / "report").read_text(encoding="utf-8")
    assert "<script" not in source and "<img src=x" not in source and source.count("</style>") == 1
    assert "Data report: <script>alert(1)</script>" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", source)
    assert "\\u202egpj.exe" in unescape(source) and "\\ud800" in source


@pytest.mark.parametrize("space", ["mask", "label:" + ",".join(f"{'class ' * 8}{i}" for i in range(400))])
def test_the_page_stays_small(space: str, tmp_path: Path) -> None:
    """5,000 images with long names, every one another size and class, all in duplicate groups across splits."""
    labels = label_space(space).class_labels
    rng = np.random.default_rng(0)
    content = jpeg(400, 300)
    images = []
    for number in range(1, 5001):
        name = f"{'folder-' * 25}{number % 50}/{'name with words ' * 8}{number}.jpg"
        facts = {"person": f"{'person ' * 20}{number % 700}", "sha256": f"{number // 4:064x}"}
        attributes = {
            "mask": MASKS[number % 3],
            "label": labels[number % len(labels)],
            "note": f"{'text ' * 30}{number}",
            "votes": [f"{'vote ' * 20}{rng.integers(90)}" for _ in range(3)],
            "emotion": f"{'vote ' * 20}{number % 90}",
        }
        box = (1.0, 2.0, float(rng.integers(5, 299)), float(rng.integers(5, 398)))
        images.append(
            image(number, ("train", "val", "test")[number % 3], file_name=name, width=300, height=400, box=box,
                  attributes=attributes, **facts)
        )  # fmt: skip
    info = {
        "dropped": {f"{'reason ' * 30}{i}": i for i in range(500)},
        "dropped_examples": {f"{'reason ' * 30}{i}": ["n" * 500] * 20 for i in range(500)},
        "curation": [{"operation": "drop", "counts": {"c" * 300: 3}, "options": {"o" * 4000: 1}}] * 200,
    }
    write(tmp_path, images, info, {one.file_name: content for one in images})
    figures, page = report(tmp_path, space)
    assert figures.duplicates_across_splits > 1000 and len(page.sources) >= 64


def test_thumbnails_stop_when_the_page_is_full(tmp_path: Path) -> None:
    write(tmp_path, [image(1)])
    one = image(1)
    thumbnails = Thumbnails(ImageArchive(tmp_path / "images"))
    uri = thumbnails.whole(one)
    assert uri is not None
    few = Thumbnails(ImageArchive(tmp_path / "images"), max_bytes=2 * len(uri) + 10)
    assert [few.whole(one) is not None for _ in range(4)] == [True, True, False, False] and not few.failed


def pixels(uri: str | None) -> np.ndarray:
    assert uri is not None
    return np.asarray(Picture.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_thumbnails_are_upright(orientation: int, tmp_path: Path) -> None:
    """However a photo lies in its file, its bright corner is shown at the top left."""
    turns = {1: (), 2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (2,), 7: (6,), 8: (4,)}
    upright = np.zeros((200, 300, 3), np.uint8)
    upright[:60, :60] = 255
    stored = Picture.fromarray(upright)
    for turn in turns[orientation]:
        stored = stored.transpose(Picture.Transpose(turn))
    exif = Picture.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=95, exif=exif)
    one = image(1, width=300, height=200, box=(200.0, 100.0, 60.0, 60.0))
    write(tmp_path, [one], contents={one.file_name: buffer.getvalue()})
    thumbnails = Thumbnails(ImageArchive(tmp_path / "images"))
    shown = pixels(thumbnails.whole(one))
    assert shown.shape == (SIDE * 2 // 3, SIDE, 3)
    assert shown[5:15, 5:15].min() > 200 and shown[-20:, -20:].max() < 60 and shown[5:15, -20:].max() < 60


def test_a_face_is_cut_out_with_its_box_drawn(tmp_path: Path) -> None:
    gray = io.BytesIO()
    Picture.new("RGB", (1000, 800), (128, 128, 128)).save(gray, "JPEG")
    box = (400.0, 300.0, 200.0, 100.0)
    one = image(1, width=1000, height=800, box=box)
    write(tmp_path, [one], contents={one.file_name: gray.getvalue()})
    shown = pixels(Thumbnails(ImageArchive(tmp_path / "images")).face(one, box))
    assert shown.shape == (SIDE, SIDE, 3)
    yellow = np.argwhere(shown[..., 0] - shown[..., 2] > 90)
    (top, left), (bottom, right) = yellow.min(axis=0), yellow.max(axis=0)
    # 360 pixels around the box's middle are shown on 120.
    assert np.allclose([left, right, top, bottom], [60 - 33.3, 60 + 33.3, 60 - 16.7, 60 + 16.7], atol=2)
    inside = shown[top + 6 : bottom - 5, left + 6 : right - 5]
    assert abs(inside - 128).max() < 30


def test_examples_show_different_persons_of_every_class() -> None:
    space = label_space("mask")
    images = [image(i, person=f"p{i // 7}", attributes={"mask": MASKS[i % 3]}) for i in range(1, 300)]
    images.append(image(300, attributes={}))
    classes_of = collect(images, space).classes_of
    chosen = choose_examples(images, classes_of, space.class_labels)
    assert [group.label for group in chosen] == [*MASKS, None]
    for group in chosen[:3]:
        assert len({one.person for one, _ in group.faces}) == len(group.faces) == PER_CLASS
        assert {face.attributes["mask"] for _, face in group.faces} == {group.label}
    one_person = choose_examples([image(i, person="p") for i in range(1, 30)], dict.fromkeys(range(1, 30), 0), ["worn"])
    assert len({one.id for one, _ in one_person[0].faces}) == PER_CLASS


def test_the_number_of_examples_is_bounded() -> None:
    images = [image(i) for i in range(1, 1001)]
    for classes in (1, 10, 100, 500):
        chosen = choose_examples(images, {i: i % classes for i in range(1, 1001)}, [str(i) for i in range(classes)])
        assert sum(len(group.faces) for group in chosen) <= FACES
        assert len(chosen) == min(classes, FACES) and all(group.faces for group in chosen)


def voted(number: int, emotion: str | None, votes: object, uploader: str | None = None) -> Image:
    facts = {"emotion": emotion, "votes": votes, "uploader": uploader}
    return image(number, attributes={name: value for name, value in facts.items() if value is not None})


def test_votes_are_counted_against_the_label() -> None:
    votes = count_votes(
        [
            voted(1, "happy", ["happy", "happy", "happy"], "happy"),
            voted(2, "happy", ["normal", "happy", "normal"], "normal"),
            voted(3, "anger", ["anger", "sad", "unknown"], "anger"),
            voted(4, None, ["sad", "sad"]),
            voted(5, "anger", ["분노", None, "anger"], "분노"),
            voted(6, "anger", []),
            voted(7, "anger", "anger"),
            image(8),
        ]
    )
    assert votes is not None
    assert votes.labels == ("anger", "happy", None) and votes.values == ("anger", "happy", "normal", "sad", "unknown")
    assert votes.matrix.tolist() == [[3, 0, 0, 1, 1], [0, 4, 2, 0, 0], [0, 0, 0, 2, 0]]
    assert votes.faces.tolist() == [2, 2, 1] and votes.agreeing.tolist() == [3, 4, 0]
    assert votes.unanimous.tolist() == [1, 1, 0] and votes.outvoted.tolist() == [0, 1, 1]
    assert votes.uploader.tolist() == [2, 1, 0] and votes.uploaders.tolist() == [2, 2, 0]
    assert votes.all_differ == 1
    assert count_votes([image(1)]) is None


def test_many_words_become_others() -> None:
    votes = count_votes([voted(i, f"word{i:03d}", [f"word{i:03d}", f"word{i + 1:03d}"]) for i in range(1, 200)])
    assert votes is not None
    assert len(votes.labels) == len(votes.values) == WORDS + 1 and votes.values[-1] == OTHERS
    assert votes.matrix.sum() == 398 and votes.agreeing.sum() == 199


def test_votes_are_shown(tmp_path: Path) -> None:
    write(
        tmp_path, [voted(1, "happy", ["happy", "sad", "happy"], "sad"), voted(2, "sad", ["sad", "sad", "sad"], "sad")]
    )
    text = cells(report(tmp_path, "emotion")[1])
    assert "83.3% of 6 votes on 2 faces" in text and "1 of 2 faces (50.0%)" in text


def test_the_drawn_sample_from_ingest_to_page(tmp_path: Path) -> None:
    draw_sample(tmp_path / "raw", persons=18)
    ingest(str(tmp_path / "raw"), tmp_path / "images", tmp_path / "all.json")
    options = {"label_space": "gender_age", "val_ratio": 0.34, "test_ratio": 0.0, "seed": 0}
    split(tmp_path / "all.json", tmp_path / "a.json", **options)
    figures, page = report(tmp_path, "mask_gender_age")
    assert (figures.images, figures.persons, figures.classes, figures.imbalance) == (126, 18, 18, 5.0)
    assert figures.duplicates_across_splits == 0 and page.notices == []
    assert len(page.sources) >= 18 * 3
    for label in label_space("mask_gender_age").class_labels:
        assert escape(label) in (tmp_path / "report").read_text()
    first = (tmp_path / "report").read_bytes()
    report(tmp_path, "mask_gender_age")
    assert (tmp_path / "report").read_bytes() == first


def test_the_order_of_the_annotations_changes_nothing_but_their_digest(tmp_path: Path) -> None:
    images = hand_made()
    write(tmp_path, images)
    report(tmp_path)
    first = (tmp_path / "report").read_text()
    write_annotations(Annotations(tuple(reversed(images)), {"leaks": False}), tmp_path / "a.json")
    report(tmp_path)
    second = (tmp_path / "report").read_text()
    digest = re.compile(r"<dd>[0-9a-f]{12}…</dd>")
    assert digest.sub("", first) == digest.sub("", second) and first != second


def test_inputs_are_kept_and_named_in_errors(tmp_path: Path) -> None:
    write(tmp_path, [image(1)])
    before = (tmp_path / "a.json").read_bytes()
    for target in (tmp_path / "a.json", tmp_path / "images" / "report"):
        with pytest.raises(InputError, match="would replace an input or lie in it"):
            data_report(tmp_path / "images", tmp_path / "a.json", target, label_space="mask")
    with pytest.raises(InputError, match="unknown label space 'masks'"):
        data_report(tmp_path / "images", tmp_path / "a.json", tmp_path / "r", label_space="masks")
    with pytest.raises(NotFoundError, match="no image archive"):
        data_report(tmp_path / "nothing", tmp_path / "a.json", tmp_path / "r", label_space="mask")
    write_annotations(Annotations((), {}), tmp_path / "none.json")
    with pytest.raises(InputError, match="nothing to report"):
        data_report(tmp_path / "images", tmp_path / "none.json", tmp_path / "r", label_space="mask")
    assert (tmp_path / "a.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "images", "none.json"]


def test_the_door(tmp_path: Path) -> None:
    write(tmp_path, hand_made())
    metrics = dsl.Metrics(uri=str(tmp_path / "m"))
    door.python_func(
        images=dsl.Dataset(uri=str(tmp_path / "images")),
        annotations=dsl.Dataset(uri=str(tmp_path / "a.json")),
        report=dsl.HTML(uri=str(tmp_path / "report")),
        metrics=metrics,
        label_space="mask",
    )
    figures, _ = report(tmp_path)
    assert metrics.metadata == asdict(figures)
    assert all(type(value) is float for value in metrics.metadata.values())
