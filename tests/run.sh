#!/bin/sh
# Runs each test named on the command line under a time limit; 0 passed, 77 skipped, else failed. Closes with a count.
# BUILD: the folder of the artifacts, passed on to the tests. ONLY: run those alone whose paths contain it.
set -u
: "${BUILD:=build}"
BUILD=$(cd "$BUILD" && pwd)
export BUILD
logs=$BUILD/test-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0
for test in "$@"; do
    case $test in *"${ONLY:-}"*) ;; *) continue ;; esac
    name=$(echo "$test" | sed 's,.*tests/,,; s,/,-,g')
    started=$(date +%s)
    case $test in
    *.sh) timeout -k 10 "${TEST_TIMEOUT:-300}" sh "$test" >"$logs/$name.log" 2>&1 </dev/null ;;
    *) timeout -k 10 "${TEST_TIMEOUT:-300}" "$test" >"$logs/$name.log" 2>&1 </dev/null ;;
    esac
    result=$?
    seconds=$(($(date +%s) - started))
    case $result in
    0) passed=$((passed + 1)) verdict=pass ;;
    77) skipped=$((skipped + 1)) verdict=skip ;;
    *) failed=$((failed + 1)) verdict="FAIL ($result)" ;;
    esac
    echo "$verdict  $name  ${seconds}s"
    [ "$result" -eq 77 ] && tail -n 1 "$logs/$name.log" | sed 's/^/      /'
    [ "$verdict" = pass ] || [ "$verdict" = skip ] || tail -n 40 "$logs/$name.log" | sed 's/^/      /'
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
