"""From nothing to a set-up: what a machine lacks is said exactly, what is done is not done again, CI leaves no trace."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SETUP, RUN, SERVICES = ROOT / ".ci" / "setup", ROOT / ".ci" / "run", ROOT / ".ci" / "services"
BASH = shutil.which("bash") or "/bin/bash"
# A python that is new enough, and has its venv module or lacks it.
PYTHON = '#!{bash}\ncase "$*" in *version_info*) exit {old};; *ensurepip*) exit 1;; *) echo "Python 3.9.2";; esac\n'


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def run(*command: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Outside any make that runs these tests, whose flags would be taken over, and any git hook."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "GIT_"))}
    return subprocess.run(
        command, cwd=cwd, env={**kept, **environ}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH with nothing on it but `mkdir`, and an `id` that says: an ordinary user."""
    folder = tmp_path / "bin"
    program(folder, "id", f"#!{BASH}\necho 1000\n")
    (folder / "mkdir").symlink_to(shutil.which("mkdir") or "/bin/mkdir")
    return folder


def set_up(bare: Path) -> tuple[int, str, str]:
    done = run(BASH, str(SETUP), ".venv", "constraints.txt", cwd=bare.parent, PATH=str(bare), PYTHON="python3")
    return done.returncode, done.stdout, done.stderr


def test_without_python_an_ordinary_user_reads_what_to_install(bare: Path) -> None:
    said = "setup: this machine lacks python3 python3-venv; as root: apt-get install python3 python3-venv\n"
    assert set_up(bare) == (2, "", said)
    assert not (bare.parent / ".venv").exists()


def test_without_venv_too(bare: Path) -> None:
    program(bare, "python3", PYTHON.format(bash=BASH, old=0))
    assert set_up(bare) == (2, "", "setup: this machine lacks python3-venv; as root: apt-get install python3-venv\n")


def test_an_old_python_is_named_with_what_is_needed(bare: Path) -> None:
    program(bare, "python3", PYTHON.format(bash=BASH, old=1))
    code, out, err = set_up(bare)
    assert (code, out) == (2, "")
    assert "Python 3.9.2 is too old; Python 3.11 or newer is needed" in err


