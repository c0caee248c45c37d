/* Rows 6, 7 and 8. Handlers that never return, that fail, answer late or after the end of their silo, and that call their
 * silo, themselves and their own actor; everything that may be called inside a callback, in every kind of callback. */
#define _GNU_SOURCE
#include "check.h"
#include <stdatomic.h>
#include <unistd.h>

#define LIMIT 60000

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void must_echo(const quark_silo_t *silo, const char *type) {
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    OK(quark_silo_call(silo, type, "1", "", QUARK_BYTES("x"), LIMIT, &reply, &error));
    CHECK(quark_bytes_len(reply) == 1);
    quark_bytes_free(reply);
}

/* ---- Row 6: a handler that never returns ------------------------------------------------------------------------ */

static int stuck_in, over, joined, replied, let_go, freed;

static void stuck(void *user_data, quark_request_t *request) {
    (void)user_data;
    count(&stuck_in);
    wait_for(&over, 1);
    CHECK(let_go == 0 && "the finalizer waits for the last callback");
    CHECK(quark_request_reply(request, QUARK_BYTES("late")) == QUARK_OK);
}

static void stuck_batch(void *user_data, quark_request_t *const *requests, size_t n) {
    for (size_t i = 0; i < n; ++i) stuck(user_data, requests[i]);
}

static void on_event(void *user_data, int32_t kind, const quark_silo_info_t *silo) {
    (void)user_data, (void)silo;
    if (kind == QUARK_SILO_JOINED) count(&joined);
}

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    CHECK(error == NULL);
    quark_bytes_free(reply);
    count(user_data);
}

static void *free_it(void *silo) {
    quark_silo_free(silo);
    count(&freed);
    return NULL;
}

static void that_never_return(void) {
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    quark_silo_t *host = NULL, *caller = NULL;
    quark_config_t *config = config_of("host", "memory://stuck");
    quark_config_set_handler_for(config, "Each", stuck, &let_go, count_up);
    quark_config_set_batch_handler(config, "Batch", stuck_batch, &let_go, count_up);
    quark_config_set_handler_for(config, "Echo", echo, &let_go, count_up);
    quark_config_set_membership_callback(config, on_event, &let_go, count_up);
    OK(quark_silo_start(config, &host, &error));
    quark_config_free(config);
    wait_for(&joined, 1);
    config = config_of("caller", "memory://stuck");
    quark_config_set_handler_for(config, "Other", echo, NULL, NULL);

    /* The caller's deadline fires, on the silo itself and on another, for each kind of handler. */
    const char *types[] = {"Each", "Batch"};
    OK(quark_silo_start(config, &caller, &error));
    quark_config_free(config);
    must_echo(caller, "Echo");
    for (int i = 0; i < 2; ++i) {
        int64_t begun = now_ms();
        FAILS(quark_silo_call(host, types[i], "1", "", QUARK_BYTES(""), 100, &reply, &error), QUARK_TIMEOUT, "");
        FAILS(quark_silo_call(caller, types[i], "1", "", QUARK_BYTES(""), 100, &reply, &error), QUARK_TIMEOUT, "");
        int64_t took = now_ms() - begun;
        CHECK(took >= 200 && took < 20000);
    }
    wait_for(&stuck_in, 2);
    /* Other handlers, replies and events of the same silo go on. */
    wait_for(&joined, 2);
    for (int i = 0; i < 20; ++i) {
        must_echo(host, "Echo");
        must_echo(caller, "Echo");
        CHECK(quark_silo_call_async(host, "Echo", "1", "", QUARK_BYTES(""), LIMIT, on_reply, &replied, NULL) == QUARK_OK);
        CHECK(quark_silo_call_async(host, "Other", "1", "", QUARK_BYTES(""), LIMIT, on_reply, &replied, NULL) == QUARK_OK);
    }
    wait_for(&replied, 40);
    /* The stop waits for it until its deadline, and the free until it returns. */
    int64_t begun = now_ms();
    OK(quark_silo_stop(host, 300, &error));
    int64_t took = now_ms() - begun;
    CHECK(took >= 250 && took < 20000);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, free_it, host) == 0);
    usleep(50 * 1000);
    pthread_mutex_lock(&check_lock);
    CHECK(freed == 0 && let_go == 0);
    pthread_mutex_unlock(&check_lock);
    count(&over);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(let_go == 4);
    quark_silo_free(caller);
}

