"""What the machine gives an engine."""

import os
from pathlib import Path

import pytest

from npcserver.engines import machine


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container's quota, as its file tells it, on a machine of eight cores."""
    file = tmp_path / "cpu.max"
    monkeypatch.setattr(machine, "CPU_LIMIT", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return file


@pytest.mark.parametrize(
    ("told", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("", 8),
    ],
)
def test_a_containers_quota_bounds_the_cores(quota: Path, told: str, cores: int) -> None:
    quota.write_text(told)
    assert machine.cores() == cores


def test_without_a_container_the_cores_are_those_allowed(quota: Path) -> None:
    assert machine.cores() == 8


@pytest.mark.parametrize(("memory_gb", "cache_gb"), [(2, 1), (24, 3), (512, 8)])
def test_the_cache_is_an_eighth_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, memory_gb: int, cache_gb: int
) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": memory_gb * machine.GB // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert machine.cache_gb() == cache_gb


@pytest.mark.parametrize(("told", "tokens"), [("200000 100000", 256), ("max 100000", 1024)])
def test_a_step_computes_what_the_cores_can(quota: Path, told: str, tokens: int) -> None:
    quota.write_text(told)
    assert machine.prefill_chunk() == tokens
