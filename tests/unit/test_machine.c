/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <sched.h>

#include "base/file.h"
#include "base/machine.h"
#include "fixtures.h"
#include "kerf/pool.h"

/* In all tests a directory of their own stands for /. */

static void put(const char *root, const char *path, const char *text)
{
    kf_error err = {0};
    char full[4096];
    (void)snprintf(full, sizeof full, "%s/%s", root, path);
    *strrchr(full, '/') = '\0';
    CHECK_OK(kfi_file_make_directories(full, &err), &err);
    (void)snprintf(full, sizeof full, "%s/%s", root, path);
    CHECK_OK(kfi_file_write(full, text, strlen(text), &err), &err);
}

static void knows_nothing_of_an_empty_system(void **state)
{
    assert_true(kfi_machine_cpu_quota(*state) == UINT64_MAX);
    assert_true(kfi_machine_memory_available(*state) == UINT64_MAX);
}

static void takes_the_least_quota_on_the_way_up(void **state)
{
    put(*state, "proc/self/cgroup", "0::/a/b\n");
    put(*state, "sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_true(kfi_machine_cpu_quota(*state) == UINT64_MAX);
    put(*state, "sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    assert_int_equal(kfi_machine_cpu_quota(*state), 3);
    put(*state, "sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
    assert_int_equal(kfi_machine_cpu_quota(*state), 2);
    put(*state, "sys/fs/cgroup/cpu.max", "1000 100000\n");
    assert_int_equal(kfi_machine_cpu_quota(*state), 1);
}

/* A container sees its own group at the mount, but may be told the host's path. */
static void falls_back_to_the_mount_in_a_container(void **state)
{
    put(*state, "proc/self/cgroup", "0::/docker/0123\n");
    put(*state, "sys/fs/cgroup/cpu.max", "200000 100000\n");
    assert_int_equal(kfi_machine_cpu_quota(*state), 2);
}

static void reads_the_older_control_groups(void **state)
{
    put(*state, "proc/self/cgroup",
        "5:memory:/m\n4:cpuset:/no\n3:cpu,cpuacct:/c\n1:name=systemd:/s\n");
    put(*state, "sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1\n");
    put(*state, "sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n");
    assert_true(kfi_machine_cpu_quota(*state) == UINT64_MAX);
    put(*state, "sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "400000\n");
    assert_int_equal(kfi_machine_cpu_quota(*state), 4);

    put(*state, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(*state, "sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n");
    assert_true(kfi_machine_memory_available(*state) == UINT64_MAX);
    put(*state, "sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1000000\n");
    put(*state, "sys/fs/cgroup/memory/m/memory.usage_in_bytes", "600000\n");
    assert_int_equal(kfi_machine_memory_available(*state), 400000);
    put(*state, "sys/fs/cgroup/memory/m/memory.stat", "cache 5\ntotal_inactive_file 100000\n");
    assert_int_equal(kfi_machine_memory_available(*state), 500000);
}

static void takes_the_least_memory(void **state)
{
    put(*state, "proc/meminfo", "MemTotal:  4000 kB\nMemAvailable:    2000 kB\n");
    assert_int_equal(kfi_machine_memory_available(*state), 2000 * 1024);
    put(*state, "proc/self/cgroup", "0::/a\n");
    put(*state, "sys/fs/cgroup/a/memory.max", "max\n");
    put(*state, "sys/fs/cgroup/a/memory.current", "500000\n");
    assert_int_equal(kfi_machine_memory_available(*state), 2000 * 1024);
    put(*state, "sys/fs/cgroup/a/memory.max", "1000000\n");
    assert_int_equal(kfi_machine_memory_available(*state), 500000);
    put(*state, "sys/fs/cgroup/a/memory.stat", "anon 7\ninactive_file 200000\n");
    assert_int_equal(kfi_machine_memory_available(*state), 700000);
    put(*state, "sys/fs/cgroup/a/memory.max", "1000\n");
    assert_int_equal(kfi_machine_memory_available(*state), 0);
}

static void survives_files_that_make_no_sense(void **state)
{
    put(*state, "proc/self/cgroup", "nonsense\n:\n::\n0::\n");
    put(*state, "sys/fs/cgroup/cpu.max", "100000 0\n");
    put(*state, "proc/meminfo", "MemAvailable\nMemAvailable: x kB\n");
    assert_true(kfi_machine_cpu_quota(*state) == UINT64_MAX);
    assert_true(kfi_machine_memory_available(*state) == UINT64_MAX);
}

static void counts_the_cpus_of_the_affinity_mask(void **state)
{
    (void)state;
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_in_range(kf_cpu_count(), 1, (size_t)CPU_COUNT(&before));
    int first = 0;
    while (!CPU_ISSET(first, &before)) {
        first++;
    }
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(kf_cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void peak_memory_follows_use(void **state)
{
    (void)state;
    const size_t n = (size_t)64 << 20;
    const uint64_t before = kf_memory_peak();
    assert_true(before > 0);
    unsigned char *block = kfi_alloc(NULL, n);
    assert_non_null(block);
    memset(block, 1, n);
    assert_int_equal(block[n / 2], 1);
    assert_true(kf_memory_peak() >= n);
    kfi_free(NULL, block, n);
    assert_true(kf_memory_available() > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(knows_nothing_of_an_empty_system),
        IN_DIRECTORY(takes_the_least_quota_on_the_way_up),
        IN_DIRECTORY(falls_back_to_the_mount_in_a_container),
        IN_DIRECTORY(reads_the_older_control_groups),
        IN_DIRECTORY(takes_the_least_memory),
        IN_DIRECTORY(survives_files_that_make_no_sense),
        cmocka_unit_test(counts_the_cpus_of_the_affinity_mask),
        cmocka_unit_test(peak_memory_follows_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
