"""A guard around a text-to-image model: the prompt is judged before anything is drawn, the picture before anybody sees it, both as one item.

python examples/image_guard/guard.py OUT "a house by the sea" "a postcard for halloween"
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from generator import generate

from moderation import ContentItem, Decision, Outcome, Part, assemble
from moderation.pipeline import Pipeline
from moderation.settings import load_settings

POLICIES = Path(__file__).resolve().parents[2] / "policies"
PROMPT, PICTURE = "prompt", "picture"


@dataclass(frozen=True)
class Answer:
    """What the user gets: a picture, or None and why, in a word for the user and in full for the log. `decisions` are those on the item, in order."""

    item: str
    picture: bytes | None
    refused: str  # the step that refused, "" where none did
    why: str
    decisions: tuple[Decision, ...]


class Guard:
    """Fails closed: a picture comes out where every policy of both steps judged and found nothing; whatever else happens, none does.

    `prompts` and `pictures` are pipelines; `surfaces` says where what they judge stands, for the policies' scopes. Raises ValueError for builds that
    are not live, unless `drafts` may decide too, and for a step without a policy.
    """

    def __init__(
        self,
        prompts: Pipeline,
        pictures: Pipeline,
        generate: Callable[[str], bytes],
        *,
        surfaces: tuple[str, str],
        drafts: bool = False,
    ) -> None:
        for pipeline in (prompts, pictures):
            builds = [one.terms for one in pipeline.running.policies]
            if not builds or not (drafts or all(one.status == "live" for one in builds)):
                raise ValueError(
                    f"found {[(one.policy, one.status) for one in builds]}; expected policies that are live"
                )
        self._prompts, self._pictures, self._generate, self._surfaces = prompts, pictures, generate, surfaces

    def create(self, prompt: str) -> Answer:
        """A picture for the prompt, or a refusal. Raises nothing: a fault of a step is a refusal by that step."""
        item, decisions = uuid.uuid4().hex, list[Decision]()
        step, picture = PROMPT, b""
        try:
            decisions.append(_decided(self._prompts, item, Part.text(prompt, name=PROMPT), self._surfaces[0]))
            if not (why := _objection(self._prompts, decisions[-1])):
                step = PICTURE
                picture = self._generate(prompt)
                decisions.append(_decided(self._pictures, item, Part.image(picture, name=PICTURE), self._surfaces[1]))
                why = _objection(self._pictures, decisions[-1])
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody judged what would be shown
            why = type(error).__name__  # its message may hold the prompt
        return Answer(item, None if why else picture, step if why else "", why, tuple(decisions))


def _decided(pipeline: Pipeline, item: str, part: Part, surface: str) -> Decision:
    return pipeline.decide([ContentItem(item, (part,), {"surface": surface})])[0]


def _objection(pipeline: Pipeline, decision: Decision) -> str:
    """Why this may not pass, "" where it may: every policy spoke, and each said `no_match`. One that did not judge did not allow."""
    said = {one.policy: one for one in decision.verdicts}
    for policy in (one.terms.policy for one in pipeline.running.policies):
        if policy not in said:
            return f"{policy} did not judge"
        verdict = said[policy]
        if verdict.outcome is not Outcome.NO_MATCH:
            told = verdict.error or f"{verdict.score} >= {verdict.threshold} ({verdict.concept})"
            return f"{policy} {verdict.outcome.value}: {told}"
    return ""


def main(out: Path, prompts: Sequence[str]) -> None:
    """Answer each prompt; pictures that may be seen and every decision go to the folder `out`."""
    settings = load_settings()
    out.mkdir(parents=True, exist_ok=True)
    with closing(assemble.plugins(settings)) as known, (out / "decisions.jsonl").open("w") as log:
        text, image = (
            assemble.pipeline(settings, [POLICIES / f"{one}.lock.json"], known=known) for one in ("hate", "gore")
        )
        # The policies that we ship are drafts: nobody has released them for your traffic. A service leaves `drafts` out.
        guard = Guard(text, image, generate, surfaces=("post", "sticker"), drafts=True)
        for prompt in prompts:
            answer = guard.create(prompt)
            for decision in answer.decisions:
                log.write(json.dumps(decision.to_dict()) + "\n")
            if answer.picture is not None:
                (out / f"{answer.item}.png").write_bytes(answer.picture)
            told = f"refused at the {answer.refused}: {answer.why}" if answer.why else "drawn"
            print(f"{answer.item[:8]}  {told}  <- {prompt}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
