"""What every detector promises, as tests that a plugin's own test file inherits.

    class TestKeywords(DetectorKit):
        make = Keywords
        flagged = {"gambling": ["Claim your CASINO BONUS now"]}
        passed = ["The free spinster"]

pytest finds the rest. A promise that a detector cannot keep is named with its reason in `expected_failures`, and fails once it is kept.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moderation.decision import Abstention, Score
from moderation.detector.base import Detection, DetectionBatch, Detector
from moderation.detector.faults import FAULTS, WRONG
from moderation.detector.runner import Runner, check_answers
from moderation.item import Modality, Part
from moderation.plugin import manager
from moderation.plugin.registry import DetectorRegistry
from moderation.settings import DetectorSettings
from moderation.testing.content import HOSTILE_FILES, HOSTILE_TEXTS, fault_of_import, made_vectors

Content = str | bytes | Part

CUT = 0.5  # an example is flagged from here on
DEFAULTS = DetectorSettings()
MANY = 256  # parts in a large batch
WIDTH = 512  # of made vectors, where the plugin does not say how wide its encoder's are

_LIMITS = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


class DetectorKit:
    """Inherit, and say how the detector is made and what it must find.

    `make` gives a new detector each time; `flagged` names for each label contents that score at least 0.5 under it, `passed` contents that
    score less under every label: texts, the bytes of picture files, or parts. `width` is that of the vectors, for a detector that asks for them.
    `tolerance` is how far equal scores may differ. `plugin` is the entry point's name; where it is empty, arriving is not tested.
    """

    make: ClassVar[Callable[[], Detector]]
    flagged: ClassVar[Mapping[str, Sequence[Content]]]
    passed: ClassVar[Sequence[Content]]
    width: ClassVar[int] = WIDTH
    tolerance: ClassVar[float] = 1e-6
    plugin: ClassVar[str] = ""
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **more: Any) -> None:
        """Raises TypeError where an expected failure names no test of the kit, or gives no reason."""
        super().__init_subclass__(**more)
        for name, reason in cls.expected_failures.items():
            if not (name.startswith("test_") and hasattr(cls, name) and reason):
                raise TypeError(
                    f"{cls.__name__}.expected_failures: found {name!r}; expected a test of the kit, and why"
                )

    @pytest.fixture(autouse=True)
    def _expect(self, request: pytest.FixtureRequest) -> None:
        """An expected failure is one, and fails once it is none."""
        reason = self.expected_failures.get(request.function.__name__)
        if reason:
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    # Identity

    def test_identity_is_what_a_detector_must_have(self) -> None:
        """Id, labels, modalities and `needs_embeddings` are what registering demands."""
        DetectorRegistry("kit").add(self._made())

    def test_identity_stays(self) -> None:
        """Two of a kind are called the same and score the same labels, also after they have worked."""
        one, other = self._made(), self._made()
        self._answers(one, self._examples())
        assert _identity(one) == _identity(other), "the identity of a detector is not always the same"

    def test_identity_arrives_by_its_entry_point(self) -> None:
        """Once installed, the plugin is found, whole, and brings this detector."""
        if not self.plugin:
            pytest.skip("the kit is not told the name of the plugin's entry point")
        found = [one for one in manager.load(only=(self.plugin,)).records if one.id == self.plugin]
        assert found, f"no plugin named {self.plugin!r} is installed"
        assert found[0].state == manager.PluginState.LOADED, (
            f"plugin {self.plugin!r} is {found[0].state}: {found[0].cause}"
        )
        assert self._made().id in found[0].detectors, f"plugin {self.plugin!r} does not register {self._made().id!r}"

    # Shape

    def test_shape_of_no_parts(self) -> None:
        """A batch without parts has no answers."""
        detector = self._made()
        given = detector.detect(self._batch(detector, []))
        assert len(given) == 0, f"found {len(given)} answers to no parts"

    @_LIMITS
    @given(data=st.data())
    def test_shape_of_every_answer(self, data: st.DataObject) -> None:
        """Whatever comes: one answer a part, every label scored in [0, 1], or an abstention with a stable word."""
        detector = self._made()
        parts = data.draw(st.lists(self._contents(detector), max_size=5))
        self._answers(detector, parts)

    def test_shape_of_what_it_finds(self) -> None:
        """Each example scores at least 0.5 under its label."""
        detector = self._made()
        missing = set(detector.labels) - self.flagged.keys()
        assert not missing, f"flagged has no example for {', '.join(sorted(missing))}"
        for label, contents in self.flagged.items():
            for number, scores in enumerate(self._scores(detector, contents)):
                assert scores[label] >= CUT, f"flagged[{label!r}][{number}] scores {scores[label]}"

    def test_shape_of_what_it_lets_pass(self) -> None:
        """Each harmless example scores less than 0.5 under every label."""
        assert self.passed, "passed has no example"
        for number, scores in enumerate(self._scores(self._made(), self.passed)):
            assert max(scores.values()) < CUT, f"passed[{number}] scores {scores}"

    # Determinism

    def test_determinism_of_equal_batches(self) -> None:
        """The same batch twice, and another one between, has the same answers."""
        detector, parts = self._made(), self._examples()
        first = self._answers(detector, parts)
        self._answers(detector, list(reversed(parts)))
        self._agree(first, self._answers(detector, parts), "the same batch has another answer the second time")

    def test_determinism_of_equal_detectors(self) -> None:
        """Two of a kind answer alike."""
        parts = self._examples()
        self._agree(self._answers(self._made(), parts), self._answers(self._made(), parts), "two of a kind disagree")

    def test_determinism_leaves_the_batch_alone(self) -> None:
        """Vectors are shared with other detectors: nothing is written into them."""
        detector = self._made()
        batch = self._batch(detector, self._examples())
        if batch.embeddings is None:
            return
        before = batch.embeddings.copy()
        detector.detect(batch)
        assert np.array_equal(before, batch.embeddings), "the vectors of the batch were changed"

    # Batching

    def test_batching_changes_no_answer(self) -> None:
        """A part is judged alike alone, in company, and in another order."""
        detector, parts = self._made(), self._examples()
        together = self._answers(detector, parts)
        alone = [self._answers(detector, [one])[0] for one in parts]
        self._agree(together, alone, "a part is judged otherwise in company than alone")
        turned = self._answers(detector, list(reversed(parts)))
        self._agree(together, list(reversed(turned)), "a part is judged otherwise in another order")

    def test_batching_of_many_parts(self) -> None:
        """A large batch has as many answers, each of them good."""
        detector, parts = self._made(), self._many()
        assert len(self._answers(detector, parts)) == len(parts)

    # Failure

    def test_failure_of_hostile_content(self) -> None:
        """What is empty, endless, cut off or not what it seems is scored or abstained from: nothing is raised, nothing else is spoilt."""
        detector = self._made()
        self._answers(detector, self._hostile(detector))
        parts = self._examples()
        mixed = self._answers(detector, [*self._hostile(detector), *parts])[-len(parts) :]
        self._agree(self._answers(detector, parts), mixed, "a part is judged otherwise beside hostile ones")

    def test_failure_of_one_thread_reaches_no_other(self) -> None:
        """Calls from several threads at once answer as one alone does: a call that overran may still be at work beside the next."""
        detector, parts = self._made(), self._examples()
        wanted = self._answers(detector, parts)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: self._answers(detector, parts), range(8)):
                self._agree(wanted, found, "calls from several threads disagree")

    # Cost

    def test_cost_of_many_parts_is_within_the_deadline(self) -> None:
        """A large batch is judged within the time that detectors have by default, or the worker would leave it behind."""
        detector = self._made()
        batch = self._batch(detector, self._many())
        (first, *_) = Runner([detector], settings=DEFAULTS).run({detector.id: batch})[detector.id]
        assert not (isinstance(first, Abstention) and first.reason in FAULTS), f"a worker would say {first}"

    # Pickling

    def test_pickling_keeps_it(self) -> None:
        """A copy that came through pickle, as to another process, answers alike."""
        detector, parts = self._made(), self._examples()
        copy = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own bytes
        self._agree(self._answers(detector, parts), self._answers(copy, parts), "a pickled copy answers otherwise")

    # Import

    def test_import_asks_no_network(self) -> None:
        """Importing the plugin looks up no host and opens no connection: registering is cheap, and works where there is no network."""
        module = type(self._made()).__module__
        fault = fault_of_import(module)
        assert not fault, f"importing {module!r}: {fault}"

    # What the tests share

    def _made(self) -> Detector:
        make = inspect.getattr_static(type(self), "make")
        made: Detector = (make.__func__ if isinstance(make, staticmethod) else make)()
        return made

    def _examples(self) -> list[Part]:
        detector = self._made()
        flagged = [one for contents in self.flagged.values() for one in contents]
        return [_part(one, detector) for one in (*flagged, *self.passed)]

    def _many(self) -> list[Part]:
        parts = self._examples()
        return [parts[number % len(parts)] for number in range(MANY)]

    def _hostile(self, detector: Detector) -> list[Part]:
        texts = [Part.text(one) for one in HOSTILE_TEXTS] if Modality.TEXT in detector.modalities else []
        # A picture that cannot be decoded has no vector, so that a detector of vectors is never shown one.
        shown = Modality.IMAGE in detector.modalities and not detector.needs_embeddings
        return texts + ([Part.image(one) for one in HOSTILE_FILES] if shown else [])

    def _contents(self, detector: Detector) -> st.SearchStrategy[Part]:
        kinds: list[st.SearchStrategy[Part]] = []
        if Modality.TEXT in detector.modalities:
            kinds.append(st.text(max_size=200).map(Part.text))
        if Modality.IMAGE in detector.modalities:
            kinds.append(st.binary(max_size=200).map(Part.image))
        return st.one_of(*kinds, st.sampled_from(self._examples()))

    def _batch(self, detector: Detector, parts: Sequence[Part]) -> DetectionBatch:
        """Parts with vectors that follow from their content, where the detector asks for any."""
        if not detector.needs_embeddings:
            return DetectionBatch(tuple(parts))
        return DetectionBatch(tuple(parts), made_vectors(parts, self.width))

    def _answers(self, detector: Detector, parts: Sequence[Part]) -> Sequence[Detection]:
        given = detector.detect(self._batch(detector, parts))
        checked = check_answers(given, len(parts), frozenset(detector.labels))
        wrong = [number for number, one in enumerate(checked) if one is WRONG]
        assert not wrong, (
            f"the answer to part {wrong[0]} of {len(parts)} is none: found {_shown(given, wrong[0])}; expected, for every part in order, a tuple "
            f"of Score with each of the labels {list(detector.labels)} and values in [0, 1], or an Abstention with a stable word"
        )
        return checked

    def _scores(self, detector: Detector, contents: Sequence[Content]) -> list[dict[str, float]]:
        """By label; an example that it abstains from fails the test."""
        found = []
        for number, answer in enumerate(self._answers(detector, [_part(one, detector) for one in contents])):
            assert not isinstance(answer, Abstention), f"example {number}: it abstains ({answer.reason})"
            found.append({score.label: score.value for score in answer})
        return found

    def _agree(self, wanted: Sequence[Detection], found: Sequence[Detection], otherwise: str) -> None:
        assert len(wanted) == len(found), otherwise
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            assert self._alike(one, other), f"{otherwise}: part {number}: {one} and {other}"

    def _alike(self, one: Detection, other: Detection) -> bool:
        if isinstance(one, Abstention) or isinstance(other, Abstention):
            return one == other
        scores = {score.label: score for score in other}
        return all(
            abs(score.value - scores[score.label].value) <= self.tolerance
            and score.concept == scores[score.label].concept
            for score in one
        )


def _part(content: Content, detector: Detector) -> Part:
    """Text and bytes as the part that they mean; bytes are a picture."""
    part = (
        content
        if isinstance(content, Part)
        else Part.text(content)
        if isinstance(content, str)
        else Part.image(content)
    )
    assert part.modality in detector.modalities, (
        f"an example is {part.modality}; expected {', '.join(sorted(detector.modalities))}"
    )
    return part


def _identity(detector: Detector) -> tuple[Any, ...]:
    return detector.id, detector.labels, detector.modalities, detector.needs_embeddings


def _shown(given: Any, number: int) -> str:
    """What a detector said, for its author: its own values, no content."""
    try:
        one = given[number] if len(given) > number else given
        return repr(
            tuple((score.label, score.value) for score in one) if all(isinstance(s, Score) for s in one) else one
        )[:200]
    except Exception as error:  # noqa: BLE001 - an answer may be anything at all
        return f"{type(given).__name__} ({type(error).__name__})"
