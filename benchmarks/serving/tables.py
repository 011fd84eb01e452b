"""Markdown of the results."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.serving.compare import CLIENTS, MANY, Ceiling, Measured, Row


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table; floats have three digits."""
    lines = [header, ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def comparison(results: Mapping[Row, Measured], ceilings: Mapping[tuple[str, str], Ceiling]) -> list[str]:
    """Return two tables: rates (lowest to highest), latencies and cost of loops and servers; memory and start.

    Refusals are fast, so that latencies are left out where a stretch of load had errors.
    """
    columns = ["requests/s", "p50 ms", "p99 ms", "CPU ms"]
    header = ["", *(f"{clients}: {column}" for clients in CLIENTS for column in columns), "errors"]
    many = any(MANY in result.loads for result in results.values())
    header += [f"errors at {MANY}"] if many else []
    rows: list[list[object]] = []
    for (decoder, model), ceiling in ceilings.items():
        cells: list[object] = [f"loop, {decoder} decoder, {model}"]
        for clients in CLIENTS:
            cells += [_range(ceiling.per_second, ceiling.rates), "", "", ceiling.cpu_ms] if clients == 8 else [""] * 4
        rows.append([*cells, *[""] * (1 + many)])
    good = {row: result for row, result in results.items() if not result.failure}
    for row, result in good.items():
        cells = [str(row)]
        for clients in CLIENTS:
            one = result.at(clients)
            latency = ["-", "-"] if one.errors else [one.p50_ms, one.p99_ms]
            cells += [_range(one.per_second, one.spread), *latency, one.cpu_ms]
        errors = sum(result.at(clients).errors for clients in CLIENTS)
        rows.append([*cells, int(errors), *([int(result.at(MANY).errors)] if many else [])])
    sizes = [
        [str(row), result.processes, min(result.ready_s), statistics.median(result.idle), result.peak]
        for row, result in good.items()
    ]
    memory = ["", "processes", "first answer after, s", "idle, MiB", "peak, MiB"]
    return [*markdown(header, rows), "", *markdown(memory, sizes)]


def _range(middle: float, values: Sequence[float]) -> str:
    return f"{middle:.1f} ({min(values):.1f} to {max(values):.1f})"
