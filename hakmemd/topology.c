/* See topology.h. */
#include "hakmemd/topology.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ONLINE 1024 /* the kernel's own bound */

/* What the kernel says of the nodes that are online, before those that count are chosen. */
struct survey {
    const struct host *host;
    unsigned n_online;
    int ids[MAX_ONLINE]; /* ascending: a node's distances are in this order */
};

static bool read_file(const struct host *host, int id, const char *name, char *text,
                      size_t capacity)
{
    char path[HOST_ROOT_BYTES + 80];
    if (id < 0)
        snprintf(path, sizeof(path), "%s/devices/system/node/%s", host->sys, name);
    else
        snprintf(path, sizeof(path), "%s/devices/system/node/node%d/%s", host->sys, id, name);
    return host_read(path, text, capacity);
}

/* The next range of "0-3,8,10-11": its bounds, and the text after it. False: there is none. */
static bool next_range(const char **text, unsigned *first, unsigned *last)
{
    char *end;
    unsigned long from = strtoul(*text, &end, 10), to = from;
    if (end == *text)
        return false;
    if (*end == '-')
        to = strtoul(end + 1, &end, 10);
    if (to < from || to > UINT16_MAX)
        return false;
    *text = *end == ',' ? end + 1 : end;
    *first = (unsigned)from;
    *last = (unsigned)to;
    return true;
}

static bool list_has(const char *text, unsigned number)
{
    unsigned first, last;
    while (next_range(&text, &first, &last))
        if (first <= number && number <= last)
            return true;
    return false;
}

static void read_online(struct survey *survey)
{
    char text[4096];
    unsigned first, last;
    survey->n_online = 0;
    if (!read_file(survey->host, -1, "online", text, sizeof(text)))
        return;
    for (const char *rest = text; next_range(&rest, &first, &last);)
        for (unsigned id = first; id <= last && survey->n_online < MAX_ONLINE; id++)
            survey->ids[survey->n_online++] = (int)id;
}

static void choose_nodes(struct topology *topology, const struct survey *survey)
{
    char with_memory[4096], cpus[4096];
    bool told = read_file(survey->host, -1, "has_memory", with_memory, sizeof(with_memory));
    for (unsigned i = 0; i < survey->n_online && topology->n_nodes < TOPOLOGY_MAX_NODES; i++) {
        int id = survey->ids[i];
        unsigned first, last;
        const char *rest = cpus;
        if ((told && !list_has(with_memory, (unsigned)id)) ||
            !read_file(survey->host, id, "cpulist", cpus, sizeof(cpus)) ||
            !next_range(&rest, &first, &last))
            continue;
        topology->nodes[topology->n_nodes++].id = id;
    }
}

/* The distances from an online node to the chosen ones. Those not told are far. */
static void read_distances(const struct topology *topology, const struct survey *survey, int id,
                           unsigned long distances[TOPOLOGY_MAX_NODES])
{
    char text[8192] = "";
    read_file(survey->host, id, "distance", text, sizeof(text));
    for (unsigned node = 0; node < topology->n_nodes; node++)
        distances[node] = topology->nodes[node].id == id ? 0 : ULONG_MAX;
    char *rest = text;
    for (unsigned i = 0; i < survey->n_online; i++) {
        char *end;
        unsigned long distance = strtoul(rest, &end, 10);
        if (end == rest)
            break;
        rest = end;
        for (unsigned node = 0; node < topology->n_nodes; node++)
            if (topology->nodes[node].id == survey->ids[i] && distances[node] != 0)
                distances[node] = distance;
    }
}

static void sort_by_distance(unsigned n, const unsigned long distances[TOPOLOGY_MAX_NODES],
                             uint8_t order[TOPOLOGY_MAX_NODES])
{
    for (unsigned i = 0; i < n; i++) {
        unsigned at = i;
        for (; at > 0 && distances[order[at - 1]] > distances[i]; at--)
            order[at] = order[at - 1];
        order[at] = (uint8_t)i;
    }
}

static void assign_cpus(struct topology *topology, const struct survey *survey, int id,
                        unsigned node)
{
    char text[4096];
    unsigned first, last;
    if (!read_file(survey->host, id, "cpulist", text, sizeof(text)))
        return;
    for (const char *rest = text; next_range(&rest, &first, &last);)
        for (unsigned cpu = first; cpu <= last && cpu < TOPOLOGY_MAX_CPUS; cpu++)
            topology->node_of_cpu[cpu] = (uint8_t)node;
}

void topology_init(struct topology *topology, const struct host *host)
{
    struct survey survey = {.host = host};
    *topology = (struct topology){0};
    read_online(&survey);
    choose_nodes(topology, &survey);
    if (topology->n_nodes <= 1) {
        topology->n_nodes = 1;
        return;
    }
    for (unsigned i = 0; i < survey.n_online; i++) {
        unsigned long distances[TOPOLOGY_MAX_NODES];
        uint8_t order[TOPOLOGY_MAX_NODES] = {0};
        read_distances(topology, &survey, survey.ids[i], distances);
        sort_by_distance(topology->n_nodes, distances, order);
        assign_cpus(topology, &survey, survey.ids[i], order[0]);
        if (topology->nodes[order[0]].id == survey.ids[i])
            memcpy(topology->nodes[order[0]].by_distance, order, sizeof(order));
    }
}

unsigned topology_node_of_cpu(const struct topology *topology, uint32_t cpu_plus_one)
{
    if (topology->n_nodes == 1)
        return 0;
    if (cpu_plus_one == 0 || cpu_plus_one > TOPOLOGY_MAX_CPUS)
        return TOPOLOGY_ANY_NODE;
    return topology->node_of_cpu[cpu_plus_one - 1];
}

unsigned topology_node_of_id(const struct topology *topology, int id)
{
    for (unsigned node = 0; node < topology->n_nodes; node++)
        if (topology->nodes[node].id == id)
            return node;
    return TOPOLOGY_ANY_NODE;
}

int topology_binding(const struct topology *topology, unsigned node)
{
    return topology->n_nodes == 1 ? TOPOLOGY_UNBOUND : topology->nodes[node].id;
}
