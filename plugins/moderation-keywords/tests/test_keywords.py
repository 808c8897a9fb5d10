"""What every detector promises, and what this one finds."""

from moderation_keywords import Keywords

from moderation import DetectionBatch, Part, Score
from moderation.testing import DetectorKit


class TestKeywords(DetectorKit):
    make = Keywords
    plugin = "keywords"
    flagged = {"gambling": ["Claim your CASINO BONUS now", "50 free spins!"]}
    passed = ["The free spinster", "a walk in the park", ""]


def test_it_names_the_phrase() -> None:
    batch = DetectionBatch((Part.text("Claim your CASINO BONUS now"),))
    assert Keywords().detect(batch) == [(Score("gambling", 1.0, concept="casino bonus"),)]
