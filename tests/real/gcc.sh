#!/bin/sh
# gcc -O2 on one large generated source file, through the driver: cc1 does the work in a subprocess.
. "$(dirname "$0")/../lib.sh"
need_library
need gcc awk
awk 'BEGIN {
    print "#include <stddef.h>\nstruct node { struct node *next; long key, value[4]; };"
    for (i = 0; i < 450; i++) {
        printf "long f%d(struct node *n, long a, long b)\n{\n    long s = %d;\n", i, i
        printf "    for (; n; n = n->next) {\n        switch (n->key %% 7) {\n"
        for (j = 0; j < 6; j++)
            printf "        case %d: s += n->value[%d] * a + (b ^ %d); if (s > %d) s -= a << %d; break;\n", j, j % 4, i * j, i * 31 + j, j
        printf "        default: s ^= n->value[s & 3];\n        }\n"
        printf "        for (long k = 0; k < 4; k++) n->value[k] = n->value[3 - k] * %d + s / (k + 1);\n    }\n", i + 3
        printf "    return %s;\n}\n", i ? "s + f" (i - 1) "(NULL, s, a)" : "s"
    }
}' >"$scratch/large.c"
daemon_start_warm
same_output gcc gcc -O2 -S -o - "$scratch/large.c"
