/* machine.c - what this process may use: CPUs and memory, by affinity and control groups.
 *
 * A control group limits everything below it, so each limit is the least over the path from our
 * group up to the root. In a container the path of /proc/self/cgroup may belong to the host and not
 * exist under the mount; walking up ends at the mount's own files, which are then ours.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/machine.h"

#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kerf/pool.h"

#define PATH_BYTES 1024

/* v1 writes "no limit" as the largest multiple of a page. */
#define NO_LIMIT ((uint64_t)1 << 60)

/* Reads the first line of a small file, without its line feed. */
static bool read_line(char *line, size_t n, const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    const bool found = fgets(line, (int)n, f) != NULL;
    (void)fclose(f);
    if (found) {
        line[strcspn(line, "\n")] = '\0';
    }
    return found;
}

/* Parses an unsigned decimal number; false for anything else ("max", "-1"). */
static bool parse_number(uint64_t *value, const char *text, const char **rest)
{
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end = NULL;
    *value = strtoull(text, &end, 10);
    if (rest != NULL) {
        *rest = end;
    }
    return true;
}

static bool read_number(uint64_t *value, const char *group, const char *name)
{
    char path[PATH_BYTES + 64];
    char line[64];
    (void)snprintf(path, sizeof path, "%s/%s", group, name);
    return read_line(line, sizeof line, path) && parse_number(value, line, NULL);
}

/* The number behind "key" in a file of lines "key number" ("key: number kB" too, in bytes then). */
static bool read_keyed(uint64_t *value, const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    char line[256];
    bool found = false;
    const size_t n_key = strlen(key);
    while (!found && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, key, n_key) == 0 && strchr(" :", line[n_key]) != NULL) {
            const char *rest = NULL;
            found = parse_number(value, line + n_key + strspn(line + n_key, ": \t"), &rest);
            if (found && strncmp(rest, " kB", 3) == 0) {
                *value *= 1024;
            }
        }
    }
    (void)fclose(f);
    return found;
}

/* Does a controller list such as "cpu,cpuacct" name one? "" is the list of v2. */
static bool lists_controller(const char *list, size_t n, const char *controller)
{
    const size_t n_controller = strlen(controller);
    while (n >= n_controller) {
        const char *comma = memchr(list, ',', n);
        const size_t n_item = comma == NULL ? n : (size_t)(comma - list);
        if (n_item == n_controller && memcmp(list, controller, n_item) == 0) {
            return true;
        }
        if (comma == NULL) {
            return false;
        }
        list += n_item + 1;
        n -= n_item + 1;
    }
    return false;
}

/* Finds our group's path for a v1 controller, or for "" the v2 group, in /proc/self/cgroup, whose
 * lines are "number:controllers:path". */
static bool find_group(char *group, size_t n, const char *root, const char *controller)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    char line[PATH_BYTES];
    bool found = false;
    while (!found && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *list = strchr(line, ':');
        const char *name = list == NULL ? NULL : strchr(list + 1, ':');
        if (name != NULL && lists_controller(list + 1, (size_t)(name - list - 1), controller)) {
            (void)snprintf(group, n, "%s", name + 1);
            found = true;
        }
    }
    (void)fclose(f);
    return found;
}

/* A limit of one group directory; UINT64_MAX where it sets none. */
typedef uint64_t group_limit(const char *directory);

/* The least limit from our group up to the mount. */
static uint64_t least_limit(const char *root, const char *mount, const char *controller,
                            group_limit *limit)
{
    char group[PATH_BYTES / 2];
    if (!find_group(group, sizeof group, root, controller)) {
        return UINT64_MAX;
    }
    uint64_t least = UINT64_MAX;
    for (bool at_mount = false; !at_mount;) {
        char directory[PATH_BYTES];
        char *slash = strrchr(group, '/');
        (void)snprintf(directory, sizeof directory, "%s%s%s", root, mount, group);
        const uint64_t value = limit(directory);
        least = value < least ? value : least;
        at_mount = slash == NULL || group[0] == '\0';
        if (slash != NULL) {
            *slash = '\0';
        }
    }
    return least;
}

