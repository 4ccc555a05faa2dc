"""Several measurements of one network: every measure at every radius."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

from bnsharp_cli.errors import UsageError, spelt
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.tables import aligned, as_frame, as_html, folded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADINGS = ("measure", "δ", "value", "± error", "status", "cost")


@dataclass(frozen=True, repr=False)
class Measurements(Sequence[Measurement]):
    """Measurements of one network, one measure after the other, each at the radii in the order in which they came.

    It is a sequence; ``measurements["bn"]`` is the one of that measure, or at several radii the :meth:`profile`'s.

    Attributes:
        profiles: for each measure, by the name with which it was asked for, one measurement a radius.
        skipped: the reason for each measure that was left out of all, by its name; arguments are marked.

    >>> from bnsharp_cli import Cost, Measurement, Status, Uncertainty
    >>> own = {"cost": Cost(7, 3), "uncertainty": Uncertainty(rounding=1e-9), "status": Status.CONVERGED}
    >>> profile = [Measurement("bn", value, details={"delta": value / 10}, **own) for value in (0.5, 0.75)]
    >>> found = Measurements({"bn": tuple(profile)})
    >>> found
    measure  δ      value  ± error           status
    bn       0.05   0.5    1.0e-09 rounding  converged
    bn       0.075  0.75   1.0e-09 rounding  converged
    >>> [one.value for one in found], found[-1].value
    ([0.5, 0.75], 0.75)
    """

    profiles: Mapping[str, tuple[Measurement, ...]]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def profile(self, name: str) -> tuple[Measurement, ...]:
        """The measurements of one measure, one a radius.

        >>> from bnsharp_cli import Cost, Measurement, Status, Uncertainty
        >>> one = Measurement("bn", 0.5, Status.CONVERGED, Uncertainty(), Cost(7, 3))
        >>> [one.value for one in Measurements({"bn": (one,)}).profile("bn")]
        [0.5]

        Raises:
            UsageError: it was not measured.
        """
        if not isinstance(name, str) or name not in self.profiles:
            known = ", ".join(self.profiles)
            raise UsageError.of("name", f"one of {known}", name, f"For example {next(iter(self.profiles))}.")
        return self.profiles[name]

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Measurement, ...]: ...
    @overload
    def __getitem__(self, index: str) -> Measurement: ...
    def __getitem__(self, index: int | slice | str) -> Measurement | tuple[Measurement, ...]:
        """The measurement at a position, those in a slice, or the one of a measure.

        Raises:
            UsageError: a measure that was not measured, or at several radii.
        """
        if not isinstance(index, str):
            return self._flat[index]
        profile = self.profile(index)
        if len(profile) > 1:
            expected, remedy = "a measure at one radius", f"Take profile('{index}'), which has one for each radius."
            raise UsageError.of("name", expected, f"{index} at {len(profile)} radii", remedy)
        return profile[0]

    def __len__(self) -> int:
        """How many there are."""
        return len(self._flat)

    def __iter__(self) -> Iterator[Measurement]:
        """Each in its order."""
        return iter(self._flat)

    def each(self, change: Callable[[Measurement], Measurement]) -> Measurements:
        """The same with ``change`` of every measurement."""
        return replace(self, profiles={name: tuple(map(change, each)) for name, each in self.profiles.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``: a record by measure, with the ``profile`` if any."""
        found = {}
        for name, profile in self.profiles.items():
            found[name] = profile[0].to_dict()
            if len(profile) > 1:
                found[name]["profile"] = [one.to_dict() for one in profile]
        return found

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each measurement.

        Raises:
            BnsharpError: pandas is not installed.
        """
        return as_frame([one.row for one in self])

    def plot(self) -> Figure:
        """The values against δ with their errors, a line for each measure, as a figure of matplotlib.

        In a notebook it shows itself; ``plot().savefig("profile.png")`` writes a file.
        """
        from bnsharp_cli.figures import draw_profiles

        return draw_profiles(
            {name: [one.point_of_profile for one in profile] for name, profile in self.profiles.items()},
            "sharpness by radius",
        )

    def __repr__(self) -> str:
        """A row for each measurement, without its cost, and what a reader must know, within 80 columns."""
        rows = [row[:-1] for row in self._rows]
        return "\n".join([aligned(rows), *(folded(note.split(), "") for note in self._notes)])

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        notes = as_html([["notes"], *([note] for note in self._notes)]) if self._notes else ""
        return as_html(self._rows) + notes

    @property
    def _flat(self) -> tuple[Measurement, ...]:
        return tuple(one for profile in self.profiles.values() for one in profile)

    @property
    def _rows(self) -> list[Sequence[str]]:
        return [_HEADINGS, *(one.cells for one in self)]

    @property
    def _notes(self) -> list[str]:
        left_out = [f"{name} was not measured: {spelt(reason)}" for name, reason in self.skipped.items()]
        return [*left_out, *dict.fromkeys(note for one in self for note in one.notes)]
