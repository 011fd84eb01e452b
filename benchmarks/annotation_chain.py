"""sample -> rename -> split -> subset: as annotations, and as the chain of copied folders that it replaces."""

import json
import random
import shutil
import tempfile
import uuid
from pathlib import Path

from PIL import Image as PilImage

from benchmarks.benchmark import Benchmark, medians
from benchmarks.photos import noise_photo
from components.curate.curate import curate
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.split.split import split

PERSONS = 300
CLASSES = ("anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad")
RATIO, TRAIN, SUBSET = 0.8, 0.8, 0.5


def annotation_chain() -> list[Benchmark]:
    """Both chains start from the same 2,100 photos of 1200 x 1600 pixels; disk is what a chain writes.

    The folders' chain copies the files in every step, and reads the sizes and writes a COCO file where it renames and
    where it splits, as the tools did that worked this way.
    """
    with tempfile.TemporaryDirectory() as scratch:
        raw, start = Path(scratch, "raw"), Path(scratch, "annotations.json")
        _make(raw, start)
        copies, annotations = Path(scratch, "copies"), Path(scratch, "chain")

        def copy() -> None:
            shutil.rmtree(copies, ignore_errors=True)
            _copy_chain(raw, copies)

        def annotate() -> None:
            shutil.rmtree(annotations, ignore_errors=True)
            _annotation_chain(start, annotations)

        return [
            Benchmark.compared("annotation_chain", *medians(annotate, copy, repeats=3), "s", 10),
            Benchmark.compared("annotation_chain_disk", _bytes(annotations) / 1e6, _bytes(copies) / 1e6, "MB", 3),
        ]


def _make(raw: Path, annotations: Path) -> None:
    content = noise_photo((400, 300), (1200, 1600), quality=75)  # about 500 KB, a small photo of a phone
    images = []
    for number in range(PERSONS * len(CLASSES)):
        person, at = divmod(number, len(CLASSES))
        name = f"{CLASSES[at]}/{person:06d}_{CLASSES[at]}.jpg"
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(content)
        face = Face(number + 1, (10.0, 10.0, 90.0, 120.0), {"emotion": CLASSES[at]})
        images.append(Image(number + 1, name, 1200, 1600, (face,), person=f"{person:06d}"))
    write_annotations(Annotations(tuple(images)), annotations)


def _annotation_chain(start: Path, folder: Path) -> None:
    """The archive keeps the original names, so that renaming is part of an export and costs nothing here."""
    folder.mkdir()
    curate(start, folder / "sampled.json", [{"sample": {"ratio": RATIO, "per": "class", "label_space": "emotion"}}])
    split(folder / "sampled.json", folder / "split.json", label_space="emotion", val_ratio=1 - TRAIN)
    wanted = {"ratio": SUBSET, "per": "class", "label_space": "emotion", "splits": ["train", "val"]}
    curate(folder / "split.json", folder / "subset.json", [{"sample": wanted}])


def _copy_chain(raw: Path, folder: Path) -> None:
    draw = random.Random(0)
    for name in CLASSES:
        sampled, renamed = folder / "sampled" / name, folder / "renamed" / name
        files = sorted((raw / name).iterdir())
        _copy(draw.sample(files, int(len(files) * RATIO)), sampled)
        renamed.mkdir(parents=True)
        for file in sorted(sampled.iterdir()):
            shutil.copy2(file, renamed / f"{uuid.UUID(int=draw.getrandbits(128))}{file.suffix}")
        _write_coco(renamed)
        files = sorted(renamed.iterdir())
        draw.shuffle(files)
        cut = int(len(files) * TRAIN)
        for part, members in (("train", files[:cut]), ("val", files[cut:])):
            _copy(members, folder / "split" / part / name)
            _write_coco(folder / "split" / part / name)
            _copy(members[: int(len(members) * SUBSET)], folder / "subset" / part / name)


def _copy(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy2(file, folder / file.name)


def _write_coco(folder: Path) -> None:
    records = []
    for number, file in enumerate(sorted(folder.iterdir()), start=1):
        with PilImage.open(file) as picture:
            width, height = picture.size
        records.append({"id": number, "file_name": file.name, "width": width, "height": height})
    folder.with_suffix(".json").write_text(json.dumps({"images": records}))


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
