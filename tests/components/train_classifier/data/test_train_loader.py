import hashlib
import io
import os
import pickle
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from components.train_classifier.config.objective import SamplingSpec
from components.train_classifier.config.training import TrainConfig, resolve_config
from components.train_classifier.data.faces import Sample
from components.train_classifier.data.loader import Batch, FaceDataset, TrainOrder, fixed_order, make_loader
from serving.runtime.card import ClassificationCard, Head
from serving.runtime.errors import InputError
from serving.runtime.image.preprocess import decode_crop_resize

CONFIG = resolve_config({"batch_size": 4, "epochs": 2, "seed": 3}, label_space="mask", image_height=32, image_width=24)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    """Nine noisy pictures, JPEG and PNG, with and without a box."""
    folder = tmp_path_factory.mktemp("loader") / "images"
    samples = []
    with ArchiveWriter(folder) as writer:
        for number in range(9):
            pixels = np.random.default_rng(number).integers(0, 256, (60, 50, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).resize((100, 120)).save(buffer, "PNG" if number % 3 == 0 else "JPEG")
            name = f"{number}.img"
            writer.add(name, buffer.getvalue())
            box = None if number % 4 == 0 else (20.5, 30.0, 40.0, 50.5)
            samples.append(Sample(face_id=number + 1, file_name=name, box=box, attributes={}))
    return folder, samples


def run(dataset: FaceDataset, config: TrainConfig, workers: int) -> list[Batch]:
    return list(make_loader(dataset, TrainOrder(config, np.zeros(len(dataset.samples), np.int64), 0), workers))


def test_batches_do_not_depend_on_the_number_of_workers(faces: tuple[Path, list[Sample]]) -> None:
    dataset = FaceDataset(*faces, CONFIG, augmented=True)
    expected = run(dataset, CONFIG, workers=0)
    for workers in (1, 2):
        found = run(dataset, CONFIG, workers)
        assert [batch.indices for batch in found] == [batch.indices for batch in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours.images, theirs.images)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there the readers are what is waited for")
def test_readers_leave_the_cpu_to_what_computes(faces: tuple[Path, list[Sample]]) -> None:
    class Urgency(FaceDataset):
        def __getitem__(self, key: tuple[int, int]) -> tuple[NDArray[np.uint8], int]:
            return np.array([os.getpriority(os.PRIO_PROCESS, 0)], np.uint8), key[1]

    dataset = Urgency(*faces, CONFIG, augmented=True)
    for workers, wanted in ((0, os.getpriority(os.PRIO_PROCESS, 0)), (2, 19)):
        assert {int(value) for batch in run(dataset, CONFIG, workers) for value in batch.images.flatten()} == {wanted}


def test_an_epoch_has_every_sample_once_in_batches_of_nearly_equal_size(faces: tuple[Path, list[Sample]]) -> None:
    batches = run(FaceDataset(*faces, CONFIG, augmented=True), CONFIG, workers=0)
    assert [len(batch.indices) for batch in batches] == [3, 3, 3, 3, 3, 3]
    first, second = ([index for batch in part for index in batch.indices] for part in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(9))
    assert first != second
    assert batches[0].images.dtype == torch.uint8 and batches[0].images.shape == (3, 32, 24, 3)


def test_the_order_draws_by_the_configured_sampling() -> None:
    """Six faces, two and one of three classes, and every class has three draws an epoch."""
    config = CONFIG.model_copy(update={"sampling": SamplingSpec(name="class_balanced")})
    classes = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])
    batches = list(TrainOrder(config, classes, 0))
    for epoch in range(2):
        drawn = [index for batch in batches for number, index in batch if number == epoch]
        assert np.bincount(classes[drawn]).tolist() == [3, 3, 3]


