"""Decisions to an HTTPS endpoint, signed as Standard Webhooks are. What its settings need is asked for when it is set up: who delivers nowhere needs none."""

from moderation import hookimpl
from moderation_webhook.config import read_config
from moderation_webhook.sink import Webhook


@hookimpl
def register_sinks(registry):
    registry.add(Webhook(read_config(registry.plugin, registry.settings) if registry.settings else None))
