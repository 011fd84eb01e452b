"""A trial of a hyperparameter search and its outcome, as the search and the training exchange them.

KFP passes both as dicts: `model_dump` on the one side, `model_validate` on the other.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from components.shared.options import parse_options, whole_numbers
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen


class Trial(Frozen):
    """One training of a search.

    Attributes:
        number: counts from 0 in the order in which trials were suggested; -1 for `NO_TRIAL`.
        changes: entries of the training config by dotted path.
    """

    number: int = Field(ge=-1)
    changes: Annotated[dict[str, Any], AfterValidator(whole_numbers)]


NO_TRIAL = Trial(number=-1, changes={})
"""Fills a round that has no trial left: KFP's local runner cannot collect the results of an empty loop."""


def read_trial(values: Mapping[str, Any]) -> Trial | None:
    """Read a trial; None for an empty mapping, which stands for no search. Raises InputError when it is none."""
    return parse_options(Trial, values, "trial") if values else None


class Outcome(Trial):
    """A trial and its result.

    Attributes:
        score: macro F1 on the validation split, in 0..1; None when the training failed.
        metrics: all metrics of the best epoch.
        error: why the training failed; "" when it did not.
        run_id: its MLflow run; "" without MLflow.
    """

    score: float | None = Field(default=None, ge=0, le=1)
    metrics: dict[str, float] = Field(default_factory=dict)
    error: str = ""
    run_id: str = ""


def read_outcomes(outcomes: Iterable[Mapping[str, Any]]) -> list[Outcome]:
    """Read the outcomes of trials, by number; that of NO_TRIAL is an empty mapping, which is left out.

    Raises InputError when one is not an outcome, or two are of the same trial.
    """
    read = [parse_options(Outcome, outcome, f"outcome {index}") for index, outcome in enumerate(outcomes) if outcome]
    if repeated := [number for number, count in Counter(one.number for one in read).items() if count > 1]:
        raise InputError(f"trial {repeated[0]} has two outcomes; pass each once, in past or in outcomes")
    return sorted(read, key=lambda one: one.number)
