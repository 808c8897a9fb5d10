"""Detectors that raise, hang or lie: each fault is that detector's alone, has a stable reason, and ends in quarantine."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from moderation.decision import Abstention, Score
from moderation.detector.answers import check_answers
from moderation.detector.base import Detection, DetectionBatch
from moderation.detector.faults import QUARANTINED
from moderation.detector.runner import MOST_OVERRUNS, NO_TIME_LEFT, Runner
from moderation.item import Part
from moderation.plugin_sections import DetectorSettings
from tests.fakes import FakeDetector, always

GOOD = (Score("risk", 0.5),)


def batch(count: int = 2) -> DetectionBatch:
    return DetectionBatch(tuple(Part.text(f"text {n}") for n in range(count)))


def run(runner: Runner, *ids: str, count: int = 2) -> dict[str, tuple[Detection, ...]]:
    return runner.run({id_: batch(count) for id_ in ids or runner.counts()})


def reasons(answers: tuple[Detection, ...]) -> list[str]:
    return [one.reason if isinstance(one, Abstention) else "scored" for one in answers]


def raising(error: BaseException) -> Any:
    def answer(_: DetectionBatch) -> Any:
        raise error

    return answer


class Hung(FakeDetector):
    """Hangs until it is let go; `running` is set once it is at work."""

    def __init__(self, id: str = "hung") -> None:  # noqa: A002 - named as in Detector
        super().__init__(id)
        self.running, self.let_go = threading.Event(), threading.Event()

    def detect(self, batch: DetectionBatch) -> Any:
        self.running.set()
        self.let_go.wait()
        return super().detect(batch)


@pytest.fixture
def hung() -> Iterator[Hung]:
    detector = Hung()
    yield detector
    detector.let_go.set()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_answers_come_back_by_detector_in_the_order_of_the_parts() -> None:
    one = FakeDetector("one", lambda b: [(Score("risk", n / 10),) for n in range(len(b))])
    two = FakeDetector("two", always(0.7))
    answers = run(Runner([one, two], trusted={"two"}), count=3)
    assert answers == {
        "one": ((Score("risk", 0.0),), (Score("risk", 0.1),), (Score("risk", 0.2),)),
        "two": ((Score("risk", 0.7),),) * 3,
    }


def test_a_detector_without_parts_is_not_called() -> None:
    detector = FakeDetector()
    assert run(Runner([detector]), count=0) == {"fake": ()}
    assert detector.batches == []


def test_trap_04_a_hung_detector_is_left_behind_at_its_deadline(hung: Hung) -> None:
    # No clock is read: if the runner waited for the work, this test would never end.
    runner = Runner([hung], settings=DetectorSettings(timeout_seconds=0.01))
    assert reasons(run(runner)["hung"]) == ["detector_timeout"] * 2
    assert not hung.let_go.is_set()


def test_trap_04_a_hung_detector_does_not_delay_the_others(hung: Hung) -> None:
    runner = Runner(
        [hung, FakeDetector("ours", always(0.2)), FakeDetector("other", always(0.3))],
        trusted={"ours"},
        # Every detector is given for ever, but the hung one: its deadline comes as soon as it is at work.
        wait=lambda call, _: call.wait(60.0) if call.unit is not hung else not hung.running.wait(60.0),
    )
    answers = run(runner)
    assert [reasons(answers[id_]) for id_ in ("hung", "ours", "other")] == [
        ["detector_timeout"] * 2,
        ["scored"] * 2,
        ["scored"] * 2,
    ]


def test_trap_10_one_deadline_holds_for_all(hung: Hung) -> None:
    clock, granted = Clock(), []

    def wait(_: Any, seconds: float) -> bool:
        granted.append(seconds)
        clock.now += 4.0
        return False

    other = Hung("other")
    third = Hung("third")
    Runner([hung, other, third], settings=DetectorSettings(timeout_seconds=6.0), clock=clock, wait=wait).run(
        {id_: batch() for id_ in ("hung", "other", "third")}
    )
    other.let_go.set(), third.let_go.set()
    assert granted == [6.0, 2.0, 0.0]


def test_trap_10_waves_share_one_deadline_and_who_gets_no_time_is_not_blamed(hung: Hung) -> None:
    clock, granted = Clock(), []

    def wait(call: Any, seconds: float) -> bool:
        granted.append(seconds)
        clock.now += 4.0
        return bool(call.finished)

    late = FakeDetector("late")
    runner = Runner([hung, late], settings=DetectorSettings(timeout_seconds=4.0), clock=clock, wait=wait)
    with runner.turn() as run_wave:
        first, second = run_wave({"hung": batch()}), run_wave({"late": batch()})
    assert granted == [4.0, 0.0]
    assert (reasons(first["hung"]), late.batches) == (["detector_timeout"] * 2, [])
    assert second["late"] == (Abstention("detector_timeout", cause="no_time_left"),) * 2
    assert (runner.counts()["late"].faults, runner.counts()["late"].refused) == ({}, 2)
    assert runner.counts()["hung"].faults == {"detector_timeout": 1}


def test_an_answer_that_comes_after_the_deadline_is_nobodys(hung: Hung) -> None:
    def too_late(call: Any, _: float) -> bool:
        hung.let_go.set()
        assert call.wait(60.0)
        return False

    assert reasons(run(Runner([hung], wait=too_late))["hung"]) == ["detector_timeout"] * 2


def test_calls_that_overran_are_limited_and_the_detector_recovers_when_they_end(hung: Hung) -> None:
    runner = Runner(
        [hung],
        settings=DetectorSettings(faults_before_quarantine=1000),
        wait=lambda call, _: call.wait(60.0 if hung.let_go.is_set() else 0.001),
    )
    before = threading.active_count()
    for _ in range(MOST_OVERRUNS + 3):
        assert reasons(run(runner)["hung"]) == ["detector_timeout"] * 2
    assert threading.active_count() - before <= MOST_OVERRUNS
    hung.let_go.set()
    for thread in threading.enumerate():
        if thread.name == "detector":
            thread.join(60.0)
    assert reasons(run(runner)["hung"]) == ["scored"] * 2
    assert runner.counts()["hung"].faults == {"detector_timeout": MOST_OVERRUNS + 3}


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_whatever_a_plugin_detector_raises_is_an_abstention(error: BaseException) -> None:
    answers = run(Runner([FakeDetector("bad", raising(error)), FakeDetector("good", always(0.1))]))
    assert answers["bad"] == (Abstention("detector_error", cause=type(error).__name__),) * 2
    assert reasons(answers["good"]) == ["scored"] * 2


def test_a_trusted_detector_is_isolated_too_but_ctrl_c_is_ours() -> None:
    assert (
        reasons(run(Runner([FakeDetector("bad", raising(ValueError()))], trusted={"bad"}))["bad"])
        == ["detector_error"] * 2
    )
    with pytest.raises(KeyboardInterrupt):
        run(Runner([FakeDetector("bad", raising(KeyboardInterrupt()))], trusted={"bad"}))


def test_trap_28_an_error_that_cannot_be_printed_is_still_only_an_abstention() -> None:
    class Meta(type):
        @property
        def __name__(cls) -> str:
            raise RuntimeError("no name either")

    class Worse(BaseException, metaclass=Meta):
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    assert reasons(run(Runner([FakeDetector("bad", raising(Worse()))]))["bad"]) == ["detector_error"] * 2


def test_trap_27_no_content_reaches_the_abstention_or_the_output(capfd: pytest.CaptureFixture[str]) -> None:
    canary = "canary-2f1c"
    detector = FakeDetector("bad", lambda b: raising(ValueError(b.parts[0].content.decode()))(b))
    answers = Runner([detector]).run({"bad": DetectionBatch((Part.text(canary),))})
    assert canary not in repr(answers)
    assert canary not in "".join(capfd.readouterr())


def test_a_machine_out_of_threads_is_a_fault_of_that_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert reasons(run(Runner([FakeDetector()]))["fake"]) == ["detector_error"] * 2


def forged(**values: Any) -> Score:
    """A score that never went through its own check."""
    score = Score("risk", 0.5)
    for name, value in values.items():
        object.__setattr__(score, name, value)
    return score


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        0.5,
        "0.5",
        (0.5,),
        (),
        [Score("risk", 0.5)],
        (Score("another", 0.5),),
        (Score("risk", 0.5), Score("another", 0.5)),
        (forged(value=math.nan),),
        (forged(value=1.5),),
        (forged(value=-0.1),),
        (forged(value=True),),
        (forged(value="0.5"),),
        (forged(label=7),),
        (forged(concept="c" * 1000),),
        (forged(evidence={"knives": math.nan}),),
        (forged(evidence={"knives": "0.5"}),),
        (forged(evidence={"c" * 1000: 0.5}),),
        (forged(evidence={7: 0.5}),),
        (forged(evidence=MappingProxyType({"knives": 0.5})),),
        (forged(evidence=dict.fromkeys(map(str, range(2000)), 0.5)),),
        Abstention("Not A Word"),
        Abstention(""),
        Abstention("language_unknown", cause="the whole text of an item"),
        Abstention("language_unknown", cause=None),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_trap_07_a_bad_answer_on_one_part_leaves_the_other_parts_alone(wrong: Any) -> None:
    runner = Runner([FakeDetector("bad", lambda _: [GOOD, wrong])])
    assert reasons(run(runner)["bad"]) == ["scored", "bad_answer"]
    assert runner.counts()["bad"].faults == {"bad_answer": 1}


def test_what_concepts_added_may_be_told_by_any_detector() -> None:
    told = (Score("risk", 0.5, concept="knives", evidence={"knives": 1.5, "kitchen": -0.25}),)
    assert run(Runner([FakeDetector("good", lambda _: [GOOD, told])]))["good"] == (GOOD, told)


@pytest.mark.parametrize(
    "wrong",
    [None, [], [GOOD], [GOOD] * 3, "ab", iter([GOOD, GOOD]), {0: GOOD, 1: GOOD}],
    ids=lambda wrong: type(wrong).__name__ + str(len(list(wrong)) if isinstance(wrong, list) else ""),
)
def test_an_answer_of_the_wrong_length_or_kind_spoils_its_batch(wrong: Any) -> None:
    assert reasons(run(Runner([FakeDetector("bad", lambda _: wrong)]))["bad"]) == ["bad_answer"] * 2


def test_an_answer_that_raises_when_it_is_read_is_an_error() -> None:
    class Trap(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            raise RuntimeError("mine")

    assert reasons(run(Runner([FakeDetector("bad", lambda _: Trap([1, 2]))]))["bad"]) == ["detector_error"] * 2


def test_numbers_of_other_kinds_become_floats() -> None:
    (answer,) = check_answers([(forged(value=np.float32(0.5)),)], 1, frozenset({"risk"}))
    assert isinstance(answer, tuple)
    assert type(answer[0].value) is float


def test_trap_16_small_batches_are_judged_as_large_ones_are() -> None:
    detector = FakeDetector("d", lambda b: [(Score("risk", 0.25),)] * len(b))
    runner = Runner([detector])
    for count in (0, 1, 2):
        assert run(runner, count=count)["d"] == ((Score("risk", 0.25),),) * count


def test_a_label_that_stands_twice_is_a_bad_answer() -> None:
    (answer,) = check_answers([(Score("risk", 0.0), Score("risk", 1.0))], 1, frozenset({"risk"}))
    assert reasons((answer,)) == ["bad_answer"]


def test_a_label_left_out_is_not_a_score_of_nothing() -> None:
    detector = FakeDetector("two", always(0.5), labels=("risk", "other"))
    assert reasons(run(Runner([detector]))["two"]) == ["bad_answer"] * 2


def test_trap_06_results_are_kept_by_id_and_an_id_is_given_once() -> None:
    one, two = FakeDetector("one", always(0.1)), FakeDetector("two", always(0.9))
    answers = run(Runner([one, two]))
    assert answers["one"] != answers["two"]
    with pytest.raises(ValueError, match="'one'"):
        Runner([one, FakeDetector("one")])


def test_a_detector_that_keeps_failing_rests_and_gets_one_trial_afterwards() -> None:
    clock = Clock()
    detector = FakeDetector("flaky", raising(ValueError()))
    settings = DetectorSettings(faults_before_quarantine=2, quarantine_seconds=30.0)
    runner = Runner([detector], settings=settings, clock=clock)

    assert [reasons(run(runner)["flaky"])[0] for _ in range(4)] == ["detector_error"] * 2 + ["quarantined"] * 2
    assert len(detector.batches) == 2
    clock.now = 29.9
    assert reasons(run(runner)["flaky"])[0] == "quarantined"
    clock.now = 30.0
    assert [reasons(run(runner)["flaky"])[0] for _ in range(2)] == ["detector_error", "quarantined"]
    clock.now = 60.0
    detector.answer = always(0.5)
    assert reasons(run(runner)["flaky"])[0] == "scored"
    detector.answer = raising(ValueError())
    assert [reasons(run(runner)["flaky"])[0] for _ in range(3)] == ["detector_error"] * 2 + ["quarantined"]

    counts = runner.counts()["flaky"]
    assert (counts.calls, counts.parts, counts.faults, counts.refused) == (6, 2, {"detector_error": 5}, 10)
    assert counts.quarantined


@pytest.mark.parametrize("name", [NO_TIME_LEFT, QUARANTINED])
def test_what_an_exception_is_called_excuses_nobody(name: str) -> None:
    """The name of its class is the plugin's own, and so it is no word of ours."""
    detector = FakeDetector("sly", raising(type(name, (Exception,), {})()))
    runner = Runner([detector], settings=DetectorSettings(faults_before_quarantine=2))
    assert [reasons(run(runner)["sly"])[0] for _ in range(3)] == ["detector_error"] * 2 + ["quarantined"]
    assert (runner.counts()["sly"].faults, runner.counts()["sly"].refused) == ({"detector_error": 2}, 2)


