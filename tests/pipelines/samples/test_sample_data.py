"""The drawn sample data: the layout of real data, the same bytes for the same seed, every class present."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.samples.profiles import draw_sample
from serving.runtime.errors import InputError

STEMS = {"mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal"}


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "faces"
    assert draw_sample(folder, persons=24, seed=3) == 24 * 7
    return folder


def test_the_seed_determines_the_bytes(drawn: Path, tmp_path: Path) -> None:
    draw_sample(tmp_path / "again", persons=24, seed=3)
    draw_sample(tmp_path / "other", persons=24, seed=4)
    assert contents(tmp_path / "again") == contents(drawn)
    same = contents(tmp_path / "other").items() & contents(drawn).items()
    assert {Path(name).name[0] for name, _ in same} == {"."}, "only the junk files are alike"


def test_a_person_does_not_depend_on_how_many_are_drawn(drawn: Path, tmp_path: Path) -> None:
    draw_sample(tmp_path / "few", persons=7, seed=3)
    assert contents(tmp_path / "few").items() <= contents(drawn).items()


def test_profile_layout(drawn: Path) -> None:
    profiles = [path for path in drawn.iterdir() if path.is_dir()]
    assert len(profiles) == 24
    assert len({profile.name.split("_")[0] for profile in profiles}) == 24
    pairs: Counter[tuple[str, int]] = Counter()
    for profile in profiles:
        _, gender, race, age = profile.name.split("_")
        assert race == "Asian"
        pairs[gender, (int(age) >= 30) + (int(age) >= 60)] += 1
        pictures = [path for path in profile.iterdir() if not path.name.startswith(".")]
        assert {path.stem for path in pictures} == STEMS
        assert len(pictures) == 7
    assert pairs == {(gender, band): 4 for gender in ("male", "female") for band in range(3)}


def test_folders_have_the_defects_of_real_data(drawn: Path) -> None:
    files = [path for path in drawn.rglob("*") if path.is_file()]
    assert {path.suffix for path in files if path.name[0] != "."} >= {".jpg", ".JPG", ".png"}
    assert any(path.name.startswith("._mask1.") for path in files)
    assert any(path.name == ".DS_Store" for path in files)
    assert any("-1_" in path.name for path in drawn.iterdir())


def test_ages_touch_the_borders_of_the_bands(drawn: Path) -> None:
    ages = {int(path.name.split("_")[3]) for path in drawn.iterdir() if path.is_dir()}
    assert ages >= {18, 29, 30, 59, 60}


def test_pictures_are_rgb_and_differ_by_how_the_mask_is_worn(drawn: Path) -> None:
    for profile in drawn.iterdir():
        if not profile.is_dir():
            continue
        pixels = {}
        for path in profile.iterdir():
            if path.name[0] != ".":
                with Image.open(path) as image:
                    assert (image.size, image.mode) == ((96, 128), "RGB")
                    assert image.format == ("PNG" if path.suffix == ".png" else "JPEG")
                    pixels[path.stem] = np.asarray(image, dtype=np.float32)
        mouth = slice(84, 94), slice(40, 56)
        for style in range(1, 6):
            assert np.abs(pixels[f"mask{style}"][mouth] - pixels["normal"][mouth]).mean() > 12


@pytest.mark.parametrize("persons", [0, -1])
def test_nothing_to_draw_is_an_error(persons: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="persons: expected at least 1"):
        draw_sample(tmp_path / "faces", persons=persons)


def test_an_existing_folder_is_rejected_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        draw_sample(tmp_path, persons=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.samples.profiles._age", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_sample(tmp_path / "faces", persons=1)
    assert list(tmp_path.iterdir()) == []
