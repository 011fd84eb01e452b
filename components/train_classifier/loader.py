"""From the image archive to batches. Every random draw is a function of (seed, epoch, face id)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from components.shared.dataset.archive import ImageArchive
from components.train_classifier.augment import augment_pixels, random_rect
from components.train_classifier.config import TrainConfig
from components.train_classifier.samples import Sample
from serving.runtime.errors import ImageError, InputError
from serving.runtime.preprocess import crop_rect, decode_rect_resize, read_size

# The first number of a seed keeps streams apart that would otherwise share one.
_ORDER_STREAM, _AUGMENT_STREAM = 1, 2

Key = tuple[int, int]  # epoch, index of the sample
Item = tuple[NDArray[np.uint8], tuple[int, ...], int]  # pixels, a label per head, index of the sample


class Batch(NamedTuple):
    """`images` uint8 (N,h,w,3) RGB, `targets` int64 (N,heads), and the samples' indices."""

    images: torch.Tensor
    targets: torch.Tensor
    indices: list[int]


class FaceDataset(Dataset[Item]):
    """Faces cut from the archive: augmented for training, cut exactly as serving does otherwise.

    An item is asked for by (epoch, index), so a worker process needs no state to know what to draw.
    """

    def __init__(self, images: Path, samples: Sequence[Sample], config: TrainConfig, *, augmented: bool) -> None:
        self.archive = ImageArchive(images)
        self.samples = samples
        self.config = config
        self.augmented = augmented
        red, green, blue = (round(255 * mean) for mean in config.normalization.mean)
        self.fill = (red, green, blue)

    def __getitem__(self, key: Key) -> Item:
        """Return uint8 (h,w,3) RGB pixels, a label per head and the index."""
        epoch, index = key
        sample = self.samples[index]
        try:
            pixels = self._pixels(sample, epoch)
        except ImageError as error:
            raise InputError(f"{sample.file_name} cannot be used for training: {error}") from error
        return pixels, sample.targets, index

    def _pixels(self, sample: Sample, epoch: int) -> NDArray[np.uint8]:
        config = self.config
        data = self.archive.read(sample.file_name)
        size = read_size(data)
        rect = crop_rect(size, sample.box, config.crop, config.input)
        if not self.augmented:
            return decode_rect_resize(data, rect, size, config.input, config.min_decode)
        rng = np.random.default_rng((_AUGMENT_STREAM, config.seed, epoch, sample.face_id))
        rect = random_rect(rect, size, config.augment, rng)
        pixels = decode_rect_resize(data, rect, size, config.input, config.min_decode)
        return augment_pixels(pixels, config.augment, self.fill, rng)


class TrainOrder(Sampler[list[Key]]):
    """The batches of all epochs in one row, so that workers read ahead across the end of an epoch.

    An epoch is a random order of all samples, cut into batches of nearly equal size: none is so small that its
    batch-norm statistics mean nothing.
    """

    def __init__(self, count: int, config: TrainConfig) -> None:
        self.count = count
        self.config = config
        self.per_epoch = -(-count // config.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield lists of (epoch, index)."""
        for epoch in range(self.config.epochs):
            order = np.random.default_rng((_ORDER_STREAM, self.config.seed, epoch)).permutation(self.count)
            for part in np.array_split(order, self.per_epoch):
                yield [(epoch, int(index)) for index in part]


class FixedOrder(Sampler[list[Key]]):
    """All samples once, in order."""

    def __init__(self, count: int, batch_size: int) -> None:
        self.count = count
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield lists of (0, index)."""
        for start in range(0, self.count, self.batch_size):
            yield [(0, index) for index in range(start, min(start + self.batch_size, self.count))]


def make_loader(dataset: FaceDataset, order: Sampler[list[Key]], workers: int) -> DataLoader[Batch]:
    """Return the loader that reads `dataset` in `order` with `workers` processes (0: in this one)."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    return loader


def _collate(items: list[Item]) -> Batch:
    pixels, targets, indices = zip(*items, strict=True)
    return Batch(torch.from_numpy(np.stack(pixels)), torch.tensor(targets, dtype=torch.int64), list(indices))
