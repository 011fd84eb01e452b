"""Limits follow from the memory, and their sum stays below it."""

import resource

import pytest

from serving.server.limits import MIB, Limits


@pytest.mark.parametrize("memory", [512, 1024, 4096, 500_000])
@pytest.mark.parametrize("lanes", [1, 2, 16])
def test_requests_keep_within_half_of_the_memory(memory: int, lanes: int) -> None:
    limits = Limits.for_machine(memory * MIB, lanes)
    assert limits.lanes == lanes
    assert limits.lanes * limits.decode_memory + 2 * limits.body_memory <= memory * MIB // 2
    assert limits.body_memory >= limits.max_body and limits.decode_memory <= 1024 * MIB


def test_shipped_limits_are_the_defaults() -> None:
    """2 CPUs and 1 GiB in docker/kubernetes/base/serving, 1 CPU and 512 MiB in overlays/local."""
    for memory, lanes in ((1024, 2), (512, 1)):
        assert Limits.for_machine(memory * MIB, lanes).decode_memory == Limits().decode_memory


def test_connections_fit_the_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, connections in ((20_000, 1000), (256, 208), (20, 8), (resource.RLIM_INFINITY, 1000)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, files=files: (files, files))
        assert Limits.for_machine(1024 * MIB, 1).connections == connections
