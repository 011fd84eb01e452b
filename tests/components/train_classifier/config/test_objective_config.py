"""The configuration of the objective: its examples are valid, it is frozen, and it needs no torch."""

import subprocess
import sys
import textwrap

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from components.train_classifier.config import objective as objective_config
from components.train_classifier.config.objective import (
    EarlyStoppingSpec,
    LossSpec,
    MixingSpec,
    ObjectiveSpec,
    OptimizerSpec,
    PseudoLabelSpec,
    SamplingSpec,
    ScheduleSpec,
    SoftTargetSpec,
)

EXAMPLES: dict[type[BaseModel], int] = {
    LossSpec: 1,
    ObjectiveSpec: 1,
    OptimizerSpec: 1,
    ScheduleSpec: 3,
    SamplingSpec: 1,
    MixingSpec: 1,
    SoftTargetSpec: 1,
    PseudoLabelSpec: 2,
    EarlyStoppingSpec: 1,
}


def examples(model: type[BaseModel]) -> list[object]:
    """What the indented blocks of a docstring say; every line at their margin begins one."""
    doc = model.__doc__ or ""
    block = textwrap.dedent("\n".join(line for line in doc.splitlines() if line.startswith(8 * " ")))
    found: list[str] = []
    for line in block.splitlines():
        if line[0] != " ":
            found.append("")
        found[-1] += line + "\n"
    return [next(iter(yaml.safe_load(text).values())) for text in found]


@pytest.mark.parametrize(("model", "count"), EXAMPLES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_the_examples_are_valid_and_change_something(model: type[BaseModel], count: int) -> None:
    found = examples(model)
    assert len(found) == count
    for example in found:
        spec = model.model_validate(example)
        assert spec != model()
        assert model.model_validate(spec.model_dump(mode="json")) == spec, "it survives a checkpoint"


@pytest.mark.parametrize("model", EXAMPLES, ids=lambda model: model.__name__)
def test_specs_are_frozen_and_closed(model: type[BaseModel]) -> None:
    spec = model()
    with pytest.raises(ValidationError):
        setattr(spec, next(iter(model.model_fields)), None)
    with pytest.raises(ValidationError):
        model.model_validate({"no_such_option": 1})


def test_whole_floats_are_numbers_of_things() -> None:
    spec = ScheduleSpec(name="MultiStepLR", arguments={"milestones": [2.0, 4.0], "gamma": 0.5})
    assert repr(spec.arguments) == "{'milestones': [2, 4], 'gamma': 0.5}"
    assert OptimizerSpec(arguments={"nesterov": True}).arguments["nesterov"] is True


def test_it_needs_no_torch() -> None:
    program = f"import sys, {objective_config.__name__}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
