"""From the image archive to batches. Every random draw is a function of (seed, epoch, face id)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from components.shared.dataset.archive import ImageArchive
from components.train_classifier.augmentations.build import make_augmentation
from components.train_classifier.config.training import IMAGENET, TrainConfig
from components.train_classifier.data.faces import Sample
from components.train_classifier.data.sampling import Key
from serving.runtime.card import Normalization
from serving.runtime.errors import ImageError, InputError

# The first number of a seed keeps streams apart that would otherwise share one.
_AUGMENT_STREAM = 2

_LOWEST_PRIORITY = 19

Item = tuple[NDArray[np.uint8], int]  # pixels, index of the sample


class Batch(NamedTuple):
    """`images` uint8 (N,h,w,3) RGB, and the samples' indices."""

    images: torch.Tensor
    indices: list[int]


class FaceDataset(Dataset[Item]):
    """Faces cut from the archive: augmented for training, cut exactly as serving does otherwise.

    A key is (epoch, index), so a worker process needs no state to draw the same augmentation.
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
        """Read `samples` from the archive `images`; the mean of `normalization` is the color of erased parts."""
        self.archive = ImageArchive(images)
        self.samples = samples
        self.config = config
        self.augmented = augmented
        spec = config.augmentation
        if spec.name == "face":
            spec = spec.model_copy(update={"arguments": config.augment.model_dump() | spec.arguments})
        self._augmentation = make_augmentation(spec, config.input, normalization)

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


def make_loader(dataset: FaceDataset, order: Sampler[list[Key]], workers: int) -> DataLoader[Batch]:
    """Return the loader that reads `dataset` in `order` with `workers` processes (0: in this one)."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        worker_init_fn=None if torch.cuda.is_available() else _lower_priority,
        pin_memory=torch.cuda.is_available(),
    )
    return loader


def _lower_priority(worker: int) -> None:
    """Give a worker the lowest priority, where it shares the CPU with the threads that compute.

    Those wait for each other at every layer, so one that a worker delays delays all: on two cores an epoch of 48 px
    faces took 5.6 s instead of 6.7 to 7.7 s.
    """
    os.nice(_LOWEST_PRIORITY)


def _collate(items: list[Item]) -> Batch:
    pixels, indices = zip(*items, strict=True)
    return Batch(torch.from_numpy(np.stack(pixels)), list(indices))
