"""The way of an item, with everything real but the encoder: who judges what, what becomes of faults, what is reported."""

from __future__ import annotations

import json
import logging
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import moderation.pipeline
from moderation import assemble
from moderation.decision import Abstention, Decision, Outcome, Score, Timing
from moderation.detector.base import DetectionBatch
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.item import ContentItem, Modality, Part
from moderation.pipeline import Pipeline
from moderation.plugin_sections import DetectorSettings, ReaderSettings
from moderation.policy.lock import Lock, LockedReader, Quota, write_lock
from moderation.release.record import Change, Record, encode_record, record_path
from moderation.rollout.limits import Limits, LocalCounter
from moderation.settings import Settings
from tests.fakes import FakeDetector, FakeEncoder, FakeReader, action, always, item, lock, picture, plugins_with

TEXT, BOTH = (Modality.TEXT,), (Modality.IMAGE, Modality.TEXT)


def pipeline(
    *locks: Lock,
    detectors: tuple[FakeDetector, ...] = (),
    faults: int = 1000,
    seconds: float = 10.0,
    readers: tuple[FakeReader, ...] = (),
    **encoders: FakeEncoder,
) -> Pipeline:
    named = {"default": FakeEncoder(), **encoders}
    embedders = {name: Embedder(one, MemoryCache(1_000_000)) for name, one in named.items()}
    settings = Settings(
        detectors=DetectorSettings(faults_before_quarantine=faults, timeout_seconds=seconds),
        readers=ReaderSettings(use=tuple(one.id for one in readers)),
    )
    known = plugins_with(*detectors, readers=readers)
    made = assemble.pipeline(settings, locks or (lock(),), embedders=embedders, known=known)
    for one in named.values():
        one.encoded.clear()  # of what was tried at the start
    return made


def outcomes(decision: Decision) -> dict[str, str]:
    return {one.policy: one.error or one.outcome.value for one in decision.verdicts}


def test_items_become_decisions_in_order() -> None:
    decisions = pipeline().decide([item(picture(c), id=str(c)) for c in (0.95, 0.1, 0.72)])
    assert [(one.item_id, one.proposed, one.verdicts[0].outcome) for one in decisions] == [
        ("0.95", "remove", Outcome.MATCH),
        ("0.1", "allow", Outcome.NO_MATCH),
        ("0.72", "review", Outcome.REVIEW),
    ]
    (verdict,) = decisions[0].verdicts
    assert (verdict.outcome, verdict.concept, verdict.part) == (Outcome.MATCH, "1.0", "0")
    assert decisions[0].encoders == {"image": "0123456789abcdef/fake"}


def test_an_empty_batch_is_a_batch() -> None:
    assert pipeline().decide([]) == []
    assert pipeline().score([]) == []


def test_no_policy_at_all_allows_everything() -> None:
    running = assemble.pipeline(Settings(), (), embedders={}, known=plugins_with())
    (decision,) = running.decide([item(picture(0.9))])
    assert (decision.proposed, decision.verdicts, decision.encoders, decision.cache_hit) == ("allow", (), {}, False)


def test_ids_need_not_be_unique_and_the_same_item_gets_the_same_decision_id() -> None:
    one, two, other = pipeline().decide([item(picture(0.1)), item(picture(0.9)), item(picture(0.1), id="b")])
    assert one.decision_id == two.decision_id != other.decision_id
    assert one.proposed != two.proposed


def test_the_riskiest_part_decides_and_is_named() -> None:
    (decision,) = pipeline().decide([item(picture(0.1), picture(0.95, name="cover"), picture(0.6))])
    assert decision.verdicts[0].part == "cover"
    assert decision.proposed == "remove"


def test_the_company_an_item_keeps_changes_nothing() -> None:
    items = [item(picture(c), id=str(c)) for c in (0.95, "junk", 0.1, 0.72, 0.72)]
    running = pipeline()
    together = [(one.proposed, one.verdicts) for one in running.decide(items)]
    alone = [(running.decide([one])[0].proposed, running.decide([one])[0].verdicts) for one in items]
    assert together == alone


