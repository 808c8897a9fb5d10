"""`moderation scan --ray`: the same decisions by the workers of a Ray cluster, kept part by part and told in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from moderation.cli import terminal
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

_PORTIONS, _LARGEST = 256, 128 * BATCH  # about so many portions, none of more entries


def on_ray(
    found: Found, locks: Sequence[Path], settings: Settings, *, address: str, folder: Path, cores: int
) -> Iterator[Decision]:
    """One decision for each entry, in order; those that the folder holds already are read from there.

    Raises DataError for what comes once and has no end, and as `begin` does; ClusterError where the cluster fails.
    """
    for path in filter(is_endless, found.files):
        raise DataError([Problem(path, 0, 0, "D000", "cannot be divided among workers; expected files and folders")])
    run = Run(list(portions(found.files, _size(found.total or 0))), locks, settings)
    missing = begin(folder, run)
    done = {one.number for one in run.portions} - {one.number for one in missing}
    if done:
        terminal.note(f"{len(done)} of {terminal.counted(len(run.portions), 'part')} are there already")
    here = Path.cwd()
    order = Order(settings, tuple(locks), here / folder, found.most, here)
    told = 0
    with terminal.progress("deciding", found.total) as advance:
        advance(sum(one.count for one in run.portions if one.number in done))
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
