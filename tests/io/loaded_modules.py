"""What an interpreter of its own loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def loaded_modules(module: str) -> set[str]:
    """The modules that importing one of ours loads; what is installed and the working directory are not seen."""
    program = f"import sys; sys.path.append(sys.argv[1]); import {module}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", program, ROOT]
    return {*subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()}
