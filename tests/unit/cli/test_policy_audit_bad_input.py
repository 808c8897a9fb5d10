"""Bad data, bad policies and bad locks given to `policy audit` and its neighbours: a located error or an honest *not assessed*, never a
crash, never a silent pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as safetensors

from moderation.cli import main
from moderation.detector.base import DetectionBatch
from moderation.encoder.base import Encoded
from moderation.errors import ExitCode
from tests.fakes import FakeDetector, always, plugins_with
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_policy_audit import AUDIT
from tests.unit.cli.texts import POLICY
from tests.unit.cli.words import BENIGN, FILLER, VIOLATING, WordEncoder, write_project

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: WordEncoder())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certified policy that declares an audit; made once, copied for each test."""
    folder = tmp_path_factory.mktemp("built") / "policies"
    path = write_project(folder)
    text = POLICY.replace("certify: data/certify.jsonl}", "certify: data/certify.jsonl, audit: data/audit.jsonl}")
    path.write_text(text + AUDIT.format(tolerance=0.3, required="false"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moderation.assemble.encoder", lambda *_args, **_options: WordEncoder())
        for step in ("compile", "certify"):
            assert main.run(["policy", step, str(path)]) == ExitCode.OK
    return path


@pytest.fixture
def policy(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built.parent, tmp_path / "policies")
    return tmp_path / "policies" / built.name


def items(count: int, dialect: Callable[[int], Any] = lambda n: ("north", "south")[n % 2], **more: Any) -> list[Row]:
    """Greetings, each a cluster of its own; every `dialect` that is not None is stated."""
    random, rows = np.random.default_rng(0), []
    for number in range(count):
        words = [*random.choice(more.get("words", BENIGN), size=3), *random.choice(FILLER, size=2), f"audit{number}"]
        said = dialect(number)
        attributes = {} if said is None else {"dialect": said}
        rows.append(
            {
                "text": " ".join(words),
                "target": more.get("target", False),
                "cluster": f"a{number}",
                "attributes": attributes,
            }
        )
    return rows


def given(policy: Path, rows: Iterable[Mapping[str, Any] | str]) -> None:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in rows]
    (policy.parent / "data" / "audit.jsonl").write_text("\n".join(lines) + "\n")


def audited(
    policy: Path, run: Run, rows: Sequence[Row], *, required: bool = False
) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """The exit code, the one harm's result, and the whole audit; the page is written too, as it must be of anything."""
    given(policy, rows)
    page = policy.parent / "audit.html"
    code, out, err = run("policy", "audit", policy, "--json", "--html", page, "--markdown", page.with_suffix(".md"))
    assert "Traceback" not in err
    assert page.exists(), err
    found = json.loads(out)
    return code, found["harms"][0], found


def refused(policy: Path, run: Run, rows: Iterable[Mapping[str, Any] | str], command: str = "audit") -> tuple[int, str]:
    given(policy, rows)
    code, out, err = run("policy", command, policy)
    assert "Traceback" not in err
    assert "pass" not in out
    return code, err


def test_a_group_with_one_class_is_told_for_each_harm(policy: Path, run: Run) -> None:
    path_text = policy.read_text()
    assert "metric: fpr" in path_text
    _, harm, found = audited(policy, run, items(80, target=True, words=VIOLATING))
    assert harm["verdict"] == "not assessed"
    assert "no group has benign items of at least 10 clusters; clusters: north 0, south 0" in harm["reason"]
    assert found["verdict"] == "not assessed"
    assert all(one["auc"] is None for one in found["attributes"][0]["rankings"])
    assert any("every one of 80 items is violating" in one for one in found["not_assessed"])


def test_all_targets_false_say_what_cannot_be_ranked(policy: Path, run: Run) -> None:
    _, harm, found = audited(policy, run, items(200))
    assert harm["verdict"] == "pass"
    assert any("every one of 200 items is benign" in one for one in found["not_assessed"])
    assert found["attributes"][0]["reliability"] == []


def test_a_group_with_no_eligible_item_stands_in_the_way_of_a_pass(policy: Path, run: Run) -> None:
    only_violating = [
        {**one, "text": f"west {one['text']}", "cluster": f"w{n}"}
        for n, one in enumerate(items(40, lambda _: "west", target=True, words=VIOLATING))
    ]
    _, harm, _ = audited(policy, run, items(400) + only_violating)
    assert harm["verdict"] == "insufficient evidence"
    assert "too few clusters of west" in harm["reason"]


def test_tiny_cells_are_listed_and_stand_in_the_way_of_a_pass(policy: Path, run: Run) -> None:
    _, harm, _ = audited(policy, run, items(403, lambda n: "rare" if n >= 400 else ("north", "south")[n % 2]))
    assert harm["verdict"] == "insufficient evidence"
    rare = next(cell for cell in harm["cells"] if cell["group"] == "rare")
    assert (rare["items"], rare["compared"]) == (3, False)
    assert "too few clusters of rare" in harm["reason"]


def test_three_items_in_all(policy: Path, run: Run) -> None:
    _, harm, _ = audited(policy, run, items(3))
    assert harm["verdict"] == "not assessed"


def test_one_group_alone(policy: Path, run: Run) -> None:
    _, harm, _ = audited(policy, run, items(60, lambda _: "north"))
    assert harm["verdict"] == "not assessed"
    assert "only north has" in harm["reason"]


def test_an_attribute_that_no_row_states_is_told_with_those_that_are(policy: Path, run: Run) -> None:
    rows = [{**one, "attributes": {"dialekt": "north"}} for one in items(60)]
    code, harm, found = audited(policy, run, rows)
    assert (code, harm["verdict"]) == (ExitCode.OK, "not assessed")
    assert harm["reason"] == "no item of the audit data states dialect; stated: dialekt"
    assert any("dialect: not stated by 60 of 60 items" in one for one in found["not_assessed"])


def test_a_required_harm_that_cannot_be_assessed_refuses(policy: Path, run: Run) -> None:
    policy.write_text(policy.read_text().replace("required: false", "required: true"))
    for step in ("compile", "certify"):
        assert run("policy", step, policy)[0] == ExitCode.OK
    code, harm, _ = audited(policy, run, items(60, lambda _: None))
    assert (code, harm["verdict"]) == (ExitCode.AUDIT_FAILED, "not assessed")


@pytest.mark.parametrize("blank", ["", "  ", "\t\n "])
def test_an_attribute_that_some_rows_leave_out_or_blank_is_unknown_and_counted(
    policy: Path, run: Run, blank: str
) -> None:
    rows = items(400, lambda n: (None, blank)[n % 2] if n < 50 else ("north", " south ")[n % 2])
    _, harm, found = audited(policy, run, rows)
    assert [cell["group"] for cell in harm["cells"]] == ["north", "south"]
    assert found["attributes"][0]["unknown"] == 50
    assert any("dialect: not stated by 50 of 400 items" in one for one in found["not_assessed"])


@pytest.mark.parametrize("value", [1, True, None, ["north"], {"is": "north"}, 1.5])
def test_an_attribute_that_is_no_text_is_located(policy: Path, run: Run, value: object) -> None:
    rows = items(20)
    rows[7]["attributes"] = {"dialect": value}
    code, err = refused(policy, run, rows)
    assert code == ExitCode.DATA
    assert "audit.jsonl:8:1: D003: attributes.dialect" in err


def test_hundreds_of_groups_are_compared_and_listed_in_part(policy: Path, run: Run) -> None:
    rows = items(1800, lambda n: f"dialect {n % 150:03d}")
    _, harm, _ = audited(policy, run, rows)
    assert len(harm["cells"]) == 150
    assert (harm["pairs"], len(harm["gaps"])) == (150 * 149 // 2, 200)
    assert harm["verdict"] in {"insufficient evidence", "not assessed"}
    page = (policy.parent / "audit.html").read_text()
    assert "the largest 20 of 11,175; the JSON lists more" in page


def test_names_of_groups_that_are_long_or_strange_break_nothing(policy: Path, run: Run) -> None:
    names = ["<script>alert(1)</script>", "x" * 500, "a|b\nc", "\u202eright to left"]
    _, harm, _ = audited(policy, run, items(80, lambda n: names[n % 4]))
    assert len(harm["cells"]) == 4
    page, markdown = (policy.parent / f"audit.{end}" for end in ("html", "md"))
    assert "<script" not in page.read_text()
    assert "<script" not in markdown.read_text()


def test_the_same_content_twice_in_the_manifest_is_located(policy: Path, run: Run) -> None:
    rows = items(20)
    code, err = refused(policy, run, [*rows, {**rows[3], "cluster": "other", "attributes": {"dialect": "south"}}])
    assert code == ExitCode.DATA
    assert "audit.jsonl:21:1: D004: the same content is at line 4" in err


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("background", "the classifier was made from"),
        ("fit", "the classifier was made from"),
        ("certify", "the thresholds were chosen on"),
    ],
)
def test_items_of_another_split_may_not_be_audited(policy: Path, run: Run, split: str, said: str) -> None:
    other = json.loads((policy.parent / "data" / f"{split}.jsonl").read_text().splitlines()[0])
    content = {**other, "cluster": "another cluster", "attributes": {"dialect": "north"}}
    cluster = {**items(1)[0], "cluster": other["cluster"]}
    for row in (content, cluster):
        code, err = refused(policy, run, [*items(20)[1:], row])
        assert code == ExitCode.DATA
        assert "audit.jsonl:20:1: D201" in err
        assert said in err
    code, err = refused(policy, run, [*items(20)[1:], {**content, "text": content["text"].upper() + "!"}])
    assert (code, "audit.jsonl:20:1: D008" in err) == (ExitCode.DATA, True)
    assert "what a classifier is made from, or certified on, cannot audit it" in err


