"""The chaos table: what is lost and what comes twice when workers, network and broker fail, for our worker and for loops as tutorials teach them.

All loops run at the same time on one broker, each with its own group and output, two processes each, started again whenever they end. One seeded
schedule of faults strikes them all at the same moment: kill -9 of a process, SIGSTOP (up to beyond the session time-out of 6 s), connections reset, refused, or
stalled by a proxy, the broker restarted. Each record takes 5 ms of work. Then everything is worked off in peace, and a reader of what is committed counts.

    python benchmarks/chaos.py [--faults 16] [--seed 1] [--records 15000] [--loops ours tutorial ...] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.loops import worker
from benchmarks.loops.crew import Crew, tend
from benchmarks.loops.field import Answer, Field, Progress, Run
from benchmarks.loops.plain import Job
from tests.services import available
from tests.services.broker import Broker
from tests.services.proxy import FaultProxy

SESSION, WORK, POLL_RECORDS, TRANSACTION = 6.0, 0.005, 50, 10.0
PATIENCE, MOST_NUDGES = (
    30.0,
    4,
)  # seconds without progress in peace until a person would kill a loop's processes, and how often
LOOPS = {
    "ours": "our worker, exactly once",
    "ours_at_least_once": "our worker, at least once",
    "tutorial": "exactly once, as the Java documentation teaches",
    "at_least_once": "process, flush, then commit",
    "auto_commit": "enable_auto_commit=True",
}
KINDS = {"kill": 5, "freeze": 4, "drop": 2, "refuse": 3, "stall": 3, "restart_broker": 1}
LONGEST = {"freeze": 10.0, "refuse": 6.0, "stall": 8.0, "restart_broker": 3.0}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to which slot, so many seconds after the one before was over, and how long it lasts."""

    kind: str
    slot: str
    after: float
    lasts: float


def schedule(faults: int, seed: int) -> list[Fault]:
    """The same faults for the same seed."""
    chance = random.Random(seed)
    kinds = chance.choices(list(KINDS), list(KINDS.values()), k=faults)
    return [
        Fault(kind, chance.choice("ab"), chance.uniform(1.0, 3.0), chance.uniform(0.2, LONGEST.get(kind, 0.2)))
        for kind in kinds
    ]


