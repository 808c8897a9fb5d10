"""Controls: each is a head that knows just what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from moderation.compiler.compile import compile_policy
from moderation.compiler.controls import make_controls
from moderation.compiler.phrases import embed_concepts
from moderation.item import Modality
from tests.unit.compiler.recorded import embedder, make_policy, row

AXES = dict(zip(("rifle", "sword", "camera", "fire arms", "weapon"), np.eye(8, dtype=np.float16), strict=False))
POLICY = make_policy(
    scope={"modalities": (Modality.TEXT,)}, title="Fire Arms", violating=("rifle", "sword"), contrast=("camera",)
)


@pytest.mark.parametrize(("unread", "name"), [("", "fire arms"), ("fire arms", "weapon")])
def test_the_name_alone_is_the_title_or_else_the_id_against_the_policys_own_contrast(unread: str, name: str) -> None:
    reads = embedder({text: axis for text, axis in AXES.items() if text != unread})
    head = make_controls(POLICY, reads, embed_concepts(POLICY, reads), seed=0).heads["name_only"]
    np.testing.assert_array_equal(head.violating, [AXES[name]])
    np.testing.assert_array_equal(head.contrast, [AXES["camera"]])


@pytest.mark.parametrize("beaten", [True, False])
def test_the_name_alone_is_beaten_only_where_the_phrases_know_more(beaten: bool) -> None:
    rng = np.random.default_rng(0)
    shown = AXES["rifle"] if beaten else AXES["fire arms"] + AXES["rifle"]

    def near(axis: np.ndarray) -> np.ndarray:
        vector = axis + 0.4 * rng.normal(size=8)
        return (vector / np.linalg.norm(vector)).astype(np.float16)

    table = (
        AXES
        | {f"arm {at}": near(shown) for at in range(20)}
        | {f"thing {at}": near(AXES["camera"]) for at in range(20)}
    )
    fit = [row(text, target=text.startswith("arm")) for text in table if text not in AXES]
    told = compile_policy(POLICY, embedder(table), fit=fit).evidence["controls"]
    assert told["beaten"]["name_only"] is beaten
    assert (told["average_precision"]["name_only"] < told["average_precision"]["policy"] - 0.02) is beaten
