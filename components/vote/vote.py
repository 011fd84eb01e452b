"""Voting over the results of several models: the class that most of them give, or that of their mean probabilities."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.answers import ANSWER, ID
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.dataset.text import some
from components.vote.results import Answers, Probabilities, read_answers, read_probabilities
from serving.runtime.errors import InputError
from serving.runtime.output import check_output, whole_file
from serving.runtime.validation import known

_JOINT = "mask_gender_age"


@dataclass(frozen=True, slots=True)
class VoteReport:
    """What a vote came to.

    Attributes:
        rows: ids that were voted on.
        unanimous: how many of them all tables give one class.
        ties: for how many the order of the tables decided, or that of the classes.
    """

    rows: int
    unanimous: int
    ties: int


@dataclass(frozen=True)
class _Result:
    """The winning classes (N,), further columns of the table, and for how many ids a tie was broken."""

    classes: NDArray[np.intp]
    columns: Mapping[str, Sequence[str]]
    ties: int


def vote(tables: Sequence[Path], output: Path, *, mode: str = "hard") -> VoteReport:
    """Write a CSV with `ImageID` and `ans`, in the order of the first table.

    `hard` takes the class that most tables give, and the number of votes is the column `votes`. Where several classes
    have most votes, it is the one among them that the first of the tables gives. `soft` takes the mean of the
    probabilities over the tables: the largest one of each head, the lower class of two that are equal; the means are in
    the columns `<head>/<label>`. Three attributes are counted as the 18 classes 6*mask + 3*gender + age.

    Args:
        tables: one or more files, see `read_answers` and `read_probabilities`.
        output: the CSV to write.
        mode: hard or soft.

    Raises:
        InputError: the mode is unknown, there is no table, one is named twice, an id is twice in a table or not in all
            of them, tables have other classes, or one cannot be read.
    """
    if mode not in MODES:
        raise InputError(f"mode: unknown '{mode}'{known(mode, MODES)}")
    if not tables:
        raise InputError("expected tables to vote, got none")
    twice = [str(path) for path, count in Counter(map(Path.resolve, tables)).items() if count > 1]
    if twice:
        raise InputError(f"tables: {some(twice)} is named twice and would vote twice; name each table once")
    for table in tables:
        check_output(output, table)
    ids, given, result = MODES[mode](tables)
    with whole_file(output) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([ID, ANSWER, *result.columns])
        writer.writerows(zip(ids, result.classes.tolist(), *result.columns.values(), strict=True))
    unanimous = int((given == given[0]).all(axis=0).sum())
    return VoteReport(len(ids), unanimous, result.ties)


def _hard(tables: Sequence[Path]) -> tuple[tuple[str, ...], NDArray[np.intp], _Result]:
    answers = [read_answers(path) for path in tables]
    _check_labels(answers)
    given = np.stack([one.classes[order] for one, order in zip(answers, _orders(answers), strict=True)])
    winners, ties, votes = [], 0, []
    for column in given.T.tolist():
        counts = Counter(column)
        most = max(counts.values())
        best = [answer for answer, count in counts.items() if count == most]
        winners.append(best[0])  # counted in the order of the tables: the one that an earlier table gives is first
        ties += len(best) > 1
        votes.append(str(most))
    return answers[0].ids, given, _Result(np.array(winners, np.intp), {"votes": votes}, ties)


def _soft(tables: Sequence[Path]) -> tuple[tuple[str, ...], NDArray[np.intp], _Result]:
    given = [read_probabilities(path) for path in tables]
    space = _common_space(given)
    orders = _orders(given)
    heads: dict[str, list[NDArray[np.floating]]] = {head.name: [] for head in space.heads}
    for one, order in zip(given, orders, strict=True):
        own = one.heads if one.space.name == space.name else {_JOINT: one.space.class_probabilities(one.heads)}
        for name, values in heads.items():
            values.append(own[name][order])
    classes = np.stack(
        [_classes(space, {name: values[n] for name, values in heads.items()}) for n in range(len(given))]
    )
    means = {name: np.mean(values, axis=0) for name, values in heads.items()}
    ties = np.any([(mean == mean.max(axis=1, keepdims=True)).sum(axis=1) > 1 for mean in means.values()], axis=0)
    columns = {
        f"{head.name}/{label}": [str(np.float32(value)) for value in means[head.name][:, index]]
        for head in space.heads
        for index, label in enumerate(head.labels)
    }
    return given[0].ids, classes, _Result(_classes(space, means), columns, int(ties.sum()))


MODES: Mapping[str, Callable[[Sequence[Path]], tuple[tuple[str, ...], NDArray[np.intp], _Result]]] = {
    "hard": _hard,
    "soft": _soft,
}
"""Mode -> what reads the tables and gives the ids, the class of each table (tables, N), and the result."""


def _classes(space: LabelSpace, heads: Mapping[str, NDArray[np.floating]]) -> NDArray[np.intp]:
    """Return the class (N,) of the most probable label of every head, the first of equal ones."""
    best = tuple(heads[head.name].argmax(axis=1) for head in space.heads)
    classes: NDArray[np.intp] = np.ravel_multi_index(best, [len(head.labels) for head in space.heads])
    return classes


def _orders(tables: Sequence[Answers | Probabilities]) -> Iterator[NDArray[np.intp]]:
    """Yield for each table the rows in which the ids of the first one are. Raises InputError where ids differ."""
    first = tables[0]
    for one in tables:
        rows = {name: row for row, name in enumerate(one.ids)}
        for ids, where in ((set(first.ids) - rows.keys(), one), (rows.keys() - set(first.ids), first)):
            if ids:
                other = first if where is one else one
                raise InputError(
                    f"{where.path}: {len(ids)} ids of {other.path} are missing: {some(sorted(ids))}; give results "
                    "about the same pictures"
                )
        yield np.array([rows[name] for name in first.ids], np.intp)


def _check_labels(answers: Sequence[Answers]) -> None:
    """Raise InputError where two tables have other labels, or a class that the labels of another do not have."""
    named = [one for one in answers if one.labels]
    for one in named[1:]:
        if one.labels != named[0].labels:
            raise InputError(f"{one.path}: its classes are not those of {named[0].path}; vote over one label space")
    for one in answers if named else ():
        highest = int(one.classes.max())
        if highest >= len(named[0].labels):
            raise InputError(
                f"{one.path}: class {highest} is none of the {len(named[0].labels)} classes of {named[0].path}"
            )


def _common_space(tables: Sequence[Probabilities]) -> LabelSpace:
    """Return the one label space of all tables, the 18 classes where some have them and some their attributes."""
    spaces = {one.space.name: one for one in tables}
    if len(spaces) == 1:
        return tables[0].space
    joint = label_space(_JOINT)
    for one in spaces.values():
        if one.space.class_labels != joint.class_labels:
            listed = ", ".join(f"{name} ({one.path})" for name, one in spaces.items())
            raise InputError(f"tables of several label spaces: {listed}; vote over one label space")
    return joint
