"""Two steps of every pair of choices: losses, tasks, optimizers, mixings, class weights and heads.

The rows are the orthogonal array of strength 2 over the integers modulo 5: every two columns hold every pair of their
levels once.
"""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from components.shared.dataset.label_spaces import label_space
from components.shared.models.network import build_network
from components.shared.models.spec import resolve_model
from components.shared.options import parse_options
from components.train_classifier.config.objective import (
    MixingSpec,
    ObjectiveSpec,
    OptimizerSpec,
    SoftTargetSpec,
)
from components.train_classifier.config.training import IMAGENET
from components.train_classifier.data.faces import SoftTargets
from components.train_classifier.objective import Objective, mix, mixing_rng
from components.train_classifier.optimization.optimizers import SharpnessAware, make_optimizer
from serving.runtime.card import Head
from serving.runtime.errors import InputError

LOSSES = ("cross_entropy", "focal", "label_smoothing", "f1", "bce")
SPACES = ("gender", "mask", "gender_age", "mask_gender_age", "all")
OPTIMIZERS: tuple[dict[str, Any], ...] = (
    {"name": "SGD", "arguments": {"momentum": 0.9}},
    {"name": "Adam_GC"},
    {"name": "AdamW"},
    {"name": "SGDW_GC"},
    {"name": "Adam", "sam": {}},
)
MIXINGS: tuple[dict[str, Any], ...] = (
    {"name": "none"},
    {"name": "mixup"},
    {"name": "cutmix"},
    {"name": "band"},
    {"name": "band", "ratio": ["beta", 5, 5]},
)
WEIGHTS = ("none", "inverse", "balanced", "values", "certainty")
HEADS: dict[str, dict[str, Any]] = {
    "linear": {},
    "hidden": {"kind": "hidden", "hidden": 16, "dropout": 0.5},
    "multi_sample_dropout": {"kind": "multi_sample_dropout", "dropout": 0.5},
    "arcface": {"kind": "arcface"},
    "one_logit": {"one_logit": True},
}
ROWS = [(i, j, (i + j) % 5, (i + 2 * j) % 5, (i + 3 * j) % 5, (i + 4 * j) % 5) for i in range(5) for j in range(5)]
PEOPLE = [
    {"mask": mask, "gender": gender, "age": age}
    for mask, gender, age in itertools.product(("worn", "incorrect", "absent"), ("male", "female"), (20, 40, 60))
]


def test_every_pair_of_levels_is_there() -> None:
    for one, other in itertools.combinations(range(6), 2):
        assert len({(row[one], row[other]) for row in ROWS}) == 25


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{LOSSES[row[0]]}-{SPACES[row[1]]}-{row[2:]}")
def test_two_steps(row: tuple[int, ...]) -> None:
    loss, space = LOSSES[row[0]], label_space(SPACES[row[1]])
    weights = WEIGHTS[row[4]]
    certainty = dict.fromkeys(space.attributes, 0.95) if weights == "certainty" else {}
    rule = SoftTargets(SoftTargetSpec(certainty=certainty), space)
    rows = [rule(person) for person in PEOPLE]
    targets = [torch.from_numpy(np.stack(head)) for head in zip(*(found for found in rows if found), strict=True)]
    heads = space.heads
    losses = {}
    for head in heads:
        values = {"none": "none", "certainty": "none", "values": [1.0 + at for at in range(len(head.labels))]}
        # In `all` bce is for the head with two labels, as a mixture of losses.
        name = "cross_entropy" if loss == "bce" and space.name == "all" and head.name != "gender" else loss
        losses[head.name] = {"name": name, "class_weights": values.get(weights, weights)}
    spec = parse_options(ObjectiveSpec, {"heads": losses}, "objective")
    counts = [target.sum(dim=0).numpy() for target in targets]
    if loss == "bce" and space.name not in ("gender", "all"):
        with pytest.raises(InputError, match="2 labels"):
            Objective(spec, heads, counts)
        return
    objective = Objective(spec, heads, counts)
    mixing = parse_options(MixingSpec, MIXINGS[row[3]] | {"probability": 1.0}, "mixing")

    kind = list(HEADS)[row[5]]
    # In `all` one logit is for the head with two labels.
    only_gender = kind == "one_logit" and space.name == "all"
    model = resolve_model("base", {"heads": {"gender": HEADS[kind]}} if only_gender else {"head": HEADS[kind]})
    named = [Head(name=head.name, labels=head.labels) for head in heads]
    torch.manual_seed(0)
    if kind == "one_logit" and space.name not in ("gender", "all"):
        with pytest.raises(InputError, match=r"one_logit: head .* has \d+ labels, not 2"):
            build_network(model, named, IMAGENET)
        return
    network = build_network(model, named, IMAGENET)
    optimizer = make_optimizer(
        network, parse_options(OptimizerSpec, OPTIMIZERS[row[2]], "optimizer"), learning_rate=0.01, weight_decay=5e-4
    )
    images = torch.from_numpy(np.random.default_rng(0).integers(256, size=(len(PEOPLE), 16, 12, 3), dtype=np.uint8))
    before = [weight.detach().clone() for weight in network.parameters()]
    for step in range(2):
        mixed = mix(images, targets, mixing, mixing_rng(0, 0, step))
        passes = 2 if isinstance(optimizer, SharpnessAware) else 1
        for number in range(passes):
            optimizer.zero_grad()
            logits = network(mixed.images)
            logits.retain_grad()
            value = objective(network.margin_logits(logits, mixed.targets), mixed.targets)
            assert torch.isfinite(value) and value > 0
            value.backward()  # type: ignore[no-untyped-call]
            if isinstance(optimizer, SharpnessAware) and number == 0:
                optimizer.perturb()
        optimizer.step()
    for weight, old in zip(network.parameters(), before, strict=True):
        assert torch.isfinite(weight).all() and not torch.equal(weight, old)
    assert logits.grad is not None
    for part in torch.split(logits.grad, list(objective.sizes), dim=1):
        assert part.abs().sum() > 0, "every head learns"
