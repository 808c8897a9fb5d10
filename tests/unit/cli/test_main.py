"""The command line as a whole: help that teaches, exit codes, and what goes to which stream."""

from __future__ import annotations

import gc
import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moderation.cli import main, process, terminal
from moderation.detector.names import SLUG
from moderation.errors import DataError, ExitCode, ModerationError, PolicyError, Problem
from moderation.settings import load_settings
from tests.conftest import ROOT


def commands() -> Iterator[tuple[str, Any]]:
    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for key, one in command.commands.items():
                yield from walk(f"{name} {key}", one)
        else:
            yield name, command

    yield from walk("moderation", main.command())


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_command_says_what_it_does_and_shows_an_example(name: str, command: Any) -> None:
    first = command.help.splitlines()[0]
    assert first.endswith((".", ":"))
    assert f"Example: {name}" in command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_help_is_broken_where_the_terminal_ends_and_nowhere_else(
    name: str, command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    assert main.run([*name.split()[1:], "--help"]) == ExitCode.OK
    told = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for paragraph in inspect.cleandoc(command.callback.__doc__).split("\n\n"):
        assert " ".join(paragraph.split()) in told
    assert f"Usage: {name}" in told[1]
    assert not re.search(r"\.\.\.[\]}]", told[1].replace("WORDS PATH...", ""))  # typer adds its own


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("scan pictures", "Missing option '--policy'.\nA certified policy file, or a lock; repeat for more."),
        ("policy compile", "Missing argument 'POLICY.yaml'.\nThe policy's YAML file."),
        ("policy schema policy more", "Got unexpected extra argument"),
        ("scan pictures --polcy x", "No such option: --polcy"),
    ],
)
def test_a_command_typed_wrong_is_answered_with_what_it_takes_and_its_example(
    typed: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main.run(typed.split()) == ExitCode.USAGE
    lines = [line.strip("│ ") for line in capsys.readouterr().err.splitlines()]
    assert told in "\n".join(lines).replace(" (env var: 'None')", "")  # click 8.2's, of any option
    name = "moderation " + " ".join(one for one in typed.split()[:2] if one != "pictures")
    assert any(line.startswith(f"Example: {name}") for line in lines), lines


def test_while_a_command_loads_what_is_loaded_is_not_looked_through_for_garbage_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    monkeypatch.setattr(main, "run", lambda _: gc.get_threshold()[0])
    try:
        with pytest.raises(SystemExit) as left:
            main.main([])
    finally:
        gc.set_threshold(*usual)
    assert left.value.code == process.GARBAGE


def test_help_teaches_the_usual_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == ExitCode.OK
    told = capsys.readouterr().out
    policy = [f"policy {step}" for step in ("new", "lint", "plan", "compile", "certify", "test")]
    steps = [*policy, "scan pictures", "policy release"]
    places = [told.index(f"moderation {step}") for step in steps]
    assert places == sorted(places)


def test_the_order_is_told_in_lines_that_are_not_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main.run(["--help"])
    order = capsys.readouterr().out.split("The usual order")[1].split("All of it")[0].splitlines()[1:]
    assert all(line.strip().startswith("moderation ") for line in order if line.strip())


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == ExitCode.USAGE
    assert "Usage: moderation" in "".join(capsys.readouterr())


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    from moderation import __version__

    assert main.run(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out == f"moderation {__version__}\n"


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["polcy"]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert "policy" in told.err


def make_fail(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    def fail(_config: object, *, as_json: bool) -> None:
        raise failure

    monkeypatch.setattr("moderation.cli.health.report", fail)


@pytest.mark.parametrize("kind", [ModerationError, *ModerationError.__subclasses__()], ids=lambda kind: kind.__name__)
def test_an_error_of_ours_is_a_message_and_its_exit_code(
    kind: type[ModerationError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = kind.__new__(kind)
    Exception.__init__(failure, "the flux is low")
    make_fail(monkeypatch, failure)
    assert main.run(["doctor"]) == kind.exit_code
    assert capsys.readouterr() == ("", "error: the flux is low\n")


def test_located_problems_stand_one_a_line_with_their_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = [Problem(Path("p.yaml"), line, 1, "P100", "x" * 300) for line in (9, 2)]
    make_fail(monkeypatch, PolicyError(problems))
    assert main.run(["doctor"]) == ExitCode.POLICY
    told = capsys.readouterr().err.splitlines()
    assert [line[:9] for line in told] == ["p.yaml:2:", "p.yaml:9:", "error: 2 "]
    assert told[0].endswith("x" * 300)


@pytest.mark.parametrize("beyond", [0, 1, 150])
def test_one_mistake_on_many_lines_is_told_ten_times_and_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], beyond: int
) -> None:
    alike = [Problem(Path("fit.jsonl"), line, 1, "D003", "target: required") for line in range(1, 11 + beyond)]
    make_fail(monkeypatch, DataError([*alike, Problem(Path("fit.jsonl"), 500, 1, "D003", "another")]))
    assert main.run(["doctor"]) == ExitCode.DATA
    told = capsys.readouterr().err.splitlines()
    noun = "line" if beyond == 1 else "lines"
    rest = [f"fit.jsonl: D003: and {beyond} more {noun} of the same"] if beyond else []
    assert told == [
        *map(str, alike[:10]),
        *rest,
        "fit.jsonl:500:1: D003: another",
        f"error: {11 + beyond} data problems",
    ]


def test_another_exception_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    make_fail(monkeypatch, RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        main.run(["doctor"])


def test_control_c_leaves_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_fail(monkeypatch, KeyboardInterrupt())
    assert main.run(["doctor"]) == 130
    assert "Traceback" not in "".join(capsys.readouterr())


def test_control_c_before_a_command_begins_leaves_without_a_traceback_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "command", interrupted)
    assert main.run(["doctor"]) == 130


# Ctrl-C in the middle of the first import of a library, and how a process is then to end.
INTERRUPTED = """
import os, runpy, signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
{before}
sys.argv = ["moderation", "--version"]
runpy.run_module("moderation", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("before", "code", "said"),
    [
        # Said, since tests that run in the background would hand on that it is ignored.
        ("signal.signal(signal.SIGINT, signal.default_int_handler)", -signal.SIGINT, ""),
        ("signal.signal(signal.SIGINT, signal.SIG_IGN)", 0, "moderation "),
    ],
    ids=["as ever", "ignored"],
)
def test_control_c_while_commands_are_loaded_leaves_without_a_traceback(before: str, code: int, said: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED.format(before=before)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr, done.stdout[: len(said)]) == (code, "", said)


def test_a_reader_that_leaves_gives_no_traceback() -> None:
    command = [sys.executable, "-m", "moderation", "--version"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_colours_appear_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    failure = DataError([Problem(Path("p"), 1, 1, "D1", "[bold]not markup[/bold]")])
    terminal.error(failure)
    assert "\x1b" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    terminal.error(failure)
    told = capsys.readouterr().err
    assert "\x1b[1;31m" in told
    assert "[bold]not markup[/bold]" in told
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.error(failure)
    assert "\x1b[1;31m" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compile", "certify", "test", "audit"])
def test_a_policy_that_is_not_there_is_said_before_anything_heavy_is_imported(tmp_path: Path, command: str) -> None:
    code = (
        "import sys; from moderation.cli import main; "
        f"code = main.run(['policy', '{command}', 'nope.yaml']); "
        "assert not sys.modules.keys() & {'torch', 'numpy', 'scipy', 'moderation.assemble'}; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        ExitCode.POLICY,
        "nope.yaml: Y001: cannot be read: No such file or directory",
    )


@pytest.mark.parametrize("command", ["lint", "compile", "show"])
def test_a_neighbour_of_a_similar_name_is_what_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "vehicles.yaml").write_text("")
    assert main.run(["policy", command, str(tmp_path / "vehicle.yaml")]) == ExitCode.POLICY
    told = capsys.readouterr()
    meant = f"cannot be read: No such file or directory; did you mean '{tmp_path}/vehicles.yaml'?"
    assert meant in (told.out + told.err).replace("\n", "")


@pytest.mark.parametrize("command", ["compile", "certify", "show"])
def test_a_folder_is_told_which_policy_to_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main.run(["policy", command, str(tmp_path)]) == ExitCode.POLICY
    assert capsys.readouterr().err.splitlines()[0] == f"{tmp_path}: Y001: is a folder; name one policy"
    for name in ("b.yaml", "a.yaml", "a.lock.json"):
        (tmp_path / name).write_text("")
    assert main.run(["policy", command, str(tmp_path)]) == ExitCode.POLICY
    told = capsys.readouterr().err.splitlines()[0]
    assert told == f"{tmp_path}: Y001: is a folder; name one policy, such as {tmp_path}/a.yaml"
    assert main.run(["policy", command, str(tmp_path / "a.lock.json")]) == ExitCode.POLICY
    told = capsys.readouterr().err.splitlines()[0]
    assert told.endswith(f"Y001: is a lock; name the policy that it was made from, such as {tmp_path}/a.yaml")


@pytest.mark.parametrize("watched", [True, False])
def test_a_name_from_a_file_moves_no_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], watched: bool
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: watched)
    terminal.say("item \x1b[2J\x07\r\x9b1m\u202ename\tallow")
    terminal.table(["item"], [["\x1b]0;title\x07"]])
    told = capsys.readouterr().out
    assert "\\u001b[2J\\u0007\\u000d\\u009b1m\\u202ename" in told
    assert not set(told) & set("\x1b\x07\r\x9b\u202e")


def test_a_name_in_a_line_ends_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(terminal.one_line("a\nremove   b\tc\u2028d\u2029e\x85f\r\x0bg"))
    terminal.table(["item"], [["a\nb\tc"]])
    told = capsys.readouterr().out
    assert told.splitlines() == [
        "a\\u000aremove   b\\u0009c\\u2028d\\u2029e\\u0085f\\u000d\\u000bg",
        "  item           ",
        "  a\\u000ab\\u0009c",
    ]


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with terminal.replacing(path) as stream:
        stream.write("whole\n")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), terminal.replacing(path) as stream:
        stream.write(f"half {1 / 0}")
    assert path.read_text() == "whole\n"
    assert [one.name for one in path.parent.iterdir()] == ["out.jsonl"]


def test_a_file_in_a_folder_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    missing = tmp_path / "build"
    refused = pytest.raises(DataError, match=f"there is no folder {missing}; make it first")
    with refused, terminal.replacing(missing / "out.jsonl"):
        pass
    assert not missing.exists()


@pytest.mark.parametrize(
    "command",
    [
        "policy certify p.yaml --out {}", "policy test p.yaml --out {}",
        "policy show p.yaml --out {}", "policy test p.yaml --junit {}/results.xml", "policy schema --out {}/schema.json",
        "scan p.txt --policy p.yaml --out {}/decisions.jsonl", "scan p.txt --policy p.yaml --summary {}/summary.json",
        "train evaluate bundled --data . --out {}",
    ],
)  # fmt: skip
def test_a_folder_to_write_to_must_be_there_before_any_work_is_done(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").touch()
    missing = tmp_path / "no"
    assert main.run(command.format(missing).split()) == ExitCode.USAGE
    told = capsys.readouterr().err.replace("│", "").replace("\n", "").replace(" ", "")
    assert f"thereisnofolder{missing};makeitfirst" in told
    assert not missing.exists()


def test_a_place_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"), terminal.replacing(tmp_path / "file" / "out"):
        pass


def test_a_pipe_is_written_to_and_a_link_is_followed(tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    with terminal.replacing(pipe) as stream:
        stream.write("one")
    assert (os.read(reader, 10), pipe.is_fifo()) == (b"one", True)
    os.close(reader)
    link.symlink_to(file)
    with terminal.replacing(link) as stream:
        stream.write("two")
    assert (link.is_symlink(), file.read_text()) == (True, "two")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("compile", "'moderation policy compile'"),
        ("list", "'moderation dlq list' or 'moderation plugin list'"),
        ("replay", "'moderation dlq replay'"),
    ],
)
def test_a_command_without_its_group_is_answered_with_both_words(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([typed, "x"]) == ExitCode.USAGE
    assert f"did you mean {meant}?" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_policy_id_that_cannot_be_is_a_mistake_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["policy", "new", "Dice"]) == ExitCode.USAGE
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"found 'Dice'; expected {SLUG}, such as 'spam-flyers'" in told
    assert "P103" not in told


def test_both_kinds_of_id_that_the_message_names_can_be(tmp_path: Path) -> None:
    for name in ("loaded-dice", "loaded_dice"):
        assert main.run(["policy", "new", name, "--folder", str(tmp_path)]) == ExitCode.OK


def test_a_variable_that_lacks_its_levels_is_answered_with_the_right_one_which_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODERATION_DEVICE", "cpu")
    assert main.run(["plugin", "list"]) == ExitCode.USAGE
    told = capsys.readouterr().err
    (meant,) = re.findall(r"did you mean (MODERATION_\w+)\?", told)
    assert main.run(["--help"]) == ExitCode.OK
    assert f"{meant}=cpu" in capsys.readouterr().out
    monkeypatch.delenv("MODERATION_DEVICE")
    monkeypatch.setenv(meant, "cpu")
    assert main.run(["plugin", "list"]) == ExitCode.OK
    assert load_settings().encoders["default"].device == "cpu"


def test_a_run_without_its_prepared_folder_is_answered_with_the_command_that_prepares_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "train.toml"
    config.write_bytes((ROOT / "examples" / "bundled_encoder" / "train.toml").read_bytes())
    assert main.run(["train", str(config)]) == ExitCode.TRAINING
    command = "python examples/bundled_encoder/recipe.py --data DATA --work WORK"
    assert command in capsys.readouterr().err
    assert command in config.read_text()