def strike(fault: Fault, crews: Sequence[Crew], broker: Broker, proxies: dict[str, FaultProxy]) -> None:
    """Do it to the slot of every crew at once."""
    crews, proxy = list(crews), proxies[fault.slot]
    match fault.kind:
        case "kill":
            for crew in crews:
                crew.kill(fault.slot)
        case "freeze":
            for crew in crews:
                crew.send(fault.slot, signal.SIGSTOP)
            tend(crews, fault.lasts)
            for crew in crews:
                crew.send(fault.slot, signal.SIGCONT)
        case "drop":
            proxy.drop()
        case "refuse":
            proxy.refuse()
            tend(crews, fault.lasts)
            proxy.accept()
        case "stall":
            proxy.stall()
            tend(crews, fault.lasts)
            proxy.flow()
        case "restart_broker":
            broker.stop()
            tend(crews, fault.lasts)
            broker.start()
            broker.wait_until_ready()


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one loop. `ended` counts processes that ended by themselves, `nudged` how often all had to be killed since nothing moved in peace."""

    loop: str
    records: int
    lost: int
    repeated: int
    ended: int
    nudged: int


def counted(records: int, answers: Sequence[Answer]) -> tuple[int, int]:
    """Records without an answer, and answers beyond the first."""
    found = Counter((one.partition, one.offset) for one in answers)
    return records - len(found), found.total() - len(found)


def commands(loop: str, run: Run, bootstraps: dict[str, str], folder: Path) -> dict[str, list[str]]:
    """How the processes of a loop are started, by slot."""
    made = {}
    for slot, bootstrap in bootstraps.items():
        if loop.startswith("ours"):
            config = worker.settings(
                folder, run, bootstrap, slot, session_seconds=SESSION, poll_records=POLL_RECORDS, request_seconds=5.0,
                commit_seconds=TRANSACTION, transaction_seconds=TRANSACTION, stall_seconds=30.0,
                delivery="exactly_once" if loop == "ours" else "at_least_once",
            )  # fmt: skip
            made[slot] = [sys.executable, "-m", "benchmarks.loops.worker", str(config), str(WORK)]
        else:
            job = Job(
                bootstrap, run.input, run.output, run.group, slot, "sleep", WORK, POLL_RECORDS, SESSION, TRANSACTION
            )
            made[slot] = [sys.executable, "-m", "benchmarks.loops.plain", loop, job.to_json()]
    return made


def work_off(loop_of: dict[str, Crew], runs: dict[str, Run], count: int, progress: Progress) -> dict[str, int]:
    """Until every group has committed everything; who does not move is killed, at most MOST_NUDGES times. How often, by loop."""
    nudged = dict.fromkeys(loop_of, 0)
    seen = {loop: (-1, time.monotonic()) for loop in loop_of}
    open_loops = set(loop_of)
    while open_loops:
        tend(list(loop_of.values()), 0.5)
        for loop in sorted(open_loops):
            done, (before, since) = progress.total(runs[loop].group), seen[loop]
            if done != before:
                seen[loop] = done, time.monotonic()
            if done >= count or nudged[loop] > MOST_NUDGES:
                open_loops.remove(loop)
            elif done == before and time.monotonic() > since + PATIENCE:
                nudged[loop] += 1
                seen[loop] = done, time.monotonic()
                for slot in "ab":
                    loop_of[loop].kill(slot)
    return nudged


def measure(loops: Sequence[str], *, faults: int, seed: int, records: int) -> list[Row]:
    """The whole table."""
    if not available.own_broker():
        raise SystemExit("this needs a Kafka broker of its own: make services says what is lacking")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = Broker(folder / "kafka", available.JARS, proxies=2)
        broker.start()
        stack.callback(broker.stop)
        broker.wait_until_ready()
        texts = worker.made_texts(500)
        worker.prepare(folder, texts)
        field = Field(broker.address, 6)
        field.feed(worker.values(texts, records))
        proxies = {slot: FaultProxy(at.listen, at.target) for slot, at in zip("ab", broker.proxied, strict=True)}
        for proxy in proxies.values():
            stack.enter_context(proxy)
        addresses = {slot: proxy.address for slot, proxy in proxies.items()}
        runs = {loop: field.run() for loop in loops}
        crews = {
            loop: Crew(commands(loop, run, addresses, folder), folder / f"{loop}.log") for loop, run in runs.items()
        }
        with ExitStack() as started:
            for crew in crews.values():
                started.enter_context(crew)
            progress = Progress(broker.address)
            stack.callback(progress.close)
            while not all(progress.total(run.group) for run in runs.values()):
                tend(list(crews.values()), 0.2)
            for fault in schedule(faults, seed):
                tend(list(crews.values()), fault.after)
                strike(fault, list(crews.values()), broker, proxies)
            nudged = work_off(crews, runs, records, progress)
        time.sleep(TRANSACTION + 2)  # until what a dead process left open is ended
        return [
            Row(loop, records, *counted(records, field.answers(run)), crews[loop].ends, nudged[loop])
            for loop, run in runs.items()
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--faults", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--records", type=int, default=15_000)
    parser.add_argument("--loops", nargs="+", default=list(LOOPS), choices=list(LOOPS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds = Counter(one.kind for one in schedule(options.faults, options.seed))
    began = time.monotonic()
    rows = measure(options.loops, faults=options.faults, seed=options.seed, records=options.records)
    result = {
        "seed": options.seed, "records": options.records, "faults": dict(kinds), "seconds": round(time.monotonic() - began),
        "rows": [asdict(one) for one in rows],
    }  # fmt: skip
    print(json.dumps(result) if options.json else table(rows, kinds))


def table(rows: Sequence[Row], kinds: Counter[str]) -> str:
    """For people."""
    lines = [
        f"faults for all at the same moments: {', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}"
    ]
    lines.append(f"{'':50}{'records':>9}{'lost':>7}{'twice':>7}{'ended':>7}{'killed as nothing moved':>25}")
    lines += [
        f"{LOOPS[one.loop]:50}{one.records:9}{one.lost:7}{one.repeated:7}{one.ended:7}{one.nudged:25}" for one in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
