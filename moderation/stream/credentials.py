"""Whether the files of TLS can be used, and whether the brokers refuse us: asked once where a client could not be opened, since to it a refusal is a lost connection.

A broker that refuses credentials says so and closes the connection; kafka-python reads both in one go, and forgets what was said.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kafka import errors as kafka
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.metadata import ApiVersionsRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

from moderation.errors import ExitCode, SettingsError, StreamError
from moderation.sections import KafkaSettings, SaslSettings, StreamSettings, TlsSettings
from moderation.stream.faults import fatal


@contextlib.contextmanager
def opening(what: str, settings: StreamSettings) -> Iterator[None]:
    """Around whatever opens a client: as `fatal`, and where no broker could be used they are asked whether they refuse us.

    Raises StreamError, and SettingsError for files of TLS that cannot be used.
    """
    if settings.kafka.tls:
        _context(settings.kafka.tls)
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
    """What is wrong with TLS, certificates or credentials, after the first broker that could be asked; empty where nothing is, or none could be."""
    for address in settings.bootstrap:
        host, _, port = address.rpartition(":")
        place = host.strip("[]"), int(port)
        end = time.monotonic() + seconds
        try:
            with _connected(_context(settings.tls), place, seconds) as connection:
                _greet(connection, end)
                return _refused(settings.sasl, connection, host, end) if settings.sasl else ""
        except ssl.SSLCertVerificationError as error:
            return f"the certificate of {address} cannot be verified: {error.verify_message}"
        except TimeoutError:  # whoever speaks otherwise says so, or hangs up
            continue
        except (OSError, ValueError, kafka.KafkaError):
            if _answers(_any_certificate() if settings.tls is None else None, place, seconds):
                spoken = "TLS, for which there is no section" if settings.tls is None else "no TLS: remove the section"
                return f"{address} speaks {spoken} stream.kafka.tls"
    return ""


def _context(tls: TlsSettings | None) -> ssl.SSLContext | None:
    """How TLS is spoken, None where it is not. Raises SettingsError for files that cannot be used."""
    if tls is None:
        return None
    for key in ("ca_file", "certificate_file", "key_file"):
        _readable(key, getattr(tls, key))
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except ssl.SSLError:
        raise _unusable("ca_file", f"found no certificate in {tls.ca_file}; expected PEM") from None
    context.check_hostname = tls.check_hostname
    if tls.certificate_file:
        password = tls.key_password.get_secret_value() if tls.key_password else ""  # None would ask the terminal
        try:
            context.load_cert_chain(tls.certificate_file, tls.key_file, password)
        except ssl.SSLError:
            said = f"{tls.certificate_file} and its key, or the key's password, cannot be used together; expected PEM"
            raise _unusable("certificate_file", said) from None
    return context


def _readable(key: str, path: str | None) -> None:
    try:
        if path:
            Path(path).open("rb").close()
    except OSError as error:
        raise _unusable(key, f"cannot read {path}: {error.strerror}") from None


def _unusable(key: str, said: str) -> SettingsError:
    return SettingsError(f"settings: stream.kafka.tls.{key}: {said}")


def _any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _connected(context: ssl.SSLContext | None, place: tuple[str, int], seconds: float) -> socket.socket:
    plain = socket.create_connection(place, timeout=seconds)
    return context.wrap_socket(plain, server_hostname=place[0]) if context else plain


def _answers(context: ssl.SSLContext | None, place: tuple[str, int], seconds: float) -> bool:
    """Whether a broker is there that is spoken to in this way; nothing of ours is told to it."""
    try:
        with _connected(context, place, seconds) as connection:
            _greet(connection, time.monotonic() + seconds)
    except (OSError, kafka.KafkaError):
        return False
    return True


def _greet(connection: socket.socket, end: float) -> None:
    """Ask what everybody may ask. Raises OSError where nothing answers as a broker does."""
    _ask(connection, KafkaProtocol(client_id="moderation"), ApiVersionsRequest(version=0), end)


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