@pytest.mark.parametrize("split", ["fit", "certify"])
def test_splits_that_share_an_item_compile_nothing(policy: Path, run: Run, split: str) -> None:
    shared = (policy.parent / "data" / f"{split}.jsonl").read_text().splitlines()[0]
    code, err = refused(policy, run, [*items(20), shared], "compile")
    assert code == ExitCode.DATA
    assert "audit.jsonl:21:1: D007" in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "half a line', "D002"),
        ('{"text": "x", "target": NaN, "cluster": "c"}', "D002"),
        ('{"text": "x", "target": "no", "cluster": "c"}', "D003"),
        ('{"path": "../../nowhere.png", "sha256": "' + "0" * 64 + '", "target": false, "cluster": "c"}', "D005"),
        ("x" * 1_000_001, "D002"),
    ],
    ids=["no json", "not a number", "no boolean", "no file", "too long"],
)
def test_rows_that_cannot_be_read_are_located(policy: Path, run: Run, line: str, said: str) -> None:
    code, err = refused(policy, run, [*items(20), line])
    assert code == ExitCode.DATA
    assert "audit.jsonl:21:" in err
    assert said in err


def test_a_manifest_that_is_not_there_or_empty(policy: Path, run: Run) -> None:
    (policy.parent / "data" / "audit.jsonl").unlink(missing_ok=True)
    code, _, err = run("policy", "audit", policy)
    assert (code, "D001" in err) == (ExitCode.DATA, True)
    code, err = refused(policy, run, [""])
    assert (code, "the manifest holds no rows" in err) == (ExitCode.DATA, True)


