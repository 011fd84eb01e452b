"""The harness of `make bench-serving`: what it starts, reads and writes. Its figures are not tested here."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from benchmarks.benchmark import Benchmark
from benchmarks.records import merge_records
from benchmarks.serving import loop, pictures, servers
from benchmarks.serving.__main__ import PEERS, SECTIONS, main
from benchmarks.serving.classifiers import against_peers
from benchmarks.serving.compare import CLIENTS, MANY, Measured, Row
from benchmarks.serving.environments import REQUIREMENTS, requirements
from benchmarks.serving.load import Load, MissingError, check_wrk, median, read_output
from benchmarks.serving.process_tree import pss, stop, tree
from benchmarks.serving.servers import BODIES, OURS, SERVERS, Server, ServerError, ask, probabilities, running
from benchmarks.serving.tables import comparison, markdown


def a_load(per_second: float, p50_ms: float = 10.0, errors: float = 0) -> Load:
    return Load(per_second, p50_ms, 2 * p50_ms, errors, cpu_ms=5.0, pss=100.0)


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_pinned_versions_and_our_onnxruntime(name: str) -> None:
    pinned = [line for line in (REQUIREMENTS / f"{name}.txt").read_text().splitlines() if not line.startswith("#")]
    assert pinned and all("==" in line for line in pinned)
    assert sum(line.startswith("onnxruntime==") for line in requirements(name)) == 1
    for text in (*SERVERS[name].command, *SERVERS[name].files.values()):
        assert "0.0.0.0" not in text


def test_pictures_are_small_photos_and_the_same_every_time() -> None:
    data = pictures.draw_picture(3)
    assert data == pictures.draw_picture(3) != pictures.draw_picture(4)
    assert Image.open(io.BytesIO(data)).size == (640, 480)
    assert 50 < len(data) / 1024 < 95


@pytest.mark.parametrize(
    "answer",
    [
        {"probabilities": [0.1, 0.2, 0.7]},
        {"predictions": [[0.1, 0.2, 0.7]]},
        {"outputs": [{"name": "p", "shape": [1, 3], "data": [0.1, 0.2, 0.7]}]},
        {"faces": [{"box": None, "heads": {"mask": {"label": "c", "probabilities": {"a": 0.1, "b": 0.2, "c": 0.7}}}}]},
    ],
)
def test_probabilities_are_found_in_the_answer_of_any_server(answer: object) -> None:
    assert probabilities(answer, 3) == [0.1, 0.2, 0.7]
    with pytest.raises(ServerError, match="no 4 probabilities"):
        probabilities(answer, 4)


def test_what_wrk_prints_becomes_rates_of_good_answers() -> None:
    printed = '{"requests": 110, "seconds": 2.0, "p50_ms": 7.5, "p99_ms": 20.0, "errors": 10}'
    seen = read_output(f"Running 2s test\n{printed}\n", cpu_s=0.5, pss=80)
    assert (seen.per_second, seen.errors, seen.cpu_ms, seen.pss) == (50, 10, 5, 80)
    with pytest.raises(RuntimeError, match="unable to connect"):
        read_output("unable to connect to 127.0.0.1", cpu_s=0, pss=0)


def test_medians_add_errors_up_and_keep_the_range() -> None:
    middle = median([a_load(10), a_load(30, errors=2), a_load(20, errors=1)])
    assert (middle.per_second, middle.errors, middle.spread) == (20, 3, (10, 30))


def measured(rate: float, p50_ms: float = 10.0, errors: float = 0, failure: str = "") -> Measured:
    loads = {clients: [a_load(rate, p50_ms, errors)] for clients in (*CLIENTS, MANY)}
    return Measured(loads, [1.0], [50.0], 1, failure)


RESULTS = {
    Row(OURS, "", "fp32"): measured(60, p50_ms=20),
    Row("naive", "", "fp32"): measured(50, p50_ms=30),
    Row("mosec", "", "fp32"): measured(40, p50_ms=25),
    Row("naive", "tuned", "fp32"): measured(100, p50_ms=5, errors=3),
    Row("ray", "tuned", "fp32"): measured(1, failure="ray tuned does not answer"),
}


def test_ours_is_compared_with_the_best_peer_of_the_variant() -> None:
    (rate,) = against_peers("rate", 60, RESULTS, 8, "", "requests/s", 1.15)
    assert (rate.baseline, rate.ratio, rate.holds) == (50, 1.2, True)
    (late,) = against_peers("late", 20, RESULTS, 1, "", "ms", 1.0)
    assert (late.baseline, late.holds) == (25, True)
    (tuned,) = against_peers("tuned", 60, RESULTS, 8, "tuned", "requests/s", 1.05)
    assert (tuned.baseline, tuned.holds) == (100, False)


def test_tables_show_every_server_that_was_measured_and_no_latency_of_refusals() -> None:
    lines = comparison(RESULTS, {})
    assert not any("ray" in line for line in lines)
    for row in list(RESULTS)[:4]:
        assert sum(line.startswith(f"| {row} |") for line in lines) == 2
    with_errors = next(line for line in lines if line.startswith("| naive tuned |"))
    assert with_errors.count("| - | - |") == len(CLIENTS)
    assert markdown(["a", "b"], [["x", 1.23456], ["y", 1234.5]])[2:] == ["| x | 1.23 |", "| y | 1234 |"]


def test_figures_are_merged_with_those_of_other_benchmarks(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "bench.json"
    merge_records([Benchmark.absolute("crop", 1.0, "s", "", True), Benchmark.absolute("old", 1.0, "s", "", True)], file)
    merge_records([Benchmark.compared("serving_fp32", 60, 50, "requests/s", 1.15)], file)
    merge_records([Benchmark.absolute("old", 2.0, "s", "", True)], file)
    records = {record["name"]: record["ours"] for record in json.loads(file.read_text())}
    assert records == {"crop": 1.0, "serving_fp32": 60, "old": 2.0}


def test_a_missing_load_generator_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FACET_HOME", str(tmp_path / "home"))
    with pytest.raises(MissingError, match="apt-get install wrk"):
        check_wrk()
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("error: the load generator wrk is missing")
    assert "default-jre-headless" in servers.missing("torchserve")


@pytest.mark.parametrize("option", ["--only", "--peers"])
def test_unknown_names_list_the_known_ones(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([option, "nothing"])
    said = capsys.readouterr().err
    assert all(name in said for name in (SECTIONS if option == "--only" else PEERS))


def test_our_server_answers_as_the_loop_computes_and_ends_with_the_block(tmp_path: Path, model_file: Path) -> None:
    data = pictures.draw_picture(0)
    with running(SERVERS[OURS], tmp_path / "run", environment=None, model=model_file, body=data) as one:
        expected = loop.probabilities(model_file, "own", data)
        assert probabilities(ask(one.url, data, BODIES["raw"][0]), len(expected)) == pytest.approx(expected, abs=1e-6)
        before, processes = one.cpu_seconds(), one.processes
        for _ in range(20):
            ask(one.url, data, BODIES["raw"][0])
        assert one.cpu_seconds() > before and 20 < one.pss() < 1000
    assert not any(process.is_running() for process in processes)


def test_a_server_that_does_not_start_is_an_error_with_its_log(tmp_path: Path) -> None:
    broken = Server(("python", "-c", "raise SystemExit('no $model here')"), "/", own=True)
    with (
        pytest.raises(ServerError, match="no m.onnx here"),
        running(broken, tmp_path / "run", environment=None, model="m.onnx", body=b""),
    ):
        raise AssertionError("it did start")


def test_a_stopped_server_leaves_no_process_behind() -> None:
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    start = f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)"
    parent = f"import subprocess, sys, time; {start}; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True)
    deadline = time.monotonic() + 10
    while len(tree(process.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = tree(process.pid)
    assert pss(family) > 1
    stop(process)
    assert not any(psutil.pid_exists(one.pid) and one.status() != psutil.STATUS_ZOMBIE for one in family)
