"""`make bench-serving`: our server against its peers, in one run on this machine; see docs/measurements.md.

Prints tables in Markdown, and writes them to `.facet/bench-serving.md` and the figures into `.facet/bench.json`.
"""

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.metadata import version

import psutil

from benchmarks.records import merge_records, table
from benchmarks.serving.classifiers import fp32, light
from benchmarks.serving.composite import composite
from benchmarks.serving.environments import SAME, pinned_version
from benchmarks.serving.load import MissingError, check_wrk
from benchmarks.serving.memory import memory
from benchmarks.serving.protocols import protocols
from benchmarks.serving.servers import OURS, SERVERS, ServerError
from benchmarks.serving.setup import Section, Setup
from benchmarks.serving.start import start
from pipelines.environment.settings import load_settings

SECTIONS: dict[str, Callable[[Setup], Section]] = {
    "fp32": fp32,
    "light": light,
    "composite": composite,
    "protocols": protocols,
    "start": start,
    "memory": memory,
}
PEERS = [name for name in SERVERS if name != OURS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; 1 when a bar is missed or something could not be measured, 2 on a wrong option."""
    options = _parse(arguments)
    home = load_settings().home.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends too
    setup = Setup(home / "bench", options.peers, options.rounds, options.seconds)
    try:
        check_wrk()
        prepare(setup, options.only)
        sections = [_run(name, setup) for name in options.only]
    except MissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; every server has been stopped", file=sys.stderr)
        return 130
    figures = [figure for section in sections for figure in section.figures]
    failures = [failure for section in sections for failure in section.failures]
    text = "\n".join(_document(setup, sections)) + "\n"
    print(text)
    for line in table(figures):
        print(line)
    (home / "bench-serving.md").write_text(text)
    merge_records(figures, home / "bench.json")
    return 0 if not failures and all(figure.holds for figure in figures) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description="Our server against its peers.")
    parser.add_argument("--only", type=_names(SECTIONS), default=list(SECTIONS), help=f"of {','.join(SECTIONS)}")
    parser.add_argument("--peers", type=_names(PEERS), default=PEERS, help=f"of {','.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is started and loaded")
    parser.add_argument("--seconds", type=float, default=3, help="of each stretch of load; at least 1")
    return parser.parse_args(arguments)


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known are {', '.join(known)}")
        return names

    return parse


def prepare(setup: Setup, sections: Sequence[str]) -> None:
    """Install environments and make pictures and models, so that nothing of this is measured."""
    for name in setup.peers if {"fp32", "light"} & set(sections) else []:
        setup.environment(name)
    if "composite" in sections:
        setup.environment("naive")
    print(f"{len(setup.pictures)} pictures, models {', '.join(setup.models)}", flush=True)


def _run(name: str, setup: Setup) -> Section:
    print(f"{name}: {time.strftime('%H:%M:%S')}, load average {os.getloadavg()[0]:.1f}", flush=True)
    load_before, stolen = os.getloadavg()[0], psutil.cpu_times()
    try:
        section = SECTIONS[name](setup)
    except ServerError as error:
        section = Section(name, failures=[f"{name}: {error}"])
    now = psutil.cpu_times()
    share = (now.steal - stolen.steal) / max(1e-9, sum(now[:8]) - sum(stolen[:8]))
    section.lines.append("")
    section.lines.append(f"Load average at the beginning {load_before:.1f}; {share:.1%} of the time stolen by others.")
    return section


def _document(setup: Setup, sections: Sequence[Section]) -> Iterator[str]:
    libraries = ", ".join(f"{name} {version(name)}" for name in SAME)
    peers = ", ".join(pinned_version(name) for name in setup.peers)
    yield f"{platform.platform()}, {_processor()}, {os.cpu_count()} CPUs, Python {platform.python_version()}."
    yield f"{libraries}, in every environment."
    yield f"Peers: {peers}. Medians of {setup.rounds} rounds (lowest to highest)."
    for section in sections:
        yield from ("", f"### {section.heading}", "", *section.lines)
        for failure in section.failures:
            yield f"\nNot measured: {failure.splitlines()[0]}"


def _processor() -> str:
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown CPU")


if __name__ == "__main__":
    sys.exit(main())
