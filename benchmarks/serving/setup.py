"""What one run of the benchmark has: where things lie, what is compared, and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.benchmark import Benchmark
from benchmarks.serving.environments import install
from benchmarks.serving.load import write_bodies
from benchmarks.serving.pictures import write_pictures
from benchmarks.serving.servers import BODIES, SERVERS


@dataclass
class Section:
    """What a part of the run gives: a heading, lines of Markdown, and figures with bars.

    `failures` are what could not be measured.
    """

    heading: str
    lines: list[str] = field(default_factory=list)
    figures: list[Benchmark] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Setup:
    """The options of a run, and its folder.

    Attributes:
        folder: everything that the run makes, kept for the next one.
        peers: names of SERVERS.
        rounds: how often each server is started and loaded.
        seconds: of each stretch of load with several clients.
    """

    folder: Path
    peers: Sequence[str]
    rounds: int
    seconds: float

    @cached_property
    def pictures(self) -> list[Path]:
        """The JPEGs that are sent."""
        return write_pictures(self.folder / "pictures")

    @cached_property
    def models(self) -> dict[str, Path]:
        """The models by name, see `models.py`."""
        from benchmarks.serving.models import make_models  # torch takes seconds

        return make_models(self.folder / "models", self.pictures)

    @property
    def run(self) -> Path:
        """Where servers have their folders."""
        return self.folder / "run"

    def environment(self, name: str) -> Path | None:
        """Return the environment of a server, installed if need be; None for our own."""
        return None if name in SERVERS and SERVERS[name].own else install(name, self.folder / "peers")

    def bodies(self, kind: str) -> Path:
        """Return the folder with what is posted for each picture, encoded as a name of BODIES."""
        folder = self.folder / "bodies" / kind
        return folder if folder.exists() else write_bodies(folder, self.pictures, BODIES[kind][1])
