from pipelines.bench.__main__ import BENCHMARKS, main


def test_an_unknown_benchmark_lists_the_known_ones(capsys) -> None:
    assert main(["archive"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in BENCHMARKS)