def test_a_part_that_cannot_be_decoded_is_an_error_and_takes_on_error() -> None:
    harsh = lock("harsh", on_error="remove")
    lenient = lock("lenient", on_error="allow")
    (decision,) = pipeline(harsh, lenient).decide([item(picture("junk"))])
    assert outcomes(decision) == {"harsh": "unsupported_input", "lenient": "unsupported_input"}
    assert decision.proposed == "remove"


def test_a_match_stands_beside_a_part_that_cannot_be_decoded() -> None:
    matched, unknown = pipeline().decide([item(picture("junk"), picture(0.95)), item(picture("junk"), picture(0.1))])
    assert outcomes(matched) == {"weapons": "match"}
    assert outcomes(unknown) == {"weapons": "unsupported_input"}


def test_a_policy_without_a_threshold_errs_with_its_score() -> None:
    (decision,) = pipeline(lock(actions=(action("remove", None),))).decide([item(picture(0.95))])
    assert (decision.verdicts[0].error, decision.verdicts[0].score) == ("uncertified", 0.927692)


def test_more_parts_than_certified_is_at_most_review() -> None:
    parts = [picture(0.95)] * 5
    four, five = pipeline().decide([item(*parts[:4]), item(*parts)])
    assert (four.proposed, five.proposed) == ("remove", "review")


def test_policies_see_their_own_encoder_and_only_their_parts() -> None:
    pictures, sentences = FakeEncoder(), FakeEncoder(identity="feedfacefeedface", modalities=("text",))
    running = pipeline(
        lock("weapons"),
        lock("insults", modalities=TEXT, encoder="sentences", encoder_identity="feedfacefeedface"),
        default=pictures,
        sentences=sentences,
    )
    both, words, photo = running.decide(
        [item(picture(0.1), Part.text("0.95")), item(Part.text("0.3")), item(picture(0.95))]
    )
    assert outcomes(both) == {"weapons": "no_match", "insults": "match"}
    assert outcomes(words) == {"insults": "no_match"}
    assert outcomes(photo) == {"weapons": "match"}
    assert both.encoders == {"image": "0123456789abcdef/fake", "text": "feedfacefeedface/fake"}
    assert (sorted(pictures.encoded), sorted(sentences.encoded)) == (["0.1", "0.95"], ["0.3", "0.95"])


def test_two_encoders_of_one_modality_are_both_named() -> None:
    running = pipeline(
        lock("a"), lock("b", encoder="second", encoder_identity="feed"), second=FakeEncoder(identity="feed")
    )
    assert running.decide([item(picture(0.1))])[0].encoders == {"image": "0123456789abcdef/fake feed/fake"}


def test_an_item_outside_every_scope_gets_no_verdict_and_costs_nothing() -> None:
    encoder = FakeEncoder()
    running = pipeline(lock(surfaces=("listing",)), default=encoder)
    (decision,) = running.decide([item(picture(0.95), surface="avatar")])
    assert (decision.proposed, decision.verdicts, encoder.encoded) == ("allow", (), [])
    assert running.score([item(picture(0.95), surface="avatar")]) == [{}]


def test_what_a_policy_needs_of_plain_items_says_nothing_of_those_with_attributes() -> None:
    running = pipeline(lock(surfaces=("listing",)))
    given = [item(picture(0.95)), item(picture(0.95), surface="avatar"), item(picture(0.95))]
    assert [len(one.verdicts) for one in running.decide(given)] == [1, 0, 1]


def test_a_cache_hit_is_an_item_for_which_nothing_was_encoded() -> None:
    running = pipeline()
    first = running.decide([item(picture(0.1))])
    second = running.decide([item(picture(0.1)), item(picture(0.1), picture(0.2))])
    assert [one.cache_hit for one in (*first, *second)] == [False, True, False]
    assert second[0].verdicts == first[0].verdicts