def test_a_runner_that_takes_anothers_place_knows_what_it_knew_of_the_same_detectors(hung: Hung) -> None:
    """A reload makes a new runner; a plugin's detector is the same one, and what it did is not forgotten with every new build."""
    settings = DetectorSettings(timeout_seconds=0.01, faults_before_quarantine=100)
    runner: Runner | None = None
    for _ in range(3):
        runner = Runner([hung, FakeDetector("fine")], settings=settings, earlier=runner)
        for _ in range(MOST_OVERRUNS):
            run(runner, "hung")
    assert runner is not None
    assert sum(one.name == "detector" and one.is_alive() for one in threading.enumerate()) <= MOST_OVERRUNS
    assert runner.counts()["hung"].faults == {"detector_timeout": 3 * MOST_OVERRUNS}
    assert Runner([Hung("hung")], settings=settings, earlier=runner).counts()["hung"].calls == 0


class Edition(FakeDetector):
    """States by which edition it judges; what is no string is raised, where it can be."""

    told: Any = ""

    @property
    def revision(self) -> Any:
        if isinstance(self.told, BaseException):
            raise self.told
        return self.told


def test_a_revision_is_known_from_its_first_answers_on_and_what_changes_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "moderation")
    detector = Edition("listed")
    runner = Runner([detector, FakeDetector("other")])
    assert runner.revisions == {}
    for told in ("", "2026-11", "2026-11", "2026-12", ""):
        detector.told = told
        run(runner)
        assert runner.revisions == {"listed": told, "other": ""}
    assert caplog.messages == [
        "detector listed: revision none -> 2026-11",
        "detector listed: revision 2026-11 -> 2026-12",
        "detector listed: revision 2026-12 -> none",
    ]
    assert Runner([detector], earlier=runner).revisions == {"listed": ""}
    assert Runner([Edition("listed")], earlier=runner).revisions == {}


