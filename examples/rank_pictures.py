"""The Python API in one page: a policy in words scores pictures, the riskiest first.

python examples/rank_pictures.py [POLICY.yaml [PICTURE ...]]
"""

import sys
from pathlib import Path

from moderation import ContentItem, Part, Score, assemble
from moderation.compiler.compile import compile_policy
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.settings import load_settings

POLICIES = Path(__file__).resolve().parent.parent / "policies"


def main(policy_file: Path, pictures: list[Path]) -> None:
    """Print each picture's score under the policy."""
    settings = load_settings()
    policy = load_policy(policy_file, action_names=settings.actions)

    # Compile: phrases become vectors, and the ordinary pictures say what an ordinary score is. The same embedder serves
    # the pipeline, so that nothing is encoded twice.
    embedder = assemble.embedder(settings, policy.encoder)
    ordinary = load_manifest(POLICIES / "data" / "background.jsonl")
    lock = compile_policy(policy, embedder, background=ordinary)
    pipeline = assemble.pipeline(settings, [lock], embedders={policy.encoder: embedder})

    items = [ContentItem(path.name, (Part.image(path.read_bytes()),)) for path in pictures]
    scores = [found[policy.id] for found in pipeline.score(items)]
    ranked = sorted(zip(items, scores, strict=True), key=lambda pair: -getattr(pair[1], "value", 1.0))
    for item, score in ranked:
        print(f"{score.value:.3f}  {item.id}" if isinstance(score, Score) else f"{score.reason}  {item.id}")

    # No threshold is certified yet, and the pipeline says so: every verdict is an error that proposes `on_error`. A draft asks for nothing.
    decision = pipeline.decide(items[:1])[0]
    print(f"{decision.item_id}: {decision.action}, proposed {decision.proposed} ({decision.verdicts[0].error})")


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    shipped = sorted((POLICIES / "pictures" / "test").glob("*.webp"))
    main(given[0] if given else POLICIES / "weapons.yaml", given[1:] or shipped)
