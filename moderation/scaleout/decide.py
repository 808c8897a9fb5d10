"""Portions to files of decisions by Ray Data: one worker for each device, and whatever a worker dies of, every portion is decided once."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from moderation.errors import ClusterError, ExitCode
from moderation.scaleout.cluster import Workers
from moderation.scaleout.decider import Decider, Order, encoded
from moderation.source.portions import Portion

ATTEMPTS = 3  # beyond the first, for a portion whose worker died


def decide_portions(portions: Sequence[Portion], order: Order, workers: Workers) -> Iterator[int]:
    """Decide portions on the connected cluster; their numbers as they are done, in any order, each once its file is in its place.

    A worker that dies is started again, and its portion decided again. Raises ClusterError when that was in vain, or where a worker says what is wrong.
    """
    if not portions:
        return
    left = {one.number for one in portions}
    for row in _rows(portions, order, workers):
        if row["wrong"]:
            message, code = json.loads(row["wrong"])
            raise ClusterError(message, exit_code=ExitCode(code))
        left.discard(row["number"])
        yield row["number"]
    if left:
        some = ", ".join(map(str, sorted(left)[:3]))
        message = f"the workers of {len(left)} of {len(portions)} portions died each time, such as of {some}"
        raise ClusterError(f"{message}; all others are decided, and the same command tries these again")


def _rows(portions: Sequence[Portion], order: Order, workers: Workers) -> Iterator[Mapping[str, Any]]:
    import ray.data

    _quiet(ray.data.DataContext.get_current())
    told = ray.data.from_items([{"portion": encoded(one)} for one in portions], override_num_blocks=len(portions))
    count = min(workers.count, len(portions))
    share = order.settings.quota.share / count  # of a quota that each counts by itself
    settings = order.settings.model_copy(update={"quota": order.settings.quota.model_copy(update={"share": share})})
    done = told.map_batches(
        _Worker,
        # By reference: what Ray tells of a step may name its arguments, and settings hold secrets.
        fn_constructor_args=(ray.put(replace(order, settings=settings, threads=workers.cores)),),
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=2),
        num_cpus=None if workers.gpu else workers.cores,
        num_gpus=1 if workers.gpu else None,
        max_restarts=-1,
        max_task_retries=ATTEMPTS,
    )
    yield from done.iter_rows()


class _Worker(Decider):
    """A Decider that is told where its order lies."""

    def __init__(self, order: Any) -> None:
        import ray

        super().__init__(ray.get(order))


def _quiet(context: Any) -> None:
    """Ray Data tells nothing of how it goes: that is told by whoever asked; a portion that is given up does not end the others."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
