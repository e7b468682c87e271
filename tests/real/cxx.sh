#!/bin/sh
# A C++ program (cxx.cc): operator new and delete through malloc, from four threads.
. "$(dirname "$0")/../lib.sh"
need_library
need g++
g++ -std=c++17 -O1 -o "$scratch/cxx" "$tests/real/cxx.cc" -lpthread || fail "cxx.cc does not compile"
daemon_start_warm
same_output cxx "$scratch/cxx"
