"""Networks of texts on the command line, against plain code in float64 that shares nothing with the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from torch.nn import functional

from bnsharp_cli.report.stored_results import SCHEMA
from tests.cli.helpers import bnsharp, one_error
from tests.io.data.texts import CLASSES, CONTEXT, TOKENS, sentences, tokenizer, write_lines, write_network

transformers = pytest.importorskip("transformers", reason="it has these networks")

NETWORKS: dict[str, dict[str, Any]] = {
    "lm": {},
    "other": {"seed": 1},
    "classifier": {"classifies": True},
    "one": {"classifies": True, "id2label": {0: "good"}},
    "regression": {"classifies": True, "problem_type": "regression"},
    "several": {"classifies": True, "problem_type": "multi_label_classification"},
    "unfilled": {"classifies": True, "pad_token_id": None},
}
FAST = ("--precision", "float64", "--measure", "gradient-norm", "--quiet", "--json")
BOOK, LINES, LABELLED = "text:book.txt", "text:lines.jsonl", "text:labelled.jsonl"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model, another one, a classifier, and files of text."""
    folder = tmp_path_factory.mktemp("texts")
    for name, settings in NETWORKS.items():
        write_network(folder / name, **settings)
    (folder / "book.txt").write_text("\n".join(sentences(60)))
    (folder / "test.txt").write_text("\n".join(sentences(40, 1)))
    write_lines(folder / "lines.jsonl", [{"text": text} for text in sentences(40, 2, longest=30)])
    labelled = [{"text": text, "label": CLASSES[number % 3]} for number, text in enumerate(sentences(40, 3))]
    write_lines(folder / "labelled.jsonl", labelled)
    return folder


def measured(folder: Path, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bnsharp("measure", *arguments, *FAST, folder=folder).stdout)
    described = json.loads(SCHEMA.read_text())
    Draft202012Validator({"$ref": "#/$defs/measure", "$defs": described["$defs"]}).validate(found)
    return found


def texts_of(folder: Path, file: str) -> list[str]:
    content = (folder / file).read_text()
    return [json.loads(line)["text"] for line in content.splitlines()] if file.endswith(".jsonl") else [content]


def next_tokens(folder: Path, name: str, file: str, context: int) -> tuple[float, float, int]:
    """The mean of −log p over all tokens, the length of its gradient, and how many tokens there are: one by one."""
    network = transformers.GPT2LMHeadModel.from_pretrained(folder / name, attn_implementation="eager").double().eval()
    losses = []
    for text in texts_of(folder, file):
        ids = torch.tensor(tokenizer().encode(text).ids)
        for start in range(0, len(ids) - 1, context):
            window = ids[start : start + context + 1]
            logits = network(window[None, :-1]).logits[0]
            losses += [*functional.cross_entropy(logits, window[1:], reduction="none")]
    loss = torch.stack(losses).mean()
    gradients = torch.autograd.grad(loss, [*network.parameters()])
    return loss.item(), math.sqrt(math.fsum(float(one.square().sum()) for one in gradients)), len(losses)


@pytest.mark.parametrize(
    ("file", "context", "batches"),
    [
        (BOOK, (), ()),
        (BOOK, ("--context", 5), ("--batch-size", 3)),
        (LINES, (), ("--batch-size", 1)),
        (LINES, (), ("--batch-tokens", 100)),
        (LINES, ("--context", 7), ("--batch-size", 8)),
    ],
)
def test_the_loss_and_the_gradient_are_those_of_all_tokens_whatever_the_batches_are(
    folder: Path, file: str, context: tuple[object, ...], batches: tuple[object, ...]
) -> None:
    found = measured(folder, "lm", "--data", file, "--samples", "all", *context, *batches)
    size = int(str(context[1])) if context else CONTEXT
    loss, length, tokens = next_tokens(folder, "lm", file.partition(":")[2], size)
    assert found["loss"] == pytest.approx(loss, rel=1e-10)
    assert found["measures"]["gradient-norm"]["value"] == pytest.approx(length, rel=1e-8)
    text = found["data"]["text"]
    assert (text["context"], text["unit"], sum(text["tokens"])) == (size, "window", tokens)
    assert found["options"]["loss"] == "token-cross-entropy"
    width = max(text["tokens"]) // found["data"]["batch_size"]
    assert found["data"]["batch_size"] * width <= 1024


