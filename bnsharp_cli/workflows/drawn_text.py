"""Draws the batches of a file of text as a network gets them, and those of test text beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bnsharp_cli.errors import UsageError, counted, named
from bnsharp_cli.io.data.batches import DrawnBatches, draw_batches
from bnsharp_cli.io.data.criteria import NamedCriterion, open_criterion
from bnsharp_cli.io.data.forms import CROSS_ENTROPY, is_text
from bnsharp_cli.io.data.naming import naming
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.text_networks import USUAL_CONTEXT, TextNetwork
from bnsharp_cli.io.data.text_splits import TextSplit, open_texts
from bnsharp_cli.measurement.surface.adapters import adapt
from bnsharp_cli.workflows.drawn_data import of_test_data, require_no_measured_data
from bnsharp_cli.workflows.measured_network import CheckpointNetwork, LossOnData, TextData
from bnsharp_cli.workflows.options import Data
from bnsharp_cli.workflows.reporter import Reporter

_OF_IMAGES = ("classes", "image_size", "resize", "crop", "mean", "std")


def drawn_text(opened: CheckpointNetwork, data: Data, reporter: Reporter) -> tuple[LossOnData, LossOnData | None]:
    """The batches of a text with their loss, and those of the test text, if there is any.

    Args:
        opened: the network, whose directory has the tokenizer.
        data: which data.
        reporter: told what the user should know.

    Raises:
        BnsharpError: whatever does not fit, with its remedy.
    """
    _require_text(data)
    network = _text_network(opened)
    metadata = opened.checkpoint.metadata.get("training")
    stated = metadata.get("loss") if isinstance(metadata, dict) else None
    criterion = open_criterion(data.loss, stated, network.usual_loss() if data.loss is None else "")
    if criterion.name == CROSS_ENTROPY:
        network.require_classes()
        if data.batch_size > 1:
            network.require_padding()
    adapt(opened.module, criterion.tensor_only, data.output_key, "output_key")
    measured = _drawn(network, data, criterion, reporter)
    if data.test_data is None:
        return measured, None
    with of_test_data():
        wanted = replace(data, data=data.test_data)
        test = _drawn(network, wanted, criterion, reporter, before="test data: ")
        require_no_measured_data(test, measured)
    return measured, test


def _require_text(data: Data) -> None:
    """Refuse options that are not for text, and test data of another kind.

    Raises:
        UsageError: naming the option.
    """
    given = next((name for name in _OF_IMAGES if getattr(data, name) is not None), None)
    if given is not None:
        raise UsageError(
            f"{named(given)} is for images, and {named('data')} is text.",
            f"Leave {named(given)} out.",
            argument=given,
            expected="nothing",
            found=getattr(data, given),
        )
    if data.split != "train":
        raise UsageError(
            f"{named('split')} {data.split}: a file of text is not divided.",
            f"Name the file of the test text with {named('data')}, or with {named('test_data')} beside the other.",
            argument="split",
            expected="train, which stands for the whole file",
            found=data.split,
        )
    if data.test_data is not None and not is_text(data.test_data):
        raise UsageError.of("test_data", "text:FILE, as the data are", data.test_data, "Name a file of text.")


def _text_network(opened: CheckpointNetwork) -> TextNetwork:
    config = opened.checkpoint.metadata.get("config")
    network = TextNetwork(opened.checkpoint.path, config if isinstance(config, dict) else {}, opened.module)
    network.require_tokenizer()
    return network


def _context(network: TextNetwork, asked: int | None) -> int:
    """Tokens that the network sees at once.

    Raises:
        UsageError: it does not take so many.
    """
    most = network.most_tokens
    if asked is None:
        return USUAL_CONTEXT if most is None else min(USUAL_CONTEXT, most)
    if most is not None and asked > most:
        raise UsageError.of("context", f"at most {most:,}, which the network takes", asked, f"For example {most}.")
    return asked


def _drawn(
    network: TextNetwork, data: Data, criterion: NamedCriterion, reporter: Reporter, before: str = ""
) -> LossOnData:
    spec, context = str(data.data), _context(network, data.context)
    with naming(spec):
        reporter.activity("cutting the text into tokens")
        split = open_texts(Path(spec.partition(":")[2]), network, context, criterion.name)
        batches, notice = _batches(split, data, criterion, reporter)
    for told in (*split.notices, notice, batches.notice):
        if told:
            reporter.notice(f"{before}{told}")
    text = TextData(
        context=context,
        unit=split.unit,
        tokens=batches.sizes.tokens,
        tokenizer_sha256=network.tokenizer_sha256,
    )
    return LossOnData(spec, data.split, batches, Preprocessing(), criterion, (), text)


def _batches(split: TextSplit, data: Data, criterion: NamedCriterion, reporter: Reporter) -> tuple[DrawnBatches, str]:
    """The batches, and what the user must know of their number.

    Every batch has as many examples as the longest one allows, so that examples of any length stand in any batch.
    """
    size = max(1, min(data.batch_size, data.batch_tokens // split.longest, data.samples or len(split), len(split)))
    few = data.samples is not None and data.samples >= len(split)
    whole = None if len(split) > 1 else 1  # a batch of one example is enough here: norms of texts need no other
    batches = draw_batches(
        split,
        whole if few or data.samples is None else data.samples,
        size,
        data.seed,
        whole_numbers=True,
        progress=reporter.activity,
    )
    batches = batches.by_tokens() if criterion.of_tokens else batches
    return batches, f"the file has {counted(len(split), split.unit)}, all of which are taken" if few else ""
