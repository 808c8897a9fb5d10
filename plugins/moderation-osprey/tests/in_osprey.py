"""Run by a Python that has Osprey: rules through its own engine, validated and executed. Prints what they found as JSON.

python in_osprey.py EVENT.json
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import gevent.pool
from moderation_osprey import plugin
from moderation_osprey.client import ask
from osprey.engine.ast.sources import Sources
from osprey.engine.ast_validator import validate_sources
from osprey.engine.ast_validator.validator_registry import ValidatorRegistry
from osprey.engine.executor.execution_context import Action
from osprey.engine.executor.execution_graph import compile_execution_graph
from osprey.engine.executor.executor import execute
from osprey.engine.executor.udf_execution_helpers import UDFHelpers
from osprey.engine.stdlib import get_config_registry
from osprey.engine.udf.registry import UDFRegistry
from osprey.worker.adaptor.plugin_manager import bootstrap_ast_validators, flatten, plugin_manager
from osprey.worker.lib.singletons import CONFIG

RULES = """
Picture: str = JsonData(path='$.picture')
Caption: str = JsonData(path='$.caption', required=False)

Weapon = PolicyOutcome(policy='weapons', picture=Picture, shadow=True)
Gore = PolicyOutcome(policy='gore', picture=Picture, shadow=True)
Acting = PolicyOutcome(policy='weapons', picture=Picture)
Misspelt = PolicyOutcome(policy='waepons', picture=Picture, shadow=True)
OfText = PolicyOutcome(policy='weapons', text='a gun', shadow=True)
IsWeapon = Weapon == 'match' or Weapon == 'review'
"""


def main() -> None:
    CONFIG.instance().configure_from_env()
    bootstrap_ast_validators()
    registry = UDFRegistry.with_udfs(
        *flatten(plugin_manager.hook.register_udfs())
    )  # found by entry points, as a worker does
    validators = ValidatorRegistry.get_instance().instance_with_additional_validators(
        get_config_registry().get_validator()
    )
    graph = compile_execution_graph(validate_sources(Sources.from_dict({"main.sml": RULES}), registry, validators))
    event = json.loads(Path(sys.argv[1]).read_text())
    asked = []
    plugin.ask = lambda contents, policies: asked.append(len(contents)) or ask(contents, policies)
    action = Action(action_id=7, action_name="post", data=event, secret_data={}, timestamp=datetime.now(UTC))
    result = execute(graph, UDFHelpers(), action, gevent.pool.Pool(4))
    found = {
        name: one for name, one in result.extracted_features.items() if not name.startswith("__") and name != "Picture"
    }
    print(json.dumps({"found": found, "asked": asked, "errors": [repr(one.error) for one in result.error_infos]}))


if __name__ == "__main__":
    main()
