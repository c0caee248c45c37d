/* A program with an event loop of its own: every callback and finalizer runs on its one thread, when it says so. */
#include "check.h"

#include <poll.h>

static pthread_t own;
static quark_loop_t *loop;
static int requests, replies, failures, events, finalized, stopped_inside;
static int order[64];

static void here(void) { CHECK(pthread_equal(pthread_self(), own)); }

static void finalize(void *counter) {
    here();
    ++*(int *)counter;
}

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    here();
    CHECK(quark_loop_run(loop, 0) == 0 && "nothing inside a callback");
    if (strcmp(quark_request_method_name(request), "count") == 0) {
        quark_bytes_view_t payload = quark_request_payload(request);
        char text[16] = {0};
        CHECK(payload.len < sizeof text && requests < 64);
        memcpy(text, payload.data, payload.len);
        order[requests++] = atoi(text);
    }
    echo(NULL, request);
}

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data;
    here();
    if (reply != NULL) {
        ++replies;
    } else {
        ++failures;
    }
    quark_bytes_free(reply);
    quark_error_free(error);
}

static void on_event(void *user_data, int32_t kind, const quark_silo_info_t *silo) {
    (void)user_data;
    (void)silo;
    here();
    CHECK(kind == QUARK_SILO_JOINED || kind == QUARK_SILO_LEFT || kind == QUARK_SILO_UPDATED);
    ++events;
}

/* Waits at the descriptor and runs what is due until a counter has got there. */
static void run_until(int *counter, int wanted, size_t at_most) {
    struct pollfd readable = {quark_loop_descriptor(loop), POLLIN, 0};
    while (*counter < wanted) {
        CHECK(poll(&readable, 1, 60000) == 1);
        size_t ran = quark_loop_run(loop, at_most);
        CHECK(at_most == 0 || ran <= at_most);
    }
}

static quark_silo_t *inside;

static void on_stop(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_error_t *error = NULL;
    here();
    OK(quark_silo_stop(inside, 1000, &error));
    CHECK(quark_request_reply(request, QUARK_BYTES("stopping")) == QUARK_OK);
    ++stopped_inside;
}

static int owned, lost;

static void on_ownership(void *user_data, const quark_ownership_change_t *change) {
    (void)user_data;
    CHECK(pthread_equal(own, pthread_self()));
    owned += quark_hash_ranges_len(change->owned) > 0;
    lost += quark_hash_ranges_len(change->owned) == 0;
}

int main(void) {
    own = pthread_self();
    quark_error_t *error = NULL;
    OK(quark_loop_new(&loop, &error));
    CHECK(quark_loop_descriptor(loop) >= 0 && quark_loop_run(loop, 0) == 0);
    CHECK(quark_loop_descriptor(NULL) == -1 && quark_loop_run(NULL, 0) == 0);
    quark_loop_free(NULL);
    FAILS(quark_loop_new(NULL, &error), QUARK_INVALID_ARGUMENT, "event_loop=NULL");

    quark_silo_t *a = NULL, *b = NULL;
    quark_config_t *config = quark_config_new("a");
    quark_config_set_membership(config, "memory://loop");
    CHECK(quark_config_set_loop(config, loop) == QUARK_OK);
    quark_config_set_handler_for(config, "Count", on_request, &finalized, finalize);
    quark_config_set_membership_callback(config, on_event, &finalized, finalize);
    quark_config_set_ownership_callback(config, "Count", on_ownership, NULL, NULL);
    OK(quark_silo_start(config, &a, &error));
    quark_config_free(config);
    run_until(&events, 1, 0);
    run_until(&owned, 1, 0);

    config = quark_config_new("b");
    quark_config_set_membership(config, "memory://loop");
    quark_config_set_loop(config, loop);
    quark_config_set_handler_for(config, "Stop", on_stop, &finalized, finalize);
    OK(quark_silo_start(config, &b, &error));
    quark_config_free(config);

    /* Nothing runs by itself, and all of it in order; three at a time leave the descriptor readable. */
    for (int i = 0; i < 30; ++i) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        quark_bytes_view_t payload = {(const uint8_t *)text, strlen(text)};
        CHECK(quark_silo_call_async(b, "Count", "1", "count", payload, 60000, on_reply, NULL, NULL) == QUARK_OK);
    }
    CHECK(quark_silo_call_async(a, "Count", "1", "fail", QUARK_BYTES(""), 60000, on_reply, NULL, NULL) == QUARK_OK);
    CHECK(requests == 0 && replies == 0);
    run_until(&replies, 30, 3);
    run_until(&failures, 1, 3);
    CHECK(requests == 30 && replies == 30 && failures == 1);
    for (int i = 0; i < 30; ++i) CHECK(order[i] == i);

    /* A stop inside a callback happens after it; what waits for the loop is run by who waits on its thread. */
    inside = b;
    CHECK(quark_silo_call_async(a, "Stop", "1", "", QUARK_BYTES(""), 60000, on_reply, NULL, NULL) == QUARK_OK);
    run_until(&stopped_inside, 1, 0);
    run_until(&replies, 31, 0);
    CHECK(quark_silo_call_async(a, "Count", "1", "count", QUARK_BYTES("0"), 60000, on_reply, NULL, NULL) == QUARK_OK);
    OK(quark_silo_stop(a, 60000, &error));
    CHECK(requests == 31 && "the stop waited for the handler, and ran it");
    CHECK(owned == 1 && lost == 1 && "and for the loss of all that it owned");
    quark_silo_free(b);
    CHECK(finalized == 1);
    quark_silo_free(a);
    CHECK(finalized == 3 && replies == 32);
    CHECK(quark_loop_run(loop, 0) == 0);
    quark_loop_free(loop);
    return 0;
}
