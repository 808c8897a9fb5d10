"""What makes a lock fit to run, and what refuses it, each refusal by name."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace

import pytest

from moderation.decision import Abstention, Score
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.errors import FingerprintMismatchError, LockError, PluginError
from moderation.item import JUDGED, ContentItem, Modality, Part
from moderation.policy.decide import Cut, Finding
from moderation.policy.lock import Lock
from moderation.rollout.detectors import check_detectors
from moderation.rollout.locks import put_in_force
from moderation.rollout.running import RunningPolicy, RunningSet, Watch
from tests.fakes import ACTIONS, FakeDetector, FakeEncoder, Lived, action, item, lock, picture, plugins_with


def run(
    *locks: Lock, encoder: FakeEncoder | None = None, detectors: tuple[FakeDetector, ...] = (), also: str = ""
) -> RunningSet:
    embedders = {"default": Embedder(encoder or FakeEncoder(), MemoryCache(1_000_000))}
    if also:
        embedders[also] = Embedder(FakeEncoder(), MemoryCache(1_000_000))
    return put_in_force(locks, embedders=embedders, plugins=plugins_with(*detectors), actions=ACTIONS)


def test_a_lock_that_fits_is_in_force_with_its_terms() -> None:
    running = run(lock("weapons"), lock("alcohol", actions=(action("remove", None), action("label", 0.4))))
    alcohol, weapons = running.policies
    assert (alcohol.terms.policy, alcohol.terms.cuts) == ("alcohol", (Cut("label", 0.4),))
    assert weapons.terms.cuts == (Cut("remove", 0.9), Cut("review", 0.5))
    assert weapons.terms.revision == weapons.lock.revision
    assert (weapons.terms.max_parts, weapons.terms.epsilon, weapons.terms.status) == (4, 0.0, "draft")
    assert {id_: (one.encoder, one.trusted) for id_, one in running.detectors.items()} == {
        "alcohol": ("default", True),
        "weapons": ("default", True),
    }


def test_no_lock_at_all_is_an_empty_set() -> None:
    assert run().policies == ()


def test_trap_22_a_lock_of_another_encoder_is_refused_with_both_identities() -> None:
    with pytest.raises(FingerprintMismatchError) as refused:
        run(lock(), encoder=FakeEncoder(identity="feedfacefeedface"))
    assert (refused.value.expected, refused.value.found) == ("0123456789abcdef", "feedfacefeedface")
    assert "0123456789abcdef" in str(refused.value)
    assert "feedfacefeedface" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "defualt"}, "no encoder is named 'defualt' in the settings; did you mean 'default'"),
        ({"actions": (action("remvoe", 0.5),)}, "unknown action 'remvoe'; did you mean 'remove'"),
        ({"actions": (action("xyz", None),)}, "unknown action 'xyz'; expected one of allow, label"),
        ({"on_error": "panic"}, "unknown action 'panic'"),
    ],
)
def test_a_lock_that_does_not_fit_the_settings_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(LockError, match="weapons") as refused:
        run(lock(**changes))
    assert message in str(refused.value)


def test_a_lock_must_fit_its_encoders_width_and_modalities() -> None:
    wide = FakeEncoder()
    wide.card = wide.card.model_copy(update={"width": 9})
    with pytest.raises(LockError, match="'weapons': the lock is 8 wide, its encoder 9"):
        run(lock(), encoder=wide)
    with pytest.raises(LockError, match="the head is 8 wide"):
        run(dataclasses.replace(lock(), width=9))
    with pytest.raises(LockError, match="judges image, but encoder 'default' reads text"):
        run(lock(), encoder=FakeEncoder(modalities=("text",)))


def test_two_locks_of_one_policy_are_refused() -> None:
    with pytest.raises(LockError, match="'weapons': found two locks"):
        run(lock(), lock(version="2.0.0"))


def test_trap_05_a_policy_that_needs_a_missing_detector_is_refused_by_name() -> None:
    with pytest.raises(PluginError, match=r"policy 'weapons' needs the detector 'keyword'.*'keywords'"):
        run(lock(detectors=("keyword",)), detectors=(FakeDetector("keywords"),))


def watch(*named: str) -> Watch:
    detector = FakeDetector("keywords", labels=("gambling", "violence", "hate"), modalities={Modality.TEXT})
    both = (Modality.IMAGE, Modality.TEXT)
    (running,) = run(lock(detectors=named, modalities=both), detectors=(detector,)).policies
    return running.watches[1]


@pytest.mark.parametrize(
    ("named", "labels"),
    [
        (("keywords",), {"gambling", "violence", "hate"}),
        (("keywords/gambling",), {"gambling"}),
        (("keywords/gambling", "keywords/hate"), {"gambling", "hate"}),
        (("keywords/gambling", "keywords"), {"gambling", "violence", "hate"}),
    ],
)
def test_a_policy_counts_the_labels_it_names(named: tuple[str, ...], labels: set[str]) -> None:
    assert watch(*named) == Watch("keywords", frozenset(labels), frozenset({Modality.TEXT}))


def test_a_label_that_no_needed_detector_has_is_refused() -> None:
    with pytest.raises(LockError, match="detector 'keywords' has no label 'gamblin'; did you mean 'gambling'"):
        watch("keywords/gamblin")
    # The detector's name is no likeness: what is like no label is answered with all of them.
    with pytest.raises(LockError, match=r"has no label 'zzz'; expected one of gambling, violence, hate$"):
        watch("keywords/zzz")


def test_a_detector_that_could_never_be_asked_is_refused() -> None:
    deaf = FakeDetector("keywords", modalities={Modality.TEXT})
    with pytest.raises(LockError, match="detector 'keywords' judges text, but the policy's scope is image"):
        run(lock(detectors=("keywords",)), detectors=(deaf,))


def test_whose_scores_a_detector_needs_come_with_it_sources_first_and_count_for_nothing_else() -> None:
    detectors = (
        FakeDetector("blend", needs_scores=("tone/mild", "words")),
        FakeDetector("tone", labels=("mild", "harsh"), needs_scores=("words",), modalities={Modality.TEXT}),
        FakeDetector("words", needs_embeddings=True),
    )
    running = run(lock(detectors=("blend",)), detectors=detectors)
    assert list(running.detectors) == ["weapons", "words", "tone", "blend"]
    assert running.detectors["blend"].sources == (
        Watch("words", frozenset({"risk"}), frozenset(JUDGED)),
        Watch("tone", frozenset({"mild"}), frozenset({Modality.TEXT})),
    )
    assert {id_: one.encoder for id_, one in running.detectors.items() if not one.trusted} == {
        "words": "default",
        "tone": None,
        "blend": None,
    }
    assert [one.detector for one in running.policies[0].watches] == ["weapons", "blend"]


BLENDS = {
    "policy 'weapons': detector 'a' needs the detector 'gone', which no plugin provides": {"a": ("gone",)},
    "policy 'weapons': detector 'a': detector 'b' needs the detector 'gone'": {"a": ("b",), "b": ("gone",)},
    "policy 'weapons': detector 'a': detector 'b' has no label 'rsik'; did you mean 'risk'": {"a": ("b/rsik",), "b": ()},
    "policy 'weapons' needs detectors that need each other's scores: 'a' needs 'a'": {"a": ("a",)},
    "each other's scores: 'a' needs 'c' needs 'b' needs 'a'": {"a": ("c/risk",), "c": ("b",), "b": ("a",)},
    "policy 'weapons': detector 'a': detector 'deaf' judges text, but 'a' judges image, so it would never be asked": {"a": ("deaf",), "deaf": ()},
}  # fmt: skip


@pytest.mark.parametrize("told", BLENDS)
def test_a_policy_whose_detectors_cannot_have_the_scores_that_they_need_is_refused_by_lint_too(told: str) -> None:
    sides = {"a": {Modality.IMAGE}, "deaf": {Modality.TEXT}}
    detectors = [
        FakeDetector(id_, needs_scores=needs, modalities=sides.get(id_, set(JUDGED)))
        for id_, needs in BLENDS[told].items()
    ]
    with pytest.raises((PluginError, LockError), match=re.escape(told)):
        check_detectors("weapons", ("a",), ("image",), plugins_with(*detectors))
    with pytest.raises((PluginError, LockError), match=re.escape(told)):
        run(lock(detectors=("a",)), detectors=tuple(detectors))


def test_a_detectors_id_and_a_policys_id_must_differ() -> None:
    with pytest.raises(LockError, match="'weapons' is a policy's id and a plugin detector's"):
        run(lock(detectors=("weapons",)), detectors=(FakeDetector("weapons"),))


def test_a_detector_that_sees_vectors_sees_those_of_one_encoder() -> None:
    locks = (lock("a", detectors=("d",)), lock("b", detectors=("d",), encoder="second"))
    run(*locks, detectors=(FakeDetector("d"),), also="second")
    with pytest.raises(LockError, match=r"detector 'd' would see vectors of encoder 'second'.*those of 'default'"):
        run(*locks, detectors=(FakeDetector("d", needs_embeddings=True),), also="second")


def policy(**changes: object) -> RunningPolicy:
    return run(lock(**{"modalities": (Modality.IMAGE, Modality.TEXT), **changes})).policies[0]


PHOTO, WORDS = picture(0.1), Part.text("words")


@pytest.mark.parametrize(
    ("changes", "judged", "scope"),
    [
        ({}, item(PHOTO, WORDS), (0, 1)),
        ({"modalities": (Modality.TEXT,)}, item(PHOTO, WORDS), (1,)),
        ({"modalities": (Modality.TEXT,)}, item(PHOTO), ()),
        ({"surfaces": ("listing",)}, item(PHOTO, surface="listing"), (0,)),
        ({"surfaces": ("listing",)}, item(PHOTO, surface="avatar"), ()),
        ({"surfaces": ("listing",)}, item(PHOTO), (0,)),
        ({}, item(PHOTO, surface="avatar"), (0,)),
        ({"languages": ("en",)}, item(PHOTO, WORDS, language="en"), (0, 1)),
        ({"languages": ("en",)}, item(PHOTO, WORDS, language="de"), (0,)),
        (
            {"languages": ("en",)},
            item(PHOTO, WORDS, replace(WORDS, source="part-0"), language="de"),
            (0, 2),
        ),  # in the picture
        ({"languages": ("en",)}, item(PHOTO, WORDS, language="EN-gb"), (0, 1)),
        ({"languages": ("en",)}, item(PHOTO, WORDS, language=" "), (0, 1)),
        *[
            ({"languages": ("en",)}, item(PHOTO, WORDS, language=one), (0, 1))
            for one in ("en_US", "eng", "English", "und", "mul", "xx")
        ],
        ({"surfaces": ("Listing",)}, item(PHOTO, surface=" listing "), (0,)),
        ({"surfaces": ("listing",)}, item(PHOTO, surface="LISTING"), (0,)),
        ({"surfaces": ("listing",)}, item(PHOTO, surface=" "), (0,)),
        ({"languages": ("en",)}, item(PHOTO, WORDS), (0, 1)),
    ],
)
def test_the_scope_is_narrowed_by_modality_and_by_what_the_item_states(
    changes: dict[str, object], judged: ContentItem, scope: tuple[int, ...]
) -> None:
    assert policy(**changes).scope(judged) == scope
    assert [place for _, place in policy(**changes).needs(judged).words] == list(scope)


def test_findings_are_the_labels_that_count_or_the_abstention() -> None:
    one = Watch("d", frozenset({"a"}), frozenset(JUDGED))
    judged = item(picture(0.1), picture(0.2, name="cover"))
    assert one.findings(judged, 0, (Score("a", 0.1), Score("b", 0.9))) == [Finding("0", Score("a", 0.1), "d")]
    assert one.findings(judged, 1, Abstention("bad_answer")) == [Finding("cover", Abstention("bad_answer"), "d")]


def test_detectors_are_set_up_once_each_when_their_policies_are_put_in_force() -> None:
    shared, unused = Lived("shared"), Lived("unused")
    run(lock("a", detectors=("shared",)), lock("b", detectors=("shared/risk",)), detectors=(shared, unused))
    assert (shared.called, unused.called) == (["setup", "verify"], [])


def test_a_detector_that_cannot_be_set_up_refuses_the_policy_by_name() -> None:
    broken = Lived("keywords", verify=ValueError("a gun scores 0"))
    told = (
        "policy 'guns' needs the detector 'keywords', which cannot be set up: verify failed: ValueError: a gun scores 0"
    )
    with pytest.raises(PluginError, match=told):
        run(lock("arms"), lock("guns", detectors=("keywords",)), detectors=(broken,))
    assert run(lock("arms"), detectors=(broken,)).policies[0].id == "arms"
    assert broken.called == ["setup", "verify"]


def test_nothing_is_set_up_for_a_lock_that_does_not_fit() -> None:
    one = Lived("keywords")
    with pytest.raises(LockError):
        run(lock("guns", detectors=("keywords",)), lock("other", on_error="panic"), detectors=(one,))
    assert one.called == []
