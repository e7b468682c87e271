/*
 * NUMA nodes of the host: which processor is on which, and which is near which.
 *
 * A node counts if it has processors and memory: stock is kept for those alone. A processor of a
 * node without memory counts to the nearest one that has some. Nodes are named by index from 0 on;
 * the kernel's number is topology_node.id.
 *
 * On a host with one node, or that does not say, there is one, and nothing is ever bound.
 * Read once, when the daemon starts; constant from then on.
 */
#ifndef HAKMEMD_TOPOLOGY_H
#define HAKMEMD_TOPOLOGY_H

#include <stdint.h>

#include "hakmemd/host.h"

#define TOPOLOGY_MAX_NODES 16
#define TOPOLOGY_MAX_CPUS  4096
#define TOPOLOGY_ANY_NODE  UINT32_MAX /* not known, or no matter */
#define TOPOLOGY_UNBOUND   (-1)       /* in the place of a kernel's number */

struct topology_node {
    int id;                                  /* the kernel's */
    uint8_t by_distance[TOPOLOGY_MAX_NODES]; /* indices of all nodes, this one first */
};

struct topology {
    unsigned n_nodes; /* 1 or more */
    struct topology_node nodes[TOPOLOGY_MAX_NODES];
    uint8_t node_of_cpu[TOPOLOGY_MAX_CPUS];
};

void topology_init(struct topology *topology, const struct host *host);

/* The node of a processor as a client names it: 0 is "not told", n is processor n - 1. */
unsigned topology_node_of_cpu(const struct topology *topology, uint32_t cpu_plus_one);

/* The node of the kernel's number, TOPOLOGY_ANY_NODE if there is no such one here. */
unsigned topology_node_of_id(const struct topology *topology, int id);

/* The kernel's number, for binding memory to a node; TOPOLOGY_UNBOUND where there is one only. */
int topology_binding(const struct topology *topology, unsigned node);

#endif
