"""What every reader promises, as tests that a plugin's own test file inherits.

    class TestOcr(ReaderKit):
        make = Ocr
        holding = [Path("sign.png").read_bytes()]
        empty = [Path("sky.png").read_bytes()]

pytest finds the rest, as it does of a detector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from hypothesis import given
from hypothesis import strategies as st

from moderation.decision import Abstention
from moderation.detector.base import revision_of
from moderation.detector.faults import FAULTS, WRONG
from moderation.item import Modality, Part
from moderation.plugin.registry import ReaderRegistry
from moderation.plugin_sections import ReaderSettings
from moderation.reader.base import Reader, Reading, check_readings
from moderation.reader.step import ReaderRunner
from moderation.testing.unit import LIMITS, Content, UnitKit, as_part

DEFAULTS = ReaderSettings()


class ReaderKit(UnitKit):
    """Inherit, and say how the reader is made and in what it must find something.

    `make` gives a new reader each time, not set up yet; from each of the contents that are `holding` it derives at least one part, from those that are
    `empty` none: texts, the bytes of picture files, or parts (`Part.video(...)`). `plugin` is the entry point's name; where it is
    empty, arriving is not tested. What is derived must have content: a mark of what could not be read is made by moderation alone.
    """

    make: ClassVar[Callable[[], Reader]]
    holding: ClassVar[Sequence[Content]]
    empty: ClassVar[Sequence[Content]] = ()
    brings: ClassVar[str] = "readers"
    many: ClassVar[int] = 16  # reading is slow, and a worker makes its batches as large as its time allows

    # Identity

    def test_identity_is_what_a_reader_must_have(self) -> None:
        """Id, and the modalities that it reads and yields, are what registering demands."""
        ReaderRegistry("kit").add(self._made())

    def test_identity_stays(self) -> None:
        """Two of a kind are called the same, also after they have worked."""
        one, other = self._fresh(), self._made()
        self._answers(one, self._examples())
        assert (one.id, one.reads, one.yields) == (other.id, other.reads, other.yields), (
            "the identity of a reader is not always the same"
        )

    def test_identity_has_a_revision(self) -> None:
        """Thresholds hold for what it derives, so that locks keep to its `revision`: it states one, set up, and keeps it while it works."""
        one, other = self._ready(), self._fresh()
        before = revision_of(one)
        self._answers(one, self._examples())
        assert before, "it states no revision"
        assert before == revision_of(one) == revision_of(other), "its revision is not always the same"

    # Shape

    def test_shape_of_no_parts(self) -> None:
        """A batch without parts has no answers."""
        given = self._ready().read(())
        assert len(given) == 0, f"found {len(given)} answers to no parts"

    @LIMITS
    @given(data=st.data())
    def test_shape_of_every_answer(self, data: st.DataObject) -> None:
        """Whatever comes: one answer a part, parts of the modalities that it yields, or an abstention with a stable word."""
        contents = [st.builds(Part, st.just(one), st.binary(max_size=200)) for one in self._files()]
        if Modality.TEXT in self._ready().reads:
            contents.append(st.text(max_size=200).map(Part.text))
        drawn = data.draw(st.lists(st.one_of(*contents, st.sampled_from(self._examples())), max_size=4))
        self._answers(self._ready(), drawn)

    def test_shape_of_what_it_finds(self) -> None:
        """From each content that holds something at least one part is derived."""
        assert self.holding, "holding has no example"
        for number, reading in enumerate(self._answers(self._ready(), self._parts(self.holding))):
            assert not isinstance(reading, Abstention), f"holding[{number}]: it abstains ({reading.reason})"
            assert len(reading) > 0, f"nothing is derived from holding[{number}]"

    def test_shape_of_what_holds_nothing(self) -> None:
        """From a content that holds nothing no part is derived."""
        for number, reading in enumerate(self._answers(self._ready(), self._parts(self.empty))):
            assert not isinstance(reading, Abstention), f"empty[{number}]: it abstains ({reading.reason})"
            assert len(reading) == 0, f"found {len(reading)} parts derived from empty[{number}]"

    # Cost

    def test_cost_of_many_parts_is_within_the_deadline(self) -> None:
        """A batch is read within the time that readers have by default, or the worker would leave it behind."""
        reader = self._ready()
        runner = ReaderRunner([reader], DEFAULTS, earlier=None)
        (first, *_) = runner.run({reader.id: tuple(self._many())})[reader.id]
        assert not (isinstance(first, Abstention) and first.reason in FAULTS), f"a worker would say {first}"

    # What the tests share

    def _files(self) -> list[Modality]:
        return sorted(set(self._ready().reads) - {Modality.TEXT})

    def _parts(self, contents: Sequence[Content]) -> list[Part]:
        return [as_part(one, self._made().reads) for one in contents]

    def _examples(self) -> list[Part]:
        return self._parts([*self.holding, *self.empty])

    def _sees(self, unit: Reader) -> frozenset[Modality]:
        return unit.reads

    def _answers(self, unit: Reader, parts: Sequence[Part]) -> Sequence[Reading]:
        given: Any = unit.read(tuple(parts))
        checked = check_readings(given, len(parts), yields=frozenset(unit.yields), limits=DEFAULTS)
        wrong = [number for number, one in enumerate(checked) if one is WRONG]
        assert not wrong, (
            f"the answer to part {wrong[0]} of {len(parts)} is none: expected, for every part in order, a sequence of Parts of "
            f"{', '.join(sorted(unit.yields))} with short names of ASCII, or an Abstention with a stable word"
        )
        return checked

    def _alike(self, one: Reading, other: Reading) -> bool:
        return one == other
