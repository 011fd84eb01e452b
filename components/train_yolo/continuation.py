"""What ultralytics' checkpoints lack for a training to continue as if nothing had interrupted it.

ultralytics keeps of the weights their moving average alone, in float16, and continues from that: early in a training it
lies far behind them. It keeps the optimizer in float16 too, and draws anew. Here a checkpoint has all of that as it
was, and can still be read by ultralytics.
"""

import random
from typing import Any

import numpy as np
import torch
from torch import distributed

from components.train_yolo.checkpoint import CONTINUATION, Checkpoint
from components.train_yolo.library import torch_utils


def with_continuation(checkpoint: Checkpoint, trainer: Any) -> Checkpoint:
    """Return a checkpoint that ultralytics has written of a trainer, with the state of the trainer.

    The state is that between two epochs: weights, their moving average, gradients that no step has been made with yet
    and how many batches they are of, the order of pictures, those that a mosaic is made of, and what draws at random.
    """
    network = torch_utils.unwrap_model(trainer.model)
    state = {
        "weights": dict(network.state_dict()),
        "average": dict(trainer.ema.ema.state_dict()),
        "gradients": {name: value.grad for name, value in network.named_parameters() if value.grad is not None},
        "batches": trainer.batches_since_step,
        "orders": [loader.generator.get_state() for loader in (trainer.train_loader, trainer.test_loader)],
        "mosaic": list(trainer.train_loader.dataset.buffer) if trainer.args.task == "detect" else [],
        "random": _random_state(trainer.device),
    }
    return checkpoint | {"optimizer": trainer.optimizer.state_dict(), CONTINUATION: state}


def restore(trainer: Any, state: dict[str, Any]) -> None:
    """Put a trainer into a state, before its next epoch; ultralytics has read the rest of the checkpoint.

    With several processes each draws anew: the state of one of them is all that there is.
    """
    network = torch_utils.unwrap_model(trainer.model)
    network.load_state_dict(state["weights"])
    trainer.ema.ema.load_state_dict(state["average"])
    for name, value in network.named_parameters():
        if name in state["gradients"]:
            value.grad = state["gradients"][name].to(value.device)
    trainer.continue_step(state["batches"])
    dataset = trainer.train_loader.dataset
    for index in state["mosaic"]:
        dataset.load_image(index)
    if not distributed.is_initialized():
        for loader, order in zip((trainer.train_loader, trainer.test_loader), state["orders"], strict=True):
            loader.generator.set_state(order)
        _set_random_state(state["random"], trainer.device)


def _random_state(device: torch.device) -> dict[str, Any]:
    numpy: Any = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in numpy],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _set_random_state(state: dict[str, Any], device: torch.device) -> None:
    random.setstate(state["python"])
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
