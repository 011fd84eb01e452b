"""Options of the curate operations."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from serving.runtime.storage import is_s3


class Options(BaseModel):
    """Base of the operations' options. `locations` names those that are a path or an `s3://` address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    locations: ClassVar[tuple[str, ...]] = ()

    def local_paths(self) -> list[Path]:
        """Return the local files and folders that the options name."""
        uris = [getattr(self, name) for name in self.locations]
        return [Path(uri.removeprefix("file://")) for uri in uris if uri and not is_s3(uri)]

    def recorded(self) -> dict[str, Any]:
        """Return the options for `info`: of a local path only its name, so that equal data give equal bytes."""
        values = self.model_dump(mode="json", exclude_none=True)
        for name in self.locations:
            if values.get(name) and not is_s3(values[name]):
                values[name] = Path(values[name]).name
        return values
