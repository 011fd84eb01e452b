"""The KFP doors of a search: what to try next, and what has come of it."""

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
) -> NamedTuple("Outputs", Output=list, past=list):  # type: ignore[valid-type]
    """Choose the trainings of one round of a search by what those before it have reached.

    Args:
        space: Entries of the training config by dotted path, and the values that each may take.
        method: How to choose: grid, random or tpe.
        trials: How many trainings the whole search may make.
        seed: Start of every random draw.
        round_index: Which round it is, from 0 on.
        past: What came of the rounds before the last one.
        outcomes: What came of the last round.

    Returns:
        Output: The trials, each with its number and its changes of the configuration. KFP's local runner loops over an
            output of this name only.
        past: What came of all rounds before this one.
    """
    from components.search.suggest import suggest

    known = [*past, *(outcome for outcome in outcomes if outcome)]
    chosen = suggest(space, known, method=method, trials=trials, seed=seed, round_index=round_index)
    return (chosen, known)


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
    """Rank the trainings of a search by their macro F1 on the validation split, and give out the best one.

    Args:
        report: Self-contained HTML page.
        metrics: The best score, and how many trainings there were and failed.
        space: What was searched.
        method: How the trainings were chosen.
        seed: Seed of the search.
        label_space: What the trainings learned.
        past: What came of the rounds before the last one.
        outcomes: What came of the last round.

    Returns:
        best: Number and changes of the best trial.
        run_id: MLflow run of the search, above those of its trials; empty without a tracking server.
    """
    from pathlib import Path

    from components.search.leaderboard import leaderboard

    found = leaderboard(space, [*past, *outcomes], Path(report.path), label_space=label_space, method=method, seed=seed)
    best = found.trials[0]
    metrics.log_metric("best_val_f1", found.best_score)
    metrics.log_metric("trials", float(len(found.trials) + len(found.failed)))
    metrics.log_metric("failed_trials", float(len(found.failed)))
    return ({"number": best.number, "changes": best.changes}, found.run_id)
