"""Aliases that move: of a model, and of the detector and the composite that it is served with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.promote.history import Promotion, champions, now, read_promotions, short, write_promotions
from components.promote.lock import promotion_lock
from components.shared.tracking.registry import CHAMPION, TRAINED, find_model, find_version, quoted
from components.shared.tracking.server import mlflow_client
from serving.runtime.errors import InputError, StorageError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

Pair = tuple[str, str]
"""Name and version of a model."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A model whose alias was looked at.

    `version` has the alias now, "" for none; `previous` is what had it before, the same version where it did not move.
    """

    name: str
    version: str
    previous: str

    def line(self, alias: str) -> str:
        """Return what happened, for people."""
        if self.version == self.previous:
            return f"{self.name}: version {self.version} is the {alias} already" if self.version else ""
        now = f"version {self.version} is the {alias}" if self.version else f"has no {alias} any more"
        return f"{self.name}: {now} ({f'before: version {self.previous}' if self.previous else 'there was none'})"


class OtherChampionError(Exception):
    """The alias of a model is at another version than the one that was compared."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__(name, version)
        self.name, self.version = name, version


def alias_of(model: "RegisteredModel", alias: str) -> str:
    """Return the version that has the alias; "" for none."""
    return str(model.aliases.get(alias, ""))


def served_with(name: str, version: str) -> list[Pair]:
    """Return what moves with a version: the composites that have it as a member, and the detectors trained with it.

    Of each the highest version, detectors first. Raises StorageError as `mlflow_client`.
    """
    found = mlflow_client().search_model_versions(f"tags.heads = {quoted(f'models:/{name}/{version}')}")
    composites = sorted(((str(one.name), str(one.version), one.tags) for one in found), key=lambda one: int(one[1]))
    trained = [uri for *_, tags in composites for uri in tags.get(TRAINED, "").split()]
    detectors = {one: number for one, _, number in (uri.removeprefix("models:/").rpartition("/") for uri in trained)}
    return [*sorted(detectors.items()), *sorted({one: number for one, number, _ in composites}.items())]


def move_aliases(
    pairs: Sequence[Pair],
    alias: str = CHAMPION,
    *,
    expected: Mapping[str, str] | None = None,
    reason: str = "",
    run_id: str = "",
) -> list[Moved]:
    """Move an alias to versions of one or several models, and write down the promotion.

    The first pair is the model; those that it is served with follow. All versions are looked for before an alias moves.
    Where the process ends in between, the same call once more moves the rest.

    Args:
        pairs: names and versions.
        alias: what moves.
        expected: the versions that must have the alias still, by name, "" for none; models that are not named may have
            any.
        reason: a sentence, for the history.
        run_id: the MLflow run of the training, for the history.

    Raises:
        OtherChampionError: the alias is at another version than expected, and not at the new one; nothing moved.
        InputError: there is no registry.
        NotFoundError: there is no such version; then nothing has moved.
        StorageError: MLflow cannot be used; the message says what has moved, where something has.
    """
    for pair in pairs:
        find_version(*pair)
    name, version = pairs[0]
    with promotion_lock(one for one, _ in pairs) as renew:
        model = find_model(name)
        before = alias_of(model, alias)
        previous = {other: alias_of(find_model(other), alias) for other, _ in pairs[1:]}
        at, new = {name: before} | previous, dict(pairs)
        for one, compared in (expected or {}).items():
            if at[one] not in (compared, new[one]):
                raise OtherChampionError(one, at[one])
        known = list(read_promotions(name, model.tags, alias))
        if known and not known[-1].done:  # a process that was killed; whether its alias moved is seen now
            left = known.pop()
            if left.version == before:
                known.append(left.model_copy(update={"done": True}))
        again = before == version and all(previous[other] == its for other, its in pairs[1:])
        if before != version:
            others = {other: (its, previous[other]) for other, its in pairs[1:]}
            known.append(
                Promotion(
                    version=version, previous=before, time=now(), reason=short(reason), run=run_id, others=others,
                    done=False,
                )
            )  # fmt: skip
            renew()
            write_promotions(name, known, alias)
        if not again:
            _set(pairs, alias, renew)
        finished = [one.model_copy(update={"done": True}) for one in known]
        if tuple(finished) != read_promotions(name, model.tags, alias):
            renew()
            write_promotions(name, finished, alias)
    return [Moved(name, version, before), *(Moved(other, its, previous[other]) for other, its in pairs[1:])]


