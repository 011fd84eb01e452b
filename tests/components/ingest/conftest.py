import uuid

import pytest
from aihub_records import text
from source_trees import KINDS, pack, tree, write_folder

from components.ingest.formats.aihub.reader import AihubOptions, read_aihub
from components.ingest.sources.source import Source
from components.shared.dataset.tally import Tally
from components.shared.options import parse_options
from serving.runtime.storage import make_bucket


class ListedSource(Source):
    """A source of which only the listed names and the given contents exist: readers open no image."""

    def __init__(self, paths, contents):
        self.uri = "/data/faces"
        self.encoding = None
        self.read_as = Tally()
        self.paths = paths
        self.contents = contents

    def read(self, path):
        return self.contents[path]

    def stream(self, paths):
        return ((path, self.contents[path]) for path in sorted(paths))


def listed_source(files):
    contents = {name: data for name, data in files.items() if data is not None} if isinstance(files, dict) else {}
    return ListedSource(tuple(sorted(files)), contents)


@pytest.fixture
def listing():
    """Make a source from names, or from a mapping of names to contents (None: an image that nobody reads)."""
    return listed_source


@pytest.fixture(scope="session")
def make_listed_source():
    """The same for properties, which run many times."""
    return listed_source


@pytest.fixture
def aihub(listing):
    """Read AI Hub's data from a mapping of names to contents; lists and dicts are written as JSON."""

    def read(files, **options):
        contents = {name: text(data) if isinstance(data, list | dict) else data for name, data in files.items()}
        return read_aihub(listing(contents), parse_options(AihubOptions, options, "aihub"))

    return read


@pytest.fixture
def bucket(s3):
    name = f"t{uuid.uuid4().hex}"
    make_bucket(name)
    return name


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """The tree as a folder, as single archives, and as folders whose first part is an archive."""
    top = tmp_path_factory.mktemp("shapes")
    files = tree()
    backwards = dict(reversed(files.items()))
    found = {"folder": write_folder(top / "folder", files)}
    for kind in KINDS:
        found[kind] = pack(top / "single" / kind.replace(".", "") / "all", backwards, kind)
        inner = {name.removeprefix("train/"): data for name, data in backwards.items() if name.startswith("train/")}
        rest = {name: data for name, data in files.items() if not name.startswith("train/")}
        beside = write_folder(top / f"beside-{kind}", rest)
        pack(beside / "train", inner, kind)
        found[f"beside {kind}"] = beside
    return found
