"""Options of the source formats."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.runtime.errors import InputError


class Options(BaseModel):
    """What every format takes.

    Attributes:
        max_dropped: the share of images that may be unusable before the step fails.
        box_frame: which pixels the boxes of a photo with an EXIF orientation count in: the `stored` ones, the
            `upright` ones, or (`auto`) those whose size the source states, upright where it states none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_dropped: float = Field(default=0.05, ge=0, le=1)
    box_frame: Literal["auto", "stored", "upright"] = "auto"


OptionsT = TypeVar("OptionsT", bound=Options)


def parse_options(kind: type[OptionsT], values: Mapping[str, Any], format_name: str) -> OptionsT:
    """Validate the options of a format. Raises InputError naming every wrong key and the known ones."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        wrong = "; ".join(
            f"'{'.'.join(map(str, part['loc']))}' {_complaint(part['type'], part['msg'])}, got {part['input']!r}"
            for part in error.errors()
        )
        known = ", ".join(kind.model_fields)
        raise InputError(f"options of format '{format_name}': {wrong}. Known options: {known}") from error


def _complaint(kind: str, message: str) -> str:
    return "is unknown" if kind == "extra_forbidden" else message