# Makes a folder with itself in it for `-m venv`, and talks as pip does.
PIP = """#!{bash}
case "$*" in
    "-m venv"*) mkdir -p "$4/bin"; echo '. "{own}"' > "$4/bin/python"; chmod +x "$4/bin/python" ;;
    *--quiet*) ;;
    "-m pip"*) echo "Collecting torch
  Downloading tiny-1.0.whl.metadata (29 kB)
  Downloading small-1.0.whl (9.9 MB)
  Downloading torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl (539.1 MB)
Installing collected packages: torch, tiny"; exit {code} ;;
esac
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_set_up_that_takes_minutes_tells_how_far_it_is(bare: Path, code: int) -> None:
    (bare / "chmod").symlink_to(shutil.which("chmod") or "/bin/chmod")
    program(bare, "python3", PIP.format(bash=BASH, own=bare / "python3", code=code))
    ended, out, err = set_up(bare)
    assert (ended, err) == (code, "")
    first, *between = out.splitlines()
    assert first.startswith("setup: making .venv, once: ")
    assert between[0] == "setup: fetching torch (539.1 MB)"
    assert between[1].startswith("setup: unpacking, ")
    assert len(between) == (3 if code == 0 else 2)  # that it is ready is said only where it is


def set_up_services(bare: Path, **environ: str) -> tuple[int, str]:
    given = {"MODERATION_TEST_KAFKA": "", "MODERATION_TEST_REDIS": "", **environ}
    done = run(BASH, str(SERVICES), "services", cwd=bare.parent, PATH=str(bare), **given)
    return done.returncode, done.stderr


def test_without_services_one_reads_what_to_install_and_how_to_do_without(bare: Path) -> None:
    code, err = set_up_services(bare)
    assert code == 2
    assert "to do without: make test SERVICES=none" in err
    assert err.endswith("as root: apt-get install default-jre-headless maven redis-server\n")


def test_a_service_that_is_given_is_not_asked_for(bare: Path) -> None:
    assert "default-jre" not in set_up_services(bare, MODERATION_TEST_KAFKA="kafka.test:1")[1]
    given = {"MODERATION_TEST_KAFKA": "kafka.test:1", "MODERATION_TEST_REDIS": "redis.test:2"}
    assert set_up_services(bare, **given) == (0, "")


def test_jars_that_do_not_come_are_told_from_jars_that_are_there(bare: Path) -> None:
    for name in ("java", "redis-server"):
        program(bare, name, f"#!{BASH}\n")
    for name in ("rm", "mv"):
        (bare / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    program(bare, "mvn", f"#!{BASH}\nexit 1\n")
    assert set_up_services(bare)[0] == 2
    program(bare, "mvn", f'#!{BASH}\nmkdir "{bare.parent}/services/kafka.part"\n')
    assert set_up_services(bare) == (0, "")
    assert (bare.parent / "services" / "kafka").is_dir()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile over a set-up that only notes that it ran."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "plugins" / "one").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "plugins/one/pyproject.toml"):
        (tmp_path / name).touch()
    program(tmp_path / ".ci", "setup", '#!/bin/sh\nmkdir -p "$1" && echo "$@" >> ran\n')
    program(tmp_path / ".ci", "need", "")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return tmp_path


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="needs make")
needs_git = pytest.mark.skipif(not shutil.which("git"), reason="needs git")


def ready(project: Path, *flags: str) -> int:
    return run("make", *flags, ".venv/.ready", cwd=project).returncode


@needs_make
@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", ".ci/setup", "plugins/one/pyproject.toml"])
def test_a_finished_set_up_is_done_again_only_when_what_it_was_made_from_changes(project: Path, name: str) -> None:
    assert ready(project, "-q") == 1
    assert [ready(project), ready(project), ready(project, "-q")] == [0, 0, 0]
    assert (project / "ran").read_text() == ".venv constraints.txt\n"
    later = (project / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(project / name, (later, later))
    assert ready(project, "-q") == 1


@needs_make
def test_a_set_up_that_failed_is_not_taken_for_done(project: Path) -> None:
    program(project / ".ci", "setup", '#!/bin/sh\nmkdir -p "$1"\nexit 2\n')
    assert ready(project) == 2
    assert ready(project, "-q") == 1


@needs_make
def test_tests_want_the_services_unless_they_are_told_to_do_without(project: Path) -> None:
    def wants(*given: str) -> bool:
        return ".ci/services build/services" in run("make", "-n", "test", *given, cwd=project).stdout

    (project / "tests" / "services").mkdir(parents=True)
    (project / "tests" / "services" / "pom.xml").touch()
    program(project / ".ci", "services", "#!/bin/sh\n")
    assert wants()
    assert not wants("SERVICES=none")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What CI is given, with a `make` that does what the file `tests` says."""
    program(tmp_path / "bin", "make", '#!/bin/sh\necho "make $*"\n. ./tests\n')
    program(tmp_path / "source" / ".ci", "run", RUN.read_text())
    (tmp_path / "source" / "tests").write_text("true\n")
    return tmp_path / "source"


def ci(checkout: Path) -> subprocess.CompletedProcess[str]:
    path = f"{checkout.parent / 'bin'}:{os.environ['PATH']}"
    return run(str(checkout / ".ci" / "run"), cwd=checkout.parent, PATH=path)


def commit(checkout: Path) -> None:
    named = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    for words in (["init", "-q"], ["add", "--all"], [*named, "commit", "-q", "--no-verify", "-m", "all"]):
        assert run("git", *words, cwd=checkout).returncode == 0


@needs_git
def test_ci_fails_where_the_tests_leave_something_behind(checkout: Path) -> None:
    commit(checkout)
    clean = ci(checkout)
    assert (clean.returncode, clean.stdout, clean.stderr) == (0, "make test\n", "")
    (checkout / "tests").write_text("echo > left\n")
    commit(checkout)
    done = ci(checkout)
    assert (done.returncode, done.stderr) == (1, "run: the checkout is not clean after the tests:\n?? left\n")


@needs_git
def test_ci_fails_where_the_tests_change_a_file(checkout: Path) -> None:
    (checkout / "tests").write_text("echo >> tests\n")
    commit(checkout)
    assert (ci(checkout).returncode, ci(checkout).stderr.splitlines()[-1]) == (1, " M tests")


def test_ci_asks_no_git_where_there_is_no_checkout(checkout: Path) -> None:
    (checkout / "tests").write_text("echo > left\n")
    assert ci(checkout).returncode == 0


def test_ci_fails_with_the_tests(checkout: Path) -> None:
    (checkout / "tests").write_text("exit 7\n")
    assert ci(checkout).returncode == 7
