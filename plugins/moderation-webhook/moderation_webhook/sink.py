"""The sink: which requests decisions become, and what an answer means for them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import ssl
import time
from collections.abc import Sequence
from typing import Any

from moderation.decision import Again, Delivered, Delivery, Gone, Receipt, Refused
from moderation.errors import ItemError, PluginError
from moderation.fetcher.dial import Deadline, Dialer
from moderation_webhook.config import Config
from moderation_webhook.line import Answer, Line
from moderation_webhook.signature import Signer, read_secrets

ONE, SEVERAL = "moderation.decision.v1", "moderation.decisions.v1"
MARGIN = 0.9  # of a call's time, after which no request is begun or waited for: what was taken by then shall be told
LONGEST_WAIT = 86_400.0  # seconds that are believed of a Retry-After
GONE, BUSY = 410, 429
_LATEST_MS = 253_402_300_799_999  # of the year 9999: a record's time is a stranger's word
# These speak of the endpoint, of our being known to it, or of the hour, not of what was sent.
_OF_THE_ENDPOINT = frozenset({401, 402, 403, 404, 405, 407, 408, 421, 423, 424, 425, 429})


class Webhook:
    """Sends decisions by POST to one address, signed. Without a config it cannot be set up."""

    id = "webhook"

    def __init__(self, config: Config | None) -> None:
        self._config = config

    def setup(self) -> None:
        """Read secrets and authorities. Raises PluginError where they, or the settings, are not there."""
        if self._config is None:
            raise PluginError(
                self.id, "it has no settings; expected a section plugins.settings.webhook with url and secrets_env"
            )
        where = self._config
        self._signer = Signer(read_secrets(self.id, env=where.secrets_env, file=where.secrets_file))
        try:
            tls = ssl.create_default_context(cafile=where.ca_file)
        except OSError as error:
            told = error.strerror or "no certificate in it"
            raise PluginError(
                self.id, f"settings: ca_file: cannot read {where.ca_file!r} as certificates in PEM form: {told}"
            ) from None
        private = [f"{where.url.host}:{where.url.port}"] if where.private else []
        self._dialer = Dialer(tls, private=private)

    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> list[Receipt]:
        """One request for all, or one for each, by the settings."""
        assert self._config  # it is set up
        if not deliveries:
            return []
        deadline = Deadline(MARGIN * seconds)
        with Line(self._dialer, self._config.url) as line:
            if self._config.batch:
                return self._all(line, deliveries, deadline)
            return self._each(line, deliveries, deadline)

    def _all(self, line: Line, deliveries: Sequence[Delivery], deadline: Deadline) -> list[Receipt]:
        ids = "".join(one.id for one in deliveries)
        data = [one.decision for one in deliveries]
        id_ = f"batch_{hashlib.sha256(ids.encode()).hexdigest()[:32]}"
        receipt = self._post(line, id_, _body(SEVERAL, deliveries[-1].time_ms, data), deadline)
        if (
            isinstance(receipt, Refused) and len(deliveries) > 1
        ):  # one of them: which, is found when they are sent alone
            receipt = Again(receipt.reason)
        return [receipt] * len(deliveries)

    def _each(self, line: Line, deliveries: Sequence[Delivery], deadline: Deadline) -> list[Receipt]:
        receipts: list[Receipt] = []
        held: dict[str, Again] = {}  # by partition, why nothing more of it may be sent
        stopped: Again | None = None  # and why nothing more at all
        for one in deliveries:
            waits = stopped or held.get(one.partition) or (Again("no_time_left") if deadline.rest <= 0 else None)
            if waits:
                receipts.append(Again(waits.reason, waits.seconds, tried=False))
                continue
            receipt = self._post(line, one.id, _body(ONE, one.time_ms, one.decision), deadline)
            receipts.append(receipt)
            if isinstance(receipt, Gone):
                stopped = Again(receipt.reason)
            elif isinstance(receipt, Again):
                held[one.partition] = receipt
                if (
                    not receipt.reason.startswith("status_") or receipt.seconds
                ):  # no answer, or one that asks for patience
                    stopped = receipt
        return receipts

    def _post(self, line: Line, id_: str, body: bytes, deadline: Deadline) -> Receipt:
        assert self._config  # it is set up
        within = Deadline(min(self._config.timeout_seconds, max(0.0, deadline.rest)))
        try:
            return receipt_of(line.post(body, self._signer.headers(id_, body, now=time.time()), within))
        except ItemError as error:
            return Again(error.cause)


def receipt_of(answer: Answer) -> Receipt:
    """What a status means for what was sent: 2xx is delivered, 410 ends it, and of the others only a 4xx that speaks of the message refuses it."""
    reason, status = f"status_{answer.status}", answer.status
    if 200 <= status < 300:
        return Delivered()
    if status == GONE:
        return Gone(reason)
    if 400 <= status < 500 and status not in _OF_THE_ENDPOINT:
        return Refused(reason)
    return Again(reason, min(answer.retry_after, LONGEST_WAIT), busy=status == BUSY)


def _body(kind: str, time_ms: int, data: Any) -> bytes:
    """The message, in the form that Standard Webhooks recommends; the same bytes each time that the same is sent."""
    time = (
        dt.datetime.fromtimestamp(min(max(0, time_ms), _LATEST_MS) / 1000, dt.UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    return json.dumps({"type": kind, "timestamp": time, "data": data}, separators=(",", ":")).encode()
