"""From the image archive to batches. Every random draw is a function of (seed, epoch, face id)."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from components.shared.dataset.archive import ImageArchive
from components.train_classifier.augmentations.build import make_augmentation
from components.train_classifier.config.training import IMAGENET, TrainConfig
from components.train_classifier.data.memory import keep_freed_memory
from components.train_classifier.data.samples import Sample
from components.train_classifier.data.sampling import Indices, epoch_batches, epoch_order
from components.train_classifier.objective.pseudo_labels import unlabeled_order, unlabeled_share
from serving.runtime.card import Normalization
from serving.runtime.errors import ImageError, InputError

# The first number of a seed keeps streams apart that would otherwise share one.
_AUGMENT_STREAM = 2

_LEAST_URGENT = 19  # as far as niceness goes

Key = tuple[int, int]  # epoch, index of the sample
Item = tuple[NDArray[np.uint8], int]  # pixels, index of the sample


class Batch(NamedTuple):
    """`images` uint8 (N,h,w,3) RGB, and the samples' indices."""

    images: torch.Tensor
    indices: list[int]


class FaceDataset(Dataset[Item]):
    """Faces cut from the archive: augmented for training, cut exactly as serving does otherwise.

    An item is asked for by (epoch, index), so a worker process needs no state to know what to draw.
    """

    def __init__(
        self,
        images: Path,
        samples: Sequence[Sample],
        config: TrainConfig,
        *,
        augmented: bool,
        normalization: Normalization = IMAGENET,
    ) -> None:
        """Read `samples` from the archive `images`; `normalization` says what the mean color of holes is."""
        self.archive = ImageArchive(images)
        self.samples = samples
        self.config = config
        self.augmented = augmented
        self._augmentation = make_augmentation(config.augmentation, config.input, normalization)

    def __getitem__(self, key: Key) -> Item:
        """Return uint8 (h,w,3) RGB pixels and the index."""
        epoch, index = key
        sample = self.samples[index]
        try:
            return self.pixels(sample, epoch), index
        except ImageError as error:
            raise InputError(f"{sample.file_name} cannot be used for training: {error}") from error

    def pixels(self, sample: Sample, epoch: int = 0) -> NDArray[np.uint8]:
        """Return uint8 (h,w,3) RGB pixels of a face. Raises ImageError when its picture cannot be used."""
        data = self.archive.read(sample.file_name)
        if not self.augmented:
            return self._augmentation.eval_pixels(data, sample.box, self.config.crop)
        rng = np.random.default_rng((_AUGMENT_STREAM, self.config.seed, epoch, sample.face_id))
        return self._augmentation.train_pixels(data, sample.box, self.config.crop, rng)


class TrainOrder(Sampler[list[Key]]):
    """The batches of all epochs in one row, so that workers read ahead across the end of an epoch.

    An epoch is cut into batches of nearly equal size: none is so small that its batch-norm statistics mean nothing.
    With pseudo-labels a share of every batch are unlabeled faces, whose indices come after those of the others.
    Every process of several gets its part of each batch.
    """

    def __init__(
        self, config: TrainConfig, classes: Indices, unlabeled: int, *, start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        """Plan the epochs from `start` on (0-based); `classes` (N,) is what the sampling goes by."""
        self.config = config
        self.classes = classes
        self.unlabeled = unlabeled
        self.start = start
        self.rank, self.world = rank, world
        self.extra = unlabeled_share(config.pseudo_labels, config.batch_size)
        self.per_epoch = -(-len(classes) // (config.batch_size - self.extra))

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield lists of (epoch, index)."""
        config, count = self.config, len(self.classes)
        for epoch in range(self.start, config.epochs):
            order = epoch_order(config.sampling, self.classes, seed=config.seed, epoch=epoch)
            batches = epoch_batches(order, config.batch_size - self.extra, rank=self.rank, world_size=self.world)
            if self.extra:
                needed = self.extra * len(batches)
                added = count + unlabeled_order(self.unlabeled, needed, seed=config.seed, epoch=epoch)
                mine = [np.array_split(part, self.world)[self.rank] for part in np.split(added, len(batches))]
                batches = [np.concatenate(pair) for pair in zip(batches, mine, strict=True)]
            for batch in batches:
                yield [(epoch, int(index)) for index in batch]


class FixedOrder(Sampler[list[Key]]):
    """All samples once, in order; of several processes, each has every so-manieth batch."""

    def __init__(self, count: int, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        self.count = count
        self.batch_size = batch_size
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield lists of (0, index)."""
        for start in range(self.rank * self.batch_size, self.count, self.world * self.batch_size):
            yield [(0, index) for index in range(start, min(start + self.batch_size, self.count))]


def make_loader(dataset: FaceDataset, order: Sampler[list[Key]], workers: int) -> DataLoader[Batch]:
    """Return the loader that reads `dataset` in `order` with `workers` processes (0: in this one)."""
    keep_freed_memory()
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
    )
    return loader


def _start_worker(worker: int) -> None:
    """Keep a loader process to one thread and, without a GPU, at the least urgency.

    OpenCV would start a thread per CPU in each process. Threads that compute wait for each other at every layer, so
    that a reader in the way of one holds up all: on two cores an epoch of 48 px faces took 5.6 s for 6.7 to 7.7.
    Nothing is lost: where batches are lacking, the readers are alone.
    """
    cv2.setNumThreads(0)
    if not torch.cuda.is_available():
        os.nice(_LEAST_URGENT)


def _collate(items: list[Item]) -> Batch:
    pixels, indices = zip(*items, strict=True)
    return Batch(torch.from_numpy(np.stack(pixels)), list(indices))