def keywords(answer: Any = None, **options: Any) -> FakeDetector:
    return FakeDetector("keywords", answer, labels=("gambling",), modalities=TEXT, **options)


def test_another_detector_counts_with_the_policys_own_score() -> None:
    running = pipeline(
        lock("gambling", detectors=("keywords",), modalities=BOTH), detectors=(keywords(always(0.95, "gambling")),)
    )
    photo, both = running.decide([item(picture(0.1)), item(picture(0.1), Part.text("free spins", name="title"))])
    assert outcomes(photo) == {"gambling": "no_match"}
    assert (both.proposed, both.verdicts[0].score, both.verdicts[0].part) == ("remove", 0.95, "title")


def test_a_detector_serves_many_policies_with_one_call() -> None:
    detector = keywords()
    locks = [lock(name, detectors=("keywords",), modalities=BOTH) for name in ("a", "b")]
    pipeline(*locks, detectors=(detector,)).decide([item(Part.text("x")), item(Part.text("y"), picture(0.1))])
    assert [len(batch) for batch in detector.batches] == [2]
    assert detector.batches[0].embeddings is None


def test_a_decision_says_by_which_edition_of_its_list_a_detector_judged() -> None:
    """A new list may turn a decision under the same lock: it must be seen, and it is another decision."""
    detector = keywords(always(0.95, "gambling"))
    vars(detector)["revision"] = "2026-11"
    running = pipeline(lock("gambling", detectors=("keywords",), modalities=BOTH), detectors=(detector,))
    items = [item(picture(0.1)), item(Part.text("x"), id="text")]
    photo, text = running.decide(items)
    assert (photo.detectors, text.detectors) == ({}, {"keywords": "2026-11"})
    assert Decision.from_dict(json.loads(json.dumps(text.to_dict()))) == text
    vars(detector)["revision"] = "2026-12"
    same, other = running.decide(items)
    assert other.detectors == {"keywords": "2026-12"}
    assert (same.decision_id, other.decision_id != text.decision_id) == (photo.decision_id, True)
    del vars(detector)["revision"]
    assert running.decide(items)[1].detectors == {}


def test_a_detector_that_asks_for_vectors_gets_those_of_its_parts() -> None:
    shapes = []

    def answer(batch: DetectionBatch) -> Any:
        assert batch.embeddings is not None
        shapes.append((len(batch), batch.embeddings.shape, str(batch.embeddings.dtype)))
        return [(Score("gambling", float(row[0] > 0.5)),) for row in batch.embeddings]

    running = pipeline(
        lock("gambling", detectors=("keywords",), modalities=BOTH),
        detectors=(keywords(answer, needs_embeddings=True),),
    )
    high, low = running.decide([item(Part.text("0.9"), picture(0.0)), item(picture("junk"), Part.text("0.1"))])
    assert shapes == [(2, (2, 8), "float16")]
    assert (high.verdicts[0].score, low.verdicts[0].error) == (1.0, "unsupported_input")


def forged(value: float) -> Score:
    """A score that its own constructor would refuse."""
    score = Score("gambling", 0.0)
    object.__setattr__(score, "value", value)
    return score


@pytest.mark.parametrize("on_error", ["allow", "review", "remove"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (always(Abstention("language_unknown")), "language_unknown"),
        (lambda _: 1 / 0, "detector_error"),
        (lambda _: [], "bad_answer"),
        (lambda b: [()] * len(b), "bad_answer"),
        (lambda b: [(forged(math.nan),)] * len(b), "bad_answer"),
    ],
    ids=["abstains", "raises", "wrong length", "no score", "a score that is no number"],
)
def test_trap_09_a_detector_that_fails_takes_the_policys_fail_mode(answer: Any, reason: str, on_error: str) -> None:
    running = pipeline(
        lock("gambling", detectors=("keywords",), modalities=BOTH, on_error=on_error),
        lock("weapons"),
        detectors=(keywords(answer),),
    )
    (decision,) = running.decide([item(picture(0.1), Part.text("0.1"))])
    assert outcomes(decision) == {"gambling": reason, "weapons": "no_match"}
    assert decision.proposed == on_error