/* ---- Row 7: requests that are answered late, or never ----------------------------------------------------------- */

static quark_request_t *kept[16];
static int keeps;

static void keep(void *user_data, quark_request_t *request) {
    (void)user_data;
    if (strcmp(quark_request_method_name(request), "keep") != 0) {
        echo(NULL, request);
        return;
    }
    kept[keeps] = request;
    count(&keeps);
}

/* Ends a request in one of the three ways; also what it gives is there until then. */
static void *end_kept(void *at) {
    quark_request_t *request = kept[*(int *)at];
    CHECK(strcmp(quark_request_actor_id(request), "1") == 0 && strcmp(quark_request_method_name(request), "keep") == 0);
    CHECK(quark_request_payload(request).len == 4 && memcmp(quark_request_payload(request).data, "kept", 4) == 0);
    quark_request_deadline_ms_left(request);
    quark_request_is_abandoned(request);
    switch (*(int *)at % 3) {
    case 0: CHECK(quark_request_reply(request, quark_request_payload(request)) == QUARK_OK); break;
    case 1: CHECK(quark_request_fail(request, "late") == QUARK_OK); break;
    default: quark_request_free(request);
    }
    return NULL;
}

static void end_in_a_thread(int at) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, end_kept, &at) == 0 && pthread_join(thread, NULL) == 0);
}

static int ends;
static atomic_int last_code;

static void on_end(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data;
    atomic_store(&last_code, quark_error_code(error));
    quark_bytes_free(reply);
    quark_error_free(error);
    count(&ends);
}

enum moment { AT_ONCE, AFTER_DEADLINE, AFTER_STOP, AFTER_FREE, MOMENTS };

/* Three requests, ended in three ways, by a caller that is the silo itself or another one. */
static void answered_late(enum moment moment, bool from_another) {
    static const int in_time[] = {QUARK_OK, QUARK_HANDLER_FAILED, QUARK_HANDLER_FAILED};
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL, *another = NULL;
    quark_config_t *config = config_of("late", "memory://late");
    CHECK(quark_config_set_handler_for(config, "T", keep, NULL, NULL) == QUARK_OK);
    OK(quark_silo_start(config, &silo, &error));
    quark_config_free(config);
    config = config_of("another", "memory://late");
    CHECK(quark_config_set_handler_for(config, "Other", echo, NULL, NULL) == QUARK_OK);
    OK(quark_silo_start(config, &another, &error));
    quark_config_free(config);
    keeps = ends = 0;
    quark_silo_t *caller = from_another ? another : silo;
    uint64_t timeout_ms = moment == AFTER_DEADLINE ? 50 : LIMIT;
    for (int i = 0; i < 3; ++i) {
        CHECK(quark_silo_call_async(caller, "T", "1", "keep", QUARK_BYTES("kept"), timeout_ms, on_end, NULL, NULL) == QUARK_OK);
        /* One that has no time left is not handed over. */
        if (moment == AFTER_DEADLINE) {
            wait_for(&ends, i + 1);
            CHECK(atomic_load(&last_code) == QUARK_TIMEOUT);
        } else {
            wait_for(&keeps, i + 1);
        }
    }
    if (moment == AFTER_STOP || moment == AFTER_FREE) {
        OK(quark_silo_stop(silo, 0, &error));
        wait_for(&ends, 3);
        CHECK(atomic_load(&last_code) == QUARK_CONNECTION_LOST);
    }
    if (moment == AFTER_FREE) quark_silo_free(silo);
    for (int i = 0; i < keeps; ++i) {
        end_in_a_thread(i);
        if (moment == AT_ONCE) {
            wait_for(&ends, i + 1);
            CHECK(atomic_load(&last_code) == in_time[i]);
        }
    }
    if (moment == AT_ONCE || moment == AFTER_DEADLINE) must_echo(caller, "T");
    if (moment != AFTER_FREE) quark_silo_free(silo);
    quark_silo_free(another);
    CHECK(ends == 3);
}

