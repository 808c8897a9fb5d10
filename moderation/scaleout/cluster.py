"""The Ray cluster that work is given to: one of this machine alone, or one that runs. It tells nobody outside of anything."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from moderation.errors import ClusterError

LOCAL, AUTO = "local", "auto"
_OBJECTS = 200_000_000  # bytes of memory for what workers are given: names and places, never content
_PATIENCE = 5.0  # seconds in which a cluster must take a connection
# Read when Ray starts, by it and by what it starts.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_PROMPT_ENABLED": "0"}
_HINT = "expected the address HOST:PORT of a running cluster, 'auto' on one of its machines, or 'local'"


@dataclass(frozen=True, slots=True)
class Workers:
    """How many encoders a cluster has room for, one on each GPU, or else on so many cores (`cores`) of one machine."""

    count: int
    gpu: bool
    cores: int


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Connected to the cluster, as long as this lasts; where this process is connected already, to that one, which is left as it is. `local` starts one of this machine's cores.

    Raises ClusterError where it cannot be reached.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield
        return
    with _silent():
        import ray

        _start(address)
        try:
            yield
        finally:
            ray.shutdown()


def workers(*, gpu: bool, cores: int) -> Workers:
    """The encoders that the connected cluster has room for; on so many cores each, or all of its largest machine where that has fewer.

    Raises ClusterError where there is room for none.
    """
    import ray

    machines = [one["Resources"] for one in ray.nodes() if one["Alive"]]
    gpus = int(sum(one.get("GPU", 0) for one in machines))
    if gpu and gpus:
        return Workers(gpus, gpu=True, cores=0)
    sizes = [int(one.get("CPU", 0)) for one in machines]
    cores = min(cores, max(sizes, default=0))
    if not cores:
        raise ClusterError(f"the cluster has no core for an encoder: its machines have {sizes}")
    return Workers(sum(size // cores for size in sizes), gpu=False, cores=cores)


@contextmanager
def _silent() -> Iterator[None]:
    """Ray tells nobody of how it goes, as long as this lasts."""
    before = dict(os.environ)
    os.environ.update(QUIET)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # on stderr Ray warns of how Ray Data starts its actors
    from ray._private import worker

    told = worker.print_to_stdstream
    # On stdout, where decisions go, it would tell of workers that died, and no setting stops that.
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = told
        for name in (*QUIET, "RAY_BACKEND_LOG_LEVEL"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


def _start(address: str) -> None:
    import ray

    options = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        with _unheard():
            ray.init(address=LOCAL, include_dashboard=False, object_store_memory=_OBJECTS, **options)
        return
    named = os.environ.get("RAY_ADDRESS", AUTO) if address == AUTO else address
    if named != AUTO:
        _knock(named)
    try:
        with _unheard():
            ray.init(address=named, **options)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(f"no Ray cluster at {named!r}: {told}; {_HINT}") from None


@contextmanager
def _unheard() -> Iterator[None]:
    """What Ray's own libraries write on stderr while they start is dropped; what goes wrong is raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is what is needed
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _knock(address: str) -> None:
    """Raises ClusterError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"{address!r} is no address of a Ray cluster; {_HINT}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        raise ClusterError(f"no Ray cluster at {address!r}: {error.strerror or error}; {_HINT}") from None
