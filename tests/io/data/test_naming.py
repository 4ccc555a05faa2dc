"""A refusal says which data it is about, once."""

from __future__ import annotations

import pytest

from bnsharp_cli.errors import DataRefusedError, spelt
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.naming import NamedDataError, naming
from bnsharp_cli.io.data.open_data import open_data


def test_what_is_refused_names_its_data_once() -> None:
    with pytest.raises(DataRefusedError, match=r"^npz:a\.npz: They are odd\. Even them\.$"), naming("npz:a.npz"):
        raise DataRefusedError("They are odd.", "Even them.")
    with pytest.raises(DataRefusedError, match=r"^Cannot read a\.npz\. Mend it\.$"), naming("npz:a.npz"):
        raise NamedDataError("Cannot read a.npz.", "Mend it.")


def test_a_reason_that_holds_the_name_by_accident_is_given_it_all_the_same() -> None:
    with pytest.raises(DataRefusedError, match=r"^folder:\.: They are odd\."), naming("folder:."):
        raise DataRefusedError("They are odd.", "Even them.")


def test_naming_carries_the_fields_and_the_marks_of_what_it_names() -> None:
    with pytest.raises(DataRefusedError) as caught, naming("digits"):
        draw_batches(open_data("digits"), 20, 32, seed=0)
    error = caught.value
    assert (error.argument, error.expected, error.found) == ("data", "at least 32 samples", 20)
    assert error.reason == "digits: 20 samples cannot fill one batch of 32."
    assert spelt(error.marked_remedy, "<{}>".format) == "Lower <batch_size>, raise <samples>, or use more data."
