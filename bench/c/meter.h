/* Counting, timing and reporting, the same for every subject in C and C++.
 *
 * `PROGRAM serve SUBJECT NAME` prints `ready ADDRESS` and ends when its standard input does. `PROGRAM call SUBJECT TARGETS
 * DEPTH PAYLOAD ACTORS SECONDS WARM-UP PID,…` prints one line of JSON; TARGETS is `NAME@ADDRESS,…`. */
#ifndef METER_H
#define METER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    const char *subject, *targets;
    int depth;
    size_t payload;
    int actors;
    double seconds, warm_up;
    const char *servers;
} load_t;

/* A histogram whose buckets are 1/128 of their power of two wide: exact to 0.8 %. */
enum { FINE = 7, BUCKETS = 64 << FINE };
static uint64_t buckets[BUCKETS], recorded;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void record(uint64_t nanoseconds) {
    unsigned shift = nanoseconds >> FINE ? 63u - (unsigned)__builtin_clzll(nanoseconds) - FINE : 0;
    buckets[((uint64_t)shift << FINE) + (nanoseconds >> shift)]++;
    recorded++;
}

static double quantile(double share) {
    uint64_t left = (uint64_t)((double)recorded * share);
    for (uint64_t i = 0; i < BUCKETS; i++) {
        if (buckets[i] > left) {
            uint64_t shift = i >> (FINE + 1) ? (i >> FINE) - 1 : 0;
            return (double)((i - (shift << FINE)) << shift) / 1000;
        }
        left -= buckets[i];
    }
    return 0;
}

/* User and system seconds so far: fields 14 and 15 of /proc/PID/stat, in ticks of 10 ms. */
static double cpu_of(const char *pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[length] = 0;
    if (file) fclose(file);
    char *after = strrchr(text, ')');
    long user = 0, system = 0;
    if (after) sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system);
    return (double)(user + system) / 100;
}

/* The most memory that a process had, in KiB. */
static double peak_of(const char *pid) {
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%.20s/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
    }
    if (file) fclose(file);
    return (double)kib;
}

static double of_servers(const load_t *load, double (*figure)(const char *)) {
    char pids[512], *rest = pids;
    double sum = 0;
    snprintf(pids, sizeof pids, "%s", load->servers);
    for (char *pid; (pid = strtok_r(rest, ",", &rest)) != NULL;) sum += figure(pid);
    return sum;
}

static double cpu_began;
static uint64_t began;

/* Forgets the warm-up. */
static void begin(const load_t *load) {
    memset(buckets, 0, sizeof buckets);
    recorded = 0;
    cpu_began = cpu_of("self") + of_servers(load, cpu_of);
    began = now();
}

/* `at_once` messages for each recorded time. */
static void report(const load_t *load, int at_once) {
    double took = (double)(now() - began) / 1e9, cpu = cpu_of("self") + of_servers(load, cpu_of) - cpu_began;
    double calls = (double)recorded * at_once;
    printf("{\"msgs_per_s\": %.1f, \"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f, \"cpu_s_per_100k\": %.4f, "
           "\"caller_kib\": %.0f, \"server_kib\": %.0f}\n",
           calls / took, quantile(0.5), quantile(0.99), quantile(0.999), cpu / calls * 1e5, peak_of("self"),
           of_servers(load, peak_of));
    fflush(stdout);
}

static bool load_of(int argc, char **argv, load_t *load) {
    if (argc != 10 || strcmp(argv[1], "call") != 0) return false;
    *load = (load_t){.subject = argv[2],
                     .targets = argv[3],
                     .depth = atoi(argv[4]),
                     .payload = (size_t)atol(argv[5]),
                     .actors = atoi(argv[6]),
                     .seconds = atof(argv[7]),
                     .warm_up = atof(argv[8]),
                     .servers = argv[9]};
    return load->depth > 0 && load->actors > 0;
}

static inline const char *address_of(const load_t *load) {
    const char *at = strrchr(load->targets, '@');
    return at ? at + 1 : load->targets;
}

__attribute__((noreturn)) static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

#endif
