"""The normalization computed from the training faces (item 10: equal to a brute-force reference)."""

import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from components.shared.dataset.annotations import Annotations, Face, Image
from components.shared.dataset.info import DatasetInfo
from components.train_classifier.data.faces import Sample
from components.train_classifier.data.normalization import compute_normalization, statistics
from serving.runtime.errors import ImageError, InputError


def pictures(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        f"{at}.jpg": (rng.integers(0, 256, (12 + at % 3, 9, 3)) * rng.uniform(0.2, 1, 3) + at % 5)
        .clip(0, 255)
        .astype(np.uint8)
        for at in range(number)
    }


def samples_of(names: list[str]) -> list[Sample]:
    return [Sample(at, name, None, (0,)) for at, name in enumerate(names)]


def annotations_of(
    split_of: dict[str, str | None], persons: dict[str, str] | None = None, **info: object
) -> Annotations:
    return Annotations(
        tuple(
            Image(at, name, 9, 12, (Face(at, None, {}),), person=(persons or {}).get(name, name), split=split)
            for at, (name, split) in enumerate(split_of.items())
        ),
        DatasetInfo.model_validate(info),
    )


def test_it_is_that_of_all_pixels_together() -> None:
    data = pictures(150)
    everything = np.concatenate([pixels.reshape(-1, 3) for pixels in data.values()]) / 255
    annotations = annotations_of(dict.fromkeys(data, "train"))
    found = compute_normalization(samples_of(list(data)), annotations, lambda sample: data[sample.file_name])
    assert found.mean == tuple(round(float(value), 4) for value in everything.mean(axis=0))
    assert found.std == tuple(round(float(value), 4) for value in everything.std(axis=0))


@pytest.mark.parametrize("workers", [0, 2, 5])
def test_workers_and_order_change_nothing(workers: int) -> None:
    data = pictures(200)
    annotations = annotations_of(dict.fromkeys(data, "train"))
    names = list(data)
    one = compute_normalization(samples_of(names), annotations, lambda sample: data[sample.file_name])
    threads = set()

    def pixels_of(sample: Sample) -> np.ndarray:
        threads.add(threading.get_ident())
        return data[sample.file_name]

    assert compute_normalization(samples_of(names[::-1]), annotations, pixels_of, workers=workers) == one
    assert threading.get_ident() not in threads


def test_pictures_are_not_kept() -> None:
    names = [f"{at}.jpg" for at in range(300)]
    alive = most = 0
    lock = threading.Lock()

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def pixels_of(sample: Sample) -> np.ndarray:
        nonlocal alive, most
        pixels = np.full((8, 8, 3), 7, np.uint8)
        weakref.finalize(pixels, gone)
        with lock:
            alive += 1
            most = max(most, alive)
        return pixels

    compute_normalization(samples_of(names), annotations_of(dict.fromkeys(names, "train")), pixels_of, workers=3)
    assert most <= 2 * 3


def test_the_deviation_is_a_population_deviation_and_never_zero() -> None:
    counts = np.zeros((3, 256), np.int64)
    counts[0, [0, 255]] = 1
    counts[1, 128] = 10**12
    counts[2, [10, 20, 60]] = 3 * 10**12, 2 * 10**12, 10**12
    mean, std = statistics(counts)
    assert mean == (0.5, 0.502, round((30 + 40 + 60) / 6 / 255, 4))
    third = np.repeat([10, 20, 60], [3, 2, 1]).std() / 255
    assert std == (0.5, 0.004, round(float(third), 4))


def test_other_splits_are_refused() -> None:
    splits: dict[str, str | None] = {"a.jpg": "train", "b.jpg": "val", "c.jpg": None}
    for name in ("b.jpg", "c.jpg"):
        with pytest.raises(InputError, match=f"{name}.*only see the train split"):
            compute_normalization(samples_of(["a.jpg", name]), annotations_of(splits), fail)
    with pytest.raises(InputError, match="no training faces"):
        compute_normalization([], annotations_of(splits), fail)


@pytest.mark.parametrize("other", ["val", "test"])
def test_persons_on_both_sides_are_refused_unless_the_split_says_so(
    other: str, caplog: pytest.LogCaptureFixture
) -> None:
    splits = {"a.jpg": "train", "b.jpg": other}
    both = {"a.jpg": "000001", "b.jpg": "000001"}
    with pytest.raises(InputError, match=f"person 000001 is on train and on {other}"):
        compute_normalization(samples_of(["a.jpg"]), annotations_of(splits, both), fail)
    leaky = annotations_of(splits, both, leaks=True)
    compute_normalization(samples_of(["a.jpg"]), leaky, lambda sample: np.zeros((2, 2, 3), np.uint8))
    assert "leak" in caplog.text


def fail(sample: Sample) -> np.ndarray:
    raise AssertionError("nothing may be read")


def test_a_broken_picture_is_named() -> None:
    def pixels_of(sample: Sample) -> np.ndarray:
        raise ImageError("truncated", "the image is damaged")

    with pytest.raises(InputError, match=r"a\.jpg cannot be used for training: the image is damaged"):
        compute_normalization(samples_of(["a.jpg"]), annotations_of({"a.jpg": "train"}), pixels_of)


def test_faces_from_an_archive_as_validation_cuts_them(tmp_path: Path) -> None:
    import io

    from PIL import Image as Pillow

    from components.shared.dataset.archive import ArchiveWriter, ImageArchive
    from components.train_classifier.augmentations.build import make_augmentation
    from components.train_classifier.config.augmentation import AugmentationSpec
    from serving.runtime.card import CropRule, InputSize, Normalization

    rng = np.random.default_rng(3)
    with ArchiveWriter(tmp_path / "images") as writer:
        for at in range(6):
            buffer = io.BytesIO()
            Pillow.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(buffer, "PNG")
            writer.add(f"{at}.png", buffer.getvalue())
    archive = ImageArchive(tmp_path / "images")
    samples = [Sample(at, f"{at}.png", (5.0, 6.0, 14.0, 15.0), (0,)) for at in range(6)]
    normalization = Normalization(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    augmentation = make_augmentation(AugmentationSpec(), InputSize(height=16, width=12), normalization)

    def pixels_of(sample: Sample) -> np.ndarray:
        return augmentation.eval_pixels(archive.read(sample.file_name), sample.box, CropRule(scale=1.2))

    found = compute_normalization(
        samples, annotations_of({f"{at}.png": "train" for at in range(6)}), pixels_of, workers=2
    )
    stacked = np.stack([pixels_of(sample) for sample in samples]).reshape(-1, 3) / 255
    assert found.mean == pytest.approx(stacked.mean(axis=0), abs=5.1e-5)
    assert found.std == pytest.approx(stacked.std(axis=0), abs=5.1e-5)
