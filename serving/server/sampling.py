"""A share of the answered pictures, kept in S3 or a folder, so that they can be labeled and trained on."""

import asyncio
import hashlib
import json
import logging
import queue
import random
import tempfile
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, Metric

from serving.runtime.addresses import public_address
from serving.runtime.errors import InputError, StorageError
from serving.runtime.image.header import read_header
from serving.runtime.image.photo_types import type_of
from serving.runtime.predictor import FaceResult, Predictor
from serving.runtime.storage import upload

# Of pictures that wait to be stored; more are left out, and counted.
MAX_WAITING_BYTES = 32 * 2**20
# Of one upload.
_BATCH = 16
_LABELME = "5.5.0"
"""The version of LabelMe whose form the files have."""

_log = logging.getLogger(__name__)


class Sampling:
    """Keeps a random share of the pictures below `uri`, as they were sent, with what was found in each.

    A picture is `<day>/<sha256>.<type>`, and beside it is a JSON file of LabelMe's: a rectangle called `face` around
    each face, whose description says what the model said. LabelMe opens the folder, and `ingest` reads it. What the
    model said is no label there. The same picture is kept once a day. A thread of its own stores them; no request waits
    for it.

    Attributes:
        stored: how many pictures were stored.
        lost: how many were chosen and not stored, since the storage was too slow or failed.

    Args:
        uri: `s3://bucket/prefix` or a folder.
        share: of the pictures, 0 to 1.
        seed: of the random choice.
    """

    def __init__(self, uri: str, share: float, seed: int | None = None) -> None:
        self.uri = uri
        self.share = share
        self.stored = 0
        self.lost = 0
        self._random = random.Random(seed)
        self._waiting: queue.SimpleQueue[_Sample | None] = queue.SimpleQueue()
        self._bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._store_all, name="sampling", daemon=True)

    async def start(self) -> None:
        """Begin to store."""
        _log.warning("%g %% of the pictures are stored in %s as they are sent", 100 * self.share, self._where)
        self._thread.start()

    async def stop(self, seconds: float) -> None:
        """Store what waits, for so many seconds at most."""
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join, seconds)

    def offer(self, model: Predictor, data: bytes, faces: Iterable[FaceResult]) -> None:
        """Keep this picture, or not."""
        if self._random.random() >= self.share:
            return
        with self._lock:
            if self._bytes + len(data) > MAX_WAITING_BYTES:
                self.lost += 1
                return
            self._bytes += len(data)
        self._waiting.put(_Sample(model, data, list(faces)))

    def collect(self) -> Iterator[Metric]:
        """Yield the counts, as Prometheus' registry asks for them."""
        counts = CounterMetricFamily(
            "facet_samples", "Pictures chosen to be kept, by what became of them", labels=["state"]
        )
        counts.add_metric(["stored"], self.stored)
        counts.add_metric(["lost"], self.lost)
        yield counts

    @property
    def _where(self) -> str:
        return public_address(self.uri)

    def _store_all(self) -> None:
        samples: list[_Sample] = []
        while (sample := self._waiting.get()) is not None:
            samples.append(sample)
            if len(samples) == _BATCH or self._waiting.empty():
                self._store(samples)
                samples = []
        self._store(samples)

    def _store(self, samples: list["_Sample"]) -> None:
        if not samples:
            return
        with self._lock:
            self._bytes -= sum(len(sample.data) for sample in samples)
        try:
            with tempfile.TemporaryDirectory() as folder:
                for sample in samples:
                    sample.write(Path(folder))
                upload(Path(folder), self.uri, workers=2)
            self.stored += len(samples)
        except (StorageError, InputError, OSError) as error:
            self.lost += len(samples)
            _log.warning("%d pictures could not be stored in %s: %s", len(samples), self._where, error)


class _Sample:
    """A picture with what a model said of it."""

    def __init__(self, model: Predictor, data: bytes, faces: list[FaceResult]) -> None:
        self._model = f"{model.name} version {model.version}"
        self.data = data
        self._faces = faces

    def write(self, folder: Path) -> None:
        """Write the picture and its LabelMe file."""
        day = folder / datetime.now(UTC).strftime("%Y-%m-%d")
        day.mkdir(exist_ok=True)
        stem = hashlib.sha256(self.data).hexdigest()
        kind = type_of(self.data)
        picture = day / f"{stem}{kind.suffixes[0] if kind else ''}"
        picture.write_bytes(self.data)
        height, width = read_header(self.data).upright
        document: dict[str, Any] = {
            "version": _LABELME,
            "flags": {},
            "shapes": [self._shape(face, height, width) for face in self._faces],
            "imagePath": picture.name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        picture.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n")

    def _shape(self, face: FaceResult, height: int, width: int) -> dict[str, Any]:
        x, y, w, h = face.box or (0.0, 0.0, float(width), float(height))
        best = {name: max(values, key=values.__getitem__) for name, values in face.heads.items()}
        said = [f"{name}: {label} {face.heads[name][label]:.2f}" for name, label in best.items()]
        return {
            "label": "face",
            "points": [[x, y], [x + w, y + h]],
            "group_id": None,
            "description": ", ".join([self._model, *said]),
            "shape_type": "rectangle",
            "flags": {},
            "mask": None,
        }
