"""Checkpoints of networks that were never trained, for tests of what is made from them."""

from typing import Any

from components.shared.models.checkpoint import Checkpoint
from components.shared.models.network import Network
from components.shared.models.spec import ModelSpec
from serving.runtime.card import CropRule, Head, InputSize, Normalization


def bare_checkpoint(
    model: ModelSpec, network: Network, heads: tuple[Head, ...], space: str, size: tuple[int, int], **changes: Any
) -> Checkpoint:
    """The checkpoint of a network that takes pictures of `size` (height, width); `changes` replace its other fields."""
    facts: dict[str, Any] = {
        "crop": CropRule(),
        "normalization": Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)),
        "ema_state": None,
        "config": {},
        "epoch": 1,
        "metrics": {},
        "dataset_digest": "d" * 64,
        "training_digest": "t" * 64,
        "leaks": False,
        "run_id": "",
        "versions": {},
    }
    return Checkpoint(
        model=model,
        label_space=space,
        heads=heads,
        input=InputSize(height=size[0], width=size[1]),
        model_state=network.state_dict(),
        **(facts | changes),
    )
