"""The first sentence of a page: what was found, the most important first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bnsharp_cli.measurement.invariance.invariance_row import Invariance
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.report.pages.comparison_blocks import compared_rows
from bnsharp_cli.report.pages.page import PageVerdict
from bnsharp_cli.report.pages.reported import (
    JsonRecord,
    ReportedDocument,
    ReportedNetwork,
    networks_of,
    titles_of_networks,
)
from bnsharp_cli.report.pages.value_blocks import is_sharpness, regime_word

_MOST, _MOST_NAMED, _MOST_PAIRS = 12, 3, 4
_BN = "BN-Sharpness"
_REGIMES = {"linear": ", where the slope alone decides it", "curved": ", where curvature takes part in it"}
_ORDER = ("not measured", "failed", "inconclusive", "compared", "tested", "passed", "bounded", "measured")
"""By the word of a verdict, what comes first."""


def verdicts_of(documents: Sequence[ReportedDocument]) -> list[PageVerdict]:
    """A sentence for every document, at least one."""
    networks = {id(one.document): one for one in networks_of(documents)}
    found = [verdict for one in documents for verdict in _of_document(one, networks.get(id(one.document)))]
    found.sort(key=lambda verdict: _ORDER.index(verdict.word))
    if len(found) <= _MOST:
        return found
    return [*found[:_MOST], PageVerdict("", f"{len(found) - _MOST} more are in the tables below.", word="measured")]


def _of_document(one: ReportedDocument, network: ReportedNetwork | None) -> Iterator[PageVerdict]:
    document = one.document
    if one.command == "failure":
        error = document["error"]
        yield PageVerdict(document["path"] or one.file, f"{error['reason']} {error['remedy']}", "bad", "not measured")
    elif one.command == "compare":
        yield from _of_comparison(document)
    elif network is not None:
        yield _of_network(network, one.command)


def _of_network(network: ReportedNetwork, command: str) -> PageVerdict:
    record, name = network.record, network.name
    if command == "check":
        return _of_checks(name, record)
    if command == "bound":
        return _of_bound(name, record["bound"])
    if command == "audit":
        return _of_verdict(name, record["verdict"]["sentence"], record["verdict"]["holds"])
    if command == "rescale-test":
        return _of_copies(name, record)
    return _of_values(network)


def _of_checks(name: str, record: JsonRecord) -> PageVerdict:
    checks, passed = record["checks"], record["verdict"]["passed"]
    wrong = [one for one in checks if one["outcome"] == "fail"]
    unsure = [one for one in checks if one["outcome"] == "inconclusive"]
    shown = wrong or unsure
    if not shown:
        every = sum(one["outcome"] == "pass" for one in checks)
        skipped = f", and {len(checks) - every} had nothing to test" if every < len(checks) else ""
        return PageVerdict(name, f"passes all {every} checks{skipped}.", "good", "passed")
    said = "; ".join(f"{one['name']}, {one['sentence']}" for one in shown[:_MOST_NAMED])
    more = f"; and {len(shown) - _MOST_NAMED} more" if len(shown) > _MOST_NAMED else ""
    if wrong:
        return PageVerdict(name, f"fails {len(wrong)} of {len(checks)} checks: {said}{more}.", "bad", "failed")
    word = "inconclusive" if passed else "failed"
    sentence = f"leaves {len(unsure)} of {len(checks)} checks open: {said}{more}."
    return PageVerdict(name, sentence, "unsure" if passed else "bad", word)


def _of_bound(name: str, bound: JsonRecord) -> PageVerdict:
    if bound["vacuous"]:
        sentence = "has no bound worth a number: no loss in [0, 1] exceeds 1, and Theorem 3.3 allows that much."
        return PageVerdict(name, sentence, "unsure", "bounded")
    most = bound["tighter_value"] + bound["error"]
    return PageVerdict(
        name,
        f"has a mean loss E L(θ + u) on new {bound['term']} of at most {most:.4g} with probability "
        f"{bound['confidence']:g}, if its KL of {bound['kl']:g} is right.",
        word="bounded",
    )


def _of_verdict(name: str, sentence: str, holds: bool) -> PageVerdict:
    return PageVerdict(f"{name}:", sentence, "good" if holds else "bad", "tested" if holds else "failed")


def _of_copies(name: str, record: JsonRecord) -> PageVerdict:
    if "verdict" in record:
        return _of_verdict(name, record["verdict"]["sentence"], record["verdict"]["invariant"])
    rows = [Invariance(row["verdict"]) for row in record["invariance"]["rows"]]
    same = sum(one is Invariance.SAME for one in rows)
    known = [one for one in rows if one is not Invariance.UNMEASURED]
    hidden = sum(one is Invariance.UNRESOLVED for one in rows)
    more = f", and the errors of {hidden} hide whether they do" if hidden else ""
    return PageVerdict(
        f"{name}:",
        f"{same} of {len(known)} measures give one number for one function, {len(known) - same - hidden} do not{more}.",
        word="tested",
    )


def _of_values(network: ReportedNetwork) -> PageVerdict:
    found, loss = headline(network.measured), f"its loss is {network.record['loss']:.3g}"
    if network.record["accuracy"] is not None:
        loss += f", its accuracy {100 * network.record['accuracy']:.4g} %"
    if found is None:
        return PageVerdict(f"{network.name}:", f"{loss}.")
    delta = found.details.get("delta")
    at = "" if delta is None else f" at δ = {delta:g}"
    if found.status is Status.BELOW_RESOLUTION or math.isnan(found.value):
        return PageVerdict(network.name, f"has no {_label(found)} above its rounding{at}; {loss}.", "unsure")
    bound = "at least " if found.status is Status.ITERATION_LIMIT else ""
    interval = network.interval(found.name, delta)
    ends = "" if interval is None else f" ({interval.low:.3g} … {interval.high:.3g} with 95 % confidence)"
    regime = _REGIMES.get(regime_word(found), "")
    return PageVerdict(network.name, f"has {_label(found)} {bound}{found.value:.3g}{ends}{at}{regime}; {loss}.")


def headline(measured: Sequence[Measurement]) -> Measurement | None:
    """What stands for all that was measured: BN-Sharpness at its smallest radius, or the first measure of sharpness."""
    own = [one for one in measured if one.name.startswith("bn")] or [one for one in measured if is_sharpness(one.name)]
    return min(own, key=lambda one: (one.name != own[0].name, one.details.get("delta", 0.0)), default=None)


def _label(found: Measurement) -> str:
    return _BN if found.name == "bn" else found.name


def _of_comparison(document: JsonRecord) -> Iterator[PageVerdict]:
    rows, titles = compared_rows(document), titles_of_networks(document)
    pairs = list(dict.fromkeys(tuple(row["networks"]) for row in rows))
    for first, second in pairs[:_MOST_PAIRS]:
        own = [row for row in rows if [*row["networks"]] == [first, second]]
        names = [row["measure"] for row in own if row["delta"] is not None or row["measure"] == "noise"]
        names = [row["measure"] for row in own if row["measure"].startswith("bn")] or names
        called = {name: titles.get(name, name) for name in (first, second)}
        if called[first] == called[second]:
            called = {name: f"{name} ({title})" for name, title in called.items()}
        yield _of_pair([row for row in own if names and row["measure"] == names[0]], (first, second), called)


def _of_pair(rows: Sequence[JsonRecord], pair: tuple[str, str], called: dict[str, str]) -> PageVerdict:
    first, second = pair
    both = f"{called[first]} and {called[second]}"
    if not rows:
        return PageVerdict("", f"No measure of sharpness of {both} can be compared.", "unsure", "compared")
    name = rows[0]["measure"]
    if "verdict" not in rows[0]:  # over several seeds
        said = "; ".join(f"{_at(row)} {row['sentence']}" for row in rows[:_MOST_NAMED])
        return PageVerdict("", f"{both} over several seeds, by {name}: {said}.", word="compared")
    decided = [(row, _sharper(row, pair)) for row in rows if _sharper(row, pair)]
    if not decided:
        return PageVerdict("", f"{both} cannot be told apart by {name}.", "unsure", "compared")
    if len({one for _, one in decided}) > 1:
        said = ", ".join(f"{called[one]} at {row['delta']:g}" for row, one in decided if row["delta"] is not None)
        return PageVerdict("", f"Which of {both} is sharper by {name} depends on δ: {said}.", "unsure", "compared")
    row, sharper = decided[0]
    other = second if sharper == first else first
    sentence = f"{called[sharper]} is sharper than {called[other]} by {name}{_by(row)}{_at(row)}"
    left = [one for one in rows if not _sharper(one, pair)]
    also = [f"{one['delta']:g}" for one, _ in decided[1:] if one["delta"] is not None]
    sentence += f", and at {', '.join(also)}, too" if also else ""
    unsure = ", ".join(f"{one['delta']:g}" for one in left if one["delta"] is not None)
    return PageVerdict("", sentence + (f"; at δ = {unsure} it cannot be said." if unsure else "."), word="compared")


def _sharper(row: JsonRecord, pair: tuple[str, str]) -> str:
    return {"sharper": pair[0], "flatter": pair[1]}.get(row["verdict"], "")


def _at(row: JsonRecord) -> str:
    return "" if row["delta"] is None else f" at δ = {row['delta']:g}"


def _by(row: JsonRecord) -> str:
    """The factor between the two, above one, with its interval."""
    ends = (row["ratio"], row["low"], row["high"])
    if not all(ends):
        return ""
    middle, low, high = ends if row["ratio"] >= 1 else (1 / row["ratio"], 1 / row["high"], 1 / row["low"])
    return f", {middle:.3g} × ({low:.3g} … {high:.3g})"
