"""The models that are served: valid Facet models with random weights, made once.

Batch norm's statistics are those of the pictures and the last layer's weights are scaled, so that answers differ from
picture to picture as those of a trained model do.
"""

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from benchmarks.serve_latency import mean_model
from components.export_onnx.export import export
from components.quantize.precision import to_int8
from components.shared.models.adopt import adopt
from components.shared.models.checkpoint import Checkpoint, save_checkpoint
from components.shared.models.network import build_network
from components.shared.models.spec import resolve_model
from serving.runtime.card import CropRule, Head, InputSize, Normalization
from serving.runtime.output import whole_file
from serving.runtime.registry import MODEL_FILE
from serving.runtime.seal import SEAL_KEY, ZEROS, sealed

LABELS = 18
_NORMALIZATION = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# Of the logits over the pictures: the most probable label then has about 0.8.
_LOGIT_SPREAD = 3.0


def classifier(file: Path, pictures: Sequence[Path], *, backbone: str, side: int, head: str, labels: int) -> None:
    """Write a classifier of square pictures with one head."""
    torch.manual_seed(len(head))
    heads = (Head(name=head, labels=tuple(f"class {number}" for number in range(labels))),)
    network = build_network(resolve_model(backbone), heads, _NORMALIZATION)
    _fit(network, torch.from_numpy(np.stack([_pixels(picture, side) for picture in pictures])))
    checkpoint = Checkpoint(
        model=resolve_model(backbone),
        label_space=head,
        heads=heads,
        input=InputSize(height=side, width=side),
        crop=CropRule(),
        normalization=_NORMALIZATION,
        model_state=network.state_dict(),
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
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder, "checkpoints")
        checkpoints.mkdir()
        save_checkpoint(checkpoint, checkpoints / "best.pt")
        export(checkpoints, Path(folder, "model"), name=file.stem)
        with whole_file(file) as partial:
            partial.write_bytes(Path(folder, "model", MODEL_FILE).read_bytes())


@torch.inference_mode()
def _fit(network: nn.Module, images: torch.Tensor) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over all batches
            module.reset_running_stats()
    network.train()
    for batch in torch.split(images, 16):
        network(batch)
    logits = network.eval()(images)
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    factor = _LOGIT_SPREAD / logits.std(dim=0).mean()
    last.weight.mul_(factor)
    last.bias.sub_(logits.mean(dim=0)).mul_(factor)


def quantized(file: Path, source: Path, pictures: Sequence[Path]) -> None:
    """Write the int8 version of a model as the step `quantize` makes it, calibrated on the pictures."""
    model = onnx.load(source)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    side = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    heads = [output.name for output in model.graph.output]
    model = to_int8(model, heads, np.stack([_pixels(picture, side) for picture in pictures]))
    onnx.helper.set_model_props(model, metadata | {SEAL_KEY: ZEROS})
    with whole_file(file) as partial:
        partial.write_bytes(sealed(model.SerializeToString(deterministic=True)))


def _pixels(file: Path, side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(file.read_bytes())).resize((side, side), Image.Resampling.BILINEAR))


def make_models(folder: Path, pictures: Sequence[Path]) -> dict[str, Path]:
    """Make the models that are not in `folder` yet and return their files: name -> file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.onnx" for name in _MODELS}
    for name, make in _MODELS.items():
        if not files[name].exists():
            make(files[name], pictures)
    return files


def write_composite(folder: Path, weights: Path, files: dict[str, Path]) -> Path:
    """Write a composite of YuNet and the two heads and return its file; `weights` is YuNet's original file."""
    folder.mkdir(parents=True, exist_ok=True)
    adopted = adopt(weights.read_bytes(), str(weights), name="yunet", options={"score": 0.7})
    (folder / "yunet.onnx").write_bytes(adopted.content)
    for name in ("light", "second"):
        (folder / f"{name}.onnx").write_bytes(files[name].read_bytes())
    card = folder / "composite.json"
    card.write_text('{"name": "people", "detectors": ["yunet.onnx"], "heads": ["light.onnx", "second.onnx"]}')
    return card


def _int8(file: Path, pictures: Sequence[Path]) -> None:
    quantized(file, file.with_name("fp32.onnx"), pictures)


def _tiny(file: Path, pictures: Sequence[Path]) -> None:
    file.write_bytes(mean_model())


def _make(backbone: str, side: int, head: str, labels: int) -> Callable[[Path, Sequence[Path]], None]:
    return lambda file, pictures: classifier(file, pictures, backbone=backbone, side=side, head=head, labels=labels)


_MODELS: dict[str, Callable[[Path, Sequence[Path]], None]] = {
    "fp32": _make("resnet18", 224, "mask_gender_age", LABELS),
    "int8": _int8,
    "light": _make("mobilenet_v3_small", 64, "mask", 3),
    "second": _make("mobilenet_v3_small", 64, "emotion", 7),
    "tiny": _tiny,
}
