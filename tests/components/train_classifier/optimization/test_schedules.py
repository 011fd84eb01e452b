"""Learning-rate schedules by name: exact rates, resume, classes of torch."""

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from components.shared.options import parse_options
from components.train_classifier.config.objective import SCHEDULERS, ScheduleSpec
from components.train_classifier.optimization import schedules
from components.train_classifier.optimization.optimizers import SharpnessAware
from components.train_classifier.optimization.schedules import Schedule, make_schedule, warmup_cosine
from serving.runtime.errors import InputError


def optimizer(*rates: float, momentum: float = 0.9) -> torch.optim.SGD:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates or (0.1,)]
    return torch.optim.SGD(groups, lr=0.1, momentum=momentum)


def spec(**values: Any) -> ScheduleSpec:
    return parse_options(ScheduleSpec, values, "scheduler")


def rates_of(made: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in made.param_groups]


def run(
    schedule: Schedule, made: torch.optim.Optimizer, epochs: range, steps: int, losses: list[float] | None = None
) -> list[list[float]]:
    """The rates of every step."""
    seen = []
    for epoch in epochs:
        for _ in range(steps):
            seen.append(rates_of(made))
            made.step()
            schedule.after_step()
        loss = losses[epoch] if losses else 1.0
        schedule.after_epoch({"loss": loss, "f1": -loss, "accuracy": -loss})
    return seen


def test_warmup_cosine_at_every_epoch_of_the_25() -> None:
    """2 epochs of warm-up from 5 %, then half a cosine that would reach 5 % in epoch 25, the one after the last."""
    made = optimizer(1e-3)
    arguments = {"warmup_ratio": 0.1, "min_ratio": 0.05}
    schedule = make_schedule(spec(name="warmup_cosine", arguments=arguments), made, epochs=25, steps_per_epoch=3)
    found = run(schedule, made, range(25), 3)
    expected = [0.05, 0.525]
    expected += [0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (epoch - 2) / 23)) for epoch in range(2, 25)]
    assert [rates[0] for rates in found] == pytest.approx([1e-3 * factor for factor in expected for _ in range(3)])
    assert expected[2] == 1.0 and found[6][0] == pytest.approx(1e-3), "the peak is the first epoch after the warm-up"
    assert warmup_cosine(25, 25) == pytest.approx(0.05)


@pytest.mark.parametrize("total", [1, 2, 5, 9, 10, 25, 100])
@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.1, 0.29, 0.5, 1.0])
def test_warmup_cosine_of_any_length(total: int, ratio: float) -> None:
    factors = [warmup_cosine(epoch, total, warmup_ratio=ratio, min_ratio=0.05) for epoch in range(total + 1)]
    rising = int(round(ratio * 100) * total) // 100
    assert all(0.05 <= factor <= 1 for factor in factors)
    assert factors[0] == (0.05 if rising else 1.0)
    assert factors[:rising] == pytest.approx([0.05 + 0.95 * epoch / rising for epoch in range(rising)])
    if rising < total:
        assert factors[rising] == 1.0
        assert factors[rising:] == sorted(factors[rising:], reverse=True)
    assert factors[total] == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["cosine_with_warmup", "cosine_cycle"])
def test_the_schedules_of_steps_are_their_functions(name: str) -> None:
    made = optimizer(0.2, 0.02)
    schedule = make_schedule(spec(name=name, arguments={"warmup": 0.3}), made, epochs=4, steps_per_epoch=5)
    assert schedule.every == "step"
    factors = [getattr(schedules, name)(step, 20, warmup=0.3) for step in range(20)]
    assert [rates[0] for rates in run(schedule, made, range(4), 5)] == pytest.approx([0.2 * f for f in factors])
    assert rates_of(made)[1] == pytest.approx(0.1 * rates_of(made)[0]), "groups keep their proportion"


def test_full_warmup_to_the_very_end() -> None:
    for name in OWN:
        key = {"warmup_cosine": "warmup_ratio", "constant": ""}.get(name, "warmup")
        made = optimizer()
        arguments = {key: 1.0} if key else {}
        run(make_schedule(spec(name=name, arguments=arguments), made, epochs=2, steps_per_epoch=2), made, range(2), 2)


def test_every_changes_what_is_counted() -> None:
    made = optimizer(1.0)
    schedule = make_schedule(spec(name="warmup_cosine", every="step"), made, epochs=5, steps_per_epoch=4)
    assert [row[0] for row in run(schedule, made, range(5), 4)] == pytest.approx(
        [warmup_cosine(s, 20) for s in range(20)]
    )


LAMBDA = "own_schedules:halving"
OWN_SCHEDULES = """
def halving(epoch):
    return 0.5 ** (epoch > 2)


def steps(position, total, *, gamma):
    return gamma ** (3 * position // total)
"""

OWN = ["constant", "cosine_cycle", "cosine_with_warmup", "warmup_cosine"]
ENDINGS = ("LR", "Scheduler", "Restarts", "Plateau")
TORCH = "torch.optim.lr_scheduler:"

