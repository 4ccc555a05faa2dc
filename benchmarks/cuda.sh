#!/usr/bin/env bash
# What a GPU says, in at most nine minutes; the same command goes on where it stopped. Options: see benchmarks/cuda.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.cuda "$@"