static uint64_t cpus_of_quota(uint64_t quota, uint64_t period)
{
    return period == 0 ? UINT64_MAX : quota / period + (quota % period != 0);
}

static uint64_t cpu_limit_v2(const char *directory)
{
    char path[PATH_BYTES + 64];
    char line[64];
    uint64_t quota = 0;
    uint64_t period = 0;
    const char *rest = NULL;
    (void)snprintf(path, sizeof path, "%s/cpu.max", directory);
    if (!read_line(line, sizeof line, path) || !parse_number(&quota, line, &rest) || *rest != ' ' ||
        !parse_number(&period, rest + 1, NULL)) {
        return UINT64_MAX;
    }
    return cpus_of_quota(quota, period);
}

static uint64_t cpu_limit_v1(const char *directory)
{
    uint64_t quota = 0;
    uint64_t period = 0;
    if (!read_number(&quota, directory, "cpu.cfs_quota_us") ||
        !read_number(&period, directory, "cpu.cfs_period_us")) {
        return UINT64_MAX;
    }
    return cpus_of_quota(quota, period);
}

static uint64_t memory_left(const char *directory, const char *limit_name, const char *usage_name,
                            const char *reclaimable_key)
{
    uint64_t limit = 0;
    uint64_t usage = 0;
    uint64_t reclaimable = 0;
    char path[PATH_BYTES + 64];
    if (!read_number(&limit, directory, limit_name) || limit >= NO_LIMIT ||
        !read_number(&usage, directory, usage_name)) {
        return UINT64_MAX;
    }
    (void)snprintf(path, sizeof path, "%s/memory.stat", directory);
    if (read_keyed(&reclaimable, path, reclaimable_key) && reclaimable <= usage) {
        usage -= reclaimable;
    }
    return usage < limit ? limit - usage : 0;
}

static uint64_t memory_limit_v2(const char *directory)
{
    return memory_left(directory, "memory.max", "memory.current", "inactive_file");
}

static uint64_t memory_limit_v1(const char *directory)
{
    return memory_left(directory, "memory.limit_in_bytes", "memory.usage_in_bytes",
                       "total_inactive_file");
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t kfi_machine_cpu_quota(const char *root)
{
    const uint64_t v2 = least_limit(root, "/sys/fs/cgroup", "", cpu_limit_v2);
    const uint64_t v1 = least_limit(root, "/sys/fs/cgroup/cpu", "cpu", cpu_limit_v1);
    return least(v2, v1);
}

uint64_t kfi_machine_memory_available(const char *root)
{
    char path[PATH_BYTES];
    uint64_t available = UINT64_MAX;
    (void)snprintf(path, sizeof path, "%s/proc/meminfo", root);
    if (!read_keyed(&available, path, "MemAvailable")) {
        available = UINT64_MAX;
    }
    const uint64_t v2 = least_limit(root, "/sys/fs/cgroup", "", memory_limit_v2);
    const uint64_t v1 = least_limit(root, "/sys/fs/cgroup/memory", "memory", memory_limit_v1);
    return least(available, least(v2, v1));
}

static size_t cpus_by_affinity(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        return (size_t)CPU_COUNT(&set);
    }
    /* More CPUs than a cpu_set_t names. */
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (size_t)online : 1;
}

size_t kf_cpu_count(void)
{
    const uint64_t n = least(cpus_by_affinity(), kfi_machine_cpu_quota(""));
    return n > 0 ? (size_t)n : 1;
}

uint64_t kf_memory_available(void)
{
    return kfi_machine_memory_available("");
}

uint64_t kf_memory_peak(void)
{
    /* Not ru_maxrss first: that one includes what the process was before exec. */
    uint64_t peak = 0;
    if (read_keyed(&peak, "/proc/self/status", "VmHWM")) {
        return peak;
    }
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}
