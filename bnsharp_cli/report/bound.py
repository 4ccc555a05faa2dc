"""Theorem 3.3 for a terminal of 80 columns: the terms, their sum, and what it says and does not say."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from bnsharp_cli.errors import named
from bnsharp_cli.measurement.bound.pac_bayes import PacBayesBound
from bnsharp_cli.measurement.measures.measurement import Status
from bnsharp_cli.report.terminal import SpellingConsole, number

_FACTOR = "2^(−1/p) δ ‖L̂‖"


def print_bound(out: SpellingConsole, bound: PacBayesBound) -> None:
    """Print a row for each term, their sum, then a note on each of them."""
    sampled = bound.options.loss_range == "zero-one"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("term")
    table.add_column("value", justify="right")
    table.add_column("± error", justify="right")
    perturbation = "E_u|ΔL̂|, sampled" if sampled else _FACTOR
    table.add_row(f"loss of the {bound.term}, L̂(θ)", number(bound.empirical_loss), "")
    table.add_row(f"perturbation, {perturbation}", number(bound.perturbation), f"{bound.error:.1e}")
    table.add_row("complexity, 4 √((KL + log(2m/ε))/m)", number(bound.complexity), "")
    table.add_row(Text("bound on E_u L(θ + u), their sum", style="bold"), number(bound.value), "")
    table.add_row("the same with Maurer's complexity", number(bound.tighter_value), "")
    out.print(table)
    out.print()
    for note in notes(bound):
        out.say(f"- {note}")


def notes(bound: PacBayesBound) -> list[str]:
    """What the numbers say and what they do not, a sentence or two each."""
    return [_says(bound), _terms(bound), _loss(bound), _perturbation(bound), _kl(bound), _silent()]


def _says(bound: PacBayesBound) -> str:
    if bound.vacuous:
        more = f"{named('samples')} all"
        return f"Vacuous: no loss in [0, 1] exceeds 1. It takes a smaller KL, or more samples ({more})."
    estimate = ", as far as its sampled term is right" if bound.options.loss_range == "zero-one" else ""
    return (
        f"With probability {bound.options.confidence:g} over the draw of these {bound.terms:,} {bound.term}, the mean "
        f"loss E_u L(θ + u) on new ones is at most {bound.tighter_value + bound.error:.4g}{estimate}."
    )


def _terms(bound: PacBayesBound) -> str:
    if bound.term == "samples":
        return f"m = {bound.terms:,} samples, each judged without regard to the others."
    return (
        f"m = {bound.terms:,} batches, not samples: the samples of a batch change each other's answers, so that only "
        f"batches are independent; {named('bn')} running parts them."
    )


def _loss(bound: PacBayesBound) -> str:
    if bound.options.loss_range == "zero-one":
        return "Loss: 0-1, the fraction of wrong answers."
    return (
        f"Loss: cross entropy clipped at {bound.options.clip:.4g} and divided by it; the theorem needs losses in "
        "[0, 1], and cross entropy itself has no bound."
    )


def _perturbation(bound: PacBayesBound) -> str:
    sharpness = bound.sharpness
    segment = f"u is uniform on the segment θ ± δv, δ = {sharpness.details['delta']:g}, v the direction that was found."
    if bound.options.loss_range == "zero-one":
        return (
            f"{segment} The 0-1 loss is piecewise constant and has no gradient, so v is that of the clipped loss, and "
            f"E_u|ΔL̂| an estimate from {bound.options.segment_samples} random points of it, with its standard error."
        )
    claim = f"{segment} For every other v of φ(θ) it takes the supremum, of which ‖L̂‖ is a lower bound"
    if sharpness.status in {Status.CONVERGED, Status.WITHIN_TOLERANCE}:
        return f"{claim}: the search ended near a local one ({sharpness.status.value})."
    return f"{claim}, and the search did not converge ({sharpness.status.value})."


def _kl(bound: PacBayesBound) -> str:
    return (
        f"KL = {bound.options.kl:g} is your word, for a prior chosen without these {bound.term} and all that was "
        "learned, running statistics too. For u on a segment and a prior with a density it is infinite; for a u "
        "thickened to make it finite, the perturbation term above covers the middle line alone."
    )


def _silent() -> str:
    return "Nothing is said of L(θ) itself, only of the mean over u; nor that a sharper network generalises worse."