/* ---- Row 8: handlers that call ---------------------------------------------------------------------------------- */

static quark_silo_t *self;
static atomic_int depth, deepest, refused;

/* Calls its own actor as often as the payload says; "endless": always. */
static void nested(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_bytes_t *reply = NULL;
    quark_bytes_view_t payload = quark_request_payload(request);
    const char *method = quark_request_method_name(request), *type = quark_request_actor_type(request);
    bool endless = strcmp(method, "endless") == 0;
    uint8_t left = payload.len > 0 ? payload.data[0] : 0;
    int here = atomic_fetch_add(&depth, 1) + 1;
    if (here > atomic_load(&deepest)) atomic_store(&deepest, here);
    if (endless || left > 0) {
        uint8_t less = (uint8_t)(left - 1);
        quark_error_t *error = NULL;
        quark_status_t status =
            quark_silo_call(self, type, quark_request_actor_id(request), method, (quark_bytes_view_t){&less, 1}, LIMIT, &reply, &error);
        if (endless && status == QUARK_REENTRANT) {
            CHECK(quark_error_delivered(error) == QUARK_DELIVERED_NO);
            atomic_fetch_add(&refused, 1);
        } else {
            CHECK(status == QUARK_OK);
        }
        quark_error_free(error);
    }
    atomic_fetch_sub(&depth, 1);
    CHECK(quark_request_reply(request, QUARK_BYTES("done")) == QUARK_OK);
    quark_bytes_free(reply);
}

static void nested_batch(void *user_data, quark_request_t *const *requests, size_t n) {
    for (size_t i = 0; i < n; ++i) nested(user_data, requests[i]);
}

static void that_call_themselves(void) {
    static const uint8_t often = 50;
    quark_error_t *error = NULL;
    quark_config_t *config = config_of("nested", "memory://nested");
    quark_config_set_handler_for(config, "Each", nested, NULL, NULL);
    quark_config_set_batch_handler(config, "Batch", nested_batch, NULL, NULL);
    OK(quark_silo_start(config, &self, &error));
    quark_config_free(config);
    const char *types[] = {"Each", "Batch"};
    for (int i = 0; i < 2; ++i) {
        quark_bytes_t *reply = NULL;
        atomic_store(&deepest, 0);
        OK(quark_silo_call(self, types[i], "1", "", (quark_bytes_view_t){&often, 1}, LIMIT, &reply, &error));
        quark_bytes_free(reply);
        CHECK(atomic_load(&deepest) == often + 1);
        /* Without end it is refused where there would be no thread left to answer it, and works again then. */
        atomic_store(&refused, 0);
        OK(quark_silo_call(self, types[i], "1", "endless", QUARK_BYTES("x"), LIMIT, &reply, &error));
        quark_bytes_free(reply);
        CHECK(atomic_load(&refused) == 1 && atomic_load(&deepest) > 100);
        OK(quark_silo_call(self, types[i], "1", "", (quark_bytes_view_t){&often, 1}, LIMIT, &reply, &error));
        quark_bytes_free(reply);
    }
    quark_silo_free(self);
}

/* ---- Row 8: everything, in every kind of callback --------------------------------------------------------------- */

enum kind { NONE, REQUEST, BATCH, REPLY, ENDINGS, EVENT, LOG, FINALIZER, KINDS };

static quark_silo_t *neighbour;
static quark_client_t *client;
static quark_membership_t *membership;
static quark_transport_t *transport;
static atomic_int armed;
static int used, asides;