@pytest.mark.parametrize("on_error", ["allow", "review", "remove"])
def test_trap_09_a_detector_that_hangs_takes_the_policys_fail_mode(on_error: str) -> None:
    release = threading.Event()

    def hang(batch: DetectionBatch) -> Any:
        release.wait(60)
        return always(1.0, "gambling")(batch)

    running = pipeline(
        lock("gambling", detectors=("keywords",), modalities=BOTH, on_error=on_error),
        lock("weapons"),
        detectors=(keywords(hang),),
        seconds=0.01,
    )
    try:
        (decision,) = running.decide([item(picture(0.1), Part.text("0.1"))])
    finally:
        release.set()
    assert outcomes(decision) == {"gambling": "detector_timeout", "weapons": "no_match"}
    assert decision.proposed == on_error


def test_a_detector_in_quarantine_is_an_error_too() -> None:
    running = pipeline(
        lock("gambling", detectors=("keywords",), modalities=BOTH), detectors=(keywords(lambda _: 1 / 0),), faults=2
    )
    found = [outcomes(running.decide([item(Part.text("0.1"))])[0])["gambling"] for _ in range(3)]
    assert found == ["detector_error", "detector_error", "quarantined"]


def test_text_that_is_no_text_reaches_neither_encoder_nor_detector() -> None:
    detector, encoder = keywords(), FakeEncoder()
    running = pipeline(lock("a", detectors=("keywords",), modalities=BOTH), detectors=(detector,), default=encoder)
    (decision,) = running.decide([item(Part(Modality.TEXT, b"\xff\xfe"))])
    assert outcomes(decision) == {"a": "unsupported_input"}
    assert (detector.batches, encoder.encoded, decision.cache_hit) == ([], [], False)


def test_scores_are_those_that_decisions_were_made_of() -> None:
    running = pipeline(lock("a"), lock("b", actions=(action("remove", None),)))
    items = [item(picture(c)) for c in (0.95, 0.1)] + [item(picture("junk"), picture(0.99))]
    scored, decided = running.score(items), running.decide(items)
    for scores, decision in list(zip(scored, decided, strict=True))[:2]:
        assert {id_: one.value for id_, one in scores.items() if isinstance(one, Score)} == {
            one.policy: one.score for one in decision.verdicts
        }
    assert scored[2] == {id_: Abstention("unsupported_input", id_) for id_ in ("a", "b")}


def test_the_order_of_parts_and_of_locks_changes_no_decision() -> None:
    parts = [picture(0.1, name="x"), picture("junk", name="y"), picture(0.95, name="z")]
    one = pipeline(lock("a"), lock("b", on_error="remove")).decide([item(*parts)])[0]
    two = pipeline(lock("b", on_error="remove"), lock("a")).decide([item(*reversed(parts))])[0]
    assert (one.proposed, one.verdicts, one.decision_id) == (two.proposed, two.verdicts, two.decision_id)


def test_seconds_are_counted_by_step() -> None:
    ticks = iter([10.0, 10.75])
    running = pipeline()
    timed = Pipeline(
        running.running,
        embedders={"default": Embedder(FakeEncoder(), MemoryCache(1_000_000))},
        runner=running.runner,
        limits=Limits(LocalCounter(), Settings().actions),
        actions=Settings().actions,
        clock=lambda: next(ticks),
    )
    decisions = timed.decide([item(picture(0.1)), item(picture(0.2)), item(picture(0.3))])
    assert [one.timing.detect for one in decisions] == [0.25] * 3  # shares, which add up to what the batch took
    assert min(one.timing.decode for one in decisions) >= 0.0
    assert min(one.timing.encode for one in decisions) >= 0.0


