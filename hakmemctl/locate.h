/*
 * Where the library and the daemon are: in the build folder that hakmemctl itself is in, else where
 * it is installed.
 */
#ifndef HAKMEM_CTL_LOCATE_H
#define HAKMEM_CTL_LOCATE_H

#include <limits.h>

/* Both: 0 and an absolute path, or -ENOENT. $HAKMEM_LIBRARY names the library; if it is set,
 * nothing else is tried. */
int locate_library(char path[PATH_MAX]);
int locate_daemon(char path[PATH_MAX]);

#endif