def roll_back(name: str, alias: str = CHAMPION) -> list[Moved]:
    """Give an alias back to the version that had it before, and to what that was served with.

    Once more goes further back. A model that had no champion then has none again.

    Raises:
        InputError: there is no registry, or no earlier champion is known.
        NotFoundError: there is no such model, or a version of then is gone; then nothing has moved.
        StorageError: MLflow cannot be used.
    """
    names = _names(find_model(name), alias)
    while True:
        with promotion_lock(names) as renew:
            model = find_model(name)
            locked, names = names, _names(model, alias)
            if set(names) <= set(locked):  # else one was promoted with it meanwhile
                return _back(model, names, alias, renew)


def _back(model: "RegisteredModel", names: Sequence[str], alias: str, renew: Callable[[], None]) -> list[Moved]:
    """Roll back under the locks of all names, the first of which is the model's."""
    name = names[0]
    known = read_promotions(name, model.tags, alias)
    current = {name: alias_of(model, alias)} | {one: alias_of(find_model(one), alias) for one in names[1:]}
    current = {one: at for one, at in current.items() if at}
    if known and not known[-1].done and known[-1].rollback and known[-1].version == current.get(name):
        return _finish(name, known, current, alias, renew)
    had = champions(name, known, current)
    if name not in current or len(had) < 2:
        at = f"version {current[name]} is the only one known" if name in current else "there is none now"
        raise InputError(
            f"'{name}' has no earlier {alias} to go back to: {at}; name a version with facet promote {name} VERSION"
        )
    target = {one: had[-2].get(one, current.get(one, "")) for one in names}
    for one, version in target.items():
        if version:
            find_version(one, version)
    others = {one: (target[one], current.get(one, "")) for one in names if one != name}
    entry = Promotion(
        version=target[name], previous=current[name], time=now(), reason="rolled back", others=others, rollback=True
    )
    done = [one for one in known if one.done]
    renew()
    write_promotions(name, [*done, entry.model_copy(update={"done": False})], alias)
    _set(list(target.items()), alias, renew)
    renew()
    write_promotions(name, [*done, entry], alias)
    return [Moved(one, target[one], current.get(one, "")) for one in names]


def _finish(
    name: str, known: Sequence[Promotion], current: Mapping[str, str], alias: str, renew: Callable[[], None]
) -> list[Moved]:
    """Move the aliases that a rollback left when its process was killed."""
    last = known[-1]
    pairs = [(name, last.version), *((other, its) for other, (its, _) in last.others.items())]
    _set(pairs, alias, renew)
    renew()
    write_promotions(name, [*known[:-1], last.model_copy(update={"done": True})], alias)
    return [
        Moved(name, last.version, last.previous),
        *(Moved(one, its, current.get(one, "")) for one, its in pairs[1:]),
    ]


def _names(model: "RegisteredModel", alias: str) -> list[str]:
    """Return the model and those that have ever moved with it."""
    known = read_promotions(model.name, model.tags, alias)
    return [model.name, *sorted({other for one in known for other in one.others})]


def _set(pairs: Sequence[Pair], alias: str, renew: Callable[[], None]) -> None:
    client = mlflow_client()
    for number, (name, version) in enumerate(pairs):
        try:
            if alias_of(client.get_registered_model(name), alias) == version:
                continue
            renew()
            if version:
                client.set_registered_model_alias(name, alias, version)
            else:
                client.delete_registered_model_alias(name, alias)
        except StorageError as error:
            if number == 0:
                raise
            moved, left = (
                " and ".join(f"{one} version {its}" for one, its in part) for part in (pairs[:number], pairs[number:])
            )
            raise type(error)(
                f"{error}\n{moved} has the alias '{alias}', {left} has not; promote all of them again"
            ) from error