def test_what_nobody_judges_has_no_share_of_judging() -> None:
    judged, words, other = pipeline().decide([item(picture(0.1)), item(Part.text("hello")), item(picture(0.2))])
    assert (words.verdicts, words.timing) == ((), Timing())
    assert judged.timing.detect == other.timing.detect > 0.0


def frames(parts: tuple[Part, ...]) -> Any:
    """One frame for each word of the video."""
    return [
        [Part.image(word, name=f"t={n}.0") for n, word in enumerate(part.content.split())] or Abstention("empty_file")
        for part in parts
    ]


VIDEO = FakeReader("frames", frames, reads=(Modality.VIDEO,), yields=(Modality.IMAGE,))


def test_policies_judge_what_readers_derive_and_verdicts_name_where_it_comes_from() -> None:
    frames_, ocr = LockedReader("frames", "", 3), LockedReader("ocr", "", 3)
    locks = lock("weapons", readers=(frames_,)), lock("insults", modalities=TEXT, readers=(frames_, ocr))
    running = pipeline(*locks, readers=(VIDEO, FakeReader()))
    clip, shot, both = running.decide(
        [
            item(Part.video(b"0.1 0.95 0.3", name="clip")),
            item(picture(0.95)),
            item(Part.video(b"0.2"), Part.text("0.95")),
        ]
    )
    assert outcomes(clip) == {"weapons": "match", "insults": "match"}
    assert {one.policy: one.part for one in clip.verdicts} == {
        "weapons": "clip#t=1.0",
        "insults": "clip#t=1.0#ocr-0",
    }
    assert outcomes(shot) == {"weapons": "match", "insults": "match"}
    assert {one.policy: one.part for one in shot.verdicts} == {"weapons": "0", "insults": "part-0#ocr-0"}
    assert outcomes(both) == {"weapons": "no_match", "insults": "match"}
    assert clip == clip.from_dict(clip.to_dict())
    assert clip.timing.read > 0.0


def test_a_policy_on_texts_that_was_certified_without_frames_is_held_back_on_what_was_read_in_them() -> None:
    certified = lock("insults", modalities=TEXT, readers=(LockedReader("ocr", "", 3),))
    clip, shot = pipeline(certified, readers=(VIDEO, FakeReader())).decide(
        [item(Part.video(b"0.95")), item(picture(0.95))]
    )
    assert (clip.proposed, shot.proposed) == ("review", "remove")


def test_above_as_many_frames_as_were_certified_a_verdict_is_at_most_review() -> None:
    certified = lock(max_parts=1, readers=(LockedReader("frames", "", 4),))
    four, five = pipeline(certified, readers=(VIDEO,)).decide([item(Part.video(b"0.95 " * n)) for n in (4, 5)])
    assert (four.proposed, five.proposed) == ("remove", "review")


def edited() -> Pipeline:
    """A policy on frames of a reader of revision 1, which takes up the one that each video names, "-" being that it states none any more."""

    def read(parts: tuple[Part, ...]) -> Any:
        reader.revision = parts[0].content.decode().split()[1].strip("-")  # type: ignore[attr-defined]
        return frames(parts)

    reader = FakeReader("frames", read, reads=(Modality.VIDEO,), yields=(Modality.IMAGE,))
    reader.revision = "1"  # type: ignore[attr-defined]
    return pipeline(lock(max_parts=1, readers=(LockedReader("frames", "1", 4),)), readers=(reader,))


def test_a_reader_that_takes_up_another_revision_under_way_or_states_none_any_more_leaves_no_verdict_above_review() -> (
    None
):
    running = edited()
    found = [running.decide([item(Part.video(f"0.95 {revision}".encode()))])[0].proposed for revision in "121-1"]
    assert found == ["remove", "review", "remove", "review", "remove"]


@pytest.mark.parametrize("revision", ["2", "-"])
def test_an_item_keeps_the_revision_that_read_it_whatever_is_read_before_it_is_decided(revision: str) -> None:
    """As in a server, which reads the next one while this one waits for its vectors."""
    running = edited()
    read = [
        *running.read([item(Part.video(f"0.95 {revision}".encode()))]),
        *running.read([item(Part.video(b"0.95 1"))]),
    ]
    prepared = {"default": Embedder(FakeEncoder(), MemoryCache(1_000_000))}
    assert [running.decide([one], prepared=prepared)[0].proposed for one in read] == ["review", "remove"]