def test_a_revision_that_another_runner_heard_of_first_is_known_to_both() -> None:
    """As while builds change, or where callers have their own: each runner has what the other's calls changed."""
    detector = Edition("listed")
    first = Runner([detector])
    detector.told = "1"
    run(first)
    second = Runner([detector], earlier=first)
    detector.told = "2"
    run(first)
    assert (first.revisions, second.revisions) == ({"listed": "2"}, {"listed": "1"})
    run(second)
    assert second.revisions == {"listed": "2"}


@pytest.mark.parametrize(
    "told", [None, 7, "two words", "x" * 65, "-", "é", RuntimeError("mine"), SystemExit()], ids=repr
)
def test_a_revision_that_is_none_is_the_detectors_own_fault(told: Any) -> None:
    detector = Edition("listed")
    runner = Runner([detector])
    detector.told = "1"
    run(runner)
    detector.told = told
    assert reasons(run(runner)["listed"]) == ["detector_error"] * 2
    assert runner.revisions == {"listed": "1"}


def test_faults_count_towards_quarantine_only_in_a_row() -> None:
    answers = iter([None, [GOOD, GOOD]] * 10)
    runner = Runner(
        [FakeDetector("flaky", lambda _: next(answers))], settings=DetectorSettings(faults_before_quarantine=2)
    )
    assert [reasons(run(runner)["flaky"])[0] for _ in range(10)] == ["bad_answer", "scored"] * 5