def test_content_that_cannot_be_decoded_is_excluded_counted_and_stands_in_the_way(policy: Path, run: Run) -> None:
    rows = items(400)
    for row in rows[:80:2]:  # forty of the north
        row["text"] = "\x00" + row["text"]

    class Reads(WordEncoder):
        def encode_text(self, texts: Sequence[str]) -> Encoded:
            found = super().encode_text(texts)
            unreadable = [n for n, text in enumerate(texts) if text.startswith("\x00")]
            vectors = found.vectors.copy()
            vectors[unreadable] = np.nan  # what an overflow in half precision leaves
            return Encoded(vectors, {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moderation.assemble.encoder", lambda *_args, **_options: Reads())
        _, harm, found = audited(policy, run, rows)
    assert sum(found["excluded"].values()) == 40
    assert "encoder_error" in next(iter(found["excluded"]))
    lost = {one["group"]: one["lost"] for one in found["attributes"][0]["groups"]}
    assert lost == {"north": 40, "south": 0}
    assert harm["verdict"] == "insufficient evidence"
    assert "too many items could not be judged" in harm["reason"]


def test_a_detector_that_says_nan_excludes_its_items_and_nothing_passes(
    policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(batch: DetectionBatch) -> Any:
        return always(float("nan"), "pills")(batch)

    silent = plugins_with(FakeDetector("keywords", always(0.0, "pills"), labels=("pills",)))
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: silent)
    policy.write_text(policy.read_text() + "detectors: [keywords/pills]\n")
    for step in ("compile", "certify"):
        assert run("policy", step, policy)[0] == ExitCode.OK
    broken = plugins_with(FakeDetector("keywords", answer, labels=("pills",)))
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: broken)
    code, harm, found = audited(policy, run, items(100))
    assert (code, harm["verdict"]) == (ExitCode.OK, "not assessed")
    # What the classifier alone takes over a threshold is decided, whatever the detector would have said.
    assert sum(found["excluded"].values()) == 100 - found["items"] > 90
    assert next(iter(found["excluded"])) == "detector_error (ValueError)"
    assert run("policy", "test", policy)[0] == ExitCode.TESTS_FAILED
    code, _, err = run("policy", "certify", policy)
    assert code in {ExitCode.PLUGIN, ExitCode.DATA}
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["audit", "test", "certify", "compile"])
def test_a_policy_that_refers_to_a_missing_clause_is_located(policy: Path, run: Run, command: str) -> None:
    text = policy.read_text().replace("covers: [v1]", "covers: [v7]")
    policy.write_text(text)
    given(policy, items(20))
    code, _, err = run("policy", command, policy)
    line = next(number for number, one in enumerate(text.splitlines(), start=1) if "v7" in one)
    assert code == ExitCode.POLICY
    assert f"flyers.yaml:{line}:" in err
    assert "P105" in err
    assert "v7" in err


