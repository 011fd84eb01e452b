import json

from pipelines.bench.__main__ import BENCHMARKS, main
from pipelines.bench.benchmark import Benchmark


def test_an_unknown_benchmark_lists_the_known_ones(capsys) -> None:
    assert main(["archive"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in BENCHMARKS)


def test_a_bar_on_one_figure_alone_is_compared_with_nothing(capsys, monkeypatch, tmp_path) -> None:
    rows = [
        Benchmark("pair", 2.0, 8.0, 4.0, "s", "ratio >= 3", True),
        Benchmark.absolute("alone", 0.5, "s", "< 2 s", True),
    ]
    monkeypatch.setitem(BENCHMARKS, "two", lambda: rows)
    monkeypatch.setenv("FACET_HOME", str(tmp_path))
    assert main(["two"]) == 0
    pair, alone = (line.split() for line in capsys.readouterr().out.splitlines()[-2:])
    assert pair == ["pair", "2", "8", "4", "s", "ratio", ">=", "3", "yes"]
    assert alone == ["alone", "0.5", "-", "-", "s", "<", "2", "s", "yes"]
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written[0]["ratio"] == 4.0
    assert written[1] == {"name": "alone", "ours": 0.5, "unit": "s", "bar": "< 2 s", "holds": True}
