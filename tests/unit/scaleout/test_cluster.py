"""Clusters that are not there, and how many encoders one has room for."""

from __future__ import annotations

import logging
import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private import worker

from moderation.errors import ClusterError
from moderation.scaleout.cluster import QUIET, Workers, cluster, workers
from moderation.scaleout.decide import _quiet


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "is no address of a Ray cluster"),
        ("host:", "is no address of a Ray cluster"),
        ("ray://127.0.0.1:1", "no Ray cluster at 'ray://127.0.0.1:1': Connection refused"),
        ("no-such-host.invalid:6379", "no Ray cluster at"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_at_once(address: str, message: str) -> None:
    with pytest.raises(ClusterError) as caught, cluster(address):
        pass
    assert message in str(caught.value)
    assert "expected the address HOST:PORT" in str(caught.value)


def test_what_listens_and_is_no_cluster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_options: Any) -> None:
        raise ConnectionError("no GCS here\nmore")

    monkeypatch.setattr(ray, "init", refused)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ClusterError, match="no GCS here;"), cluster(address):
            pass
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match="no Ray cluster at 'auto'"), cluster("auto"):
        pass


@pytest.mark.parametrize(
    ("machines", "gpu", "found"),
    [
        ([{"CPU": 16.0}, {"CPU": 6.0}], True, Workers(5, gpu=False, cores=4)),
        ([{"CPU": 2.0}], True, Workers(1, gpu=False, cores=2)),
        ([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}], True, Workers(3, gpu=True, cores=0)),
        ([{"CPU": 16.0, "GPU": 2.0}], False, Workers(4, gpu=False, cores=4)),
        ([{"CPU": 0.0}, {"CPU": 4.0}], True, Workers(1, gpu=False, cores=4)),
    ],
)
def test_an_encoder_for_each_gpu_or_for_so_many_cores_of_one_machine(
    machines: list[dict[str, float]], gpu: bool, found: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [dead, *({"Alive": True, "Resources": one} for one in machines)])
    assert workers(gpu=gpu, cores=4) == found


def test_a_cluster_without_a_core_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {}}])
    with pytest.raises(ClusterError, match="no core for an encoder"):
        workers(gpu=True, cores=4)


def test_who_is_connected_already_keeps_a_ray_that_tells_what_it_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told, variables = worker.print_to_stdstream, dict(os.environ)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "shutdown", lambda: pytest.fail("the cluster is somebody else's"))
    with cluster("auto"):
        assert (worker.print_to_stdstream, dict(os.environ)) == (told, variables)


@pytest.mark.parametrize("level", [None, "info"])
def test_a_cluster_that_is_ours_is_silent_as_long_as_it_lasts(
    level: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    if level:
        monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", level)
    monkeypatch.setattr(ray, "init", lambda **_options: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    told, variables = worker.print_to_stdstream, dict(os.environ)
    with cluster("local"):
        assert worker.print_to_stdstream is not told
        assert {name: os.environ[name] for name in QUIET} == QUIET
        assert os.environ["RAY_BACKEND_LOG_LEVEL"] == (level or "fatal")
    assert (worker.print_to_stdstream, dict(os.environ)) == (told, variables)


def test_ray_data_is_silent_as_long_as_it_is_asked() -> None:
    context = SimpleNamespace(enable_progress_bars=True, print_on_execution_start=True)
    names = ("ray", "ray.data")
    levels = [logging.getLogger(name).level for name in names]
    with _quiet(context):
        assert [logging.getLogger(name).level for name in names] == [logging.CRITICAL] * 2
        assert (context.enable_progress_bars, context.print_on_execution_start) == (False, False)
    assert [logging.getLogger(name).level for name in names] == levels
    assert (context.enable_progress_bars, context.print_on_execution_start) == (True, True)