def test_the_accuracy_is_the_share_of_tokens_that_are_likeliest(folder: Path) -> None:
    found = measured(folder, "lm", "--data", LINES, "--samples", "all")
    network = transformers.GPT2LMHeadModel.from_pretrained(folder / "lm").double().eval()
    right = []
    for text in texts_of(folder, "lines.jsonl"):
        ids = torch.tensor(tokenizer().encode(text).ids)
        for start in range(0, len(ids) - 1, CONTEXT):
            window = ids[start : start + CONTEXT + 1]
            right += (network(window[None, :-1]).logits[0].argmax(-1) == window[1:]).tolist()
    assert found["accuracy"] == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize("batches", [(), ("--batch-size", 7), ("--batch-tokens", 30)])
def test_a_classifier_is_measured_as_transformers_runs_it(folder: Path, batches: tuple[object, ...]) -> None:
    found = measured(folder, "classifier", "--data", LABELLED, "--samples", "all", *batches)
    network = transformers.BertForSequenceClassification.from_pretrained(folder / "classifier").double().eval()
    losses, right = [], 0
    for number, text in enumerate(texts_of(folder, "labelled.jsonl")):
        logits = network(torch.tensor([tokenizer(special=True).encode(text).ids])).logits
        losses.append(functional.cross_entropy(logits, torch.tensor([number % 3])))
        right += int(logits.argmax()) == number % 3
    loss = torch.stack(losses).mean()
    gradients = torch.autograd.grad(loss, [*network.parameters()], allow_unused=True, materialize_grads=True)
    length = math.sqrt(math.fsum(float(one.square().sum()) for one in gradients))
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-10)
    assert found["accuracy"] == pytest.approx(right / len(losses))
    assert found["measures"]["gradient-norm"]["value"] == pytest.approx(length, rel=1e-8)
    assert found["data"]["text"]["tokens"] == []
    assert found["options"]["loss"] == "cross-entropy"


def test_samples_are_windows_that_the_seed_draws(folder: Path) -> None:
    first, again, other = (
        measured(folder, "lm", "--data", BOOK, "--samples", 8, "--batch-size", 4, "--seed", seed) for seed in (0, 0, 1)
    )
    assert first["data"] == again["data"]
    assert first["data"]["sha256"] != other["data"]["sha256"]
    assert first["data"]["samples"] == 8
    tokens = len(tokenizer().encode(*texts_of(folder, "book.txt")).ids)
    assert first["data"]["available"] == math.ceil((tokens - 1) / CONTEXT)


def test_fewer_samples_than_a_batch_holds_are_one_batch(folder: Path) -> None:
    found = measured(folder, "lm", "--data", BOOK, "--samples", 3)
    assert (found["data"]["samples"], found["data"]["batch_size"]) == (3, 3)


def test_the_test_loss_is_that_of_the_test_text(folder: Path) -> None:
    found = measured(folder, "lm", "--data", LINES, "--test-data", "text:test.txt", "--samples", "all")
    loss, _, tokens = next_tokens(folder, "lm", "test.txt", CONTEXT)
    assert found["test"]["loss"] == pytest.approx(loss, rel=1e-10)
    assert sum(found["test"]["group_tokens"]) == sum(found["test"]["data"]["text"]["tokens"]) == tokens
    assert found["test"]["gap"] == pytest.approx(loss - found["loss"], rel=1e-9)


def test_compare_takes_directories_of_one_architecture_and_kept_results(folder: Path, tmp_path: Path) -> None:
    common = ("--data", LINES, "--samples", "all", "--test-data", "text:test.txt", "--quiet")
    together = bnsharp("compare", "lm", "other", *common, folder=folder).stdout
    for name in ("lm", "other"):
        bnsharp("measure", name, *common, "--output", tmp_path / f"{name}.json", folder=folder)
    apart = bnsharp("compare", tmp_path / "lm.json", tmp_path / "other.json", "--quiet", folder=folder).stdout
    for shown in (together, apart):
        assert "bn " in shown
        assert "token-cross-entropy on " in shown
    assert _rows(together) == _rows(apart)


def _rows(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if line.startswith(("loss", "bn", "gap"))]


def test_what_was_kept_with_the_tokens_of_other_batches_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    bnsharp("measure", "lm", "--data", LINES, "--measure", "loss", "--quiet", "--output", path, folder=folder)
    document = json.loads(path.read_text())
    document["data"]["text"]["tokens"].append(5)
    path.write_text(json.dumps(document))
    refused = one_error(bnsharp("compare", path, path, "--quiet", folder=folder, expect=3))
    assert "data.text.tokens: expected " in refused


