#!/bin/sh
# git: a repository of 3000 commits made by the test, cloned, logged with patches and packed anew.
. "$(dirname "$0")/../lib.sh"
need_library
need git awk
export HOME="$scratch" GIT_CONFIG_NOSYSTEM=1

# As git fast-import reads it.
awk 'BEGIN {
    for (i = 1; i <= 3000; i++) {
        text = ""
        for (j = 0; j < 40; j++)
            text = text "line " j " of file " i % 60 " as of commit " (j % 5 == i % 5 ? i : int(i / 50)) "\n"
        printf "blob\nmark :%d\ndata %d\n%s\n", 2 * i, length(text), text
        message = "commit number " i "\n"
        printf "commit refs/heads/main\nmark :%d\n", 2 * i + 1
        printf "author A U Thor <author@example.org> %d +0000\n", 1600000000 + i * 60
        printf "committer A U Thor <author@example.org> %d +0000\n", 1600000000 + i * 60
        printf "data %d\n%s", length(message), message
        if (i > 1)
            printf "from :%d\n", 2 * i - 1
        printf "M 100644 :%d dir%d/file%d.txt\n\n", 2 * i, i % 7, i % 60
    }
}' >"$scratch/history"
cat >"$scratch/work.sh" <<'SH'
set -eu
work=$1
rm -rf "$work"
mkdir "$work"
cd "$work"
git init -q --bare origin.git
git -C origin.git fast-import --quiet <../history
git -C origin.git symbolic-ref HEAD refs/heads/main
git clone -q --no-local origin.git copy
cd copy
git log -p --stat --format='%H %s' | sha256sum
git -c gc.auto=0 repack -adq --depth=20 --window=20 --threads=2
git fsck --full
git blame -s dir1/file1.txt | sha256sum
git rev-parse HEAD
SH
daemon_start_warm
same_output git sh "$scratch/work.sh" "$scratch/work"