def test_an_honest_abstention_is_no_fault() -> None:
    runner = Runner([FakeDetector("shy", always(Abstention("language_unknown", "detail")))])
    assert run(runner)["shy"] == (Abstention("language_unknown", "detail"),) * 2
    assert runner.counts()["shy"].faults == {}


def test_trusted_detectors_stay_on_the_calling_thread_and_others_leave_it() -> None:
    threads: dict[str, int] = {}

    def where(name: str) -> Any:
        def answer(b: DetectionBatch) -> Any:
            threads[name] = threading.get_ident()
            return [GOOD] * len(b)

        return answer

    run(Runner([FakeDetector("ours", where("ours")), FakeDetector("theirs", where("theirs"))], trusted={"ours"}))
    assert threads["ours"] == threading.get_ident() != threads["theirs"]


def test_plugins_are_at_work_while_ours_run(hung: Hung) -> None:
    def together(b: DetectionBatch) -> Any:
        met = hung.running.wait(60.0)
        hung.let_go.set()
        return [(Score("risk", float(met)),)] * len(b)

    answers = run(Runner([FakeDetector("ours", together), hung], trusted={"ours"}))
    assert answers["ours"] == ((Score("risk", 1.0),),) * 2


def test_no_thread_of_a_detector_keeps_the_process_alive(hung: Hung) -> None:
    run(Runner([hung], settings=DetectorSettings(timeout_seconds=0.01)))
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "detector")
    assert not sys.is_finalizing()
