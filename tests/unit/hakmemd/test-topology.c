/* NUMA nodes, on made up hosts: which count, whose processors are whose, and which is near which.
 */
#include "fake-host.h"

#include "hakmemd/topology.h"

static struct fake_host fake;
static struct topology topology;

static int setup(void **state)
{
    (void)state;
    fake_host_init(&fake);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_deinit(&fake);
    return 0;
}

static void set_list(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "sys/devices/system/node/%s", name);
    fake_host_write(&fake, path, "%s\n", text);
}

static void set_node(int id, const char *cpus, const char *distances)
{
    char name[64];
    snprintf(name, sizeof(name), "node%d/cpulist", id);
    set_list(name, cpus);
    snprintf(name, sizeof(name), "node%d/distance", id);
    set_list(name, distances);
}

static unsigned node_of(unsigned cpu)
{
    return topology_node_of_cpu(&topology, cpu + 1);
}

static void test_a_host_that_does_not_say(void **state)
{
    (void)state;
    topology_init(&topology, &fake.host);
    assert_int_equal(topology.n_nodes, 1);
    assert_int_equal(topology_binding(&topology, 0), TOPOLOGY_UNBOUND);
    assert_int_equal(node_of(0), 0);
    assert_int_equal(topology_node_of_cpu(&topology, UINT32_MAX), 0);
}

static void test_one_node(void **state)
{
    (void)state;
    set_list("online", "0");
    set_list("has_memory", "0");
    set_node(0, "0-63", "10");
    topology_init(&topology, &fake.host);
    assert_int_equal(topology.n_nodes, 1);
    assert_int_equal(topology_binding(&topology, 0), TOPOLOGY_UNBOUND);
    topology_init(&topology, &host_default);
    assert_true(topology.n_nodes >= 1);
}

static void test_two_nodes(void **state)
{
    (void)state;
    set_list("online", "0-1");
    set_list("has_memory", "0-1");
    set_node(0, "0-3,8-11", "10 21");
    set_node(1, "4-7,12-15", "21 10");
    topology_init(&topology, &fake.host);
    assert_int_equal(topology.n_nodes, 2);
    assert_int_equal(topology_binding(&topology, 0), 0);
    assert_int_equal(topology_binding(&topology, 1), 1);
    assert_int_equal(node_of(3), 0);
    assert_int_equal(node_of(4), 1);
    assert_int_equal(node_of(11), 0);
    assert_int_equal(node_of(15), 1);
    assert_int_equal(topology.nodes[0].by_distance[0], 0);
    assert_int_equal(topology.nodes[1].by_distance[0], 1);
    assert_int_equal(topology.nodes[1].by_distance[1], 0);
    /* What a client may say. */
    assert_int_equal(topology_node_of_cpu(&topology, 0), TOPOLOGY_ANY_NODE);
    assert_int_equal(topology_node_of_cpu(&topology, TOPOLOGY_MAX_CPUS + 1), TOPOLOGY_ANY_NODE);
    assert_int_equal(topology_node_of_cpu(&topology, UINT32_MAX), TOPOLOGY_ANY_NODE);
    assert_true(topology_node_of_cpu(&topology, TOPOLOGY_MAX_CPUS) < 2);
}

/* Numbers with gaps; a node of memory alone (3), which no stock is kept on; one of processors alone
 * (5), whose clients are served from the nearest (4). */
static void test_nodes_that_do_not_count(void **state)
{
    (void)state;
    set_list("online", "1,3-5");
    set_list("has_memory", "1,3-4");
    set_node(1, "0-1", "10 40 20 30");
    set_node(3, "", "40 10 40 40");
    set_node(4, "2-3", "20 40 10 12");
    set_node(5, "4-5", "30 40 12 10");
    topology_init(&topology, &fake.host);
    assert_int_equal(topology.n_nodes, 2);
    assert_int_equal(topology_binding(&topology, 0), 1);
    assert_int_equal(topology_binding(&topology, 1), 4);
    assert_int_equal(node_of(1), 0);
    assert_int_equal(node_of(3), 1);
    assert_int_equal(node_of(5), 1);
}

static void test_by_distance(void **state)
{
    (void)state;
    set_list("online", "0-3");
    set_list("has_memory", "0-3");
    set_node(0, "0", "10 30 20 40");
    set_node(1, "1", "30 10 40 20");
    set_node(2, "2", "20 40 10 30");
    set_node(3, "3", "40 20"); /* cut off: the rest is far */
    topology_init(&topology, &fake.host);
    static const uint8_t expected[4][4] = {{0, 2, 1, 3}, {1, 3, 0, 2}, {2, 0, 3, 1}, {3, 1, 0, 2}};
    for (int node = 0; node < 4; node++)
        assert_memory_equal(topology.nodes[node].by_distance, expected[node], 4);
}

static void test_more_than_are_told_apart(void **state)
{
    (void)state;
    set_list("online", "0-39,70000");
    for (int id = 0; id < 40; id++) {
        char cpus[16];
        snprintf(cpus, sizeof(cpus), "%d", id);
        set_node(id, cpus, "10");
    }
    topology_init(&topology, &fake.host);
    assert_int_equal(topology.n_nodes, TOPOLOGY_MAX_NODES);
    for (unsigned cpu = 0; cpu < 40; cpu++)
        assert_true(node_of(cpu) < TOPOLOGY_MAX_NODES);
    assert_int_equal(node_of(15), 15);
}

static void test_nonsense(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "x", "5-2", "-", "0-", "0-99999999999", "0,,1"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        set_list("online", texts[i]);
        set_node(0, texts[i], texts[i]);
        topology_init(&topology, &fake.host);
        assert_true(topology.n_nodes >= 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_host_that_does_not_say),
        TEST(test_one_node),
        TEST(test_two_nodes),
        TEST(test_nodes_that_do_not_count),
        TEST(test_by_distance),
        TEST(test_more_than_are_told_apart),
        TEST(test_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