TORCH_ARGUMENTS: dict[str, dict[str, Any]] = {
    f"{TORCH}ChainedScheduler": {
        "schedulers": [{"name": f"{TORCH}ConstantLR"}, {"name": "ExponentialLR", "arguments": {"gamma": 0.9}}]
    },
    f"{TORCH}ConstantLR": {"factor": 0.5, "total_iters": 2.0},
    "CosineAnnealingLR": {"T_max": 10.0, "eta_min": 1e-4},
    "CosineAnnealingWarmRestarts": {"T_0": 2.0, "T_mult": 2},
    f"{TORCH}CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3},
    "ExponentialLR": {"gamma": 0.98},
    f"{TORCH}LambdaLR": {"lr_lambda": LAMBDA},
    f"{TORCH}LinearLR": {"total_iters": 4.0},
    "MultiStepLR": {"milestones": [2.0, 4.0], "gamma": 0.5},
    f"{TORCH}MultiplicativeLR": {"lr_lambda": LAMBDA},
    "OneCycleLR": {},
    f"{TORCH}PolynomialLR": {"total_iters": 6, "power": 2},
    "ReduceLROnPlateau": {"factor": 0.5, "patience": 1, "threshold": 0.002, "min_lr": 1e-4},
    f"{TORCH}SequentialLR": {
        "schedulers": [
            {"name": f"{TORCH}LinearLR", "arguments": {"total_iters": 3}},
            {"name": "ExponentialLR", "arguments": {"gamma": 0.9}},
        ],
        "milestones": [3.0],
    },
    "StepLR": {"step_size": 2.0, "gamma": 0.5},
}


@pytest.fixture
def own_schedules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_schedules.py").write_text(OWN_SCHEDULES)
    monkeypatch.syspath_prepend(tmp_path)


def test_every_scheduler_of_torch_is_tried() -> None:
    assert set(SCHEDULERS) <= {*OWN, *TORCH_ARGUMENTS}
    classes = {name for name, entry in vars(lr_scheduler).items() if isinstance(entry, type) and name.endswith(ENDINGS)}
    assert classes - {"LRScheduler", "_LRScheduler"} == {name.removeprefix(TORCH) for name in TORCH_ARGUMENTS}


@pytest.mark.usefixtures("own_schedules")
@pytest.mark.parametrize("name", sorted(TORCH_ARGUMENTS) + OWN)
def test_every_schedule_runs_and_resumes_exactly(name: str) -> None:
    losses = [1.0, 0.9, 0.95, 0.99, 0.97, 0.98, 0.96, 0.99]

    def make() -> tuple[torch.optim.Optimizer, Schedule]:
        made = optimizer(0.1, 0.01)
        chosen = spec(name=name, arguments=TORCH_ARGUMENTS.get(name, {}))
        return made, make_schedule(chosen, made, epochs=8, steps_per_epoch=3)

    made, schedule = make()
    whole = run(schedule, made, range(8), 3, losses)
    assert name == "constant" or len({tuple(rates) for rates in whole}) > 1, "the rate must change"
    made, schedule = make()
    first = run(schedule, made, range(4), 3, losses)
    file = io.BytesIO()
    torch.save((made.state_dict(), schedule.state_dict()), file)
    file.seek(0)
    optimizer_state, state = torch.load(file, weights_only=True)
    made, schedule = make()
    made.load_state_dict(optimizer_state)
    schedule.load_state_dict(state)
    assert first + run(schedule, made, range(4, 8), 3, losses) == whole


@pytest.mark.usefixtures("own_schedules")
def test_a_function_of_ones_own_is_a_factor_of_every_epoch() -> None:
    made = optimizer(0.1)
    chosen = spec(name="own_schedules:steps", arguments={"gamma": 0.5})
    found = run(make_schedule(chosen, made, epochs=6, steps_per_epoch=2), made, range(6), 2)
    assert [rates[0] for rates in found] == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 4)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("StepLR", {"step_size": 20, "gamma": 0.5}), ("ExponentialLR", {"gamma": 0.98}), ("CosineAnnealingLR", {})],
)
def test_rates_per_epoch_are_torchs_own(name: str, arguments: dict[str, Any]) -> None:
    ours, theirs = optimizer(0.1), optimizer(0.1)
    schedule = make_schedule(spec(name=name, arguments=arguments), ours, epochs=50, steps_per_epoch=2)
    own = {"T_max": 50} if name == "CosineAnnealingLR" else arguments
    reference = getattr(lr_scheduler, name)(theirs, **own)
    expected = []
    for _ in range(50):
        expected += [rates_of(theirs)] * 2
        theirs.step()
        reference.step()
    assert run(schedule, ours, range(50), 2) == expected


def test_one_cycle_of_torch_knows_the_length_and_the_rates() -> None:
    made = optimizer(0.1, 0.01)
    schedule = make_schedule(spec(name="OneCycleLR"), made, epochs=5, steps_per_epoch=4)
    assert schedule.every == "step"
    seen = run(schedule, made, range(5), 4)
    assert max(row[0] for row in seen) == pytest.approx(0.1, rel=0.05)
    assert max(row[1] for row in seen) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("monitor", ["loss", "f1", "acc"])