@pytest.mark.parametrize("command", ["audit", "test", "certify"])
@pytest.mark.parametrize(
    "edit",
    [
        lambda lock: lock["actions"][0].update(threshold=0.01),
        lambda lock: lock.update(max_parts=99),
        lambda lock: lock["evidence"].pop("asked", None) or lock["evidence"].update(seed=7),
        lambda lock: lock.update(surfaces=["somewhere"]),
    ],
    ids=["threshold", "parts", "evidence", "scope"],
)
def test_a_lock_whose_json_was_edited_is_refused(
    policy: Path, run: Run, command: str, edit: Callable[[dict[str, Any]], Any]
) -> None:
    given(policy, items(20))
    path = policy.with_name("flyers.lock.json")
    lock = json.loads(path.read_text())
    edit(lock)
    path.write_text(json.dumps(lock, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    code, out, err = run("policy", command, policy)
    assert code == ExitCode.ENCODER
    assert "flyers.lock.json: was edited after it was built" in err
    assert "pass" not in out


@pytest.mark.parametrize("command", ["audit", "test", "certify"])
def test_a_lock_whose_arrays_were_edited_is_refused(policy: Path, run: Run, command: str) -> None:
    given(policy, items(20))
    path = policy.with_name("flyers.lock.safetensors")
    arrays = safetensors.load(path.read_bytes())
    arrays["numbers"] = arrays["numbers"] + 1.0
    path.write_bytes(safetensors.save(arrays))
    code, _, err = run("policy", command, policy)
    assert code == ExitCode.ENCODER
    assert "flyers.lock.safetensors: SHA-256 is" in err


def test_the_manifest_of_another_policy_is_not_assessed(policy: Path, run: Run) -> None:
    rows = [{**one, "attributes": {"skin_tone": "light", "gender": "man"}} for one in items(60)]
    code, harm, _ = audited(policy, run, rows)
    assert (code, harm["verdict"]) == (ExitCode.OK, "not assessed")
    assert harm["reason"].endswith("stated: gender, skin_tone")


def test_pictures_for_a_policy_about_texts_are_out_of_scope(policy: Path, run: Run) -> None:
    from moderation.item import content_digest

    picture = policy.parent / "data" / "one.png"
    picture.write_bytes(b"picture of something")
    row = {
        "path": "one.png",
        "sha256": content_digest(picture.read_bytes()),
        "target": False,
        "cluster": "p",
        "attributes": {"dialect": "north"},
    }
    _, _, found = audited(policy, run, [*items(60), row])
    assert found["excluded"] == {"out of scope": 1}
    assert "1 item: out of scope" in found["not_assessed"]


def test_a_reviewers_outcome_that_cannot_be_read_is_located_before_anything_is_judged(
    policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy.write_text(policy.read_text().replace("  counterfactuals:", "  review: {outcome: said}\n  counterfactuals:"))
    for step in ("compile", "certify"):
        assert run("policy", step, policy)[0] == ExitCode.OK
    rows = items(20)
    rows[4]["attributes"]["said"] = "dunno"
    monkeypatch.setattr(
        "moderation.assemble.pipeline", lambda *_args, **_options: pytest.fail("nothing is to be judged")
    )
    code, err = refused(policy, run, rows)
    assert code == ExitCode.DATA
    assert "audit.jsonl:5:1: D003: attributes.said: found 'dunno'" in err


def test_a_huge_manifest_goes_by_in_batches_and_says_how_far_it_is(
    policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    told: dict[str, int] = {}

    class Counts(WordEncoder):
        def encode_text(self, texts: Sequence[str]) -> Encoded:
            sizes.append(len(texts))
            return super().encode_text(texts)

    class Watched:
        def __init__(self, what: str, total: int | None) -> None:
            self.what = what
            told[f"{what}: total"] = total or 0

        def __enter__(self) -> Callable[[int], None]:
            return lambda count: told.update({self.what: told.get(self.what, 0) + count})

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: Counts())
    monkeypatch.setattr("moderation.cli.terminal.progress", Watched)
    _, harm, found = audited(policy, run, items(2000))
    assert harm["verdict"] == "pass"
    assert found["items"] == 2000
    assert max(sizes) <= 64
    assert sum(sizes) < 2_100  # each content once, and the lock's golden phrases
    for what in ("judging", "looking at vectors"):
        assert (told[what], told[f"{what}: total"]) == (2000, 2000)
