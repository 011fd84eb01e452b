"""The KFP components of a search: suggest trials, rank their outcomes."""

from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def suggest(
    space: dict[str, Any],
    method: str,
    trials: int,
    seed: int,
    round_index: int = 0,
    past: list[dict[str, Any]] = [],  # noqa: B006
    outcomes: list[dict[str, Any]] = [],  # noqa: B006
) -> NamedTuple("Outputs", Output=list[dict], past=list):  # type: ignore[valid-type]
    """Choose the trials of one round of a search from the outcomes of the rounds before it.

    Args:
        space: Entries of the training config by dotted path, and the values that each may take.
        method: How to choose: grid, random or tpe.
        trials: Largest number of trials of the whole search.
        seed: Seed of every random draw.
        round_index: Number of the round, from 0 on.
        past: Outcomes of the rounds before the last one.
        outcomes: Outcomes of the last round.

    Returns:
        Output: The trials, each with its number and its changes of the configuration. KFP's local runner loops over an
            output of this name only.
        past: Outcomes of all rounds before this one.
    """
    from components.search.suggest import suggest
    from components.shared.trial import read_outcomes

    known = read_outcomes([*past, *outcomes])
    chosen = suggest(space, known, method=method, trials=trials, seed=seed, round_index=round_index)
    return ([trial.model_dump() for trial in chosen], [outcome.model_dump(exclude_unset=True) for outcome in known])


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def leaderboard(
    report: Output[HTML],
    metrics: Output[Metrics],
    space: dict[str, Any],
    method: str,
    seed: int,
    label_space: str,
    past: list[dict[str, Any]],
    outcomes: list[dict[str, Any]],
) -> NamedTuple("Outputs", best=dict, run_id=str):  # type: ignore[valid-type]
    """Rank the trials of a search by their macro F1 on the validation split, and return the best one.

    Args:
        report: Self-contained HTML page.
        metrics: The best score, and the numbers of trials and of failed ones.
        space: Entries of the training config by dotted path, and the values that each could take.
        method: How the trials were chosen.
        seed: Seed of the search.
        label_space: Label space of the trainings.
        past: Outcomes of the rounds before the last one.
        outcomes: Outcomes of the last round.

    Returns:
        best: Number and changes of the best trial.
        run_id: MLflow run of the search, the parent of the trials' runs; empty without a tracking server.
    """
    from pathlib import Path

    from components.search.leaderboard import leaderboard
    from components.shared.metrics.step import log_metrics
    from components.shared.trial import read_outcomes

    tried = read_outcomes([*past, *outcomes])
    board = leaderboard(space, tried, Path(report.path), label_space=label_space, method=method, seed=seed)
    best = board.trials[0]
    counts = {
        "best_val_f1": board.best_score,
        "trials": len(board.trials) + len(board.failed),
        "failed_trials": len(board.failed),
    }
    log_metrics(metrics, counts)
    return ({"number": best.number, "changes": best.changes}, board.run_id)
