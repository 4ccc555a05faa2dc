"""Directories as ``save_pretrained`` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers", reason="transformers writes these directories")


def network(kind: str) -> nn.Module:
    """A tiny classifier of four classes with random weights."""
    torch.manual_seed(0)
    configurations: dict[str, Callable[[], Any]] = {
        "resnet": lambda: transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=4
        ),
        "vit": lambda: transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=16,
            patch_size=4,
            num_labels=4,
        ),
        "convnext": lambda: transformers.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, num_labels=4),
    }
    classes = transformers.AutoModelForImageClassification
    return classes.from_config(configurations[kind](), attn_implementation="eager")


def write(folder: Path, kind: str = "resnet", **how: Any) -> Path:
    """What ``save_pretrained`` writes, without its progress bar."""
    transformers.logging.disable_progress_bar()
    network(kind).save_pretrained(folder, **how)
    return folder
