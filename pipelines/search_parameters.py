"""The parameters of the search pipeline: those of a classification, and what is searched how."""

from collections.abc import Iterator, Mapping, Set
from typing import Any, Literal

from pydantic import Field, ValidationError

from components.search.space import Dimension, overlaps, planned, read_space
from components.train_classifier.config.changes import lay_over
from components.train_classifier.config.training import OF_NO_EFFECT, TrainConfig
from pipelines.parameters import SHARED, ModelConfig
from pipelines.problems import Problem, known, problems_of
from serving.runtime.errors import InputError

MOST_TRIALS = 100
"""Kubernetes hands the outcomes of all trials to a step as arguments, which may be 128 KiB long."""

_FIXED = {
    "label_space": "is what all trials learn: search it with one config for each",
    **dict.fromkeys(OF_NO_EFFECT, "changes nothing that is learned"),
}
_JUDGING = ("person", "lists")


class SearchConfig(ModelConfig):
    """The parameters of the search pipeline; those of the classification are what the trials are laid over."""

    pipeline: Literal["search"] = "search"
    space: dict[str, Any] = Field(default_factory=lambda: {"learning_rate": {"loguniform": [0.0003, 0.01]}})
    method: Literal["grid", "random", "tpe"] = "tpe"
    trials: int = Field(default=20, ge=1, le=MOST_TRIALS)

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below the fields, that of the space too."""
        yield from super().problems(wrong)
        mode = self.split_options.get("mode", "person")
        if mode not in _JUDGING:
            message = "trials are judged on persons that are in no other split: take mode person or lists"
            yield Problem(("split_options", "mode"), mode, message)
        elif mode == "person" and not self.val_ratio:
            yield Problem(("val_ratio",), self.val_ratio, "trials are judged on the val split")
        if self.checkpoint == "last":
            message = "the last epoch of a trial is not the one that is judged: take best, best_f1 or best_acc"
            yield Problem(("checkpoint",), self.checkpoint, message)
        found = [*self._space(), *self._entries()]
        yield from found
        if not found and not wrong & {"space", "method", "trials"}:
            try:
                planned(read_space(self.space), self.method, self.trials)
            except InputError as error:
                yield Problem(("method",), self.method, str(error))

    def _space(self) -> Iterator[Problem]:
        """What is not in the language of spaces."""
        if not self.space:
            yield Problem(("space",), self.space, "name what is searched, such as `learning_rate: [0.001, 0.0001]`")
        for inner, outer in overlaps(self.space):
            yield Problem(("space", inner), self.space[inner], f"lies within {outer}, which is searched itself")
        for key, value in self.space.items():
            yield from problems_of(Dimension, value, ("space", key))

    def _entries(self) -> Iterator[Problem]:
        """What the training does not take, each value by itself laid over everything else."""
        base = {**self.training, **{name: getattr(self, name) for name in SHARED}}
        before = set(_complaints(base))
        for key, value in self.space.items():
            try:
                examples = Dimension.model_validate(value).examples
            except ValidationError:
                continue
            name = key.partition(".")[0]
            if name in _FIXED:
                yield Problem(("space", key), value, f"{name} {_FIXED[name]}")
            elif name not in TrainConfig.model_fields:
                yield Problem(("space", key), value, _unknown(name))
            else:
                yield from _unfit(base, before, key, examples)


def _unfit(base: Mapping[str, Any], before: Set[tuple[str, str]], key: str, examples: Any) -> Iterator[Problem]:
    """The first of the values that the training does not take at `key`."""
    for example in examples:
        try:
            complaints = [one for one in _complaints(lay_over(base, {key: example})) if one not in before]
        except InputError as error:
            yield Problem(("space", key), example, str(error))
            return
        if complaints:
            where, message = complaints[0]
            yield Problem(("space", key), example, message if where == key else f"{where}: {message}")
            return


def _complaints(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for problem in problems_of(TrainConfig, options):
        yield ".".join(problem.path), problem.message


def _unknown(name: str) -> str:
    if name == "training":
        return "options of the training are named without `training.` here"
    return f"is no entry of the training{known(name, set(TrainConfig.model_fields) - set(_FIXED))}"
