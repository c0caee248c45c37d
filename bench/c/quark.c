/* Quark from C, as any program in C would use it. Subjects: `callbacks` (one for each request and reply), `batches` (one
 * for all that have come, and what is called next is called at once), `calls` (blocking, a thread for each that is in flight), `one-way`, and `local` and `local-batches`, where a silo calls itself. */
#define _GNU_SOURCE
#include <quark.h>

#include "meter.h"

#include <pthread.h>

typedef struct {
    uint64_t began;
} lane_t;

static load_t load;
static quark_client_t *client;
static quark_silo_t *silo;
static uint8_t *payload;
static char (*ids)[24];
static bool batches;
static unsigned next_id;
static int lanes;
static uint64_t end;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;

/* The first calls are made by `main`, while their replies may make more already. */
static const char *id(void) {
    return ids[__atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED) % (unsigned)load.actors];
}

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error);

static void call(lane_t *lane) {
    quark_bytes_view_t view = {payload, load.payload};
    quark_reply_fn callback = batches ? NULL : on_reply;
    lane->began = now();
    if (silo) {
        quark_silo_call_async(silo, "Device", id(), "Echo", view, 0, callback, lane, NULL);
    } else {
        quark_client_call_async(client, "Device", id(), "Echo", view, 0, callback, lane, NULL);
    }
}

static bool ended(lane_t *lane, quark_bytes_t *reply, quark_error_t *error) {
    if (error || quark_bytes_len(reply) != load.payload) fail(error ? quark_error_message(error) : "a wrong reply");
    quark_bytes_free(reply);
    uint64_t time = now();
    record(time - lane->began); /* callbacks of one client run one at a time */
    if (time < end) return true;
    pthread_mutex_lock(&lock);
    if (--lanes == 0) pthread_cond_signal(&idle);
    pthread_mutex_unlock(&lock);
    return false;
}

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    if (ended(user_data, reply, error)) call(user_data);
}

/* What is to be called next leaves together. */
static void on_endings(void *user_data, const quark_ending_t *endings, size_t count) {
    (void)user_data;
    quark_message_t next[QUARK_MAX_BATCH];
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        lane_t *lane = endings[i].user_data;
        if (!ended(lane, endings[i].reply, endings[i].error)) continue;
        lane->began = now();
        next[made++] = (quark_message_t){"Device", id(), "Echo", {payload, load.payload}, lane};
    }
    if (silo) {
        quark_silo_call_many(silo, next, made, 0, NULL);
    } else {
        quark_client_call_many(client, next, made, 0, NULL);
    }
}

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_request_reply(request, quark_request_payload(request));
}

static void on_requests(void *user_data, quark_request_t *const *requests, size_t count) {
    (void)user_data;
    for (size_t i = 0; i < count; i++) quark_request_reply(requests[i], quark_request_payload(requests[i]));
}

/* Keeps `depth` calls in flight: each reply makes the next one. */
static void run(lane_t *all, double seconds) {
    end = now() + (uint64_t)(seconds * 1e9);
    lanes = load.depth;
    for (int i = 0; i < load.depth; i++) call(&all[i]);
    pthread_mutex_lock(&lock);
    while (lanes > 0) pthread_cond_wait(&idle, &lock);
    pthread_mutex_unlock(&lock);
}

static void *call_again(void *unused) {
    quark_bytes_view_t view = {payload, load.payload};
    for (uint64_t start; (start = now()) < end;) {
        quark_error_t *error = NULL;
        quark_bytes_t *reply = NULL;
        if (quark_client_call(client, "Device", id(), "Echo", view, 0, &reply, &error)) fail(quark_error_message(error));
        if (quark_bytes_len(reply) != load.payload) fail("a wrong reply");
        quark_bytes_free(reply);
        pthread_mutex_lock(&lock);
        record(now() - start);
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

/* Blocking calls, from as many threads. */
static void run_calls(double seconds) {
    pthread_t *threads = calloc((size_t)load.depth, sizeof *threads);
    end = now() + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < load.depth; i++) {
        if (pthread_create(&threads[i], NULL, call_again, NULL)) fail("no thread");
    }
    for (int i = 0; i < load.depth; i++) pthread_join(threads[i], NULL);
    free(threads);
}

/* In windows whose last message is a call, so that no more are under way than the server can take. */
static void run_one_way(double seconds) {
    quark_bytes_view_t view = {payload, load.payload};
    quark_error_t *error = NULL;
    for (end = now() + (uint64_t)(seconds * 1e9); now() < end;) {
        uint64_t start = now();
        for (int i = 1; i < load.depth; i++) {
            if (quark_client_notify(client, "Device", id(), "Echo", view, 0, &error)) fail(quark_error_message(error));
        }
        quark_bytes_t *reply = NULL;
        if (quark_client_call(client, "Device", id(), "Echo", view, 0, &reply, &error)) fail(quark_error_message(error));
        quark_bytes_free(reply);
        record(now() - start);
    }
}

static quark_silo_t *start_silo(const char *name) {
    quark_error_t *error = NULL;
    quark_silo_t *started = NULL;
    quark_config_t *config = quark_config_new(name);
    quark_config_set_membership(config, "static://");
    if (batches) {
        quark_config_set_batch_handler(config, NULL, on_requests, NULL, NULL);
        quark_config_set_ending_batch_callback(config, on_endings, NULL, NULL);
    } else {
        quark_config_set_handler(config, on_request, NULL, NULL);
    }
    if (quark_silo_start(config, &started, &error)) fail(quark_error_message(error));
    return started;
}

static int serve(const char *name) {
    quark_silo_t *serving = start_silo(name);
    printf("ready %s\n", quark_silo_endpoint(serving));
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}

static void start_client(void) {
    char url[1024];
    quark_error_t *error = NULL;
    snprintf(url, sizeof url, "static://%s", load.targets);
    quark_config_t *config = quark_config_new(NULL);
    quark_config_set_membership(config, url);
    if (batches) quark_config_set_ending_batch_callback(config, on_endings, NULL, NULL);
    if (quark_client_start(config, &client, &error)) fail(quark_error_message(error));
}

int main(int argc, char **argv) {
    batches = argc > 2 && strstr(argv[2], "batches");
    if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve(argv[3]);
    if (!load_of(argc, argv, &load)) return 2;
    payload = malloc(load.payload);
    memset(payload, 7, load.payload);
    ids = calloc((size_t)load.actors, sizeof *ids);
    for (int i = 0; i < load.actors; i++) snprintf(ids[i], sizeof *ids, "device-%07d", 1234 + i);
    if (strncmp(load.subject, "local", 5) == 0) {
        silo = start_silo("server");
    } else {
        start_client();
    }
    bool one_way = strcmp(load.subject, "one-way") == 0, calls = strcmp(load.subject, "calls") == 0;
    lane_t *all = calloc((size_t)load.depth, sizeof *all);
    for (int warm = 0; warm < 2; warm++) {
        double seconds = warm ? load.seconds : load.warm_up;
        if (warm) begin(&load);
        if (one_way) {
            run_one_way(seconds);
        } else if (calls) {
            run_calls(seconds);
        } else {
            run(all, seconds);
        }
    }
    report(&load, one_way ? load.depth : 1);
    return 0;
}
