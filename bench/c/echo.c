/* Echo from C to C through callbacks. `serve` prints `ready ADDRESS`; `call ADDRESS DEPTH SECONDS SERVER-PID` keeps DEPTH
 * calls in flight, each reply's callback making the next call, and prints one line of JSON. */
#define _POSIX_C_SOURCE 200809L
#include <quark.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char payload[64] = {7};
static quark_client_t *client;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static double end;
static int lanes;
static float *latencies;
static size_t count, capacity;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double cpu_seconds(const char *pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[length] = 0;
    if (file) fclose(file);
    char *after = strrchr(text, ')');
    long user = 0, system = 0;
    if (after) sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system);
    return (double)(user + system) / 100;
}

typedef struct {
    double began;
} lane_t;

static void call(lane_t *lane);

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    lane_t *lane = user_data;
    if (error != NULL || quark_bytes_len(reply) != sizeof payload) {
        fprintf(stderr, "%s\n", error ? quark_error_message(error) : "a wrong reply");
        exit(1);
    }
    quark_bytes_free(reply);
    double time = now();
    /* Callbacks of one client run one at a time. */
    if (count < capacity) latencies[count++] = (float)(time - lane->began);
    if (time < end) {
        call(lane);
        return;
    }
    pthread_mutex_lock(&lock);
    if (--lanes == 0) pthread_cond_signal(&idle);
    pthread_mutex_unlock(&lock);
}

static void call(lane_t *lane) {
    lane->began = now();
    quark_bytes_view_t view = {(const uint8_t *)payload, sizeof payload};
    quark_client_call_async(client, "Device", "device-0001234", "Echo", view, 0, on_reply, lane, NULL);
}

static void run(int depth, double seconds) {
    lane_t *all = calloc((size_t)depth, sizeof *all);
    count = 0;
    end = now() + seconds;
    lanes = depth;
    for (int i = 0; i < depth; i++) call(&all[i]);
    pthread_mutex_lock(&lock);
    while (lanes > 0) pthread_cond_wait(&idle, &lock);
    pthread_mutex_unlock(&lock);
    free(all);
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_request_reply(request, quark_request_payload(request));
}

static int serve(void) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_config_t *config = quark_config_new("server");
    quark_config_set_membership(config, "static://");
    quark_config_set_handler(config, on_request, NULL, NULL);
    if (quark_silo_start(config, &silo, &error) != QUARK_OK) {
        fprintf(stderr, "%s\n", quark_error_message(error));
        return 1;
    }
    printf("ready %s\n", quark_silo_endpoint(silo));
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "serve") == 0) return serve();
    if (argc != 6) return 2;
    char url[256];
    snprintf(url, sizeof url, "static://server@%s", argv[2]);
    quark_error_t *error = NULL;
    quark_config_t *config = quark_config_new(NULL);
    quark_config_set_membership(config, url);
    if (quark_client_start(config, &client, &error) != QUARK_OK) {
        fprintf(stderr, "%s\n", quark_error_message(error));
        return 1;
    }
    capacity = 64u << 20;
    latencies = malloc(capacity * sizeof *latencies);
    run(atoi(argv[3]), 0.5);
    double cpu = cpu_seconds("self") + cpu_seconds(argv[5]), began = now();
    run(atoi(argv[3]), atof(argv[4]));
    double took = now() - began;
    cpu = cpu_seconds("self") + cpu_seconds(argv[5]) - cpu;
    qsort(latencies, count, sizeof *latencies, by_size);
    printf("{\"msgs_per_s\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_s_per_100k\": %.3f}\n", (double)count / took,
           (double)latencies[count / 2] * 1e6, (double)latencies[count * 99 / 100] * 1e6, cpu / (double)count * 1e5);
    return 0;
}
