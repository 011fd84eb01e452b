"""Networks with pretrained weights, and such weights."""

from typing import Any

import torch

from components.shared.models.network import Network, build_network
from components.shared.models.spec import resolve_model
from serving.runtime.card import Head, Normalization

GENDER = (Head(name="gender", labels=("male", "female")),)
MASK = (Head(name="mask", labels=("worn", "incorrect", "absent")),)
NORMALIZATION = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
State = dict[str, torch.Tensor]


def build(pretrained: object, heads: tuple[Head, ...] = MASK, model: str = "base", **changes: Any) -> Network:
    return build_network(resolve_model(model, {"pretrained": str(pretrained), **changes}), heads, NORMALIZATION)


def base_state(outputs: int = 3, seed: int = 5) -> State:
    """Weights of the small network under plain names, none of which are those of a fresh one."""
    from components.shared.models.zoo.from_scratch import BaseCnn

    torch.manual_seed(seed)
    model = BaseCnn(outputs).train()
    model(torch.randn(4, 3, 16, 16))
    return model.state_dict()


def loaded(network: Network, state: State, prefix: str = "backbone.") -> bool:
    own = network.state_dict()
    return all(torch.equal(own[prefix + name], value) for name, value in state.items())
