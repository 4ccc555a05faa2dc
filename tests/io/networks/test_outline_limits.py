"""Building what a file names stops after a counted number of steps; what a user names is built whatever it takes."""

from __future__ import annotations

import sys
from types import FunctionType

import pytest

from bnsharp_cli.errors import CheckpointRefusedError, UsageError
from bnsharp_cli.io.networks import outline_limits, outlines
from bnsharp_cli.io.networks.constructors import construct_on_meta
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.io.networks.outline_limits import CallLimit, TooLargeError
from tests.io.networks.outlines import checkpoint, outline


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline_limits, "_MOST_CALLS", 1000)
    outlines._built_shapes.cache_clear()


def calls(count: int) -> None:
    for number in range(count):
        abs(number)


of_a_network = FunctionType(calls.__code__, {"__name__": "timm.models.slow", "__builtins__": __builtins__})


@pytest.mark.usefixtures("few")
def test_calls_are_counted_and_nothing_stays_behind() -> None:
    limit = CallLimit()
    with limit:
        of_a_network(400)
    of_a_network(2000)
    with pytest.raises(TooLargeError, match="more steps than a file may ask for"), limit:
        of_a_network(700)
    assert sys.getprofile() is None
    with pytest.raises(TooLargeError), limit:
        of_a_network(1)


@pytest.mark.usefixtures("few")
def test_nothing_is_stopped_outside_of_networks() -> None:
    with CallLimit():
        calls(5000)


def test_whoever_profiles_goes_on() -> None:
    seen = []

    def profile(*event: object) -> None:
        seen.append(event)

    sys.setprofile(profile)
    try:
        with CallLimit():
            assert sys.getprofile() is profile
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)
    assert seen


@pytest.mark.usefixtures("few")
def test_only_what_a_file_names_is_limited() -> None:
    damaged = {**outline("resnet18", num_classes=3), "extra.weight": outline("resnet18")["fc.weight"]}
    file = checkpoint(damaged, "bnsharp/1", architecture="torchvision:resnet18")
    with pytest.raises(CheckpointRefusedError, match="building it takes more steps than a file may ask for"):
        identify(file)
    assert identify(file, "torchvision:resnet18").spec == "torchvision:resnet18"


@pytest.mark.usefixtures("few")
def test_a_file_with_all_names_and_shapes_of_its_network_is_not_limited() -> None:
    file = checkpoint(outline("resnet18", num_classes=3), "bnsharp/1", architecture="torchvision:resnet18")
    assert identify(file).options == {"num_classes": 3}


def test_an_outline_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def counted(spec: str, options: dict[str, object]) -> object:
        built.append(options)
        return construct_on_meta(spec, options)

    outlines._built_shapes.cache_clear()
    monkeypatch.setattr(outlines, "construct_on_meta", counted)
    for _ in range(2):
        assert outlines.shapes_of_network("torchvision:alexnet", {"num_classes": 3})["classifier.6.bias"] == (3,)
    assert built == [{"num_classes": 3}]


@pytest.mark.parametrize("name", ["nosuch", "hf_hub", "resnet18_", "Resnet18"])
def test_timms_networks_are_those_that_it_registers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("it was asked for"))
    with pytest.raises(UsageError, match=f"timm has no image classifier '{name}'"):
        build_architecture(f"timm:{name}", {})
