"""Whether the brokers refuse us: asked once where a client could not be opened, since to it a refusal is a lost connection.

A broker that refuses credentials says so and closes the connection; kafka-python reads both in one go, and forgets what was said.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

from kafka import errors as kafka
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

from moderation.errors import ExitCode, StreamError
from moderation.sections import KafkaSettings, SaslSettings, StreamSettings, TlsSettings
from moderation.stream.faults import fatal


@contextlib.contextmanager
def opening(what: str, settings: StreamSettings) -> Iterator[None]:
    """Around whatever opens a client: as `fatal`, and where no broker could be used they are asked whether they refuse us. Raises StreamError."""
    try:
        with fatal(what, otherwise=ExitCode.UNAVAILABLE):
            yield
    except StreamError as error:
        unavailable = error.exit_code == ExitCode.UNAVAILABLE
        why = refusal(settings.kafka, seconds=settings.request_seconds) if unavailable else ""
        if why:
            raise StreamError(f"{what}: {why}", exit_code=ExitCode.DENIED) from None
        raise


def refusal(settings: KafkaSettings, *, seconds: float) -> str:
    """What is wrong with certificates or credentials, after the first broker that could be asked; empty where nothing is, or none could be."""
    for address in settings.bootstrap:
        host, _, port = address.rpartition(":")
        end = time.monotonic() + seconds
        try:
            with _connected(settings.tls, host.strip("[]"), int(port), seconds) as connection:
                return _refused(settings.sasl, connection, host, end) if settings.sasl else ""
        except ssl.SSLCertVerificationError as error:
            return f"the certificate of {address} cannot be verified: {error.verify_message}"
        except (OSError, ValueError, kafka.KafkaError):
            continue
    return ""


def _connected(tls: TlsSettings | None, host: str, port: int, seconds: float) -> socket.socket:
    plain = socket.create_connection((host, port), timeout=seconds)
    if tls is None:
        return plain
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.check_hostname = tls.check_hostname
    if tls.certificate_file:
        password = tls.key_password.get_secret_value() if tls.key_password else None
        context.load_cert_chain(tls.certificate_file, tls.key_file, password)
    return context.wrap_socket(plain, server_hostname=host)


def _refused(known: SaslSettings, connection: socket.socket, host: str, end: float) -> str:
    protocol = KafkaProtocol(client_id="moderation")
    greeting = SaslHandshakeRequest(mechanism=known.mechanism, version=1)
    if _ask(connection, protocol, greeting, end).error_code:
        return f"the brokers do not know the SASL mechanism {known.mechanism}"
    mechanism = get_sasl_mechanism(known.mechanism)(
        host=host,
        sasl_mechanism=known.mechanism,
        sasl_plain_username=known.username,
        sasl_plain_password=known.password.get_secret_value(),
    )
    while not mechanism.is_done():
        answer = _ask(connection, protocol, SaslAuthenticateRequest(mechanism.auth_bytes(), version=1), end)
        if answer.error_code:
            return f"the brokers refuse user {known.username!r}: {answer.error_message}"
        mechanism.receive(answer.auth_bytes)
    return ""


def _ask(connection: socket.socket, protocol: KafkaProtocol, request: Any, end: float) -> Any:
    """The answer to one request. Raises OSError where none comes in time."""
    protocol.send_request(request)
    connection.sendall(protocol.send_bytes())
    while True:
        connection.settimeout(max(0.01, end - time.monotonic()))
        read = connection.recv(65_536)
        if not read:
            raise ConnectionError
        for _, answer in protocol.receive_bytes(read):
            return answer
