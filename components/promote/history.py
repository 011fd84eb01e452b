"""The promotions of a model, as JSON in a tag of the registered model: the newest last, as many as the tag takes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pydantic import Field, TypeAdapter, ValidationError

from components.shared.tracking.registry import CHAMPION
from components.shared.tracking.server import mlflow_client
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen

TAG = "facet.promotions"
"""Tag of a registered model; that of another alias than champion ends in its name."""
MOST = 50
_LONGEST = 5000
"""Characters that every database of MLflow takes in a tag."""
_LONGEST_REASON = 240


class Promotion(Frozen):
    """An alias that moved.

    Attributes:
        version: the version that it was moved to.
        previous: the one that had it; "" for none.
        time: UTC, ISO 8601.
        reason: a sentence.
        run: the MLflow run of the training; "" where it is not known.
        others: name of a model that moved with it -> its version and the one before, "" for none.
        rollback: whether it went back to an earlier champion.
        done: false before the aliases move; a process that is killed in between leaves it so.
    """

    version: str
    previous: str
    time: str
    reason: str = ""
    run: str = ""
    others: dict[str, tuple[str, str]] = Field(default_factory=dict, exclude_if=lambda value: not value)
    rollback: bool = Field(default=False, exclude_if=lambda value: not value)
    done: bool = Field(default=True, exclude_if=lambda value: value)


_PROMOTIONS = TypeAdapter(tuple[Promotion, ...])


def tag_of(alias: str) -> str:
    """Return the name of the tag with the promotions to an alias."""
    return TAG if alias == CHAMPION else f"{TAG}.{alias}"


def now() -> str:
    """Return the time of a promotion."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def short(reason: str) -> str:
    """Return a reason as long as it is kept."""
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"


def read_promotions(name: str, tags: Mapping[str, str], alias: str) -> tuple[Promotion, ...]:
    """Return the promotions in the tags of a model, the newest last.

    Raises InputError when somebody has changed the tag to something else.
    """
    text = tags.get(tag_of(alias), "")
    try:
        return _PROMOTIONS.validate_json(text) if text else ()
    except ValidationError as error:
        raise InputError(
            f"the tag {tag_of(alias)} of model '{name}' in MLflow is not what Facet wrote there; remove the tag, which "
            "forgets the earlier champions"
        ) from error


def write_promotions(name: str, promotions: Sequence[Promotion], alias: str) -> None:
    """Keep the newest promotions of a model, at most MOST and as many as fit. Raises as `mlflow_client`."""
    kept = list(promotions[-MOST:])
    while len(text := _PROMOTIONS.dump_json(tuple(kept)).decode()) > _LONGEST and len(kept) > 1:
        del kept[0]
    mlflow_client().set_registered_model_tag(name, tag_of(alias), text)


def champions(name: str, promotions: Sequence[Promotion], current: Mapping[str, str]) -> list[dict[str, str]]:
    """Return what had the alias, the newest last: versions by name of the model and of those that moved with it.

    A rollback takes away the champion that it went back from. The last entry is what has the alias now: where somebody
    has moved it otherwise, that counts as a promotion.

    Args:
        name: of the model.
        promotions: those that were done, the newest last.
        current: the versions that have the alias now by name; without an entry where none has.
    """
    known: list[dict[str, str]] = []
    for one in promotions:
        if not one.done and one.version != current.get(name):
            continue
        if not known and one.previous:
            known.append({name: one.previous})
        for other, (_, before) in one.others.items():
            if known and not one.rollback:
                known[-1].setdefault(other, before)
        if one.rollback:
            while known and known[-1][name] != one.version:
                known.pop()
        state = {name: one.version} | {other: version for other, (version, _) in one.others.items()}
        if not known or known[-1][name] != one.version:
            known.append(state)
    if name in current and (not known or known[-1][name] != current[name]):
        known.append(dict(current))
    return known
