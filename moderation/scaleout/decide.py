"""Portions to files of decisions by Ray Data: one worker for each device, and whatever a worker dies of, every portion is decided once."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from moderation.errors import ClusterError, ExitCode
from moderation.scaleout.cluster import Workers
from moderation.scaleout.decider import GIVEN_UP, Decider, Order, encoded
from moderation.source.portions import Portion


def decide_portions(portions: Sequence[Portion], order: Order, workers: Workers) -> Iterator[int]:
    """Decide portions on the connected cluster; their numbers as they are done, in any order, each once its file is in its place.

    A worker that dies is started again, and its portion decided again, some times. Raises ClusterError when that was in vain, once all others are
    decided, and at once where a worker says what is wrong.
    """
    if not portions:
        return
    given_up = []
    for row in _rows(portions, order, workers):
        if row["wrong"] == GIVEN_UP:
            given_up.append(row["number"])
        elif row["wrong"]:
            message, code = json.loads(row["wrong"])
            raise ClusterError(message, exit_code=ExitCode(code))
        else:
            yield row["number"]
    if given_up:
        raise ClusterError(_in_words(given_up, {one.number: one for one in portions}))


def of_each(order: Order, count: int, *, threads: int) -> Order:
    """What each of so many workers is told: of a quota that each counts by itself, its part."""
    quota = order.settings.quota.model_copy(update={"share": order.settings.quota.share / count})
    return replace(order, settings=order.settings.model_copy(update={"quota": quota}), threads=threads)


def _rows(portions: Sequence[Portion], order: Order, workers: Workers) -> Iterator[Mapping[str, Any]]:
    import ray.data
    from ray.data.exceptions import SystemException
    from ray.exceptions import RayError

    with _quiet(ray.data.DataContext.get_current()):  # which Ray Data copies as a dataset is made
        told = ray.data.from_items([{"portion": encoded(one)} for one in portions], override_num_blocks=len(portions))
        count = min(workers.count, len(portions))
        done = told.map_batches(
            _Worker,
            # By reference: what Ray tells of a step may name its arguments, and settings hold secrets.
            fn_constructor_args=(ray.put(of_each(order, count, threads=workers.cores)),),
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=2),
            num_cpus=None if workers.gpu else workers.cores,
            num_gpus=1 if workers.gpu else None,
        )
        try:
            yield from done.iter_rows()
        except (RayError, SystemException) as error:
            kind = type(error.__cause__ or error).__name__
            raise ClusterError(f"the cluster failed ({kind}); Ray's logs on its machines say more") from None


def _in_words(given_up: Sequence[int], portions: Mapping[int, Portion]) -> str:
    first = portions[min(given_up)].spans[0]
    where = f"portion {min(given_up)}, from line {first.first} of {first.file} on"
    told = f"of {len(given_up)} of {len(portions)} portions every worker died, such as of {where}"
    return f"{told}; all others are decided, and the same command tries these again"


class _Worker(Decider):
    """A Decider that is told where its order lies."""

    def __init__(self, order: Any) -> None:
        import ray

        super().__init__(ray.get(order))


@contextmanager
def _quiet(context: Any) -> Iterator[None]:
    """Ray Data tells nothing of how it goes, as long as this lasts: that is told by whoever asked."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [one.level for one in loggers]
    shown = (context.enable_progress_bars, context.print_on_execution_start)
    context.enable_progress_bars = context.print_on_execution_start = False
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = shown
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
