"""Pytx's own classes as detectors, by the contract."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import pytest
from moderation_pytx.detectors import ClassifierDetector, SignalDetector
from PIL import Image

from moderation.decision import Abstention
from moderation.detector.base import DetectionBatch
from moderation.detector.names import is_revision
from moderation.item import Modality, Part
from moderation.plugin import manager
from moderation.plugin.brought import Plugins
from moderation.testing import DetectorKit

pytestmark = pytest.mark.skipif(
    find_spec("threatexchange") is None, reason="needs threatexchange, which make bench installs"
)

PICTURES = Path(__file__).parents[3] / "policies" / "pictures" / "test"
DUMMY = "threatexchange.classifier.text_dummy:DummyTextClassifier"
PDQ = "threatexchange.signal_type.pdq.signal:PdqSignal"
RAW = "threatexchange.signal_type.raw_text:RawTextSignal"


def picture(name: str) -> bytes:
    return (PICTURES / f"{name}.webp").read_bytes()


@pytest.fixture(scope="session", autouse=True)
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from threatexchange.signal_type.pdq.signal import PdqSignal

    folder = tmp_path_factory.mktemp("lists")
    (folder / "pdq.txt").write_text(f"{PdqSignal.hash_from_bytes(picture('ak47'))}\n\n{'0f' * 32}\n")
    (folder / "texts.txt").write_text("claim your casino bonus now, you have won it\n")
    TestPdq.folder = TestRawText.folder = folder
    return folder


class TestClassifier(DetectorKit):
    make = staticmethod(
        lambda: ClassifierDetector("contacts", "contacts:Contacts", ("has_email", "has_url"), Modality.TEXT)
    )
    flagged = {"has_email": ["write to a@example.org"], "has_url": ["see https://example.org"]}
    passed = ["a walk in the park"]


class TestRawText(DetectorKit):
    folder: Path
    make = staticmethod(lambda: SignalDetector("banned", RAW, str(TestRawText.folder / "texts.txt"), Modality.TEXT))
    flagged = {"banned": ["Claim your CASINO bonus now, you have won it!"]}
    passed = ["a walk in the park"]


class TestPdq(DetectorKit):
    folder: Path
    make = staticmethod(lambda: SignalDetector("known", PDQ, str(TestPdq.folder / "pdq.txt"), Modality.IMAGE))
    flagged = {"known": [picture("ak47")]}
    passed = [picture("coffee-cup"), picture("igloo")]
    many = 32


def scores(detector: ClassifierDetector | SignalDetector, *parts: Part) -> list[object]:
    detector.setup()
    answers = detector.detect(DetectionBatch(parts))
    return [one if isinstance(one, Abstention) else [score.value for score in one] for one in answers]


def test_a_weight_is_a_score_where_one_is_asked_for() -> None:
    detector = ClassifierDetector("dummy", DUMMY, ("digit",), Modality.TEXT, score="weight")
    assert scores(detector, Part.text("a1b2"), Part.text("ab")) == [[0.5], [0.0]]


def test_a_label_that_is_not_told_of_is_no_score_of_zero() -> None:
    detector = ClassifierDetector("dummy", DUMMY, ("has_url", "csam"), Modality.TEXT)
    assert scores(detector, Part.text("x")) == [Abstention("not_answered", cause="missing_label")]


def test_what_cannot_be_hashed_is_no_score_of_zero(lists: Path) -> None:
    """PDQ of a plain picture says little, and pytx gives none."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    detector = SignalDetector("known", PDQ, str(lists / "pdq.txt"), Modality.IMAGE)
    assert scores(detector, Part.image(file.getvalue())) == [Abstention("not_hashed")]


def test_another_list_is_another_revision(lists: Path, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("ff" * 32 + "\n" + (lists / "pdq.txt").read_text())
    (tmp_path / "same.txt").write_text("\n" + (lists / "pdq.txt").read_text())
    revisions = []
    for file in (lists / "pdq.txt", tmp_path / "same.txt", tmp_path / "more.txt"):
        detector = SignalDetector("known", PDQ, str(file), Modality.IMAGE)
        detector.setup()
        revisions.append(detector.revision)
    assert revisions[0] == revisions[1] != revisions[2]
    assert is_revision(revisions[0])


@pytest.mark.parametrize(
    ("detector", "why"),
    [
        (ClassifierDetector("x", "threatexchange.nowhere:X", ("x",), Modality.TEXT), "nowhere"),
        (ClassifierDetector("x", DUMMY, ("x",), Modality.IMAGE), "does not classify photo"),
        (SignalDetector("x", PDQ, "gone.txt", Modality.IMAGE), "gone.txt"),
        (SignalDetector("x", PDQ, "gone.txt", Modality.TEXT), "no signal of text"),
        (SignalDetector("x", PDQ, __file__, Modality.IMAGE), r"test_detectors.py:1: no signal"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_set_up(detector: ClassifierDetector | SignalDetector, why: str) -> None:
    with pytest.raises(Exception, match=why):
        detector.setup()


def loaded(**settings: object) -> Plugins:
    return manager.load(only=("pytx",), settings={"pytx": settings})


def cause(**settings: object) -> str:
    (record,) = [one for one in loaded(**settings).records if one.id == "pytx"]
    return record.cause


def test_settings_name_what_is_registered() -> None:
    known = loaded(
        classifiers={"dummy": {"class": DUMMY, "labels": ["has_url"]}},
        signals={"known": {"type": PDQ, "file": "pdq.txt", "reads": "image"}},
    )
    assert {"dummy", "known"} <= known.detectors.keys()


def test_settings_are_checked() -> None:
    assert cause() == ""
    assert "expected classifiers, signals, locks" in cause(classifier={})
    assert "classifiers.dummy: wrong or missing: labels" in cause(classifiers={"dummy": {"class": DUMMY}})
    assert "wrong or missing: labels" in cause(classifiers={"dummy": {"class": DUMMY, "labels": "has_url"}})
    assert "wrong or missing: limit" in cause(signals={"x": {"type": PDQ, "file": "x", "limit": 3}})
    assert "reads is 'audio'" in cause(signals={"x": {"type": PDQ, "file": "x", "reads": "audio"}})