def test_plateau_watches_its_score(monitor: str) -> None:
    """Factor .5 after more than 2 epochs in a row without an improvement of the watched score alone."""
    made = optimizer(0.1)
    arguments = {"factor": 0.5, "patience": 2, "threshold": 0.002, "min_lr": 0.03}
    schedule = make_schedule(
        spec(name="ReduceLROnPlateau", arguments=arguments, monitor=monitor), made, epochs=20, steps_per_epoch=1
    )
    key, power = {"loss": ("loss", 1), "f1": ("f1", -1), "acc": ("accuracy", -1)}[monitor]
    course = [5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0]
    seen = []
    for epoch, value in enumerate(course):
        others = {name: (-1.0) ** epoch * epoch for name in ("loss", "f1", "accuracy") if name != key}
        made.step()
        schedule.after_step()
        schedule.after_epoch({key: value**power, **others})
        seen.append(rates_of(made)[0])
    assert seen == pytest.approx([0.1] * 4 + [0.05] * 5 + [0.03])


def test_plateau_without_validation_is_explained() -> None:
    schedule = make_schedule(spec(name="ReduceLROnPlateau", monitor="f1"), optimizer(), epochs=2, steps_per_epoch=1)
    with pytest.raises(InputError, match="ReduceLROnPlateau.*'f1'.*val split"):
        schedule.after_epoch({})


def test_the_rates_come_back_with_the_state_of_the_optimizer() -> None:
    chosen = spec(name="ReduceLROnPlateau", arguments={"factor": 0.5, "patience": 0})
    made = optimizer(0.1)
    schedule = make_schedule(chosen, made, epochs=9, steps_per_epoch=1)
    run(schedule, made, range(4), 1)
    resumed = optimizer(0.1)
    again = make_schedule(chosen, resumed, epochs=9, steps_per_epoch=1)
    resumed.load_state_dict(made.state_dict())
    again.load_state_dict(schedule.state_dict())
    assert rates_of(resumed) == rates_of(made) == pytest.approx([0.1 / 8])


def test_sam_is_scheduled_through_its_optimizer() -> None:
    base = optimizer(0.1)
    schedule = make_schedule(
        spec(name="ExponentialLR", arguments={"gamma": 0.98}), SharpnessAware(base), epochs=3, steps_per_epoch=1
    )
    run(schedule, base, range(2), 1)
    assert rates_of(base) == pytest.approx([0.1 * 0.98**2])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "warmup_cosin"}, ["did you mean 'warmup_cosine'", "StepLR"]),
        ({"name": "StepLR"}, ["StepLR", "needs the argument 'step_size'"]),
        ({"name": "StepLR", "arguments": {"step": 3}}, ["no argument 'step'", "step_size"]),
        ({"name": "cosine_cycle", "arguments": {"position": 3}}, ["no argument 'position'", "warmup"]),
        ({"name": "OneCycleLR", "arguments": {"pct_start": 7}}, ["OneCycleLR", "pct_start"]),
        (
            {"name": f"{TORCH}LambdaLR", "arguments": {"lr_lambda": "nowhere:at_all"}},
            ["lr_lambda", "cannot be imported"],
        ),
        (
            {"name": f"{TORCH}SequentialLR", "arguments": {"schedulers": ["x"], "milestones": []}},
            ["SequentialLR", "'x'"],
        ),
        ({"name": f"{TORCH}ChainedScheduler", "arguments": {"schedulers": 3}}, ["a list of mappings", "3"]),
        (
            {"name": f"{TORCH}ChainedScheduler", "arguments": {"schedulers": [{"name": "ReduceLROnPlateau"}]}},
            ["cannot contain 'ReduceLROnPlateau'"],
        ),
        ({"name": "one_cycle"}, ["unknown scheduler", "cosine_cycle"]),
        ({"name": "ReduceLROnPlateau", "every": "step"}, ["each epoch"]),
        ({"name": "ReduceLROnPlateau", "arguments": {"mode": "max"}}, ["'loss'", "minimum"]),
        ({"name": "ReduceLROnPlateau", "monitor": "val_loss"}, ["monitor"]),
        ({"name": "constant", "evry": "step"}, ["evry", "every"]),
    ],
)
def test_wrong_schedules_are_explained(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        make_schedule(spec(**values), optimizer(), epochs=3, steps_per_epoch=2)
    for word in words:
        assert word in str(caught.value)


def test_cyclic_momentum_needs_momentum() -> None:
    with pytest.raises(InputError, match="momentum"):
        chosen = spec(name=f"{TORCH}CyclicLR", arguments={"base_lr": 0.01, "max_lr": 0.1})
        make_schedule(chosen, torch.optim.Adagrad([torch.nn.Parameter(torch.ones(1))]), epochs=1, steps_per_epoch=1)
