"""A search as an Optuna study in memory: suggestions by the estimator, and importances of the searched entries."""

from collections.abc import Iterator, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from components.search.space import Changes, Dimension, Space, text
from components.shared.trial import Outcome

_WORST = 0.0
_MIN_TRIALS = 4


def suggestions(space: Space, past: Sequence[Outcome], seed: int, *, guided: bool) -> Iterator[Changes]:
    """Yield combinations endlessly, those that were tried included: random draws, or what TPE suggests if `guided`.

    TPE, the tree-structured Parzen estimator, models all entries jointly. A suggestion without a score counts as bad,
    so that suggestions differ. A failed trial counts as one with the lowest possible score.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    guide = TPESampler(seed=seed, n_startup_trials=1, multivariate=True, constant_liar=True)
    study = _study(space, past, guide if guided else RandomSampler(seed))
    while True:
        asked = study.ask(_distributions(space)).params
        yield {key: _value(dimension, asked[key]) for key, dimension in space.items()}


def importances(space: Space, past: Sequence[Outcome]) -> dict[str, float]:
    """Return the share of the scores' variance that each entry explains (functional ANOVA; Hutter et al., 2014).

    Largest first. Empty when fewer than four trials have a score, or when all scores are equal.
    """
    scored = [trial for trial in past if trial.score is not None]
    if len(scored) < _MIN_TRIALS or len({trial.score for trial in scored}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study(space, scored, None)
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {key: float(share) for key, share in shares.items()}


def _study(space: Space, past: Sequence[Outcome], sampler: BaseSampler | None) -> optuna.Study:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(space)
    for trial in past:
        study.add_trial(
            optuna.trial.create_trial(
                params={key: _parameter(dimension, trial.changes[key]) for key, dimension in space.items()},
                distributions=distributions,
                value=_WORST if trial.score is None else trial.score,
            )
        )
    return study


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    return {key: _distribution(dimension) for key, dimension in space.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    """A choice is represented by the index of its value, since Optuna takes no lists and mappings as values."""
    if dimension.choice is not None:
        return CategoricalDistribution(range(len(dimension.choice)))
    if dimension.int is not None:
        return IntDistribution(*dimension.int)
    return FloatDistribution(*dimension.ends, log=dimension.loguniform is not None)


def _parameter(dimension: Dimension, value: object) -> object:
    if dimension.choice is None:
        return value
    return [text(one) for one in dimension.choice].index(text(value))


def _value(dimension: Dimension, parameter: int | float) -> object:
    return parameter if dimension.choice is None else dimension.choice[int(parameter)]
