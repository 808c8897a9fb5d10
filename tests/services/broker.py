"""One Kafka broker of one's own: loopback, chosen ports, data in a folder that is given, stopped by its own process id.

It listens plainly, with SCRAM over TLS, and once for each proxy that clients may come through (a Kafka client connects to the
address that the broker advertises, so what is advertised is the proxy's port).
"""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import Server, free_ports

HOST = "127.0.0.1"
CLUSTER = "moderation-tests-00001"  # 22 characters of base64
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True, slots=True)
class Proxied:
    """A listener behind a proxy: where the proxy must listen, and where it forwards to."""

    listen: int
    target: int


@dataclass(frozen=True, slots=True)
class Secure:
    """The listener with SCRAM-SHA-512 over TLS, and what a client needs for it."""

    address: str
    ca_file: str
    username: str
    password: str


class Broker(Server):
    """A broker that is started, stopped, killed, frozen and started again on the same data and ports."""

    def __init__(self, folder: Path, jars: Path, *, proxies: int = 0) -> None:
        """Make its data folder, keys and properties, ready for so many proxies; raises subprocess.CalledProcessError where Java fails."""
        folder.mkdir(parents=True)
        plain, controller, secure, *rest = free_ports(3 + 2 * proxies)
        self.address = f"{HOST}:{plain}"
        self.proxied = tuple(map(Proxied, rest[:proxies], rest[proxies:]))
        self.secure = Secure(f"{HOST}:{secure}", str(folder / "ca.pem"), "worker", secrets.token_hex(16))
        _make_key(folder, self.secure.password)
        properties = folder / "server.properties"
        properties.write_text(_properties(self, folder, controller), encoding="utf-8")
        java = ["java", *JVM, "-cp", f"{jars}/*"]
        scram = f"SCRAM-SHA-512=[name={self.secure.username},password={self.secure.password}]"
        tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(properties)]
        subprocess.run([*java, *tool, "--add-scram", scram], check=True, capture_output=True)
        super().__init__([*java, "kafka.Kafka", str(properties)], log=folder / "broker.log")

    def wait_until_ready(self, seconds: float = 60) -> None:
        """Return once the broker answers; raises RuntimeError with the end of its log where it does not."""
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        self.wait_until_listening(self.address, seconds)
        while True:
            try:
                KafkaAdminClient(bootstrap_servers=self.address, bootstrap_timeout_ms=1000).close()
            except KafkaError:
                if self.runs():
                    continue
                raise
            return


def _make_key(folder: Path, password: str) -> None:
    tool = ["keytool", "-keystore", str(folder / "key.p12"), "-storepass", password, "-alias", "broker"]
    make = ["-genkeypair", "-keyalg", "EC", "-storetype", "PKCS12", "-dname", "CN=broker", "-ext", f"san=ip:{HOST}"]
    subprocess.run([*tool, *make], check=True, capture_output=True)
    subprocess.run([*tool, "-exportcert", "-rfc", "-file", str(folder / "ca.pem")], check=True, capture_output=True)


def _properties(broker: Broker, folder: Path, controller: int) -> str:
    """One combined KRaft node; time-outs short enough that a test of a time-out is quick."""
    proxied = {f"PROXIED{number}": one for number, one in enumerate(broker.proxied)}
    plain = {"PLAIN": broker.address, "SECURE": broker.secure.address}
    listen = plain | {name: f"{HOST}:{one.target}" for name, one in proxied.items()}
    told = plain | {name: f"{HOST}:{one.listen}" for name, one in proxied.items()}
    protocols = {**dict.fromkeys(["CONTROLLER", "PLAIN", *proxied], "PLAINTEXT"), "SECURE": "SASL_SSL"}
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    lines = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAIN",
        "listeners": ",".join(
            f"{name}://{at}" for name, at in {**listen, "CONTROLLER": f"{HOST}:{controller}"}.items()
        ),
        "advertised.listeners": ",".join(f"{name}://{at}" for name, at in told.items()),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "listener.name.secure.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.secure.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.secure.ssl.keystore.location": folder / "key.p12",
        "listener.name.secure.ssl.keystore.type": "PKCS12",
        "listener.name.secure.ssl.keystore.password": broker.secure.password,
        "log.dirs": folder / "data",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())
