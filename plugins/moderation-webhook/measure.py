"""How many decisions a second the webhook delivers to a receiver on this machine, one a request and in batches: python plugins/moderation-webhook/measure.py."""

from __future__ import annotations

import base64
import os
import sys
import time

from moderation_webhook.config import read_config
from moderation_webhook.sink import Webhook

from moderation.decision import Delivered, Delivery
from tests.fetcher.origin import CA
from tests.stream.receiver import receiver

CALL, CALLS = 50, 40  # decisions of one call, as settings have it, and calls
VERDICT = {
    "policy": "weapons",
    "version": "1.0.0",
    "revision": "0" * 16,
    "status": "live",
    "outcome": "match",
    "score": 0.91,
    "margin": 0.02,
}


def main() -> None:
    """Print a line for each form, the best of three rounds."""
    os.environ["HOOK_SECRETS"] = f"whsec_{base64.b64encode(bytes(32)).decode()}"
    decision = {"item_id": "item 17", "action": "remove", "severity": "high", "verdicts": [VERDICT] * 3}
    deliveries = [
        Delivery(f"{n:032x}", {**decision, "decision_id": f"{n:032x}"}, "decisions-0", 0) for n in range(CALL)
    ]
    for tls in (False, True):
        with receiver(tls=tls) as web:
            for batch in (False, True):
                form = f"{'https' if tls else 'http'}, {'batches' if batch else 'one a request'}"
                sys.stdout.write(
                    f"{form}: {rate(web.port, deliveries, tls=tls, batch=batch):,.0f} decisions a second\n"
                )


def rate(port: int, deliveries: list[Delivery], *, tls: bool, batch: bool) -> float:
    """Decisions a second."""
    section = {
        "url": f"{'https' if tls else 'http'}://localhost:{port}/in",
        "secrets_env": "HOOK_SECRETS",
        "private": True,
        "ca_file": CA,
        "batch": batch,
    }
    sink = Webhook(read_config("webhook", section))
    sink.setup()
    best = 0.0
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(CALLS):
            assert set(sink.deliver(deliveries, 30.0)) == {Delivered()}
        best = max(best, CALL * CALLS / (time.perf_counter() - began))
    return best


if __name__ == "__main__":
    main()
