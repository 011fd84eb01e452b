"""From JPEGs to batches of training pictures, against what a torchvision user would write."""

import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader

from benchmarks.benchmark import Benchmark, cpu_seconds, own_process, resident_mb
from benchmarks.photos import HEIGHT, WIDTH, write_photos
from components.shared.dataset.annotations import Box, read_annotations
from components.train_classifier.config.augmentation import FaceArguments
from components.train_classifier.config.training import IMAGENET, TrainConfig, resolve_config
from components.train_classifier.data.faces import Sample
from components.train_classifier.data.loader import FaceDataset, TrainOrder, make_loader
from serving.runtime.image.placement import crop_rect
from serving.runtime.machine import usable_cpus

PHOTOS = 300
SIDE = 224
BATCH = 25
REPEATS = 5
WARM_BATCHES = 8
WARMING = 50

Pass = Callable[[], object]


def input_pipeline() -> list[Benchmark]:
    """Photos of 384 x 512 pixels to training pictures of 224 x 224; both sides cut, mirror and recolor them alike.

    The rates are per second of CPU time, each side in a process of its own that has one thread. The baseline ends in
    normalized float tensors, ours in uint8 ones, since normalizing is the network's first layer.

    For the scaling, the rate of a loader with a worker for every CPU is compared with that of as many processes which
    do the same without any connection: what this machine has.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_photos(folder, PHOTOS)
        rates = {kind: _rates(folder, kind) for kind in ("face", "whole")}
        with own_process() as process:
            grown = process.submit(_growth, folder).result()
        size = sum(file.stat().st_size for file in (folder / "images").iterdir()) / 2**20 * (1 - WARMING / PHOTOS)
        workers = usable_cpus()
        with own_process() as process:
            scaled = process.submit(_worker_rate, folder, workers).result()
        free = _free_rate(folder, workers)
    return [
        Benchmark.compared("input_pipeline", *rates["face"], "images/s", 2),
        Benchmark.compared("input_pipeline_whole", *rates["whole"], "images/s"),
        Benchmark.absolute("input_pipeline_memory", grown, "MB", f"grows < half of {size:.0f} MB", grown < size / 2),
        Benchmark.compared("input_pipeline_scaling", scaled, free, "images/s", 0.85),
    ]


def _rates(folder: Path, kind: str) -> tuple[float, float]:
    """Images in a second of CPU time, ours and the baseline's: medians of passes that take turns."""
    with own_process() as here, own_process() as there:
        turns = [
            (here.submit(_pass_seconds, "ours", folder, kind).result(),
             there.submit(_pass_seconds, "torchvision", folder, kind).result())
            for _ in range(1 + REPEATS)
        ]  # fmt: skip
    ours, theirs = zip(*turns[1:], strict=True)
    return PHOTOS / median(ours), PHOTOS / median(theirs)


def _pass_seconds(side: str, folder: Path, kind: str) -> float:
    return cpu_seconds(SIDES[side](folder, kind))


def _config(**changes: int) -> TrainConfig:
    entries = {"label_space": "mask", "image_height": SIDE, "image_width": SIDE, "batch_size": BATCH}
    return resolve_config(entries, **changes)


def _dataset(folder: Path, kind: str, part: slice = slice(None)) -> FaceDataset:
    images = read_annotations(folder / "annotations.json").images[part]
    faces = [(image, face) for image in images for face in image.faces]
    samples = [
        Sample(face.id, image.file_name, face.box if kind == "face" else None, face.attributes) for image, face in faces
    ]
    return FaceDataset(folder / "images", samples, _config(), augmented=True)


@cache
def _ours(folder: Path, kind: str) -> Pass:
    torch.set_num_threads(1)
    order = TrainOrder(_config(epochs=1), np.zeros(PHOTOS, np.int64), 0)
    loader = make_loader(_dataset(folder, kind), order, 0)
    return lambda: _exhaust(loader)


@cache
def _torchvision(folder: Path, kind: str) -> Pass:
    """ImageFolder, with the face cut by our rule where `kind` says so; ranges are those of our defaults."""
    torch.set_num_threads(1)
    augment = FaceArguments()
    boxes = {image.file_name: image.faces[0].box for image in read_annotations(folder / "annotations.json").images}
    stretch = 1.0 if kind == "face" else WIDTH / HEIGHT
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE, augment.scale, tuple(stretch * aspect for aspect in augment.aspect)),
            transforms.RandomHorizontalFlip(augment.flip),
            transforms.ColorJitter(augment.brightness, augment.contrast, augment.saturation),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET.mean, IMAGENET.std),
        ]
    )
    read = default_loader if kind == "whole" else lambda path: _cut_face(path, boxes[Path(path).name])
    loader = DataLoader(ImageFolder(str(folder / "classes"), transform, loader=read), BATCH, shuffle=True)
    return lambda: _exhaust(loader)


def _cut_face(path: str, box: Box | None) -> Image.Image:
    config = _config()
    left, top, right, bottom = map(round, crop_rect((HEIGHT, WIDTH), box, config.crop, config.input))
    picture: Image.Image = default_loader(path)
    return picture.crop((left, top, right, bottom))


SIDES: dict[str, Callable[[Path, str], Pass]] = {"ours": _ours, "torchvision": _torchvision}


def _exhaust(loader: DataLoader[object]) -> None:
    for _ in loader:
        pass


def _growth(folder: Path) -> float:
    """By how many MB the process grows while it reads photos three times; others have warmed it up."""
    torch.set_num_threads(1)

    def read(part: slice, epochs: int) -> None:
        photos = _dataset(folder, "face", part)
        order = TrainOrder(_config(epochs=epochs), np.zeros(len(photos.samples), np.int64), 0)
        _exhaust(make_loader(photos, order, 0))

    read(slice(0, WARMING), 12)
    before = resident_mb()
    read(slice(WARMING, PHOTOS), 3)
    return resident_mb() - before


def _worker_rate(folder: Path, workers: int) -> float:
    """Images in a second of the clock that a loader with `workers` processes gives, once it runs."""
    epochs = 4
    order = TrainOrder(_config(epochs=epochs), np.zeros(PHOTOS, np.int64), 0)
    batches = iter(make_loader(_dataset(folder, "face"), order, workers))
    for _ in range(WARM_BATCHES):
        next(batches)
    started = time.perf_counter()
    for _ in batches:
        pass
    return (epochs * PHOTOS - WARM_BATCHES * BATCH) / (time.perf_counter() - started)


def _free_rate(folder: Path, processes: int) -> float:
    """Images in a second of the clock that as many loaders without workers give together, at the same time."""
    pools = [own_process() for _ in range(processes)]
    for pool in pools:
        pool.submit(_pass_seconds, "ours", folder, "face").result()
    started = time.perf_counter()
    passes = [pool.submit(_pass_seconds, "ours", folder, "face") for pool in pools for _ in range(3)]
    for one in passes:
        one.result()
    took = time.perf_counter() - started
    for pool in pools:
        pool.shutdown()
    return len(passes) * PHOTOS / took
