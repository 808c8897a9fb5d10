"""What every detector promises, as tests that a plugin's own test file inherits.

    class TestKeywords(DetectorKit):
        make = Keywords
        flagged = {"gambling": ["Claim your CASINO BONUS now"]}
        passed = ["The free spinster"]

pytest finds the rest. A promise that a detector cannot keep is named with its reason in `expected_failures`, and fails once it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from moderation.decision import Abstention, Score
from moderation.detector.answers import TOLERANCE, alike, check_answers
from moderation.detector.base import Detection, DetectionBatch, Detector, names_of, needs_scores, revision_of, under
from moderation.detector.faults import FAULTS, WRONG
from moderation.detector.runner import Runner
from moderation.detector.steepness import stated_steepness
from moderation.detector.wire import LENGTH, decode_answers, encode_answers, encode_batch, most_bytes, read_batch
from moderation.encoder.base import Vectors
from moderation.item import Modality, Part
from moderation.plugin.registry import DetectorRegistry
from moderation.plugin.samples import WIDTH, made_vectors
from moderation.plugin_sections import DetectorSettings
from moderation.testing.unit import LIMITS, Content, UnitKit, as_part

CUT = 0.5  # an example is flagged from here on
NEAR = 0.05  # how far a number of a vector is moved to see which way a score rises
DEFAULTS = DetectorSettings()


class DetectorKit(UnitKit):
    """Inherit, and say how the detector is made and what it must find.

    `make` gives a new detector each time, not set up yet; `flagged` names for each label contents that score at least 0.5 under it, `passed`
    contents that score less under every label: texts, the bytes of picture files, or parts. `width` is that of the vectors, for a detector
    that asks for them; `sources` make the detectors whose scores it needs, which judge before it here as they do in a worker. `tolerance` is how far equal scores may differ. `plugin` is the entry point's name; where it is empty, arriving is not tested.
    """

    make: ClassVar[Callable[[], Detector]]
    flagged: ClassVar[Mapping[str, Sequence[Content]]]
    passed: ClassVar[Sequence[Content]]
    width: ClassVar[int] = WIDTH
    sources: ClassVar[Sequence[Callable[[], Detector]]] = ()
    tolerance: ClassVar[float] = TOLERANCE
    brings: ClassVar[str] = "detectors"
    _made_sources: ClassVar[Sequence[Detector]]

    # Identity

    def test_identity_is_what_a_detector_must_have(self) -> None:
        """Id, labels, modalities and `needs_embeddings` are what registering demands."""
        DetectorRegistry("kit").add(self._made())

    def test_identity_stays(self) -> None:
        """Two of a kind are called the same and score the same labels, also after they have worked; set up, they are of one revision."""
        one, other, ready = self._fresh(), self._made(), self._ready()
        for worked in (one, ready):
            self._answers(worked, self._examples())
        assert _identity(one) == _identity(other), "the identity of a detector is not always the same"
        assert revision_of(one) == revision_of(ready), "two of a kind are of different revisions"

    # Shape

    def test_shape_of_no_parts(self) -> None:
        """A batch without parts has no answers."""
        detector = self._ready()
        given = detector.detect(self._batch(detector, []))
        assert len(given) == 0, f"found {len(given)} answers to no parts"

    @LIMITS
    @given(data=st.data())
    def test_shape_of_every_answer(self, data: st.DataObject) -> None:
        """Whatever comes: one answer a part, every label scored in [0, 1], or an abstention with a stable word."""
        detector = self._ready()
        parts = data.draw(st.lists(self._contents(detector), max_size=5))
        self._answers(detector, parts)

    def test_shape_of_what_it_finds(self) -> None:
        """Each example scores at least 0.5 under its label."""
        detector = self._ready()
        missing = set(detector.labels) - self.flagged.keys()
        assert not missing, f"flagged has no example for {', '.join(sorted(missing))}"
        for label, contents in self.flagged.items():
            for number, scores in enumerate(self._scores(detector, contents)):
                assert scores[label] >= CUT, f"flagged[{label!r}][{number}] scores {scores[label]}"

    def test_shape_of_what_it_lets_pass(self) -> None:
        """Each harmless example scores less than 0.5 under every label."""
        assert self.passed, "passed has no example"
        for number, scores in enumerate(self._scores(self._ready(), self.passed)):
            assert max(scores.values()) < CUT, f"passed[{number}] scores {scores}"

    @LIMITS
    @given(seed=st.integers(0, 1 << 32), step=st.floats(0.01, 1.0))
    def test_shape_of_scores_is_no_steeper_than_stated(self, seed: int, step: float) -> None:
        """Where it states its `steepness`, no score moves further than that times how far its vector does; the way that it moves most is looked for."""
        detector, parts = self._ready(), self._examples()
        steepness = stated_steepness(detector)
        if steepness is None or not detector.needs_embeddings:
            return
        part, start = parts[seed % len(parts)], np.random.default_rng(seed).normal(size=(1, self.width))
        start /= np.linalg.norm(start)
        around = self._values(detector, part, _unit(np.concatenate([start, start + NEAR * np.eye(self.width)])))
        uphill = (around[1:] - around[0]).T
        stops = start + step * uphill / np.maximum(np.linalg.norm(uphill, axis=1, keepdims=True), 1e-12)
        ends = _unit(np.concatenate([start, stops]))
        moved = np.abs(self._values(detector, part, ends) - around[0])[1:].max(axis=1)
        far = np.linalg.norm(ends.astype(np.float64) - ends[0].astype(np.float64), axis=1)[1:]
        assert (moved <= steepness * far + self.tolerance).all(), "a score is steeper than it states"

    # Determinism

    def test_determinism_leaves_the_batch_alone(self) -> None:
        """Vectors are shared with other detectors: nothing is written into them."""
        detector = self._ready()
        batch = self._batch(detector, self._examples())
        if batch.embeddings is None:
            return
        before = batch.embeddings.copy()
        detector.detect(batch)
        assert np.array_equal(before, batch.embeddings), "the vectors of the batch were changed"

    # Cost

    def test_cost_of_many_parts_is_within_the_deadline(self) -> None:
        """A large batch is judged within the time that detectors have by default, or the worker would leave it behind."""
        detector = self._ready()
        batch = self._batch(detector, self._many())
        (first, *_) = Runner([detector], settings=DEFAULTS).run({detector.id: batch})[detector.id]
        assert not (isinstance(first, Abstention) and first.reason in FAULTS), f"a worker would say {first}"

    # Process: isolated, a detector is given its batches, and is heard, through a wire of bytes

    def test_process_border_keeps_batch_and_answers(self) -> None:
        """A batch that came over the wire is judged as the batch itself is, and the answers come back whole, and are not too long."""
        detector, parts = self._ready(), self._examples()
        crossed = read_batch(BytesIO(b"".join(encode_batch(self._batch(detector, parts)))))
        assert crossed
        answers = self._checked(detector, detector.detect(crossed[0]), len(parts))
        frame = encode_answers(answers, revision_of(detector))
        most = most_bytes(len(parts))
        assert len(frame) - LENGTH.size <= most, f"the answers are {len(frame)} bytes long; expected at most {most}"
        told, _ = decode_answers(frame[LENGTH.size :])
        self._agree(self._answers(detector, parts), told, "it answers otherwise in a process of its own")

    # What the tests share

    def _examples(self) -> list[Part]:
        detector = self._made()
        flagged = [one for contents in self.flagged.values() for one in contents]
        return [as_part(one, detector.modalities) for one in (*flagged, *self.passed)]

    def _sees(self, unit: Detector) -> frozenset[Modality]:
        # A picture that cannot be decoded has no vector, so that a detector of vectors is never shown one.
        return unit.modalities - {Modality.IMAGE} if unit.needs_embeddings else unit.modalities

    def _contents(self, detector: Detector) -> st.SearchStrategy[Part]:
        kinds: list[st.SearchStrategy[Part]] = []
        if Modality.TEXT in detector.modalities:
            kinds.append(st.text(max_size=200).map(Part.text))
        if Modality.IMAGE in detector.modalities:
            kinds.append(st.binary(max_size=200).map(Part.image))
        return st.one_of(*kinds, st.sampled_from(self._examples()))

    def _batch(self, detector: Detector, parts: Sequence[Part]) -> DetectionBatch:
        """Parts with vectors that follow from their content, and with the scores of other detectors, where it asks for any."""
        vectors = made_vectors(parts, self.width) if detector.needs_embeddings else None
        scores = self._scores_of(needs_scores(detector), parts) if needs_scores(detector) else None
        return DetectionBatch(tuple(parts), vectors, scores)

    def _values(self, detector: Detector, part: Part, vectors: Vectors) -> NDArray[np.float64]:
        """What it scores the part with each of these vectors, [n, labels]; 0 where it abstains."""
        count = len(vectors)
        batch = replace(self._batch(detector, [part] * count), embeddings=vectors)
        answers = self._checked(detector, detector.detect(batch), count)
        rows = [{} if isinstance(one, Abstention) else {score.label: score.value for score in one} for one in answers]
        return np.array([[row.get(label, 0.0) for label in detector.labels] for row in rows])

    def _scores_of(self, names: Sequence[str], parts: Sequence[Part]) -> tuple[dict[str, Detection], ...]:
        """For each part, what the sources say of it under the labels that these names mean."""
        told: list[dict[str, Detection]] = [{} for _ in parts]
        for source in self._sources():
            labels = {label for name in names for label in names_of(source).get(name, ())}
            seen = [number for number, part in enumerate(parts) if labels and part.modality in source.modalities]
            answers = self._answers(source, [parts[number] for number in seen])
            for number, answer in zip(seen, answers, strict=True):
                told[number][source.id] = under(answer, labels)
        return tuple(told)

    @classmethod
    def _sources(cls) -> Sequence[Detector]:
        """Set up, and all that are needed."""
        if "_made_sources" not in vars(cls):
            cls._made_sources = [cls._set_up_for_all(make()) for make in cls.sources]
        known = {name for one in cls._made_sources for name in names_of(one)}
        missing = set(needs_scores(cls._ready())) - known
        assert not missing, f"sources make no detector for {', '.join(sorted(missing))}"
        return cls._made_sources

    def _answers(self, unit: Detector, parts: Sequence[Part]) -> Sequence[Detection]:
        return self._checked(unit, unit.detect(self._batch(unit, parts)), len(parts))

    def _checked(self, unit: Detector, given: Any, count: int) -> Sequence[Detection]:
        checked = check_answers(given, count, frozenset(unit.labels))
        wrong = [number for number, one in enumerate(checked) if one is WRONG]
        assert not wrong, (
            f"the answer to part {wrong[0]} of {count} is none: found {_shown(given, wrong[0])}; expected, for every part in order, a tuple "
            f"of Score with each of the labels {list(unit.labels)} and values in [0, 1], or an Abstention with a stable word"
        )
        return checked

    def _scores(self, detector: Detector, contents: Sequence[Content]) -> list[dict[str, float]]:
        """By label; an example that it abstains from fails the test."""
        found = []
        for number, answer in enumerate(
            self._answers(detector, [as_part(one, detector.modalities) for one in contents])
        ):
            assert not isinstance(answer, Abstention), f"example {number}: it abstains ({answer.reason})"
            found.append({score.label: score.value for score in answer})
        return found

    def _alike(self, one: Detection, other: Detection) -> bool:
        return alike(one, other, tolerance=self.tolerance)


def _identity(detector: Detector) -> tuple[Any, ...]:
    return detector.id, detector.labels, detector.modalities, detector.needs_embeddings, needs_scores(detector)


def _unit(vectors: NDArray[np.float64]) -> Vectors:
    return np.asarray((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16))


def _shown(given: Any, number: int) -> str:
    """What a detector said, for its author: its own values, no content."""
    try:
        one = given[number] if len(given) > number else given
        return repr(
            tuple((score.label, score.value) for score in one) if all(isinstance(s, Score) for s in one) else one
        )[:200]
    except Exception as error:  # noqa: BLE001 - an answer may be anything at all
        return f"{type(given).__name__} ({type(error).__name__})"
