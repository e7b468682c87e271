/*
 * The stage on which hostile clients appear: one daemon for all tests of a program, a well-behaved
 * client (the witness) that is served beside each attack and measures it, and the daemon's state
 * before, to compare with the state after.
 */
#ifndef HAKMEM_TESTS_HARNESS_ATTACK_H
#define HAKMEM_TESTS_HARNESS_ATTACK_H

#include "harness-client.h"

extern struct daemon attack_daemon;

/* cmocka's, for the group and for each test. The teardown of the group prints the witness's
 * figures. */
int attack_group_setup(void **state);
int attack_group_teardown(void **state);
int attack_setup(void **state);
int attack_teardown(void **state);

/*
 * Each test ends with this: the daemon lives, every byte is accounted for, its descriptors and its
 * memory are back at their base, and the witness was served, with memory that was zero and stayed
 * its own.
 */
void attack_require_unharmed(void);

/* Leases that the witness has had so far. */
uint32_t attack_witnessed(void);
/* Waits until the witness has had `n` more. */
void attack_wait_witnessed(uint32_t n);

/* A child that attacks: another user, where that can be had, so that it uses up its own quota
 * alone. */
pid_t attack_fork(void);
/* SIGKILL, and waits. */
void attack_kill(pid_t child);
/* Connects and says Hello, wanting nothing. */
void attack_hello(struct client *client);
uint64_t attack_protocol_errors(void);

#endif
