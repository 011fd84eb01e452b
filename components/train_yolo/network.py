"""The network of a checkpoint that is exported, and what it says of itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.train_yolo.library import tasks
from components.train_yolo.weights import read_model
from serving.runtime.card import InputSize
from serving.runtime.errors import InputError, NotFoundError

_LEAST_STRIDE = 32


@dataclass(frozen=True, slots=True)
class Network:
    """A model of ultralytics.

    Attributes:
        path: its file.
        model: in float32, ready to predict, its layers not fused.
        names: its classes, in its order.
        imgsz: height and width of the input that it was trained with.
    """

    path: Path
    model: Any
    names: tuple[str, ...]
    imgsz: int

    @property
    def head(self) -> Any:
        """The last layer."""
        return self.model.model[-1]

    @property
    def stride(self) -> int:
        """What height and width of the input are multiples of, as in ultralytics' `predict`; 1 for a classifier."""
        return 1 if self.classifies else max(_LEAST_STRIDE, int(max(self.model.stride)))

    @property
    def classifies(self) -> bool:
        """Whether it is a classifier."""
        return isinstance(self.head, tasks.Classify)

    def input(self, imgsz: int | None) -> InputSize:
        """Return the input, the largest one of a detector; `imgsz` in place of that of the training."""
        if imgsz is not None and imgsz % self.stride:
            raise InputError(f"imgsz = {imgsz}: expected a multiple of {self.stride}, the stride of {self.path}")
        side = imgsz or -(-self.imgsz // self.stride) * self.stride  # rounded up, as ultralytics does
        return InputSize(height=side, width=side)


def read_network(path: Path, trust: bool) -> Network:
    """Read the network of a checkpoint; `trust` reads the pickle without an allow-list of classes.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is no checkpoint, or one of a network that cannot be exported.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file; expected a checkpoint of ultralytics")
    model: Any = read_model(path, trust=trust)
    head = model.model[-1]
    if isinstance(head, tasks.Detect):
        if head.cv2 is None:
            raise InputError(
                f"{path}: its layers are fused, and only the one-to-one branch is left; name the file that the "
                "training wrote"
            )
        head.end2end = False
    channels = model.yaml.get("channels", 3)
    if channels != 3:
        raise InputError(f"{path}: takes pictures of {channels} channels; expected 3, RGB")
    imgsz = model.args["imgsz"]
    sides = imgsz if isinstance(imgsz, list | tuple) else [imgsz]
    names = tuple(str(model.names[index]) for index in range(len(model.names)))
    return Network(path, model, names, max(int(side) for side in sides))
