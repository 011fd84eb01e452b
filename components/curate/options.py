"""Options of the curate operations."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

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
