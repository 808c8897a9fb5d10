"""The UDF: what a policy says of an event's text or picture. Calls of an event that are ready together are answered by one request."""

from collections.abc import Sequence
from typing import Any

from osprey.engine.executor.execution_context import ExecutionContext
from osprey.engine.udf.arguments import ArgumentsBase
from osprey.engine.udf.base import BatchableUDFBase, UDFBase
from osprey.worker.adaptor.plugin_manager import hookimpl_osprey
from result import Ok, Result

from moderation_osprey.client import Content, ask


class PolicyOutcomeArguments(ArgumentsBase):
    policy: str
    """The policy's id."""

    text: str = ""
    """The text to judge."""

    picture: str = ""
    """The file of the picture to judge, as base64."""

    surface: str = ""
    """Where it stands, if the policy's scope asks for that."""

    shadow: bool = False
    """Whether a build that is not live may speak, too: for rules that only watch."""


class PolicyOutcome(BatchableUDFBase[PolicyOutcomeArguments, str, PolicyOutcomeArguments]):
    """`match`, `review` or `no_match`; `not_judged` where nothing of it is in the policy's scope; `not_live` where the build may not act; `error`
    where it could not be judged, in time or at all. It is never missing: a rule says itself what an error means.
    """

    category = "moderation"

    def execute(self, execution_context: ExecutionContext, arguments: PolicyOutcomeArguments) -> str:
        return self.execute_batch(execution_context, [self], [arguments])[0].unwrap()

    def get_batchable_arguments(self, arguments: PolicyOutcomeArguments) -> PolicyOutcomeArguments:
        return arguments

    def execute_batch(
        self,
        execution_context: ExecutionContext,
        udfs: Sequence[UDFBase[Any, Any]],  # noqa: ARG002 - Osprey's interface
        arguments: Sequence[PolicyOutcomeArguments],
    ) -> Sequence[Result[str, Exception]]:
        item = str(execution_context.get_action_id())
        contents = [Content(item, one.text, one.picture, one.surface) for one in arguments]
        answers = ask(contents, [one.policy for one in arguments])
        return [
            Ok(answers.outcome(content, one.policy, shadow=one.shadow))
            for content, one in zip(contents, arguments, strict=True)
        ]


@hookimpl_osprey
def register_udfs() -> Sequence[type[UDFBase[Any, Any]]]:
    return [PolicyOutcome]
