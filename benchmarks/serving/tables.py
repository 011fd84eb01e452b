"""Markdown of the results."""

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
    """Return a table with a row for every loop and server: rate (lowest to highest), latencies and cost by clients."""
    columns = ["requests/s", "p50 ms", "p99 ms", "CPU ms"]
    header = ["", "processes", "ready s", "idle MiB", "peak MiB"]
    header += [f"{clients}: {column}" for clients in CLIENTS for column in columns] + ["errors", f"errors at {MANY}"]
    rows: list[list[object]] = []
    for (decoder, model), ceiling in ceilings.items():
        cells: list[object] = [f"loop, {decoder} decoder, {model}", *[""] * 4]
        for clients in CLIENTS:
            cells += [_range(ceiling.per_second, ceiling.rates), "", "", ceiling.cpu_ms] if clients == 8 else [""] * 4
        rows.append([*cells, "", ""])
    for row, result in results.items():
        if result.failure:
            rows.append([str(row), result.failure.splitlines()[0], *[""] * (len(header) - 2)])
            continue
        cells = [str(row), result.processes, min(result.ready_s), max(result.idle), result.peak]
        for clients in CLIENTS:
            one = result.at(clients)
            cells += [_range(one.per_second, one.spread), one.p50_ms, one.p99_ms, one.cpu_ms]
        errors = sum(result.at(clients).errors for clients in CLIENTS)
        rows.append([*cells, int(errors), int(result.at(MANY).errors)])
    return markdown(header, rows)


def _range(middle: float, values: Sequence[float]) -> str:
    return f"{middle:.1f} ({min(values):.1f} to {max(values):.1f})"
