from dataclasses import dataclass, field

import pytest


@dataclass
class Listing:
    """A source of which only the listed names and the given contents exist: readers open no image."""

    paths: tuple[str, ...]
    contents: dict[str, bytes] = field(default_factory=dict)
    uri: str = "/data/faces"

    def read(self, path):
        return self.contents[path]


@pytest.fixture
def listing():
    """Make a source from names, or from a mapping of names to contents (None: an image that nobody reads)."""

    def make(files):
        contents = {name: data for name, data in files.items() if data is not None} if isinstance(files, dict) else {}
        return Listing(tuple(sorted(files)), contents)

    return make
