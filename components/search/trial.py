"""A trial of a search: what was changed, and what came of it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from components.shared.options import whole_numbers


class Trial(BaseModel):
    """One training of a search, in the words of the training's outcome.

    Attributes:
        number: counts from 0 in the order in which trials were suggested.
        changes: entries of the training config by dotted path.
        score: macro F1 on the validation split, in 0..1; None when the training failed.
        metrics: what else the best epoch reached.
        error: why it failed, "" when it did not.
        run_id: its MLflow run, "" without MLflow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=0)
    changes: Annotated[dict[str, Any], AfterValidator(whole_numbers)]
    score: float | None = Field(default=None, ge=0, le=1)
    metrics: dict[str, float] = {}
    error: str = ""
    run_id: str = ""


def read_trials(outcomes: Sequence[Mapping[str, Any]]) -> list[Trial]:
    """Read the outcomes of trainings, in the order of their numbers; one of no trial at all is an empty mapping."""
    return sorted((Trial.model_validate(outcome) for outcome in outcomes if outcome), key=lambda trial: trial.number)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials with a score, best first; the lower loss and then the lower number break ties."""
    scored = [trial for trial in trials if trial.score is not None]
    return sorted(scored, key=lambda trial: (-(trial.score or 0.0), trial.metrics.get("val_loss", 0.0), trial.number))
