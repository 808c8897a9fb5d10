"""What is sent to a process and back arrives as it was; whatever else comes back is an abstention, never an exception."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from moderation.decision import Abstention, Score
from moderation.detector.answers import check_answers
from moderation.detector.base import Detection, DetectionBatch
from moderation.detector.faults import ERROR, WRONG, FaultError, SetupError
from moderation.detector.isolated import IsolatedDetector
from moderation.detector.names import is_word
from moderation.detector.runner import Runner
from moderation.detector.wire import (
    LENGTH,
    Description,
    Greeting,
    Limits,
    ReaderDescription,
    decode_answers,
    decode_greeting,
    encode_answers,
    encode_batch,
    encode_greeting,
    encode_raised,
    read_batch,
)
from moderation.item import Modality, Part
from moderation.plugin_sections import DetectorSettings, ReaderSettings
from moderation.reader.base import Reading, check_readings
from moderation.reader.wire import (
    MOST_FRAME_BYTES,
    decode_readings,
    encode_raised_reading,
    encode_readings,
    most_bytes,
    most_told,
)

LABELS = ("risk", "risk/other")
TEXT = st.text(st.characters(), max_size=20)  # half surrogate pairs, too: JSON can name them
NUMBERS = st.floats(0.0, 1.0) | st.sampled_from([0.1, 5e-324, 1.0, -0.0])
EVIDENCE = st.none() | st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=4)
WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
SCORED = st.tuples(
    *(st.builds(Score, st.just(one), NUMBERS, st.booleans(), st.none() | TEXT, EVIDENCE) for one in LABELS)
)
DETECTIONS: st.SearchStrategy[Detection] = st.one_of(
    SCORED, st.builds(Abstention, WORDS, TEXT, WORDS | st.just("")), st.just(WRONG)
)
REGIONS = st.none() | st.tuples(*[st.floats(0.0, 1.0)] * 4)
MODALITIES = st.frozensets(st.sampled_from(Modality))
CONTENT = st.binary(max_size=200)
PARTS = st.lists(
    st.builds(Part, st.sampled_from(Modality), CONTENT, TEXT, TEXT, reader=TEXT, region=REGIONS), max_size=6
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**400, 10**401)
    | st.floats()
    | st.sampled_from(["risk", "risk/other", "shy", ""])
    | TEXT
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["answers", "raised", "abstains"]) | TEXT, inner, max_size=3)
    ),
    max_leaves=12,
)
ANSWERED = st.lists(st.lists(st.tuples(st.sampled_from(LABELS) | LEAVES, LEAVES, LEAVES, LEAVES, TREES), max_size=3))
REPLIES = st.one_of(
    st.binary(max_size=60),
    TREES.map(lambda tree: json.dumps(tree).encode()),
    (TREES | ANSWERED).map(lambda tree: json.dumps({"answers": tree}).encode()),
    TREES.map(lambda tree: json.dumps({"raised": tree}).encode()),
    st.integers(900, 5000).map(lambda deep: b'{"answers": ' + b"[" * deep + b"]" * deep + b"}"),
)


@given(PARTS, st.none() | st.integers(0, 9), st.data())
def test_a_batch_arrives_as_it_was_sent(parts: list[Part], width: int | None, data: st.DataObject) -> None:
    vectors = None if width is None else data.draw(arrays.arrays(np.float16, (len(parts), width)))
    told = st.dictionaries(TEXT, DETECTIONS, max_size=3)
    scores = data.draw(st.none() | st.lists(told, min_size=len(parts), max_size=len(parts)).map(tuple))
    limits = data.draw(st.none() | st.tuples(*[st.integers(1, 10**9)] * 3))
    stream = io.BytesIO(b"".join(encode_batch(DetectionBatch(tuple(parts), vectors, scores), limits=limits)))
    for _ in range(2):
        found = read_batch(stream)
        if found is None:
            break
        batch, told_limits = found
        assert (told_limits, batch.parts, batch.scores) == (limits, tuple(parts), scores)
        if vectors is None:
            assert batch.embeddings is None
        else:
            assert batch.embeddings is not None
            assert (batch.embeddings.dtype, batch.embeddings.shape) == (np.float16, vectors.shape)
            assert batch.embeddings.tobytes() == vectors.tobytes()
            assert batch.embeddings.flags.writeable  # as without a process
    assert found is None
    assert stream.read() == b""


def test_large_parts_are_not_gathered_and_small_ones_are() -> None:
    batch = DetectionBatch((*(Part.text("small"),) * 5000, *(Part.image(bytes(200_000)),) * 3))
    pieces = [len(one) for one in encode_batch(batch)]
    assert len(pieces) < 10
    assert max(pieces) < 300_000


@given(st.lists(DETECTIONS, max_size=5), TEXT)
def test_answers_arrive_as_they_were_sent(answers: list[Detection], revision: str) -> None:
    arrived, told = decode_answers(encode_answers(answers, revision)[LENGTH.size :])
    assert told == revision
    assert list(arrived) == answers
    assert [one is WRONG for one in arrived] == [one is WRONG for one in answers]
    checked = check_answers(answers, len(answers), frozenset(LABELS))
    assert check_answers(arrived, len(answers), frozenset(LABELS)) == checked


@given(
    st.lists(
        st.builds(
            Description,
            TEXT,
            st.tuples(TEXT),
            MODALITIES,
            st.booleans(),
            st.tuples(TEXT),
            st.none() | st.floats(0.0, 1e9),
        )
    ),
    st.lists(st.builds(ReaderDescription, TEXT, MODALITIES, MODALITIES, st.booleans(), TEXT)),
    st.text(st.characters(categories=["L", "N"]), max_size=300),
)
def test_a_greeting_arrives_as_it_was_sent(
    detectors: list[Description], readers: list[ReaderDescription], broken: str
) -> None:
    greeting = Greeting(tuple(detectors), broken, tuple(readers), ("register_readers",))
    assert decode_greeting(encode_greeting(greeting)[LENGTH.size :]) == greeting


SHOWN = st.sampled_from([Modality.IMAGE, Modality.TEXT])
READINGS: st.SearchStrategy[Reading] = st.one_of(
    st.lists(st.builds(Part, SHOWN, CONTENT, WORDS, region=REGIONS), max_size=4),
    st.builds(Abstention, WORDS, TEXT, WORDS | st.just("")),
    st.just(WRONG),
)
LIMITS = (100, 10_000, 30_000)
MOST = most_told(2, LIMITS)


def framed_readings(readings: list[Reading], limits: Limits = LIMITS) -> bytes:
    frame = b"".join(encode_readings(readings, limits, "7"))
    assert LENGTH.unpack_from(frame)[0] == len(frame) - LENGTH.size <= most_bytes(len(readings), limits)
    return frame[LENGTH.size :]


@given(st.lists(READINGS, max_size=5))
def test_readings_arrive_as_they_were_sent(readings: list[Reading]) -> None:
    arrived, revision = decode_readings(framed_readings(readings), most_told(len(readings), LIMITS))
    assert (list(arrived), revision) == (readings, "7")
    assert [one is WRONG for one in arrived] == [one is WRONG for one in readings]


def test_readings_of_more_bytes_than_a_batch_may_have_are_left_out_and_the_others_arrive() -> None:
    readings: list[Reading] = [[Part.image(bytes(size))] for size in (600, 600, 400)]
    arrived, _ = decode_readings(framed_readings(readings, (1, 700, 1000)), MOST)
    assert list(arrived) == [readings[0], Abstention("unsupported_input", cause="too_many_batch_bytes"), readings[2]]


@given(st.integers(0, 10**6), st.tuples(*[st.integers(1, 10**10)] * 3))
def test_a_frame_of_readings_has_room_for_what_one_part_may_have_and_bounds_what_all_may(
    parts: int, limits: Limits
) -> None:
    most = most_bytes(parts, limits)
    assert most <= MOST_FRAME_BYTES
    assert most <= max(limits[1:]) + most_told(parts, limits)
    assert parts == 0 or most >= min(limits[1], MOST_FRAME_BYTES)


def test_json_that_would_take_a_hundred_times_its_size_is_not_read() -> None:
    head = json.dumps({"readings": [[]] * MOST, "revision": ""}).encode()
    with pytest.raises(ValueError, match="found a frame"):
        decode_readings(framed(head), MOST)


READ = st.one_of(
    st.binary(max_size=60),
    (TREES | st.lists(st.lists(st.tuples(SHOWN | LEAVES, st.integers(-1, 9) | LEAVES, TEXT | LEAVES, TREES)))).map(
        lambda tree: json.dumps({"readings": tree, "revision": "1"}).encode()
    ),
    TREES.map(lambda tree: json.dumps({"raised": tree}).encode()),
).flatmap(lambda head: st.binary(max_size=12).map(lambda rest: LENGTH.pack(len(head)) + head + rest))


@given(READ | st.binary(max_size=9))
def test_a_strangers_readings_are_checked_ones_or_a_fault(data: bytes) -> None:
    yields = frozenset({Modality.IMAGE, Modality.TEXT})
    try:
        found = check_readings(decode_readings(data, MOST)[0], 2, yields=yields, limits=ReaderSettings())
    except (FaultError, ValueError):
        return
    assert len(found) == 2
    for one in found:
        assert is_word(one.reason) if isinstance(one, Abstention) else all(part.modality in yields for part in one)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: data[:3]])
def test_readings_with_other_contents_than_they_tell_of_are_none(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match="found"):
        decode_readings(change(framed_readings([[Part.image(b"one"), Part.image(b"two")]])), MOST)


def test_what_a_reader_raised_is_told_by_its_type_alone() -> None:
    with pytest.raises(FaultError, match="detector_error: ValueError"):
        decode_readings(encode_raised_reading(encode_raised(ValueError("canary")))[LENGTH.size :], MOST)


def answers_of(data: bytes) -> tuple[Detection, ...] | str:
    """What is made of a stranger's answer on two parts; the cause, where it says that it raised."""
    try:
        return check_answers(decode_answers(data)[0], 2, frozenset(LABELS))
    except FaultError as fault:
        return fault.cause
    except ValueError:
        return (WRONG, WRONG)


