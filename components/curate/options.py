"""Options of the curate operations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.runtime.errors import InputError
from serving.runtime.storage import is_s3


class Options(BaseModel):
    """What every operation's options share. `places` names the options that are a path or an `s3://` address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: ClassVar[tuple[str, ...]] = ()

    def local_places(self) -> list[Path]:
        """Return the local files and folders that the options name."""
        named = [getattr(self, name) for name in self.places]
        return [Path(place.removeprefix("file://")) for place in named if place and not is_s3(place)]

    def recorded(self) -> dict[str, Any]:
        """Return the options for the annotations: of a local place only its name, so that bytes do not tell where."""
        values = self.model_dump(mode="json", exclude_none=True)
        for name in self.places:
            if values.get(name) and not is_s3(values[name]):
                values[name] = Path(values[name]).name
        return values


OptionsT = TypeVar("OptionsT", bound=Options)


def parse_options(kind: type[OptionsT], values: Any, operation: str) -> OptionsT:
    """Validate the options of an operation. Raises InputError naming every wrong key and the known ones."""
    known = ", ".join(kind.model_fields)
    if not isinstance(values, Mapping):
        raise InputError(f"options of operation '{operation}': expected a mapping, got {values!r}. Options: {known}")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        wrong = "; ".join(_complaint(part) for part in error.errors())
        raise InputError(f"options of operation '{operation}': {wrong}. Known options: {known}") from error


def _complaint(part: Any) -> str:
    where = ".".join(map(str, part["loc"]))
    if not where:
        return str(part["msg"]).removeprefix("Value error, ")
    if part["type"] == "missing":
        return f"'{where}' is missing"
    problem = "is unknown" if part["type"] == "extra_forbidden" else part["msg"]
    return f"'{where}' {problem}, got {part['input']!r}"
