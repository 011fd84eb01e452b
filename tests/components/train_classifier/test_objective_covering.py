"""Two steps of every pair of choices: losses, tasks, optimizers, mixings, class weights and schedules.

The rows are the orthogonal array of strength 2 over the integers modulo 5: every two columns hold every pair of their
levels once (mask 3, 4, 5, 6, 7, 27, 37, 60, 61, 65, 66, 67).
"""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from components.shared.dataset.label_spaces import label_space
from components.shared.options import parse_options
from components.train_classifier.data.soft_targets import SoftTargets
from components.train_classifier.objective.losses import Objective
from components.train_classifier.objective.mixing import mix, mixing_rng
from components.train_classifier.objective_config import (
    MixingSpec,
    ObjectiveSpec,
    OptimiserSpec,
    ScheduleSpec,
    SoftTargetSpec,
)
from components.train_classifier.optimisation.optimisers import make_optimizer
from components.train_classifier.optimisation.sam import SharpnessAware
from components.train_classifier.optimisation.schedules import make_schedule
from serving.runtime.errors import InputError

LOSSES = ("cross_entropy", "focal", "label_smoothing", "f1", "bce")
SPACES = ("gender", "mask", "gender_age", "mask_gender_age", "all")
OPTIMISERS: tuple[dict[str, Any], ...] = (
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
SCHEDULES: tuple[dict[str, Any], ...] = (
    {"name": "constant"},
    {"name": "one_cycle"},
    {"name": "warmup_cosine"},
    {"name": "ReduceLROnPlateau"},
    {"name": "ExponentialLR", "arguments": {"gamma": 0.98}},
)
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

    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(8 * 6 * 3, 12), nn.Tanh(), nn.Linear(12, sum(objective.sizes)))
    optimizer = make_optimizer(
        network, parse_options(OptimiserSpec, OPTIMISERS[row[2]], "optimiser"), learning_rate=0.01, weight_decay=5e-4
    )
    schedule = make_schedule(
        parse_options(ScheduleSpec, SCHEDULES[row[5]], "scheduler"), optimizer, epochs=2, steps_per_epoch=1
    )
    images = torch.from_numpy(np.random.default_rng(0).integers(256, size=(len(PEOPLE), 8, 6, 3), dtype=np.uint8))
    before = [weight.detach().clone() for weight in network.parameters()]
    for step in range(2):
        mixed = mix(images, targets, mixing, mixing_rng(0, 0, step))
        passes = 2 if isinstance(optimizer, SharpnessAware) else 1
        for number in range(passes):
            optimizer.zero_grad()
            value = objective(network(mixed.images.float() / 255), mixed.targets)
            assert torch.isfinite(value) and value > 0
            value.backward()  # type: ignore[no-untyped-call]
            if isinstance(optimizer, SharpnessAware) and number == 0:
                optimizer.perturb()
        optimizer.step()
        schedule.after_step()
        schedule.after_epoch({"loss": float(value.detach())})
    for weight, old in zip(network.parameters(), before, strict=True):
        assert torch.isfinite(weight).all() and not torch.equal(weight, old)
    gradient = network.get_parameter("3.weight").grad
    assert gradient is not None
    for part in torch.split(gradient, list(objective.sizes)):
        assert part.abs().sum() > 0, "every head learns"
