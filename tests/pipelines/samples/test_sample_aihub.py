"""The drawn AI Hub data: two layouts of one data set, equal bytes for equal seeds, the defects of real data."""

import hashlib
import io
import json
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from components.ingest.formats.aihub.names import EMOTIONS, parse_name
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from pipelines.samples.aihub import KOREAN, draw_aihub_sample, write_cp949_zip
from pipelines.samples.drawing.expression import EXPRESSIONS, weakened
from pipelines.samples.drawing.face import PORTRAIT, draw_portrait
from pipelines.samples.drawing.person import draw_person
from serving.runtime.errors import InputError

PERSONS = 18
LAYOUTS = ("folders", "archives")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def opened(folder: Path) -> dict[str, bytes]:
    """Every file by its composed path, archives opened."""
    files = {}
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        name = unicodedata.normalize("NFC", str(path.relative_to(folder)))
        if path.suffix != ".zip":
            files[name] = path.read_bytes()
            continue
        with zipfile.ZipFile(path, metadata_encoding="cp949") as archive:
            assert archive.testzip() is None
            files |= {f"{name}/{member}": archive.read(member) for member in archive.namelist()}
    return files


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("aihub")
    for layout in LAYOUTS:
        assert draw_aihub_sample(root / layout, layout=layout, persons=PERSONS, seed=3) == PERSONS * 7
    return {layout: root / layout for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_seed_determines_the_bytes(drawn, layout, tmp_path):
    draw_aihub_sample(tmp_path / "again", layout=layout, persons=PERSONS, seed=3)
    assert contents(tmp_path / "again") == contents(drawn[layout])
    draw_aihub_sample(tmp_path / "other", layout=layout, persons=2, seed=4)
    mine, other = opened(drawn[layout]), opened(tmp_path / "other")
    assert not {name for name in mine if name.endswith(".jpg")} & other.keys()


def test_a_person_does_not_depend_on_how_many_are_drawn(drawn, tmp_path):
    draw_aihub_sample(tmp_path / "few", layout="folders", persons=3, seed=3)
    few = {name: data for name, data in contents(tmp_path / "few").items() if name.endswith(".jpg")}
    assert few.items() <= contents(drawn["folders"]).items()


def test_both_layouts_hold_the_same_photos(drawn):
    photos = [
        {Path(name).name: data for name, data in opened(drawn[layout]).items() if name.endswith(".jpg")}
        for layout in LAYOUTS
    ]
    assert photos[0] == photos[1]
    assert len(photos[0]) == PERSONS * 7


def test_every_person_has_every_emotion_once(drawn):
    names = {Path(name).name for name in opened(drawn["folders"]) if name.endswith(".jpg")}
    facts = [parse_name(name) for name in names]
    assert None not in facts
    assert Counter(fact.person for fact in facts) == {fact.person: 7 for fact in facts}
    assert all(len(fact.person) == 64 for fact in facts)
    assert Counter(name.split("_")[3] for name in names) == dict.fromkeys(KOREAN.values(), PERSONS)
    assert {fact.gender for fact in facts} == {"male", "female"}
    assert {fact.age for fact in facts} <= {10, 20, 30, 40, 50, 60}
    assert any("/" in fact.background for fact in facts)


def test_folders_have_the_defects_of_real_data(drawn):
    root = drawn["folders"]
    files = [path for path in root.rglob("*") if path.is_file()]
    names = {path.relative_to(root).as_posix() for path in files}
    assert any(not unicodedata.is_normalized("NFC", name) for name in names)
    assert any("/EMOIMG_기쁨_TRAIN_01/" in name for name in names)
    assert {path.suffix for path in files} == {".jpg", ".json", ".db", ".zip", ""}
    labels = {name: root.joinpath(name).read_bytes() for name in names if name.endswith(".json")}
    assert {f"test_set/{emotion}.json" for emotion in EMOTIONS} < labels.keys()
    assert any(data.startswith(b"\xef\xbb\xbf") for data in labels.values())
    in_utf8 = Counter(_is_utf8(data) for data in labels.values())
    assert in_utf8[True] and in_utf8[False]


def _is_utf8(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_archives_have_korean_names_without_the_utf8_flag(drawn):
    archives = sorted(drawn["archives"].rglob("*.zip"))
    assert len(archives) == 28
    assert {"[원천]EMOIMG_기쁨_TRAIN_01.zip", "[라벨]EMOIMG_기쁨_VALID.zip"} < {path.name for path in archives}
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            assert not any(member.flag_bits & 0x800 for member in archive.infolist())


def test_annotators_disagree_now_and_then(drawn):
    records = [
        record
        for name, data in opened(drawn["archives"]).items()
        if name.endswith(".json") and "기쁨" not in name
        for record in json.loads(data.decode("cp949" if "분노" in name else "utf-8"))
        if "annot_A" in record
    ]
    votes = [[record[f"annot_{who}"]["faceExp"] for who in "ABC"] for record in records]
    agree = sum(len(set(three)) == 1 for three in votes) / len(votes)
    assert 0.3 < agree < 0.8
    assert any("알수없음" in three for three in votes)
    assert any(record["annot_A"]["boxes"]["minX"] > record["annot_A"]["boxes"]["maxX"] for record in records)


def test_the_box_of_a_portrait_holds_the_face():
    rng = np.random.default_rng(1)
    for number in range(6):
        person = draw_person(bool(number % 2), number % 3, rng)
        picture, (left, top, right, bottom) = draw_portrait(person, EXPRESSIONS["normal"], rng)
        assert (picture.size, picture.mode) == (PORTRAIT, "RGB")
        assert 0 < left < right < PORTRAIT[0] and 0 < top < bottom < PORTRAIT[1]
        cheek = np.asarray(picture, float)[round(top + 0.6 * (bottom - top)), round(left + 0.25 * (right - left))]
        skin, wall = np.array(person.skin), np.array(person.wall)
        assert (
            np.abs(cheek / cheek.sum() - skin / skin.sum()).sum()
            < np.abs(cheek / cheek.sum() - wall / wall.sum()).sum()
        )


def test_expressions_change_brows_eyes_and_mouth():
    person = draw_person(False, 1, np.random.default_rng(2))
    pictures = {}
    for emotion, expression in EXPRESSIONS.items():
        picture, (left, top, right, bottom) = draw_portrait(person, expression, np.random.default_rng(5))
        pictures[emotion] = np.asarray(picture.crop((int(left), int(top), int(right), int(bottom))), float)
    assert list(EXPRESSIONS) == list(EMOTIONS) == list(KOREAN)
    for emotion, pixels in pictures.items():
        for other in set(pictures) - {emotion}:
            changed = np.abs(pixels - pictures[other]).max(axis=2) > 40
            high = len(changed) // 2
            assert changed[:high].mean() > 0.01, (emotion, other)
            assert changed[high:].mean() > 0.01, (emotion, other)


def test_a_weaker_expression_is_still_on_the_same_side():
    rng = np.random.default_rng(0)
    for expression in EXPRESSIONS.values():
        for _ in range(20):
            weaker = weakened(expression, rng)
            assert weaker.inner * expression.inner >= 0
            assert abs(weaker.inner) <= 1.1 * abs(expression.inner)
            assert (weaker.lids <= -1) == (expression.lids <= -1)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Ingest a folder; returns the report and the folder of the artifacts."""

    def ingest_aihub(raw):
        out = tmp_path_factory.mktemp("ingested")
        options = {"max_dropped": 0.1}
        return ingest(str(raw), out / "images", out / "annotations", format="aihub", options=options), out

    return ingest_aihub


@pytest.fixture(scope="module")
def ingested(drawn, read):
    return read(drawn["folders"])


def test_ingest_counts_the_defects(ingested):
    report, out = ingested
    assert report.counts.persons == PERSONS
    assert report.counts.images == report.counts.faces == PERSONS * 7 - 2
    assert report.dropped == {"no_valid_box": 1, "no_label_record": 1}
    assert report.notes["inverted_box"] > 5
    assert report.notes["folder_disagrees"] >= 1
    assert report.notes["record_without_an_image"] == 21
    info = read_annotations(out / "annotations").info
    assert all(name.endswith(".jpg") for name in info.dropped_examples["no_valid_box"])


def test_ingest_reads_both_layouts_alike(drawn, ingested, read):
    report, out = ingested
    other_report, other_out = read(drawn["archives"])
    folders, archives = (read_annotations(folder / "annotations").images for folder in (out, other_out))
    assert _facts(folders) == _facts(archives)
    assert report.dropped == other_report.dropped
    assert {image.split for image in folders} == {"train", "val", "test"}
    assert {image.split for image in archives} == {"train", "val"}


def _facts(images):
    return {image.sha256: (image.person, image.faces[0].attributes, image.faces[0].box) for image in images}


def test_boxes_lie_on_the_faces_of_upright_photos(ingested):
    """Boxes and upright pixels agree for every EXIF orientation."""
    _, out = ingested
    turned = 0
    document = read_annotations(out / "annotations")
    with zipfile.ZipFile(next((out / "images").glob("*.zip"))) as archive:
        for image in document.images:
            with Image.open(io.BytesIO(archive.read(image.file_name))) as stored:
                turned += stored.getexif().get(0x0112, 1) != 1
                upright = ImageOps.exif_transpose(stored)
            assert (image.width, image.height) == upright.size == PORTRAIT
            x, y, width, height = image.faces[0].box
            assert x >= 0 and y >= 0 and x + width <= image.width and y + height <= image.height
            assert 0.9 < height / width < 2
    assert turned > 3


def test_an_empty_data_set_is_one_error(read, tmp_path):
    (tmp_path / "raw" / "happy" / "raw" / "train").mkdir(parents=True)
    (tmp_path / "raw" / "happy" / "raw" / "train" / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="no image found in the format 'aihub'"):
        read(tmp_path / "raw")


def test_members_keep_their_order_and_bytes(tmp_path):
    members = {"기쁨/나.jpg": b"123", "가.txt": b"", "plain.bin": bytes(range(256))}
    write_cp949_zip(tmp_path / "x.zip", members)
    with zipfile.ZipFile(tmp_path / "x.zip", metadata_encoding="cp949") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == members
        assert archive.namelist() == list(members)
    with pytest.raises(UnicodeEncodeError):
        write_cp949_zip(tmp_path / "y.zip", {"😀.jpg": b""})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"persons": 0, "layout": "folders"}, "persons: expected at least 1"),
        ({"layout": "tar"}, "unknown layout 'tar'; known: folders, archives"),
    ],
)
def test_nothing_to_draw_is_an_error(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        draw_aihub_sample(tmp_path / "faces", **arguments)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        draw_aihub_sample(tmp_path, layout="folders", persons=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.samples.aihub._encode", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_aihub_sample(tmp_path / "faces", layout="folders", persons=1)
    assert list(tmp_path.iterdir()) == []