@given(REPLIES)
def test_a_strangers_answer_is_checked_answers_or_a_fault(data: bytes) -> None:
    found = answers_of(data)
    if isinstance(found, str):
        assert found == "" or (found.isidentifier() and len(found) <= 64)
        return
    assert len(found) == 2
    for one in found:
        if isinstance(one, tuple):
            assert {score.label for score in one} == set(LABELS)
            assert all(type(score.value) is float and 0.0 <= score.value <= 1.0 for score in one)
        else:
            assert is_word(one.reason)


@given(REPLIES)
def test_a_strangers_greeting_is_one_or_a_wrong_value(data: bytes) -> None:
    try:
        found = decode_greeting(data)
    except ValueError:
        return
    assert isinstance(found.broken, str)
    assert all(isinstance(one.modalities, frozenset) for one in found.detectors)


class Unspeakable(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_what_was_raised_is_told_by_its_type_alone() -> None:
    for error, cause in (
        (ValueError("canary"), "ValueError"),
        (Unspeakable(), "Unspeakable"),
        (type("not a word", (Exception,), {})(), ""),
        (type("X" * 65, (Exception,), {})(), ""),
    ):
        frame = encode_raised(error)
        assert b"canary" not in frame
        with pytest.raises(FaultError) as told:
            decode_answers(frame[LENGTH.size :])
        assert (told.value.reason, told.value.cause) == (ERROR, cause)


# Greets, waits until it is asked, then says what it was told to say, and waits for its end.
ROGUE = """
import socket, sys
line = socket.socket(fileno=int(sys.argv[-2]))
line.sendall(bytes.fromhex(sys.argv[1]))
line.recv(65536)
line.sendall(bytes.fromhex(sys.argv[2]))
line.close() if sys.argv[3] == "close" else line.recv(65536)
"""
HERE = Description("rogue", LABELS, frozenset(Modality), needs_embeddings=False)


GREETING = encode_greeting(Greeting((HERE,))).hex()


def framed(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


@given(
    reply=st.binary(max_size=60) | REPLIES.filter(lambda one: len(one) < 3000).map(framed),
    after=st.sampled_from(["close", "wait"]),
)
@settings(max_examples=15)
def test_whatever_a_process_says_is_an_abstention_or_in_order(reply: bytes, after: str) -> None:
    rogue = IsolatedDetector(HERE, [sys.executable, "-I", "-S", "-c", ROGUE, GREETING, reply.hex(), after])
    with suppress(SetupError):
        rogue.setup()
    runner = Runner([rogue], settings=DetectorSettings(timeout_seconds=0.25))
    answers = runner.run({"rogue": DetectionBatch((Part.text("one"), Part.text("two")))})["rogue"]
    rogue.close()
    told = [{score.label for score in one} if isinstance(one, tuple) else one.reason for one in answers]
    assert len(told) == 2
    assert all(one == set(LABELS) or is_word(str(one)) for one in told)
    assert runner.counts()["rogue"].calls == 1
