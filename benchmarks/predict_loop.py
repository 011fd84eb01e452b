"""Predicting many photos: the step predict against a plain loop of decoding and onnxruntime."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import simplejpeg
import torch
from PIL import Image

from benchmarks.benchmark import Benchmark, cpu_seconds, medians
from benchmarks.photos import HEIGHT, WIDTH, write_photos
from components.export_onnx.export import export
from components.predict.predict import predict
from components.shared.dataset.annotations import Face
from components.shared.dataset.label_spaces import label_space
from components.shared.models.checkpoint import Checkpoint, save_checkpoint
from components.shared.models.network import build_network
from components.shared.models.spec import resolve_model
from serving.runtime.card import CropRule, InputSize, Normalization
from serving.runtime.image.placement import crop_rect
from serving.runtime.machine import usable_cpus
from serving.runtime.registry import MODEL_FILE

PHOTOS = 400
REPEATS = 5
LEAST = 0.9
NETWORKS = {"resnet18": InputSize(height=224, width=224), "mobilenet_v3_small": InputSize(height=128, width=96)}
"""Name of a network -> the size of its input."""

_SPACE = "mask_gender_age"
_RULE = CropRule()


def predict_loop() -> list[Benchmark]:
    """The 18 classes of the faces in photos of 384x512: the step predict against a loop, with the same model.

    The step reads annotations and image archive, checks every picture's digest, opens the model and writes the table.
    The loop has the paths and the boxes: on as many threads as there are cores it reads a file, decodes it in full with
    libjpeg-turbo, cuts and resizes the face with Pillow, and runs one face at a time in a session of one thread, which
    is opened before. Both give the same classes.
    """
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        faces = write_photos(work, PHOTOS)
        files = sorted(work.glob("classes/*/*.jpg"), key=lambda file: int(file.stem))
        for network, size in NETWORKS.items():
            model = write_model(work / network, network, size)
            step = ours(work, model)
            loop = peer(files, faces, model / MODEL_FILE, size)
            agreeing = np.mean(np.array(step()) == np.array(loop()))
            assert agreeing > 0.95, agreeing  # decoded at other scales, a few are as probable as another class
            mine, theirs = (PHOTOS / one for one in medians(step, loop, repeats=REPEATS))
            results.append(Benchmark.compared(f"predict_loop: {network}", mine, theirs, "images/s", LEAST))
            mine, theirs = (1000 * cpu_seconds(side) / PHOTOS for side in (step, loop))
            results.append(Benchmark.compared(f"predict_loop: {network}: processor time", mine, theirs, "ms/image"))
    return results


def write_model(folder: Path, network: str, size: InputSize) -> Path:
    """Export a network with random weights into `folder`/model and return that folder."""
    torch.manual_seed(0)
    spec, heads = resolve_model(network), label_space(_SPACE).heads
    normalization = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    checkpoint = Checkpoint(
        model=spec,
        label_space=_SPACE,
        heads=heads,
        input=size,
        crop=_RULE,
        normalization=normalization,
        model_state=build_network(spec, heads, normalization).state_dict(),
        ema_state=None,
        config={},
        epoch=1,
        metrics={},
        dataset_digest="",
        training_digest="",
        leaks=False,
        run_id="",
        versions={},
    )
    folder.mkdir(parents=True)
    save_checkpoint(checkpoint, folder / "best.pt")
    export(folder, folder / "model", name=network)
    return folder / "model"


def ours(data: Path, model: Path) -> Callable[[], list[int]]:
    """Return what predicts the photos of `data` with the step, and gives the class of each."""
    table = data / "predictions.csv"

    def run() -> list[int]:
        predict(model, data / "images", data / "annotations.json", table, split="all")
        header, *rows = (line.split(",") for line in table.read_text().splitlines())
        return [int(row[header.index("class_id")]) for row in rows]

    return run


def peer(files: Sequence[Path], faces: Iterable[Face], model: Path, size: InputSize) -> Callable[[], list[int]]:
    """Return what does the same in a loop of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rects = [crop_rect((HEIGHT, WIDTH), face.box, _RULE, size) for face in faces]

    def classify(file: Path, rect: tuple[float, float, float, float]) -> int:
        pixels = simplejpeg.decode_jpeg(file.read_bytes())
        face = Image.fromarray(pixels).resize((size.width, size.height), Image.Resampling.BILINEAR, box=rect)
        (probabilities,) = session.run(None, {"images": np.asarray(face)[None]})
        return int(probabilities[0].argmax())

    def run() -> list[int]:
        with ThreadPoolExecutor(usable_cpus()) as pool:
            return list(pool.map(classify, files, rects))

    return run