static void use_everything(enum kind kind) {
    int wanted = (int)kind;
    if (!atomic_compare_exchange_strong(&armed, &wanted, NONE)) return;
    quark_error_t *error = NULL;
    /* In a finalizer the silo itself is gone. */
    quark_silo_t *silo = kind == FINALIZER ? neighbour : self;
    const char *types[] = {"Echo", "Each", "Batch"};
    for (int i = 0; i < (kind == FINALIZER ? 1 : 3); ++i) {
        must_echo(silo, types[i]);
        must_echo(neighbour, types[i]);
    }
    quark_bytes_t *reply = NULL;
    OK(quark_client_call(client, "Echo", "1", "", QUARK_BYTES("x"), LIMIT, &reply, &error));
    quark_bytes_free(reply);
    OK(quark_silo_notify(silo, "Echo", "1", "", QUARK_BYTES("x"), LIMIT, &error));
    quark_envelope_t *envelope = quark_envelope_new(), *response = NULL;
    quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_TYPE, "Echo");
    quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_ID, "1");
    OK(quark_silo_send(silo, envelope, LIMIT, &response, &error));
    quark_envelope_free(response);
    OK(quark_transport_send(transport, "neighbour", envelope, LIMIT, &response, &error));
    quark_envelope_free(response);
    quark_envelope_free(envelope);
    char *owner = NULL;
    OK(quark_membership_owner(membership, "Echo", "1", &owner, &error));
    quark_string_free(owner);
    int32_t health = 0;
    CHECK(quark_silo_health(silo, &health, NULL, NULL) == QUARK_OK);
    CHECK(quark_silo_call_async(silo, "Echo", "1", "", QUARK_BYTES(""), LIMIT, on_reply, &asides, NULL) == QUARK_OK);
    /* Others are started, stopped and freed here, and waited for. */
    quark_silo_t *made = NULL;
    int finalized = 0;
    quark_config_t *config = config_of("made inside", "memory://everything-else");
    CHECK(quark_config_set_handler(config, echo, &finalized, count_up) == QUARK_OK);
    OK(quark_silo_start(config, &made, &error));
    quark_config_free(config);
    must_echo(made, "Echo");
    OK(quark_silo_stop(made, 1000, &error));
    quark_silo_free(made);
    CHECK(finalized == 1);
    count(&used);
}

static void use_in_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    use_everything(REQUEST);
    echo(NULL, request);
}

static void use_in_batch(void *user_data, quark_request_t *const *requests, size_t n) {
    (void)user_data;
    use_everything(BATCH);
    for (size_t i = 0; i < n; ++i) echo(NULL, requests[i]);
}

static void use_in_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    use_everything(REPLY);
    on_reply(user_data, reply, error);
}

static void use_in_endings(void *user_data, const quark_ending_t *endings, size_t n) {
    (void)user_data;
    use_everything(ENDINGS);
    for (size_t i = 0; i < n; ++i) on_reply(endings[i].user_data, endings[i].reply, endings[i].error);
}

static void use_in_event(void *user_data, int32_t kind, const quark_silo_info_t *silo) {
    (void)user_data, (void)kind, (void)silo;
    use_everything(EVENT);
}

static void use_in_log(void *user_data, int32_t level, const char *target, const char *message) {
    (void)user_data, (void)level, (void)target, (void)message;
    use_everything(LOG);
}

static void use_in_finalizer(void *user_data) {
    (void)user_data;
    use_everything(FINALIZER);
}

