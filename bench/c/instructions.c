/* The hot path across the C callbacks for callgrind, driven by `cargo xtask instructions`: `instructions COUNT` has a silo call
 * itself with batch callbacks on both sides, 256 calls in flight. Collected in all threads, from here. */
#define _GNU_SOURCE
#include <quark.h>

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/callgrind.h>

static sem_t ended;

static void on_requests(void *user_data, quark_request_t *const *requests, size_t count) {
    (void)user_data;
    for (size_t i = 0; i < count; i++) quark_request_reply(requests[i], quark_request_payload(requests[i]));
}

static void on_endings(void *user_data, const quark_ending_t *endings, size_t count) {
    (void)user_data;
    for (size_t i = 0; i < count; i++) {
        if (endings[i].error) exit(1);
        quark_bytes_free(endings[i].reply);
        sem_post(&ended);
    }
}

static void run(quark_silo_t *silo, int count) {
    static const uint8_t payload[64] = {7};
    quark_bytes_view_t view = {payload, sizeof payload};
    for (int i = 0; i < count; i += 256) {
        for (int j = 0; j < 256; j++) {
            quark_silo_call_async(silo, "Device", "device-0001234", "Echo", view, 0, NULL, NULL, NULL);
        }
        for (int j = 0; j < 256; j++) sem_wait(&ended);
    }
}

int main(int argc, char **argv) {
    int count = argc == 2 ? atoi(argv[1]) : 0;
    quark_silo_t *silo = NULL;
    sem_init(&ended, 0, 0);
    quark_config_t *config = quark_config_new("a");
    quark_config_set_membership(config, "static://");
    quark_config_set_batch_handler(config, NULL, on_requests, NULL, NULL);
    quark_config_set_ending_batch_callback(config, on_endings, NULL, NULL);
    if (quark_silo_start(config, &silo, NULL) != QUARK_OK) return 1;
    run(silo, count);
    CALLGRIND_START_INSTRUMENTATION;
    run(silo, count);
    CALLGRIND_STOP_INSTRUMENTATION;
    _Exit(0);
}
