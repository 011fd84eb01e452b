"""What is wrong with values that a person wrote: pydantic's errors and unknown names, in words."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.runtime.addresses import public_address

UNSET: Any = Field(default=None, exclude_if=lambda value: value is None)
"""A field that is None and not written until it is set, so that an older version, which refuses it, reads the rest."""


class Frozen(BaseModel):
    """A model whose values cannot be changed and that takes no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


MISSING: Any = object()
"""The value of an entry that is not there."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that cannot be used: its path, itself or MISSING, and what is wrong with it."""

    path: tuple[str, ...]
    value: Any
    message: str

    def __str__(self) -> str:
        """`path = value: message`, without what is secret in an address, and only the start of a long value."""
        if not self.path:
            return self.message
        shown = "" if self.value is MISSING else f" = {shortened(public_address(repr(self.value)))}"
        return f"{'.'.join(self.path)}{shown}: {self.message}"


class UnfitError(ValueError):
    """Entries that are wrong, or do not fit each other; `problems_of` yields each at its own path.

    A validator of a whole model raises it.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


def shortened(text: str, longest: int = 300) -> str:
    """Return the text, or its start and three dots where it is long."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def problems_of(
    model: type[BaseModel], values: Any, *, path: tuple[str, ...] = (), hidden: Collection[str] = ()
) -> Iterator[Problem]:
    """Yield what keeps `values`, found at `path`, from being a `model`.

    `hidden` fields are not suggested for an unknown key.
    """
    try:
        model.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            inner = tuple(str(part) for part in item["loc"])
            if isinstance(cause := item.get("ctx", {}).get("error"), UnfitError):
                yield from (replace(one, path=(*path, *inner, *one.path)) for one in cause.problems)
                continue
            value = MISSING if item["type"] == "missing" else item["input"]
            yield Problem(path + inner, value, _message(dict(item), inner, model, hidden))


def explain(error: ValidationError) -> str:
    """Return the first three problems as `path: message`, each at most 200 letters."""
    lines = []
    for item in error.errors(include_url=False, include_input=False)[:3]:
        message = item["msg"]
        if item["type"] == "union_tag_invalid":
            message = "unknown {discriminator} '{tag}'; known: {expected_tags}".format(**item["ctx"])
        lines.append(f"{'.'.join(map(str, item['loc'])) or 'body'}: {message}"[:200])
    return "; ".join(lines)


def _message(item: Mapping[str, Any], path: tuple[str, ...], model: type[BaseModel], hidden: Collection[str]) -> str:
    if item["type"] == "extra_forbidden":
        offered = set(known_fields(model, path[:-1])) - (set(hidden) if len(path) == 1 else set())
        return f"unknown key{known(path[-1], offered) if offered else ''}"
    if item["type"] == "literal_error":
        choices = re.findall("'([^']+)'", item["ctx"]["expected"])
        return f"unknown name{known(item['input'], choices)}"
    if item["type"] == "missing":
        fields = known_fields(model, path[:-1])
        return "is missing" + (f"; known: {', '.join(fields)}" if fields else "")
    return str(item["msg"]).removeprefix("Value error, ")


def known(name: object, names: Collection[str]) -> str:
    """Return the end of a message about a name that is none of `names`: the nearest one, and all of them."""
    return f"{nearest(name, names)}; known: {', '.join(sorted(names))}"


def nearest(name: object, names: Collection[str]) -> str:
    """Return `, did you mean 'x'?` for the most similar of `names`, in any case; nothing where none is similar."""
    folded = {entry.lower(): entry for entry in names}
    near = difflib.get_close_matches(str(name).lower(), folded, n=1)
    return f", did you mean '{folded[near[0]]}'?" if near else ""


def known_fields(model: type[BaseModel], path: Iterable[str]) -> list[str]:
    """Return the field names of the model at `path` within `model`; none behind a list or a mapping."""
    inner: Any = model
    for part in path:
        field = inner.model_fields.get(part)
        annotation = None if field is None else field.annotation
        models = [one for one in (annotation, *get_args(annotation)) if _is_model(one)]
        if len(models) != 1:
            return []
        (inner,) = models
    return list(inner.model_fields)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
