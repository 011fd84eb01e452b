"""From faces to batches: their order, and a loader that reads them from the image archive.

Every random draw is a function of (seed, epoch) or (seed, epoch, face id), and the same for any number of processes.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from components.shared.dataset.archive import ImageArchive
from components.train_classifier.augmentations.build import make_augmentation
from components.train_classifier.config.objective import PseudoLabelSpec, SamplingSpec
from components.train_classifier.config.training import IMAGENET, TrainConfig
from components.train_classifier.data.faces import Indices, Sample
from serving.runtime.card import Normalization
from serving.runtime.errors import ImageError, InputError

# The first number of a seed keeps streams apart that would otherwise share one.
_ORDER_STREAM = 1
_AUGMENT_STREAM = 2
_PSEUDO_STREAM = 5

_LOWEST_PRIORITY = 19

Key = tuple[int, int]  # epoch, index of the sample
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
        data = self.archive.read(sample.file_name, sample.sha256)
        if not self.augmented:
            return self._augmentation.eval_pixels(data, sample.box, self.config.crop, keypoints=sample.keypoints)
        rng = np.random.default_rng((_AUGMENT_STREAM, self.config.seed, epoch, sample.face_id))
        return self._augmentation.train_pixels(data, sample.box, self.config.crop, rng, keypoints=sample.keypoints)


def make_loader(dataset: FaceDataset, order: Iterable[list[Key]], workers: int) -> DataLoader[Batch]:
    """Return the loader that reads `dataset` in `order` with `workers` processes (0: in this one)."""
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
    """Keep OpenCV to one thread and, without a GPU, give the worker the lowest priority.

    OpenCV would start a thread per CPU in each worker. Threads that compute wait for each other at every layer, so one
    that a worker delays delays all: on two cores an epoch of 48 px faces took 5.6 s instead of 6.7 to 7.7 s.
    """
    cv2.setNumThreads(0)
    if not torch.cuda.is_available():
        os.nice(_LOWEST_PRIORITY)


def _collate(items: list[Item]) -> Batch:
    pixels, indices = zip(*items, strict=True)
    return Batch(torch.from_numpy(np.stack(pixels)), list(indices))


class TrainOrder:
    """The batches of all epochs in sequence, so that workers read ahead across the end of an epoch.

    An epoch is cut into batches of nearly equal size: batch-norm statistics of a very small one would be useless.
    With pseudo-labels a share of every batch is unlabeled faces, whose indices follow those of the labeled ones.
    Every process of several gets its part of each batch.
    """

    def __init__(
        self, config: TrainConfig, classes: Indices, unlabeled: int, *, start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        """Plan the epochs from `start` on (0-based); `classes` (N,) are the classes by which faces are sampled."""
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


def fixed_order(count: int, batch_size: int, *, rank: int = 0, world: int = 1) -> list[list[Key]]:
    """Return batches of all samples once, in order; of `world` processes each takes every `world`-th batch."""
    starts = range(rank * batch_size, count, world * batch_size)
    return [[(0, index) for index in range(start, min(start + batch_size, count))] for start in starts]


def epoch_order(sampling: SamplingSpec, classes: Indices, *, seed: int, epoch: int) -> Indices:
    """Return the faces of an epoch in order, as many as there are: int64 (N,) indices.

    `classes` is the class of every face (N,); classes without faces do not count.
    """
    rng = np.random.default_rng((_ORDER_STREAM, seed, epoch))
    count = len(classes)
    if sampling.name == "shuffle":
        return rng.permutation(count)
    _, inverse, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    if sampling.name == "inverse_frequency":
        return rng.choice(count, size=count, p=1 / (len(sizes) * sizes[inverse]))
    # Which classes get one draw more than the others, when the draws cannot be shared equally, is drawn as well.
    shares = np.full(len(sizes), count // len(sizes))
    shares[rng.permutation(len(sizes))[: count % len(sizes)]] += 1
    drawn = [draw_evenly(np.flatnonzero(inverse == number), int(share), rng) for number, share in enumerate(shares)]
    return rng.permutation(np.concatenate(drawn))


def epoch_batches(order: Indices, batch_size: int, *, rank: int = 0, world_size: int = 1) -> list[Indices]:
    """Cut an epoch into batches and return the part of each that process `rank` of `world_size` trains on.

    The parts of all processes concatenated are the batch of a single process. The sizes of batches differ by at most
    one, and so do those of the parts: weight the mean loss of a part by its size. Raises InputError when there are
    more processes than faces in a batch.
    """
    batches = np.array_split(order, max(1, -(-len(order) // batch_size)))
    smallest = len(batches[-1])
    if smallest < world_size:
        raise InputError(
            f"{world_size} processes cannot share a batch of {smallest} faces; raise batch_size or start fewer"
        )
    return [np.array_split(batch, world_size)[rank] for batch in batches]


def unlabeled_share(spec: PseudoLabelSpec, batch_size: int) -> int:
    """Return how many faces of a batch are unlabeled: at least one, and at least one is not."""
    return min(max(round(spec.share * batch_size), 1), batch_size - 1) if spec.enabled else 0


def unlabeled_order(count: int, needed: int, *, seed: int, epoch: int) -> Indices:
    """Return `needed` of `count` unlabeled faces for an epoch, each equally often, in random order."""
    return draw_evenly(np.arange(count), needed, np.random.default_rng((_PSEUDO_STREAM, seed, epoch)))


def draw_evenly(members: Indices, needed: int, rng: np.random.Generator) -> Indices:
    """Return `needed` of `members` in random order; none is repeated before all have been drawn."""
    rounds = [rng.permutation(members) for _ in range(-(-needed // len(members)))]
    return np.concatenate([*rounds, members[:0]])[:needed]
