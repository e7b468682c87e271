#!/bin/sh
# Runs each test named on the command line under a time limit; 0 passed, 77 skipped, else failed. Closes with a count.
#
#   BUILD   the folder of the artifacts, passed on to the tests
#   ONLY    run those alone whose paths contain it
#   JOBS    so many at a time (default: as there are processors)
#
# A test that changes what belongs to the whole host, or depends on having it to itself, has a line "runs alone: WHY" in the
# comment at its head. These run one by one, when the others are over.
set -u
: "${BUILD:=build}"
: "${JOBS:=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}"
BUILD=$(cd "$BUILD" && pwd)
export BUILD
logs=$BUILD/test-logs

name_of() { echo "$1" | sed 's,.*tests/,,; s,/,-,g'; }

# run_one TEST: leaves its verdict in NAME.verdict, and prints its lines in one piece.
run_one() {
    name=$(name_of "$1")
    log=$logs/$name.log
    case $1 in *.sh) shell=sh ;; *) shell= ;; esac
    started=$(date +%s)
    timeout -k 10 "${TEST_TIMEOUT:-300}" $shell "$1" >"$log" 2>&1 </dev/null
    result=$?
    seconds=$(($(date +%s) - started))
    case $result in
    0) verdict=pass n_lines=0 ;;
    77) verdict=skip n_lines=1 ;;
    *) verdict="FAIL ($result)" n_lines=40 ;;
    esac
    echo "${verdict%% *}" >"$logs/$name.verdict"
    {
        echo "$verdict  $name  ${seconds}s"
        tail -n $n_lines "$log" | sed 's/^/      /'
    } >"$logs/$name.said"
    (flock 9 && cat "$logs/$name.said") 9>"$logs/lock"
    rm -f "$logs/$name.said"
}
if [ "${1:-}" = --one ]; then
    run_one "$2"
    exit
fi

source_of() {
    case $1 in
    *.sh) echo "$1" ;;
    *) echo "tests/${1##*tests/}.c" ;;
    esac
}
runs_alone() { sed 20q "$(source_of "$1")" | grep -q 'runs alone:'; }
# run JOBS FILE: the tests that the file lists.
run() { xargs -r -n 1 -P "$1" sh "$0" --one <"$2"; }

mkdir -p "$logs"
rm -f "$logs"/*.verdict
: >"$logs/together"
: >"$logs/alone"
for test in "$@"; do
    case $test in *"${ONLY:-}"*) ;; *) continue ;; esac
    if runs_alone "$test"; then echo "$test" >>"$logs/alone"; else echo "$test" >>"$logs/together"; fi
done
run "$JOBS" "$logs/together"
run 1 "$logs/alone"

n_tests=$(cat "$logs/together" "$logs/alone" | wc -l)
# count VERDICT
count() { cat "$logs"/*.verdict 2>/dev/null | grep -cx "$1"; }
passed=$(count pass) skipped=$(count skip)
echo "$passed passed, $((n_tests - passed - skipped)) failed, $skipped skipped"
[ $((passed + skipped)) -eq "$n_tests" ]
