"""``bnsharp check`` against an earlier result: which change passes, and when that result may be compared at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import bnsharp, one_error

SMALL, LARGE = "sample:digits-small-batch", "sample:digits-large-batch"
QUICK = ("--samples", 512, "--batch-size", 64, "--quiet", "--skip", "invariance")
LIMITS = (
    *("--max-increase", "bn=0.3abs", "--max-increase", "loss=50%"),
    *("--max-decrease", "accuracy=1%", "--max-decrease", "bn=99%", "--max-increase", "entropy=50%"),
)
HELD = (*QUICK, "--baseline", "base.json", *LIMITS)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the baseline of the small-batch network, which ``check`` began."""
    folder = tmp_path_factory.mktemp("baseline")
    finished = bnsharp("check", SMALL, *HELD, "--update-baseline", folder=folder)
    assert finished.stdout.splitlines()[-1] == "PASSED: all 2 checks"
    assert "there is no baseline yet" in finished.stdout
    return folder


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    (tmp_path / "base.json").write_text((begun / "base.json").read_text())
    return tmp_path


def checks(*arguments: object, folder: Path, expect: int = 0) -> dict[str, Any]:
    finished = bnsharp("check", *arguments, "--json", folder=folder, expect=expect)
    return {check["name"]: check for check in json.loads(finished.stdout)["checks"] if check["kind"]}


def test_the_same_weights_pass(folder: Path) -> None:
    found = checks(SMALL, *HELD, folder=folder)
    assert {check["outcome"] for check in found.values()} == {"pass"}
    assert {(check["value"], check["low"], check["high"]) for check in found.values()} == {(0, 0, 0)}
    assert "by the same weights" in found["bn vs baseline"]["sentence"]


def test_a_change_is_tested_with_its_paired_interval(folder: Path) -> None:
    found = checks(LARGE, *QUICK, "--baseline", "base.json", "--max-increase", "loss=50%", folder=folder)
    own, (other, *_) = found["loss vs baseline"], json.loads((folder / "base.json").read_text())["batch_losses"]
    assert other > 0
    compared = bnsharp("compare", LARGE, SMALL, *QUICK[:5], "--json", folder=folder)
    (loss, *_) = json.loads(compared.stdout)["comparison"]
    assert (own["low"], own["high"]) == pytest.approx((loss["low"] - 1, loss["high"] - 1))
    assert own["value"] == pytest.approx(loss["values"][0] / loss["values"][1] - 1)
    assert own["outcome"] == ("fail" if own["low"] > 0.5 else "inconclusive")


def test_the_larger_entropy_fails_and_the_baseline_stays(folder: Path) -> None:
    before = (folder / "base.json").read_bytes()
    arguments = (LARGE, *QUICK, "--baseline", "base.json", "--max-increase", "entropy=5%", "--update-baseline")
    found = checks(*arguments, folder=folder, expect=1)
    assert found["entropy vs baseline"]["outcome"] == "fail"
    assert (folder / "base.json").read_bytes() == before
    told = bnsharp("check", *[one for one in arguments if one != "--quiet"], folder=folder, expect=1)
    assert "--baseline stays as it is, since not every check passed" in " ".join(told.stderr.split())


def test_a_result_that_passes_becomes_the_baseline(folder: Path) -> None:
    arguments = (SMALL, *QUICK, "--baseline", "base.json", "--max-increase", "bn=0.3abs", "--max", "weight-norm=99")
    bnsharp("check", *arguments, "--update-baseline", folder=folder)
    assert "weight-norm" in json.loads((folder / "base.json").read_text())["measures"]
    assert [path.name for path in folder.iterdir()] == ["base.json"]


def test_what_measure_wrote_is_a_baseline_too(tmp_path: Path) -> None:
    bnsharp("measure", SMALL, *QUICK[:5], "--output", "measured.json", folder=tmp_path)
    arguments = (*QUICK, "--baseline", "measured.json", "--max-increase", "bn=10%")
    assert checks(SMALL, *arguments, folder=tmp_path)["bn vs baseline"]["outcome"] == "pass"