def test_certified_frames_are_no_leave_for_more_pictures_nor_pictures_for_frames() -> None:
    certified = lock(max_parts=1, readers=(LockedReader("frames", "", 4),))
    two, without = pipeline(certified, readers=(VIDEO,)), pipeline(lock(max_parts=4), readers=(VIDEO,))
    assert two.decide([item(picture(0.95), picture(0.1))])[0].proposed == "review"
    assert without.decide([item(Part.video(b"0.95"))])[0].proposed == "review"
    assert without.decide([item(picture(0.95))])[0].proposed == "remove"  # nothing was derived
    assert outcomes(without.decide([item(Part.video(b"0.1"))])[0]) == {"weapons": "no_match"}


def test_the_mark_of_what_an_uncertified_reader_failed_on_lowers_no_match() -> None:
    blind = FakeReader("blind", lambda _parts: 1 / 0, reads=(Modality.IMAGE,), yields=(Modality.IMAGE,))
    (decision,) = pipeline(readers=(blind,)).decide([item(picture(0.95))])
    assert outcomes(decision) == {"weapons": "match"}


def test_a_verdict_tells_the_region_of_the_part_that_carried_the_score() -> None:
    halves = FakeReader(
        "halves",
        lambda parts: [
            [
                replace(Part.image(b"0.1"), region=(0.0, 0.0, 0.5, 1.0)),
                replace(Part.image(b"0.8"), region=(0.5, 0.0, 1.0, 1.0)),
            ]
            for _ in parts
        ],
        reads=(Modality.IMAGE,),
        yields=(Modality.IMAGE,),
    )
    tiled, whole = pipeline(readers=(halves,)).decide([item(picture(0.3)), item(picture(0.9))])
    assert [(one.verdicts[0].part, one.verdicts[0].region) for one in (tiled, whole)] == [
        ("part-0#halves-1", (0.5, 0.0, 1.0, 1.0)),
        ("0", None),
    ]
    assert tiled == tiled.from_dict(json.loads(json.dumps(tiled.to_dict())))


def test_the_items_are_shown_to_who_scores_them_as_they_were_read() -> None:
    seen: list[ContentItem] = []
    given = [item(picture(0.3)), item(Part.video(b"0.1 0.2"))]
    pipeline(readers=(VIDEO,)).score(given, shown=seen.extend)
    assert [len(one.parts) for one in seen] == [1, 2]
    assert [part.reader for part in seen[1].parts] == ["frames", "frames"]


@pytest.mark.parametrize("on_error", ["allow", "review", "remove"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: 1 / 0, "reader_error"),
        (lambda _: [], "bad_answer"),
        (lambda parts: [Abstention("damaged_file")] * len(parts), "damaged_file"),
        (lambda parts: [[Part.text("0.1")] * 65] * len(parts), "unsupported_input"),
    ],
    ids=["raises", "wrong length", "abstains", "too many parts"],
)
def test_trap_09_a_part_that_a_reader_failed_on_is_no_way_out_of_moderation(
    answer: Any, reason: str, on_error: str
) -> None:
    words = lock("insults", modalities=TEXT, on_error=on_error, actions=(action("remove", 0.9),))
    running = pipeline(words, lock("weapons"), readers=(FakeReader(answer=answer),))
    # An empty text is in the cache before: what could not be read has no content either, and must not be taken for it.
    running.decide([item(Part.text(""))])
    failed, alone = running.decide([item(picture(0.1), Part.text("")), item(Part.text(""))])
    assert outcomes(failed) == {"insults": reason, "weapons": "no_match"}
    assert outcomes(alone) == {"insults": "no_match"}
    assert failed.proposed == on_error
    assert running.score([item(picture(0.1))])[0]["insults"].reason == reason  # type: ignore[union-attr]


