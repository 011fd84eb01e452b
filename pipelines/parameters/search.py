"""The parameters of the search pipeline, which tries options of the training."""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from itertools import islice, product
from typing import Any, Literal

from pydantic import Field, ValidationError

from components.search.space import MAX_TRIALS, Dimension, key_problems, planned, read_space
from components.shared.options import override
from components.train_classifier.config.training import OF_NO_EFFECT, TrainConfig
from pipelines.parameters.faces import CompositeParameters
from pipelines.parameters.model import SHARED, TrainingParameters
from pipelines.parameters.publish import PublishParameters
from pipelines.parameters.training import training_problems
from serving.runtime.errors import InputError
from serving.runtime.validation import Problem, known, problems_of

_NOT_SEARCHED = {
    "label_space": "is the same for all trials: make a search for each label space",
    **dict.fromkeys(OF_NO_EFFECT, "changes nothing that is learned"),
}
_MODES = ("person", "lists")
_MOST = 64
"""Combinations with other values that are tried for a value that is refused by itself."""


class SearchConfig(TrainingParameters, PublishParameters):
    """The parameters of the search pipeline: the space, and a training and registration that the trials override."""

    pipeline: Literal["search", "search_faces"] = "search"
    space: dict[str, Any] = Field(
        default_factory=lambda: {"learning_rate": {"loguniform": [0.0003, 0.01]}},
        description="What is searched: by dotted path of an option of the training, a list of values, or a range as "
        "{uniform: [low, high]}, likewise loguniform and int.",
    )
    method: Literal["grid", "random", "tpe"] = Field(
        default="tpe",
        description="How trials are chosen: tpe learns from the ones before, random does not, grid tries all.",
    )
    trials: int = Field(
        default=20,
        ge=1,
        le=MAX_TRIALS,
        description="How many trials there are, at most 100; no combination is tried twice.",
    )

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, those of the search too."""
        yield from super().problems(wrong)
        mode = self.split_options.get("mode", "person")
        if mode not in _MODES:
            message = "trials are scored on persons that are in no other split: take mode person or lists"
            yield Problem(("split_options", "mode"), mode, message)
        elif mode == "person" and not self.val_ratio:
            yield Problem(("val_ratio",), self.val_ratio, "trials are scored on the val split")
        if self.checkpoint == "last":
            message = "the last epoch of a trial is not the one that is scored: take best, best_f1 or best_acc"
            yield Problem(("checkpoint",), self.checkpoint, message)
        in_space = [*self._syntax(), *self._values()]
        yield from in_space
        if not in_space and not wrong & {"space", "method", "trials"}:
            try:
                planned(read_space(self.space), self.method, self.trials)
            except InputError as error:
                yield Problem(("method",), self.method, str(error))

    def _syntax(self) -> Iterator[Problem]:
        """What is wrong with the space by itself."""
        yield from key_problems(self.space)
        for key, value in self.space.items():
            yield from problems_of(Dimension, value, path=("space", key))

    def _values(self) -> Iterator[Problem]:
        """What the training does not accept, each value in the whole configuration."""
        base = {**self.training, **{name: getattr(self, name) for name in SHARED}}
        before = set(_messages(base))
        examples = {}
        for key, value in self.space.items():
            with suppress(ValidationError):
                examples[key] = Dimension.model_validate(value).examples
        for key in examples:
            name = key.partition(".")[0]
            if name in _NOT_SEARCHED:
                yield Problem(("space", key), self.space[key], f"{name} {_NOT_SEARCHED[name]}")
            elif name not in TrainConfig.model_fields:
                yield Problem(("space", key), self.space[key], _unknown(name))
            else:
                yield from _rejected(base, before, key, examples)


class SearchFacesConfig(CompositeParameters, SearchConfig):
    """The parameters of the search pipeline that finds the faces first."""

    pipeline: Literal["search_faces"] = "search_faces"

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, trials that the crops do not suffice for too."""
        found = list(super().problems(wrong))
        yield from found
        if found or wrong:
            return
        base = {**self.training, **{name: getattr(self, name) for name in SHARED}}
        for key, value in self.space.items():
            for example in Dimension.model_validate(value).examples:
                with suppress(ValidationError, InputError):  # it fits with others of its entry only
                    trial = TrainConfig.model_validate(override(base, {key: example}))
                    yield from (Problem(("space", key), example, one.message) for one in self.unlike(trial))


def _rejected(
    base: Mapping[str, Any], before: Set[tuple[str, str]], key: str, examples: Mapping[str, Sequence[Any]]
) -> Iterator[Problem]:
    """The first of the values at `key` that the training accepts neither by itself nor with others of its entry."""
    others = {other: examples[other] for other in examples if other != key and _entry(other) == _entry(key)}
    combinations = [dict(zip(others, values, strict=True)) for values in islice(product(*others.values()), _MOST)]
    for example in examples[key]:
        refused = None
        for beside in ({}, *combinations):
            try:
                messages = [one for one in _messages(override(base, {**beside, key: example})) if one not in before]
            except InputError as error:
                messages = [(key, str(error))]
            if not messages:
                break
            refused = refused or messages[0]
        else:
            assert refused is not None
            path, message = refused
            yield Problem(("space", key), example, message if path == key else f"{path}: {message}")
            return


def _entry(key: str) -> str:
    name = key.partition(".")[0]
    return "network" if name == "model" else name


def _messages(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for problem in training_problems(options):
        yield ".".join(problem.path), problem.message


def _unknown(name: str) -> str:
    if name == "training":
        return "options of the training are named without `training.` here"
    return f"is not an option of the training{known(name, set(TrainConfig.model_fields) - set(_NOT_SEARCHED))}"
