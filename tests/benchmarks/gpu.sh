#!/bin/sh
# The rows that need a GPU, each for itself; with --toy at sizes that a CPU can do.
set -eu
cd "$(dirname "$0")/../.."
for name in gpu-language-model gpu-images; do
    uv run --group benchmarks python -m tests.benchmarks "$name" --rounds 3 "$@"
done
