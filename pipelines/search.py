"""The search pipeline: tries options of the training and registers the model of the best ones.

A search goes in rounds: suggest chooses the next trials from the outcomes of the rounds before, and they train side by
side. A trial that fails is an outcome like any other, see `components.train_classifier.trial`.
"""

from typing import TYPE_CHECKING, Any

from pipelines.parameters.search import SearchConfig

if TYPE_CHECKING:
    from pipelines.parts.data import Configure

SIDE_BY_SIDE = 5
"""How many trials train at a time on a cluster."""


def search(p: SearchConfig, configure: "Configure") -> None:
    """Try options of the training, evaluate the best ones on people they have never seen, and register their model."""
    from kfp import dsl

    from components.search.component import leaderboard, suggest
    from components.search.suggest import ROUNDS
    from components.train_classifier.component import train_classifier
    from pipelines.parts.data import prepare
    from pipelines.parts.models import export, publish

    data = prepare(p, configure, p.label_space)

    def train(trial: Any, title: str) -> dsl.PipelineTask:
        task = train_classifier(**data.faces, annotations=data.annotations, trial=trial, **p.training_arguments())
        return configure(task, title)

    before: dict[str, Any] = {}
    for index in range(ROUNDS):
        task = suggest(space=p.space, method=p.method, trials=p.trials, seed=p.seed, round_index=index, **before)
        suggested = configure(task, f"Choose the trials of round {index + 1}").outputs
        with dsl.ParallelFor(suggested["Output"], name=f"round-{index + 1}", parallelism=SIDE_BY_SIDE) as trial:
            outcome = train(trial, "Train a trial").outputs["outcome"]
        before = {"past": suggested["past"], "outcomes": dsl.Collected(outcome)}

    task = leaderboard(space=p.space, method=p.method, seed=p.seed, label_space=p.label_space, **before)
    best = configure(task, "Rank the trials").outputs["best"]
    # The same inputs as those of the best trial: a cluster takes its outputs from the cache.
    trained = train(best, "Train the best configuration")
    publish(p, configure, export(p, configure, trained), trained.outputs["run_id"], data)
