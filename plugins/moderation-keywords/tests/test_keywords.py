"""What the plugin promises, and that an installation brings it in."""

import pytest
from moderation_keywords import Keywords

from moderation import DetectionBatch, Part, Score
from moderation.plugin import manager


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Claim your CASINO BONUS now", Score("gambling", 1.0, concept="casino bonus")),
        ("50 free spins!", Score("gambling", 1.0, concept="free spins")),
        ("The free spinster", Score("gambling", 0.0)),
        ("", Score("gambling", 0.0)),
    ],
)
def test_it_finds_stock_phrases(text: str, score: Score) -> None:
    assert Keywords().detect(DetectionBatch((Part.text("a walk in the park"), Part.text(text)))) == [
        (Score("gambling", 0.0),),
        (score,),
    ]


def test_it_arrives_through_its_entry_point() -> None:
    plugins = manager.load(only=("keywords",))
    (record,) = (one for one in plugins.records if one.id == "keywords")
    assert (record.distribution, record.state, record.detectors) == ("moderation-keywords", "loaded", ("keywords",))
    assert isinstance(plugins.detector("keywords", needed_by="a policy"), Keywords)
