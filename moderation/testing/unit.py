"""What everything promises that is called with batches of parts: the tests that the kits for detectors and for readers share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings

from moderation.detector.life import set_up, take
from moderation.item import Modality, Part
from moderation.plugin.brought import PluginState
from moderation.plugin.samples import hostile_parts
from moderation.testing.kit import Kit

Content = str | bytes | Part

LIMITS = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


class UnitKit(Kit):
    """The tests need to know what it is shown unseen (`_sees`), its good examples, what it answers (checked), and when two answers agree."""

    many: ClassVar[int] = 256  # parts in a large batch
    _shared: ClassVar[Any]
    _for_all: ClassVar[list[Any]]  # what is set up once for all tests of the class
    _for_one: list[Any]  # and for one test alone

    def __init_subclass__(cls, **more: Any) -> None:
        """As every kit's."""
        super().__init_subclass__(**more)
        cls._for_all = []

    @classmethod
    def teardown_class(cls) -> None:
        """Close what was set up for all tests."""
        _close(cls._for_all)

    @pytest.fixture(autouse=True)
    def _close_what_is_left(self) -> Iterator[None]:
        self._for_one = []
        yield
        _close(self._for_one)

    # Determinism

    def test_determinism_of_equal_batches(self) -> None:
        """The same batch twice, and another one between, has the same answers."""
        unit, parts = self._ready(), self._examples()
        first = self._answers(unit, parts)
        self._answers(unit, list(reversed(parts)))
        self._agree(first, self._answers(unit, parts), "the same batch has another answer the second time")

    def test_determinism_of_equal_units(self) -> None:
        """Two of a kind answer alike."""
        parts = self._examples()
        self._agree(self._answers(self._fresh(), parts), self._answers(self._fresh(), parts), "two of a kind disagree")

    # Batching

    def test_batching_changes_no_answer(self) -> None:
        """A part is judged alike alone, in company, and in another order."""
        unit, parts = self._ready(), self._examples()
        together = self._answers(unit, parts)
        alone = [self._answers(unit, [one])[0] for one in parts]
        self._agree(together, alone, "a part is judged otherwise in company than alone")
        turned = self._answers(unit, list(reversed(parts)))
        self._agree(together, list(reversed(turned)), "a part is judged otherwise in another order")

    def test_batching_of_many_parts(self) -> None:
        """A large batch has as many answers, each of them good."""
        unit, parts = self._ready(), self._many()
        assert len(self._answers(unit, parts)) == len(parts)

    # Failure

    def test_failure_of_hostile_content(self) -> None:
        """What is empty, endless, cut off or not what it seems is answered too: nothing is raised, nothing else is spoilt."""
        unit = self._ready()
        self._answers(unit, self._hostile(unit))
        parts = self._examples()
        mixed = self._answers(unit, [*self._hostile(unit), *parts])[-len(parts) :]
        self._agree(self._answers(unit, parts), mixed, "a part is judged otherwise beside hostile ones")

    def test_failure_of_one_thread_reaches_no_other(self) -> None:
        """Calls from several threads at once answer as one alone does: a call that overran may still be at work beside the next."""
        unit, parts = self._ready(), self._examples()
        wanted = self._answers(unit, parts)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: self._answers(unit, parts), range(8)):
                self._agree(wanted, found, "calls from several threads disagree")

    # Life cycle

    def test_life_cycle_of_two_in_one_process(self) -> None:
        """Two of a kind are set up beside each other, each verifies itself, and both answer."""
        one, other = self._fresh(), self._fresh()
        self._answers(one, self._examples())
        self._answers(other, self._examples())

    def test_life_cycle_ends_more_than_once(self) -> None:
        """Closed twice, and closed before it was ever set up: nothing is raised."""
        for unit in (self._fresh(), self._made()):
            for _ in range(2):
                take(unit, "close")

    def test_life_cycle_of_one_leaves_the_others_alone(self) -> None:
        """Where one of a kind is closed, another one answers as before."""
        one, other, parts = self._fresh(), self._fresh(), self._examples()
        wanted = self._answers(other, parts)
        take(one, "close")
        self._agree(wanted, self._answers(other, parts), "it answers otherwise once another one is closed")

    # Process

    def test_process_of_its_own_answers_alike(self) -> None:
        """Where the plugin is installed, and brings nothing that cannot be isolated: with its `settings`, it answers there as it does here."""
        if not self.plugin:
            pytest.skip("the kit is not told the name of the plugin's entry point")
        loaded = self._loaded()
        if not loaded.can_be_isolated(self._record(loaded)):
            pytest.skip("a plugin that brings more than detectors and readers cannot be isolated")
        apart, parts = self._loaded(isolated=(self.plugin,)), self._examples()
        record = self._record(apart)
        assert record.state == PluginState.LOADED, f"in a process of its own, plugin {self.plugin!r} is {record.cause}"
        unit = getattr(apart, self.brings)[self._name()]
        self._for_one.append(unit)
        otherwise = "it answers otherwise in a process of its own"
        self._agree(self._answers(self._ready(), parts), self._answers(unit, parts), otherwise)

    # What the tests share

    def _fresh(self) -> Any:
        """A new one, set up as a process does it before the first batch, and closed when the test ends."""
        made = self._made()
        self._for_one.append(made)
        set_up(made)
        return made

    @classmethod
    def _ready(cls) -> Any:
        """One that is set up, the same for all tests that need no new one: setting up may be heavy."""
        if "_shared" not in vars(cls):
            cls._shared = cls._set_up_for_all(cls._made(cls()))
        return cls._shared

    @classmethod
    def _set_up_for_all(cls, unit: Any) -> Any:
        set_up(unit)
        cls._for_all.append(unit)
        return unit

    def _many(self) -> list[Part]:
        parts = self._examples()
        return [parts[number % len(parts)] for number in range(self.many)]

    def _hostile(self, unit: Any) -> list[Part]:
        return hostile_parts(self._sees(unit))

    def _sees(self, unit: Any) -> frozenset[Modality]:
        """The modalities of which it is shown content that nobody looked at."""
        raise NotImplementedError

    def _examples(self) -> list[Part]:
        raise NotImplementedError

    def _answers(self, unit: Any, parts: Sequence[Part]) -> Sequence[Any]:
        raise NotImplementedError

    def _alike(self, one: Any, other: Any) -> bool:
        raise NotImplementedError

    def _agree(self, wanted: Sequence[Any], found: Sequence[Any], otherwise: str) -> None:
        assert len(wanted) == len(found), otherwise
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            assert self._alike(one, other), f"{otherwise}: part {number}: {one} and {other}"


def _close(units: Iterable[Any]) -> None:
    """A test must not fail for what comes after it: that closing raises is told by those of the life cycle."""
    for unit in units:
        with contextlib.suppress(Exception):
            take(unit, "close")


def as_part(content: Content, modalities: frozenset[Modality]) -> Part:
    """Text and bytes as the part that they mean, bytes being a picture; it must be of these modalities."""
    part = (
        content
        if isinstance(content, Part)
        else Part.text(content)
        if isinstance(content, str)
        else Part.image(content)
    )
    assert part.modality in modalities, f"an example is {part.modality}; expected {', '.join(sorted(modalities))}"
    return part