DIFFERENT = [
    (("--samples", 256), "--samples is 256 for this network and 512 for the baseline"),
    (("--batch-size", 128), "--batch-size is 128 for this network and 64 for the baseline"),
    (("--seed", 1), "--seed is 1 for this network and 0 for the baseline"),
    (("--split", "test", "--samples", 256), "--split is test for this network and train for the baseline"),
    (("--bn", "running"), "--bn is running for this network and batch for the baseline"),
    (("--delta", 1e-2), "--baseline: base.json has no bn at --delta 0.01"),
    (("--max-increase", "noise=5%"), "--baseline: base.json has no noise"),
    (("--max-increase", "dead-rows=0abs"), "--baseline: base.json has no dead-rows"),
    (("--partition", "filter"), "--partition is filter for this network and paper for the baseline"),
]


@pytest.mark.parametrize(("arguments", "says"), DIFFERENT, ids=lambda case: str(case)[:30])
def test_a_baseline_that_was_not_measured_alike_is_exit_2(
    arguments: tuple[object, ...], says: str, folder: Path
) -> None:
    assert says in one_error(bnsharp("check", SMALL, *HELD, *arguments, folder=folder, expect=2))


def test_options_of_a_limited_measure_must_be_alike(tmp_path: Path) -> None:
    limit = (*QUICK, "--baseline", "base.json", "--max-increase", "noise=50%")
    bnsharp("check", SMALL, *limit, "--update-baseline", folder=tmp_path)
    refused = bnsharp("check", SMALL, *limit, "--sigma", 0.1, folder=tmp_path, expect=2)
    assert "--sigma is [0.1] for this network" in one_error(refused)


def test_other_test_data_is_refused_where_a_limit_is_on_it(tmp_path: Path) -> None:
    limit = (*QUICK, "--baseline", "base.json", "--max-increase", "test-loss=50%", "--test-data", "digits")
    bnsharp("check", SMALL, *limit, "--update-baseline", folder=tmp_path)
    assert checks(SMALL, *limit, folder=tmp_path)["test-loss vs baseline"]["outcome"] == "pass"
    document = json.loads((tmp_path / "base.json").read_text())
    document["test"]["data"]["sha256"] = "0" * 64
    (tmp_path / "base.json").write_text(json.dumps(document))
    refused = one_error(bnsharp("check", SMALL, *limit, folder=tmp_path, expect=2))
    assert "--test-data is one content for this network" in refused


def test_another_architecture_is_held_only_against_what_does_not_depend_on_it(folder: Path) -> None:
    document = json.loads((folder / "base.json").read_text())
    document["checkpoint"]["parameters"] += 1
    (folder / "base.json").write_text(json.dumps(document))
    refused = one_error(bnsharp("check", SMALL, *HELD, folder=folder, expect=2))
    assert "The baseline is of another architecture, and bn depends on" in refused
    arguments = (*QUICK, "--baseline", "base.json", "--max-increase", "loss=5%")
    assert checks(SMALL, *arguments, folder=folder)["loss vs baseline"]["outcome"] == "pass"


def test_a_file_that_is_no_baseline_is_refused(folder: Path) -> None:
    for content, says, code in (("{", "no JSON document", 3), ('{"schema": "bnsharp/9"}', "expected the schema", 3)):
        (folder / "other.json").write_text(content)
        finished = bnsharp("check", SMALL, *HELD, "--baseline", "other.json", folder=folder, expect=code)
        assert says in one_error(finished)
    text = json.dumps(json.loads((folder / "base.json").read_text()))
    (folder / "other.json").write_text(f"{text}\n{text}\n")
    finished = bnsharp("check", SMALL, *HELD, "--baseline", "other.json", folder=folder, expect=2)
    assert "--baseline: other.json holds 2 results" in one_error(finished)
    finished = bnsharp("check", SMALL, *HELD, "--baseline", "none.json", folder=folder, expect=2)
    assert "--baseline: there is no file none.json" in one_error(finished)


def test_a_baseline_is_not_written_over_by_accident(folder: Path) -> None:
    finished = bnsharp("check", SMALL, *HELD, "--output", "base.json", folder=folder, expect=2)
    assert "Cannot write base.json: this command reads it" in one_error(finished)
    finished = bnsharp("check", SMALL, *HELD, "--output", "base.json", "--update-baseline", folder=folder, expect=2)
    assert "name the same file" in one_error(finished)
    finished = bnsharp("check", SMALL, LARGE, *HELD, "--update-baseline", folder=folder, expect=2)
    assert "--update-baseline writes the result of one checkpoint" in one_error(finished)
    (folder / "net.pt").write_bytes(b"")
    finished = bnsharp("check", "net.pt", *QUICK, "--baseline", "net.pt", "--update-baseline", folder=folder, expect=2)
    assert "this command reads it" in one_error(finished)
