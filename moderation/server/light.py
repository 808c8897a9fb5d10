"""Who had little of the device of late: callers whom others' batches must not keep waiting for long."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

SPAN = 5.0  # seconds: what a caller had counts for one to two of these
_LITTLE = 0.75  # of what would be a caller's by its weight, among all that asked of late: two that want all they get differ by less


class Light:
    """Seconds that each caller had of the device, while others were about, in the last SPAN seconds or twice that; and who had little for its `weight`."""

    def __init__(self, weight: Callable[[str], float], clock: Callable[[], float]) -> None:
        self._weight, self._clock = weight, clock
        self._now, self._before = dict[str, float](), dict[str, float]()
        self._until = clock() + SPAN

    def had(self, batch: Sequence[str], seconds: float, waiting: Collection[str]) -> None:
        """The callers of a batch's parts had so many seconds each, which count where others are about: who was alone took them from nobody."""
        self._turn()
        counts = seconds if len({*batch, *waiting, *self._now, *self._before}) > 1 else 0.0
        for caller in batch:
            self._now[caller] = self._now.get(caller, 0.0) + counts

    def callers(self, waiting: Iterable[str]) -> frozenset[str]:
        """Of those that had something of late, and those that wait now, the light ones: none where all had about their share, or one is alone."""
        self._turn()
        had = dict.fromkeys(waiting, 0.0)
        for caller, seconds in (*self._before.items(), *self._now.items()):
            had[caller] = had.get(caller, 0.0) + seconds
        if len(had) < 2:
            return frozenset()
        fair = sum(had.values()) / sum(map(self._weight, had))
        return frozenset(caller for caller, seconds in had.items() if seconds < _LITTLE * fair * self._weight(caller))

    def _turn(self) -> None:
        late = self._clock() - self._until
        if late >= 0:
            self._before, self._now = self._now if late < SPAN else {}, {}
            self._until += SPAN * (1 + late // SPAN)