def test_neither_batches_nor_pictures_are_kept(faces: tuple[Path, list[Sample]]) -> None:
    """Memory does not grow with the number of faces."""
    pictures: list[weakref.ref[NDArray[np.uint8]]] = []

    class Watched(FaceDataset):
        def pixels(self, sample: Sample, epoch: int = 0) -> NDArray[np.uint8]:
            found = super().pixels(sample, epoch)
            pictures.append(weakref.ref(found))
            return found

    batches: list[weakref.ref[torch.Tensor]] = []
    loader = make_loader(Watched(*faces, CONFIG, augmented=True), TrainOrder(CONFIG, np.zeros(9, np.int64), 0), 0)
    for batch in loader:
        batches.append(weakref.ref(batch.images))
        assert sum(reference() is not None for reference in batches) <= 2
        assert sum(reference() is not None for reference in pictures) <= 2 * 3
    assert (len(batches), len(pictures)) == (6, 18)


def test_draws_follow_seed_epoch_and_face_and_nothing_else(faces: tuple[Path, list[Sample]]) -> None:
    folder, samples = faces
    dataset = FaceDataset(folder, samples, CONFIG, augmented=True)
    pixels = dataset[1, 5][0]
    reordered = FaceDataset(folder, samples[5:], CONFIG, augmented=True)
    np.testing.assert_array_equal(reordered[1, 0][0], pixels)
    other_seed = FaceDataset(folder, samples, CONFIG.model_copy(update={"seed": 4}), augmented=True)
    other_face = FaceDataset(folder, [replace(samples[5], face_id=77)], CONFIG, augmented=True)
    for other in (dataset[0, 5][0], other_seed[1, 5][0], other_face[1, 0][0]):
        assert not np.array_equal(other, pixels)


def test_validation_sees_the_pixels_that_serving_sees(faces: tuple[Path, list[Sample]]) -> None:
    folder, samples = faces
    dataset = FaceDataset(folder, samples, CONFIG, augmented=False)
    card = ClassificationCard(
        name="m",
        label_space="mask",
        heads=(Head(name="mask", labels=("a", "b", "c")),),
        input=CONFIG.input,
        crop=CONFIG.crop,
        normalization=CONFIG.normalization,
        leaks=False,
        versions={},
        dataset_digest="",
        training_digest="",
    )
    for batch in make_loader(dataset, fixed_order(len(samples), 4), 0):
        for pixels, index in zip(batch.images.numpy(), batch.indices, strict=True):
            sample = samples[index]
            served = decode_crop_resize(dataset.archive.read(sample.file_name), sample.box, card)
            np.testing.assert_array_equal(pixels, served)


def test_a_dataset_that_was_read_from_can_be_pickled(faces: tuple[Path, list[Sample]]) -> None:
    dataset = FaceDataset(*faces, CONFIG, augmented=True)
    expected = dataset[0, 2][0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dataset))[0, 2][0], expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_named(tmp_path: Path, workers: int) -> None:
    with ArchiveWriter(tmp_path / "images") as writer:
        writer.add("broken.jpg", b"\xff\xd8\xff\xe0 no picture")
    dataset = FaceDataset(tmp_path / "images", [Sample(1, "broken.jpg", None, {})], CONFIG, augmented=True)
    with pytest.raises(InputError, match=r"broken\.jpg cannot be used for training"):
        run(dataset, CONFIG, workers)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("augmented", [True, False])
def test_a_picture_of_another_data_set_is_refused(
    faces: tuple[Path, list[Sample]], workers: int, augmented: bool
) -> None:
    folder, samples = faces
    known = [replace(sample, sha256=hashlib.sha256(ImageArchive(folder).read(sample.file_name)).hexdigest())
             for sample in samples]  # fmt: skip
    run(FaceDataset(folder, known, CONFIG, augmented=augmented), CONFIG, workers)
    known[7] = replace(known[7], sha256="0" * 64)
    with pytest.raises(InputError, match=r"images: '7\.img' is another picture than .* in the annotations"):
        run(FaceDataset(folder, known, CONFIG, augmented=augmented), CONFIG, workers)
