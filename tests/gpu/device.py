"""The device of these tests: a GPU, or another one that the environment names, so that they can be tried without."""

from __future__ import annotations

import os

import pytest
import torch

DEVICE = torch.device(os.environ.get("BNSHARP_GPU_TESTS_ON", "cuda"))
CPU = torch.device("cpu")

ON_A_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE.type == "cuda" and not torch.cuda.is_available(), reason="torch sees no CUDA device here"
    ),
    pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS, but there was no current CUDA context"),
]
