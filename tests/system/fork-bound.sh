#!/bin/sh
# A parent that forks children and rewrites its heap beneath them holds no page twice once they are gone.
. "$(dirname "$0")/../lib.sh"
need_library
need stat
. "$(dirname "$0")/fork-bound.inc"

daemon_start_bound
expect_bound whole 3
expect_bound scattered 8
expect_bound few 3
expect_bound overlap 5
expect_bound busy 1
expect_bound trim 3