static void start_both(void) {
    quark_error_t *error = NULL;
    quark_silo_t **silos[] = {&neighbour, &self};
    for (int i = 0; i < 2; ++i) {
        quark_config_t *config = config_of(i == 0 ? "neighbour" : "self", "memory://everything");
        quark_config_set_handler(config, echo, NULL, NULL);
        quark_config_set_handler_for(config, "Each", use_in_request, NULL, i == 0 ? NULL : use_in_finalizer);
        quark_config_set_batch_handler(config, "Batch", use_in_batch, NULL, NULL);
        quark_config_set_ending_batch_callback(config, use_in_endings, NULL, NULL);
        quark_config_set_membership_callback(config, use_in_event, NULL, NULL);
        OK(quark_silo_start(config, silos[i], &error));
        quark_config_free(config);
    }
    quark_config_t *config = config_of(NULL, "memory://everything");
    OK(quark_client_start(config, &client, &error));
    OK(quark_membership_new(config, &membership, &error));
    OK(quark_membership_start(membership, &error));
    quark_config_free(config);
    config = quark_config_new("transport");
    OK(quark_transport_new(config, &transport, &error));
    OK(quark_transport_start(transport, &error));
    OK(quark_transport_connect(transport, "neighbour", quark_silo_endpoint(neighbour), &error));
    quark_config_free(config);
}

static void everything_everywhere(void) {
    quark_error_t *error = NULL;
    int ended = 0;
    start_both();
    for (int kind = REQUEST; kind < KINDS; ++kind) {
        if (kind == LOG) CHECK(quark_set_log_callback(use_in_log, NULL, NULL, QUARK_LOG_INFO) == QUARK_OK);
        int before = used;
        atomic_store(&armed, kind);
        switch (kind) {
        case REQUEST: must_echo(self, "Each"); break;
        case BATCH: must_echo(self, "Batch"); break;
        case REPLY:
        case ENDINGS: {
            quark_reply_fn callback = kind == REPLY ? use_in_reply : NULL;
            CHECK(quark_silo_call_async(self, "Echo", "1", "", QUARK_BYTES(""), LIMIT, callback, &ended, NULL) == QUARK_OK);
            break;
        }
        case FINALIZER: quark_silo_free(self); break;
        default: {
            /* Somebody comes and goes: events, and something to log. */
            quark_silo_t *guest = NULL;
            quark_config_t *config = config_of("guest", "memory://everything");
            quark_config_set_handler_for(config, "Guest", echo, NULL, NULL);
            OK(quark_silo_start(config, &guest, &error));
            quark_config_free(config);
            OK(quark_silo_stop(guest, 1000, &error));
            quark_silo_free(guest);
        }
        }
        wait_for(&used, before + 1);
        if (kind == LOG) CHECK(quark_set_log_callback(NULL, NULL, NULL, 0) == QUARK_OK);
    }
    wait_for(&ended, 2);
    wait_for(&asides, KINDS - 1);
    quark_client_free(client);
    quark_membership_free(membership);
    quark_transport_free(transport);
    quark_silo_free(neighbour);
}

/* On the thread of a loop of one's own a blocking call to oneself ends too, by its deadline. */
static int in_loop;

static void call_in_loop(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    if (strcmp(quark_request_method_name(request), "outer") == 0) {
        FAILS(quark_silo_call(self, "T", "1", "", QUARK_BYTES(""), 50, &reply, &error), QUARK_TIMEOUT, "");
        ++in_loop;
    }
    echo(NULL, request);
}

static void in_a_loop(void) {
    quark_error_t *error = NULL;
    quark_loop_t *loop = NULL;
    static int ended;
    OK(quark_loop_new(&loop, &error));
    quark_config_t *config = config_of("looped", "memory://in-loop");
    quark_config_set_handler(config, call_in_loop, NULL, NULL);
    quark_config_set_loop(config, loop);
    OK(quark_silo_start(config, &self, &error));
    quark_config_free(config);
    CHECK(quark_silo_call_async(self, "T", "1", "outer", QUARK_BYTES(""), LIMIT, on_reply, &ended, NULL) == QUARK_OK);
    while (ended == 0) {
        if (quark_loop_run(loop, 0) == 0) usleep(1000);
    }
    CHECK(in_loop == 1);
    quark_silo_free(self);
    quark_loop_free(loop);
}

int main(void) {
    that_never_return();
    for (int moment = AT_ONCE; moment < MOMENTS; ++moment) {
        answered_late((enum moment)moment, false);
        answered_late((enum moment)moment, true);
    }
    that_call_themselves();
    everything_everywhere();
    in_a_loop();
    return 0;
}
