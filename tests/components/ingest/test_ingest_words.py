"""Words and names of other languages and tools, over the whole step and its command."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from source_trees import picture, write_folder, write_zip

from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from serving.runtime.errors import InputError

TABLE = "path,label\n1.jpg,高兴\n2.jpg,悲伤\n3.jpg,愤怒\n"
PICTURES = {f"{number}.jpg": picture(number) for number in (1, 2, 3)}


def run(source, out, **options):
    ingest(str(source), out / "images", out / "annotations.json", **options)
    return read_annotations(out / "annotations.json")


def test_words_of_a_gbk_table_are_shown_in_the_log(tmp_path, caplog):
    raw = write_folder(tmp_path / "raw", PICTURES | {"manifest.csv": TABLE.encode("gbk")})
    with caplog.at_level("INFO"):
        data = run(raw, tmp_path / "out", format="manifest")
    assert [image.faces[0].attributes["label"] for image in data.images] == ["高兴", "悲伤", "愤怒"]
    assert "not in UTF-8 but read as: 1 gb18030 (manifest.csv: '高兴', '悲伤', '愤怒')" in caplog.text
    assert any("gb18030" in line for line in data.info.layout)


@pytest.mark.parametrize("encoding", ["gbk", "cp949", "cp932"])
def test_names_in_a_zip(tmp_path, encoding):
    word = {"gbk": "高兴", "cp949": "기쁨", "cp932": "喜び"}[encoding]
    other = {"gbk": "悲伤", "cp949": "슬픔", "cp932": "悲しみ"}[encoding]
    members = {f"{name}/{number}.jpg".encode(encoding): picture(number) for number in (1, 2) for name in (word, other)}
    write_zip(tmp_path / "all.zip", members)
    options = {"attribute": "class"}
    data = run(tmp_path / "all.zip", tmp_path / "out", format="class_folder", options=options)
    assert {image.faces[0].attributes["class"] for image in data.images} == {word, other}
    assert any("names of files" in line for line in data.info.layout)


def test_names_that_could_be_two_are_refused_until_the_encoding_is_named(tmp_path):
    members = {f"{name}/{number}.jpg".encode("gbk"): picture(number) for number in (1, 2) for name in "猫鸟"}
    write_zip(tmp_path / "all.zip", members)
    with pytest.raises(InputError, match="the names of files: cannot tell its encoding.*the option 'encoding'"):
        run(tmp_path / "all.zip", tmp_path / "out", format="class_folder")
    data = run(tmp_path / "all.zip", tmp_path / "named", format="class_folder", options={"encoding": "gbk"})
    assert {image.faces[0].attributes["label"] for image in data.images} == {"猫", "鸟"}


@pytest.mark.parametrize(
    ("format_name", "files"),
    [
        ("manifest", {"manifest.csv": b"path,gender,split\n1.jpg,H,0\n2.jpg,F,1\n3.jpg,h,0\n"} | PICTURES),
        ("class_folder", {"H/1.jpg": picture(1), "F/2.jpg": picture(2), "F/3.jpg": picture(3)}),
    ],
)
def test_values_of_ones_own(tmp_path, format_name, files):
    raw = write_folder(tmp_path / "raw", files)
    options = {"values": {"gender": {"H": "male"}, "split": {"0": "train", "1": "test"}}}
    options |= {"attribute": "gender"} if format_name == "class_folder" else {}
    data = run(raw, tmp_path / "out", format=format_name, options=options)
    assert {image.faces[0].attributes["gender"] for image in data.images} == {"male", "female"}
    if format_name == "manifest":
        assert [image.split for image in data.images] == ["train", "test", "train"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "klingon"}, "is not the name of an encoding"),
        ({"values": {"gender": {"H": "mael"}}}, "attribute 'gender': 'mael' is not known"),
        ({"values": {"split": {"0": "first"}}}, "'first' is none of the splits"),
    ],
)
def test_options_that_say_nothing(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, tmp_path / "out", format="manifest", options=options)


def test_the_command_reads_a_table_of_another_machine(tmp_path):
    rows = "".join(f'C:\\data\\faces\\{number}.JPG;"Man;{20 + number}-29\n' for number in (1, 2, 3))
    raw = write_folder(tmp_path / "raw", {f"faces/{name}": data for name, data in PICTURES.items()})
    (raw / "manifest.csv").write_text(f"File Name;Sex;Age\n{rows}", encoding="utf-16")
    arguments = ["--source", raw, "--images", tmp_path / "images", "--annotations", tmp_path / "faces.json"]
    command = [Path(sys.executable).with_name("facet"), "step", "ingest", "--format", "manifest", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "columns: path = File Name, gender = Sex, age = Age; unused: none" in done.stderr + done.stdout
    images = json.loads((tmp_path / "faces.json").read_text())
    assert [face["attributes"] for face in images["annotations"]] == [
        {"gender": "male", "age": age} for age in (25, 25, 26)
    ]
    assert images["info"]["notes"] == {"path_by_suffix": 3, "stray_quote": 3}


def test_the_command_refuses_rows_that_are_lost(tmp_path):
    rows = "".join(f"{number}.jpg,x,y\n" for number in (1, 2))
    raw = write_folder(tmp_path / "raw", PICTURES | {"manifest.csv": f"path,label\n3.jpg,x\n{rows}".encode()})
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        for file in raw.iterdir():
            archive.write(file, file.name)
    for source in (raw, tmp_path / "raw.zip"):
        with pytest.raises(InputError, match="2 of 3 images cannot be used.*2 bad_row"):
            run(source, tmp_path / "out", format="manifest")
