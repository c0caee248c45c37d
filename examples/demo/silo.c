/* The C silo of the demo: counters, each answering with the silo's id and how often it was called here.
 *
 * Started as `demo-silo-c ID URL CLUSTER`; says that it is ready, and goes when its standard input is closed. */

#define _POSIX_C_SOURCE 200809L
#include <quark.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNTERS = 4096 };

typedef struct {
    const char *silo_id;
    char *names[COUNTERS];
    unsigned long counts[COUNTERS];
} counters_t;

/* The place of a counter in the table; handlers run one at a time, so it needs no lock. */
static unsigned long *counter(counters_t *counters, const char *name) {
    size_t place = quark_hash(name) % COUNTERS;
    while (counters->names[place] != NULL && strcmp(counters->names[place], name) != 0) {
        place = (place + 1) % COUNTERS;
    }
    if (counters->names[place] == NULL) {
        counters->names[place] = strdup(name);
    }
    return &counters->counts[place];
}

static void on_request(void *user_data, quark_request_t *request) {
    counters_t *counters = user_data;
    unsigned long count = ++*counter(counters, quark_request_actor_id(request));
    char reply[512];
    int length = snprintf(reply, sizeof reply, "%s %lu", counters->silo_id, count);
    quark_bytes_view_t view = {(const uint8_t *)reply, (size_t)length};
    quark_request_reply(request, view);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: demo-silo-c ID URL CLUSTER\n", stderr);
        return 2;
    }
    counters_t *counters = calloc(1, sizeof *counters);
    counters->silo_id = argv[1];

    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_config_t *config = quark_config_new(argv[1]);
    quark_config_set_membership(config, argv[2]);
    quark_config_set_cluster(config, argv[3]);
    quark_config_set_handler_for(config, "Counter", on_request, counters, NULL);
    quark_status_t status = quark_silo_start(config, &silo, &error);
    quark_config_free(config);
    if (status != QUARK_OK) {
        fprintf(stderr, "%s\n", quark_error_message(error));
        quark_error_free(error);
        return 1;
    }
    printf("ready %s -\n", quark_silo_endpoint(silo));
    fflush(stdout);
    while (getchar() != EOF) {
    }
    quark_silo_stop(silo, 5000, NULL);
    quark_silo_free(silo);
    for (size_t i = 0; i < COUNTERS; i++) {
        free(counters->names[i]);
    }
    free(counters);
    return 0;
}
