"""A scan on Ray: what was found is divided, decided by workers part by part, and told in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from moderation.decision import Decision
from moderation.errors import DataError, Problem
from moderation.scaleout.cluster import cluster, workers
from moderation.scaleout.decide import decide_portions
from moderation.scaleout.decider import Order
from moderation.scaleout.parts import Run, begin, end, read_part
from moderation.scan import BATCH
from moderation.settings import Settings
from moderation.source.find import Found, is_endless
from moderation.source.portions import Portion, portions

CORES = 4  # of an encoder, where there is no GPU
_PORTIONS, _LARGEST = 256, 128 * BATCH  # about so many portions, none of more entries


def scan(
    found: Found,
    locks: Sequence[Path],
    settings: Settings,
    *,
    address: str,
    folder: Path,
    cores: int = CORES,
    begun: Callable[[int, int], object] = lambda _there, _parts: None,
    advance: Callable[[int], object] = lambda _items: None,
) -> Iterator[Decision]:
    """One decision for each entry, in order, and all of them as Parquet in `folder`; parts that it holds already are read from there.

    `address` is that of `scaleout.cluster`. `begun` hears how many parts are there already, and of how many; `advance` how many items more are decided.
    Raises DataError for what comes once and has no end, and as `parts.begin` does; ClusterError where the cluster fails.
    """
    for path in filter(is_endless, found.files):
        raise DataError([Problem(path, 0, 0, "D000", "cannot be divided among workers; expected files and folders")])
    run = Run(list(portions(found.files, _size(found.total or 0))), locks, settings)
    missing = begin(folder, run)
    done = {one.number for one in run.portions} - {one.number for one in missing}
    begun(len(done), len(run.portions))
    advance(sum(one.count for one in run.portions if one.number in done))
    here, told = Path.cwd(), 0
    order = Order(settings, tuple(locks), here / folder, found.most, here)
    for number in _numbers(missing, order, address=address, cores=cores):
        done.add(number)
        advance(run.portions[number].count)
        while told in done:
            yield from read_part(folder, told)
            told += 1
    for number in range(told, len(run.portions)):
        yield from read_part(folder, number)
    end(folder)


def _numbers(missing: Sequence[Portion], order: Order, *, address: str, cores: int) -> Iterator[int]:
    """The portions as they are decided; where none is missing, no cluster is needed."""
    if missing:
        gpu = any(one.device != "cpu" for one in order.settings.encoders.values())
        with cluster(address):
            yield from decide_portions(missing, order, workers(gpu=gpu, cores=cores))


def _size(total: int) -> int:
    """Entries in a portion: whole batches, so that they are a scan's own, and by the input alone, so that a run finds its portions again."""
    return BATCH * max(1, min(_LARGEST, total // _PORTIONS) // BATCH)
