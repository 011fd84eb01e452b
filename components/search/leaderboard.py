"""The end of a search: its trials ranked, a page about them, and the best one."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.search.page import SearchSettings, render_leaderboard
from components.search.space import read_space
from components.search.study import importances
from components.search.trial import Trial, ranked, read_trials
from components.shared.dataset import label_spaces
from components.shared.output_file import write_whole
from components.shared.tracking.runs import DEFAULT_EXPERIMENT, open_run
from serving.runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """What a search has found.

    Attributes:
        best_score: the highest macro F1.
        trials: those with a score, best first.
        failed: the others.
        importances: share of each entry in what the scores differ by.
        run_id: the MLflow run above those of the trials; "" without tracking.
    """

    best_score: float
    trials: tuple[Trial, ...]
    failed: tuple[Trial, ...]
    importances: dict[str, float]
    run_id: str = ""


def leaderboard(
    space: Mapping[str, Any],
    past: Sequence[Mapping[str, Any]],
    report: Path,
    *,
    label_space: str,
    method: str,
    seed: int,
) -> Leaderboard:
    """Rank the trials of a search by macro F1 on the validation split, and write an HTML page.

    An MLflow run is opened for the whole, in the experiment of the trials' runs, which are shown below it from then on;
    it gets the page, the best configuration and its score.

    Args:
        space: what was searched, see `space`.
        past: the outcomes of all trials.
        report: the page.
        label_space: what the trainings learned, for the page.
        method: how the trials were chosen, for the page.
        seed: of the search, for the page.

    Raises:
        InputError: all trials have failed.
    """
    tried = read_trials(past)
    best_first = ranked(tried)
    failed = [trial for trial in tried if trial.score is None]
    if not best_first or best_first[0].score is None:
        reason = f", the first one so: {failed[0].error}" if failed else ""
        raise InputError(f"all {len(failed)} trials have failed{reason}")
    dimensions = read_space(space)
    result = Leaderboard(best_first[0].score, tuple(best_first), tuple(failed), importances(dimensions, tried))
    settings = SearchSettings(label_spaces.label_space(label_space).name, method, seed, dimensions)
    text = render_leaderboard(settings, tried, result.trials, result.importances)
    write_whole(report, text)
    return replace(result, run_id=_log(settings, result, text))


def _log(settings: SearchSettings, result: Leaderboard, text: str) -> str:
    """Write the whole down in MLflow and return its run."""
    experiment = f"{DEFAULT_EXPERIMENT}-{settings.label_space}"
    best = result.trials[0]
    params = {
        "method": settings.method,
        "seed": settings.seed,
        "space": {key: dimension.model_dump(exclude_none=True) for key, dimension in settings.space.items()},
        "best": {"trial": best.number, **best.changes},
    }
    with open_run(experiment, run_name=f"search {settings.method}", params=params, tolerant=True) as run:
        run.adopt(trial.run_id for trial in result.trials)
        run.metrics({"Val/f1": result.best_score, "trials": len(result.trials), "failed_trials": len(result.failed)})
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder, "leaderboard.html")
            page.write_text(text, encoding="utf-8")
            run.artifact(page)
        return run.run_id
