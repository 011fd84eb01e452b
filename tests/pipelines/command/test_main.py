"""The command line as a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from clean_environment import clean_environment
from PIL import Image


@pytest.mark.parametrize(
    "locale",
    [
        {"LANG": "C"},
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0"},
    ],
)
def test_names_in_other_letters_are_read_under_any_locale(tmp_path: Path, locale: dict[str, str]) -> None:
    for name in ("기쁨", "슬픔"):
        (tmp_path / "얼굴" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), "white").save(tmp_path / "얼굴" / name / "사진 1.jpg")
    environment = {name: value for name, value in clean_environment().items() if not name.startswith(("LC_", "LANG"))}
    command = [Path(sys.executable).with_name("facet"), "step", "ingest", "--format", "class_folder"]
    command += ["--options", "attribute=emotion", "--source", tmp_path / "얼굴"]
    command += ["--images", tmp_path / "사진", "--annotations", tmp_path / "a"]
    done = subprocess.run(
        command,
        env=environment | locale,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "기쁨/사진 1.jpg" in (tmp_path / "a").read_text(encoding="utf-8")