@pytest.mark.parametrize("readers", [(), (FakeReader(),)], ids=["no reader", "none for videos"])
def test_a_video_without_a_reader_is_an_error_of_every_policy(readers: tuple[FakeReader, ...]) -> None:
    locks = (lock("weapons"), lock("insults", modalities=TEXT), lock("avatars", surfaces=("avatar",)))
    (decision,) = pipeline(*locks, readers=readers).decide([item(Part.video(b"0.1"), surface="listing")])
    assert {one.policy: (one.error, one.cause) for one in decision.verdicts} == {
        "weapons": ("unsupported_input", "no_reader"),
        "insults": ("unsupported_input", "no_reader"),
    }
    assert decision.proposed == "review"


def test_a_failed_reader_errs_for_detectors_of_plugins_too() -> None:
    detector = keywords()
    running = pipeline(
        lock("gambling", detectors=("keywords",), modalities=BOTH),
        detectors=(detector,),
        readers=(FakeReader(answer=lambda _: 1 / 0),),
    )
    (decision,) = running.decide([item(picture(0.1))])
    assert outcomes(decision) == {"gambling": "reader_error"}
    assert detector.batches == []


def test_without_readers_no_time_is_counted_for_them() -> None:
    (decision,) = pipeline().decide([item(picture(0.1))])
    assert decision.timing.read == 0.0


def test_what_a_limit_holds_back_is_marked_and_proposed_and_not_asked_for(tmp_path: Path) -> None:
    limits = {
        "a-quota": {"quota": Quota(2, "label")},
        "b-share": {"share": 0.0},
        "c-draft": {"quota": Quota(1, "label")},
    }
    paths = [tmp_path / f"{name}.lock.json" for name in limits]
    for path, (name, changes) in zip(paths, limits.items(), strict=True):
        made = lock(name, on_error="review", **changes)
        write_lock(made, path)
        if name != "c-draft":
            live = Change("live", made.revision, made.policy_hash, "2026-11-24T00:00:00+00:00", "team", "", {})
            record_path(path).write_text(encode_record(Record(name, (live,))), encoding="utf-8")
    embedders = {"default": Embedder(FakeEncoder(), MemoryCache(1_000_000))}
    running = assemble.pipeline(Settings(), paths, embedders=embedders, known=plugins_with())
    decisions = running.decide(
        [item(picture(c), id=str(n)) for n, c in enumerate((0.95, 0.1, 0.72, 0.95, 0.72, "junk"))]
    )
    assert [one.proposed for one in decisions] == ["remove", "allow", "review", "remove", "review", "review"]
    assert [one.action for one in decisions] == ["remove", "allow", "review", "label", "label", "label"]
    quota, share, draft = zip(*(one.verdicts for one in decisions), strict=True)
    assert [(one.limit, one.limited_to) for one in quota] == [(None, None)] * 3 + [("quota", "label")] * 3
    assert [one.limit for one in share] == ["rollout", None, "rollout", "rollout", "rollout", "rollout"]
    assert {one.limit for one in draft} == {None}
    assert [Decision.from_dict(one.to_dict()) for one in decisions] == decisions


def test_trap_27_no_content_in_decisions_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    canary = "canary-77ab"

    def leak(batch: DetectionBatch) -> Any:
        raise ValueError(batch.parts[0].content)

    running = pipeline(lock("a", detectors=("keywords",), modalities=BOTH), detectors=(keywords(leak),))
    with caplog.at_level(logging.DEBUG):
        decisions = running.decide([item(Part.text(canary), picture(canary))])
        scores = running.score([item(Part.text(canary), picture(canary))])
    assert canary not in repr([one.to_dict() for one in decisions]) + repr(scores) + caplog.text


def test_the_spine_stays_short() -> None:
    assert len(Path(moderation.pipeline.__file__).read_text(encoding="utf-8").splitlines()) < 150