def test_check_holds_limits_against_the_loss_of_tokens(folder: Path) -> None:
    loss, _, _ = next_tokens(folder, "lm", "lines.jsonl", CONTEXT)
    common = ("check", "lm", "--data", LINES, "--samples", "all", "--quiet")
    assert "PASS" in bnsharp(*common, "--max", f"loss={loss * 1.01}", folder=folder).stdout
    assert "FAILED: loss" in bnsharp(*common, "--max", f"loss={loss * 0.99}", folder=folder, expect=1).stdout


def test_a_directory_is_held_against_the_result_of_another_one(folder: Path, tmp_path: Path) -> None:
    common = ("--data", LINES, "--samples", "all", "--quiet")
    for name, context in (("lm", 8), ("wide", 16)):
        kept = tmp_path / f"{name}.json"
        bnsharp("measure", "lm", *common, "--context", context, "--measure", "bn", "--output", kept, folder=folder)
    check = ("check", "lm", *common, "--context", 8, "--max-increase", "bn=1%", "--baseline")
    assert "PASS  bn vs baseline" in bnsharp(*check, tmp_path / "lm.json", folder=folder).stdout
    refused = bnsharp(*check, tmp_path / "wide.json", folder=folder, expect=2)
    assert "--context is 8 for this network and 16 for the baseline" in refused.stderr


@pytest.mark.parametrize("samples", [1, 5, "all"])
def test_a_single_window_is_measured(folder: Path, samples: object) -> None:
    (folder / "short.txt").write_text("the cat sat on the mat")
    found = measured(folder, "lm", "--data", "text:short.txt", "--samples", samples)
    loss, _, _ = next_tokens(folder, "lm", "short.txt", CONTEXT)
    assert found["loss"] == pytest.approx(loss, rel=1e-10)


def test_pairs_are_measured_as_transformers_runs_a_network_without_kinds(folder: Path) -> None:
    configuration = transformers.GPT2Config(
        n_embd=8, n_layer=1, n_head=2, n_positions=32, vocab_size=TOKENS, pad_token_id=0, num_labels=3
    )
    torch.manual_seed(0)
    network = transformers.GPT2ForSequenceClassification(configuration)
    network.save_pretrained(folder / "decoder")
    tokenizer(special=True).save(str(folder / "decoder" / "tokenizer.json"))
    pairs = [*zip(sentences(9), sentences(9, 1), strict=True)]
    lines = [{"text": one, "text_pair": other, "label": n % 3} for n, (one, other) in enumerate(pairs)]
    write_lines(folder / "pairs.jsonl", lines)
    network, losses = network.double().eval(), []
    for number, pair in enumerate(pairs):
        logits = network(torch.tensor([tokenizer(special=True).encode(*pair).ids])).logits
        losses.append(functional.cross_entropy(logits, torch.tensor([number % 3])).item())
    found = measured(folder, "decoder", "--data", "text:pairs.jsonl", "--samples", "all", "--context", 32)
    assert found["loss"] == pytest.approx(math.fsum(losses) / len(losses), rel=1e-10)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_gpt2_with_attention_in_float32_is_measured_in_every_precision(folder: Path, precision: str) -> None:
    write_network(folder / "upcast", reorder_and_upcast_attn=True, scale_attn_by_inverse_layer_idx=True)
    found = measured(folder, "upcast", "--data", LINES, "--samples", "all", "--precision", precision)
    write_network(folder / "plain", scale_attn_by_inverse_layer_idx=True)
    loss, _, _ = next_tokens(folder, "plain", "lines.jsonl", CONTEXT)
    assert found["loss"] == pytest.approx(loss, rel=1e-10 if precision == "float64" else 1e-5)


def test_the_table_says_how_the_text_was_cut(folder: Path, tmp_path: Path) -> None:
    arguments = ("measure", "lm", "--data", LINES, "--samples", "all", "--batch-size", 8, "--measure", "loss")
    finished = bnsharp(*arguments, "--output", tmp_path / "kept.json", folder=folder)
    _, _, tokens = next_tokens(folder, "lm", "lines.jsonl", CONTEXT)
    assert f"text: windows of up to {CONTEXT} tokens, {tokens:,} predicted" in finished.stdout
    assert "images" not in finished.stdout
    assert max(map(len, finished.stdout.splitlines())) <= 80
    assert "count by their sizes, because the loss averages over tokens" in finished.stderr
    bnsharp("report", tmp_path / "kept.json", "--output", tmp_path / "page.html", folder=folder)
    page = (tmp_path / "page.html").read_text()
    assert f"windows of up to {CONTEXT} tokens, {tokens:,} predicted" in page
    assert f"--context {CONTEXT}" in page


