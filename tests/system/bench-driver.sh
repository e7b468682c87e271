#!/bin/sh
# The benchmark driver's arithmetic and planning: tests/unit/bench/test_driver.py.
set -eu
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
exec python3 -B tests/unit/bench/test_driver.py