def test_a_loss_above_that_of_chance_is_warned_of(folder: Path) -> None:
    found = measured(folder, "lm", "--data", LINES, "--samples", "all")
    warned = f"is not below that of chance (ln {TOKENS} = {math.log(TOKENS):.4g})" in (found["warning"] or "")
    assert warned == (found["loss"] >= math.log(TOKENS))


def test_every_sample_that_a_file_has_is_taken_where_more_are_asked_for(folder: Path) -> None:
    finished = bnsharp("measure", "classifier", "--data", LABELLED, "--measure", "loss", folder=folder)
    assert "the file has 40 texts, all of which are taken" in finished.stderr
    assert "measured on the whole split: no sampling error" in " ".join(finished.stdout.split())


def test_a_classifier_without_padding_is_measured_text_by_text(folder: Path) -> None:
    alone = measured(folder, "unfilled", "--data", LABELLED, "--samples", "all", "--batch-size", 1)
    assert alone["data"]["batch_size"] == 1
    assert len(alone["batch_losses"]) == alone["data"]["samples"]


SAMPLE = "sample:digits-small-batch"
REFUSED: dict[str, tuple[tuple[object, ...], int, str]] = {
    "no tokenizer": ((SAMPLE, "--data", BOOK), 2, "has no tokenizer.json"),
    "no file": (("lm", "--data", "text:none.txt"), 3, "none.txt cannot be read: No such file or directory"),
    "no kind": (("lm", "--data", "book.txt"), 2, "Unknown data 'book.txt'"),
    "another kind": (("lm", "--data", "folder:book.txt"), 2, "Unknown data 'folder:book.txt'"),
    "no labels": (("classifier", "--data", BOOK), 3, "book.txt has no label, which a classifier needs"),
    "a split": (("lm", "--data", BOOK, "--split", "test"), 2, "--split test: a file of text is not divided"),
    "images": (("lm", "--data", BOOK, "--image-size", 8), 2, "--image-size is for images, and --data is text"),
    "a long context": (("lm", "--data", BOOK, "--context", 17), 2, "at most 16, which the network takes"),
    "no text": ((SAMPLE, "--data", "digits", "--context", 4), 2, "--context: expected nothing"),
    "other test data": (("lm", "--data", BOOK, "--test-data", "digits"), 2, "--test-data: expected text:FILE"),
    "the same test data": (("lm", "--data", BOOK, "--test-data", "text:./book.txt"), 2, "is the data that is measured"),
    "a loss of classes": (("lm", "--data", LABELLED, "--loss", "cross-entropy"), 2, "GPT2LMHeadModel is a language"),
    "a loss of tokens": (("classifier", "--data", BOOK, "--loss", "token-cross-entropy"), 3, "expected logits (N, "),
    "over the text": (("lm", "--data", BOOK, "--output", "book.txt"), 2, "this command reads it"),
    "over the tokenizer": (("lm", "--data", BOOK, "--output", "lm/tokenizer.json"), 2, "this command reads it"),
    "no padding": (("unfilled", "--data", LABELLED), 2, "unfilled names no pad_token_id in config.json"),
    "training": (("train", "--data", BOOK, "--output", "x.pt"), 2, "and none is trained"),
    "one number": (("one", "--data", LABELLED), 2, "one answers with numbers that are no scores of classes"),
    "a regression": (("regression", "--data", LABELLED), 2, "regression answers with numbers that are no scores"),
    "several classes": (("several", "--data", LABELLED), 2, "several answers with numbers that are no scores"),
    "a bound": (("bound", "lm", "--data", BOOK, "--kl", 3), 2, "GPT2LMHeadModel is a language model"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(folder: Path, name: str) -> None:
    arguments, code, says = REFUSED[name]
    command = () if arguments[0] in {"train", "bound"} else ("measure",)
    assert says in one_error(bnsharp(*command, *arguments, "--quiet", folder=folder, expect=code))
