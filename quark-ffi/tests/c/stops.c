/* Rows 9, 10 and 11. Stops: inside every kind of callback, by several threads at once, during 10,000 calls, twice, and
 * before the start. */
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

/* ---- Row 9: inside every kind of callback ----------------------------------------------------------------------- */

enum kind { NONE, REQUEST, BATCH, REPLY, ENDINGS, EVENT, LOG, KINDS };
enum what { STOPS, FREES, STOPS_AND_FREES, WHATS };

static quark_silo_t *self;
static enum what what;
static atomic_int armed;
static int stopped_inside, ended, let_go;
/* Where callbacks run; NULL for threads of Quark's. */
static quark_loop_t *loop;

static void wait_or_run(int *counter, int wanted) {
    while (loop != NULL && *counter < wanted) {
        if (quark_loop_run(loop, 0) == 0) usleep(1000);
    }
    wait_for(counter, wanted);
}

/* Stops, frees or both, once, in the kind of callback that was asked for. */
static void end_here(enum kind kind) {
    int wanted = (int)kind;
    if (!atomic_compare_exchange_strong(&armed, &wanted, NONE)) return;
    quark_error_t *error = NULL;
    int64_t begun = now_ms();
    if (what != FREES) {
        OK(quark_silo_stop(self, LIMIT, &error));
        OK(quark_silo_stop(self, LIMIT, &error));
    }
    /* What belongs to the silo has returned before it is stopped; the log belongs to nobody. */
    if (what == STOPS && kind != LOG) {
        quark_bytes_t *reply = NULL;
        usleep(50 * 1000); /* Enough for a stop that has begun, which is what must not be. */
        CHECK(quark_silo_is_running(self));
        if (loop == NULL) OK(quark_silo_call(self, "Echo", "1", "", QUARK_BYTES("x"), LIMIT, &reply, &error));
        quark_bytes_free(reply);
    } else if (what == STOPS) {
        CHECK(!quark_silo_is_running(self));
    }
    if (what != STOPS) quark_silo_free(self);
    CHECK(now_ms() - begun < LIMIT / 2 && "it did not wait for its own callback");
    count(&stopped_inside);
}

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    end_here(REQUEST);
    echo(NULL, request);
}

static void on_batch(void *user_data, quark_request_t *const *requests, size_t n) {
    (void)user_data;
    end_here(BATCH);
    for (size_t i = 0; i < n; ++i) echo(NULL, requests[i]);
}

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data;
    end_here(REPLY);
    quark_bytes_free(reply);
    quark_error_free(error);
    count(&ended);
}

static void on_endings(void *user_data, const quark_ending_t *endings, size_t n) {
    (void)user_data;
    end_here(ENDINGS);
    for (size_t i = 0; i < n; ++i) {
        quark_bytes_free(endings[i].reply);
        quark_error_free(endings[i].error);
        count(&ended);
    }
}

static void on_event(void *user_data, int32_t kind, const quark_silo_info_t *silo) {
    (void)user_data, (void)kind, (void)silo;
    end_here(EVENT);
}

static void on_log(void *user_data, int32_t level, const char *target, const char *message) {
    (void)user_data, (void)level, (void)target, (void)message;
    end_here(LOG);
}

static void inside_a_callback(enum kind kind) {
    quark_error_t *error = NULL;
    int stops = stopped_inside, endings = ended, finalized = let_go;
    quark_config_t *config = config_of("inside", "memory://stops-inside");
    quark_config_set_handler_for(config, "Echo", echo, &let_go, count_up);
    quark_config_set_handler_for(config, "Each", on_request, &let_go, count_up);
    quark_config_set_batch_handler(config, "Batch", on_batch, &let_go, count_up);
    quark_config_set_ending_batch_callback(config, on_endings, &let_go, count_up);
    quark_config_set_membership_callback(config, on_event, &let_go, count_up);
    CHECK(quark_config_set_loop(config, loop) == QUARK_OK);
    OK(quark_silo_start(config, &self, &error));
    quark_config_free(config);
    quark_silo_t *other = NULL;
    config = config_of("other", "memory://stops-inside");
    quark_config_set_handler_for(config, "Other", echo, NULL, NULL);
    const char *type = kind == REQUEST ? "Each" : kind == BATCH ? "Batch" : "Echo";
    /* The logged start of another silo is what makes the log callback run. */
    if (kind != LOG) atomic_store(&armed, (int)kind);
    quark_reply_fn callback = kind == ENDINGS ? NULL : on_reply;
    CHECK(quark_silo_call_async(self, type, "1", "", QUARK_BYTES("x"), LIMIT, callback, NULL, NULL) == QUARK_OK);
    if (kind == LOG) {
        wait_or_run(&ended, endings + 1);
        CHECK(quark_set_log_callback(on_log, NULL, NULL, QUARK_LOG_INFO) == QUARK_OK);
        atomic_store(&armed, LOG);
    }
    OK(quark_silo_start(config, &other, &error));
    quark_config_free(config);
    wait_or_run(&stopped_inside, stops + 1);
    wait_or_run(&ended, endings + 1);
    if (what == STOPS) {
        OK(quark_silo_stop(self, LIMIT, &error));
        CHECK(!quark_silo_is_running(self));
        quark_silo_free(self);
    }
    wait_or_run(&let_go, finalized + 5);
    CHECK(let_go == finalized + 5 && ended == endings + 1 && stopped_inside == stops + 1);
    CHECK(quark_set_log_callback(NULL, NULL, NULL, 0) == QUARK_OK);
    OK(quark_silo_stop(other, 1000, &error));
    quark_silo_free(other);
}

/* The same of what is no silo. */
static quark_membership_t *membership;
static quark_transport_t *transport;
static quark_client_t *client;

static void on_other_event(void *user_data, int32_t kind, const quark_silo_info_t *silo) {
    (void)user_data, (void)silo;
    quark_error_t *error = NULL;
    int wanted = EVENT;
    if (kind != QUARK_SILO_JOINED || !atomic_compare_exchange_strong(&armed, &wanted, NONE)) return;
    if (what != FREES) OK(quark_membership_stop(membership, &error));
    if (what != STOPS) quark_membership_free(membership);
    count(&stopped_inside);
}

static void on_other_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_error_t *error = NULL;
    if (what != FREES) OK(quark_transport_stop(transport, LIMIT, &error));
    if (what != STOPS) quark_transport_free(transport);
    echo(NULL, request);
    count(&stopped_inside);
}

static void on_other_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data, (void)error;
    CHECK(quark_bytes_len(reply) == 1);
    quark_bytes_free(reply);
    if (what != FREES) OK(quark_client_stop(client, LIMIT, &error));
    if (what != STOPS) quark_client_free(client);
    count(&stopped_inside);
}

static void inside_those_of_others(void) {
    quark_error_t *error = NULL;
    int stops = stopped_inside, finalized = let_go;
    quark_config_t *config = config_of(NULL, "memory://stops-others");
    quark_config_set_membership_callback(config, on_other_event, &let_go, count_up);
    OK(quark_membership_new(config, &membership, &error));
    quark_config_free(config);
    OK(quark_membership_start(membership, &error));
    config = config_of(NULL, "memory://stops-others");
    quark_config_set_ending_batch_callback(config, on_endings, &let_go, count_up);
    OK(quark_client_start(config, &client, &error));
    quark_config_free(config);
    config = quark_config_new("transport");
    quark_config_set_handler(config, on_other_request, &let_go, count_up);
    OK(quark_transport_new(config, &transport, &error));
    quark_config_free(config);
    OK(quark_transport_start(transport, &error));

    atomic_store(&armed, EVENT);
    quark_silo_t *silo = start_echo("others", "memory://stops-others", NULL);
    wait_for(&stopped_inside, stops + 1);
    CHECK(quark_client_call_async(client, "T", "1", "", QUARK_BYTES("x"), LIMIT, on_other_reply, NULL, NULL) == QUARK_OK);
    wait_for(&stopped_inside, stops + 2);
    /* From another transport, because the sender of a request must not be freed while it waits. */
    quark_transport_t *sender = NULL;
    quark_envelope_t *envelope = quark_envelope_new(), *response = NULL;
    quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_TYPE, "T");
    quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_ID, "1");
    quark_envelope_set_bytes(envelope, QUARK_ENVELOPE_PAYLOAD, QUARK_BYTES("x"));
    config = quark_config_new("sender");
    OK(quark_transport_new(config, &sender, &error));
    quark_config_free(config);
    OK(quark_transport_start(sender, &error));
    OK(quark_transport_connect(sender, "transport", quark_transport_local_endpoint(transport), &error));
    quark_status_t status = quark_transport_send(sender, "transport", envelope, LIMIT, &response, NULL);
    /* A free without a stop ends as a crash would, and takes the answer with it. */
    CHECK(status == QUARK_OK || (what == FREES && status == QUARK_CONNECTION_LOST));
    quark_envelope_free(response);
    quark_envelope_free(envelope);
    quark_transport_free(sender);
    wait_for(&stopped_inside, stops + 3);
    if (what == STOPS) {
        OK(quark_membership_stop(membership, &error));
        OK(quark_client_stop(client, 1000, &error));
        OK(quark_transport_stop(transport, 1000, &error));
        quark_membership_free(membership);
        quark_client_free(client);
        quark_transport_free(transport);
    }
    wait_for(&let_go, finalized + 3);
    CHECK(let_go == finalized + 3);
    quark_silo_free(silo);
}

/* ---- Row 9: by several threads at once -------------------------------------------------------------------------- */

static int working, go_on;

static void work(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_error_t *error = NULL;
    count(&working);
    wait_for(&go_on, working);
    OK(quark_silo_stop(self, LIMIT, &error));
    echo(NULL, request);
}

static void *stop(void *returned) {
    quark_error_t *error = NULL;
    OK(quark_silo_stop(self, LIMIT, &error));
    CHECK(!quark_silo_is_running(self));
    count(returned);
    return NULL;
}

static void by_several_threads(void) {
    for (int round = 0; round < 10; ++round) {
        int stops = 0, endings = ended;
        quark_error_t *error = NULL;
        quark_config_t *config = config_of("several", "memory://stops-several");
        CHECK(quark_config_set_handler(config, work, NULL, NULL) == QUARK_OK);
        OK(quark_silo_start(config, &self, &error));
        quark_config_free(config);
        CHECK(quark_silo_call_async(self, "T", "1", "", QUARK_BYTES("x"), LIMIT, on_reply, NULL, NULL) == QUARK_OK);
        wait_for(&working, round + 1);
        pthread_t threads[4];
        for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, stop, &stops) == 0);
        usleep(round * 500);
        /* The handler stops it too, and answers: the stops waited for that, each of them. */
        pthread_mutex_lock(&check_lock);
        CHECK(stops == 0);
        pthread_mutex_unlock(&check_lock);
        count(&go_on);
        for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(stops == 4);
        wait_for(&ended, endings + 1);
        quark_silo_free(self);
    }
}

/* ---- Row 10: during 10,000 calls -------------------------------------------------------------------------------- */

enum { CALLS = 10000 };

static unsigned char endings[CALLS];
static int all_ended, first_ending, may_end, holds;
static quark_request_t *held;
static atomic_bool is_slow;

/* Answers the first half of the requests, holds one, and leaves the others where they wait. */
static void half(void *user_data, quark_request_t *request) {
    (void)user_data;
    static int handled;
    if (++handled == CALLS / 2) {
        held = request;
        count(&holds);
        wait_for(&may_end, 1);
        return;
    }
    echo(NULL, request);
}

static void on_ending(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    CHECK((reply == NULL) != (error == NULL));
    int at = *(int *)user_data;
    if (reply != NULL) {
        CHECK(quark_bytes_len(reply) == sizeof(int) && memcmp(quark_bytes_data(reply), &at, sizeof at) == 0);
    } else if (quark_error_delivered(error) == QUARK_DELIVERED_NO) {
        CHECK(quark_error_code(error) == QUARK_NOT_RUNNING);
    } else {
        CHECK(quark_error_code(error) == QUARK_CONNECTION_LOST);
    }
    ++endings[at];
    quark_bytes_free(reply);
    quark_error_free(error);
    count(&first_ending);
    /* One that does not return until the stop is over holds up the other endings, and not the stop. */
    if (atomic_exchange(&is_slow, false)) wait_for(&may_end, 1);
    count(&all_ended);
}

static void call_all(const quark_silo_t *caller) {
    static int numbers[CALLS];
    memset(endings, 0, sizeof endings);
    all_ended = first_ending = 0;
    for (int i = 0; i < CALLS; ++i) {
        numbers[i] = i;
        quark_bytes_view_t payload = {(const uint8_t *)&numbers[i], sizeof numbers[i]};
        CHECK(quark_silo_call_async(caller, "T", "1", "", payload, LIMIT, on_ending, &numbers[i], NULL) == QUARK_OK);
    }
}

static void each_ended_once(void) {
    CHECK(all_ended == CALLS);
    for (int i = 0; i < CALLS; ++i) CHECK(endings[i] == 1);
}

static void during_many_calls(void) {
    quark_error_t *error = NULL;
    quark_silo_t *host = NULL, *caller = NULL;
    quark_config_t *config = config_of("host", "memory://stops-many");
    CHECK(quark_config_set_handler_for(config, "T", half, NULL, NULL) == QUARK_OK);
    OK(quark_silo_start(config, &host, &error));
    quark_config_free(config);
    config = config_of("caller", "memory://stops-many");
    CHECK(quark_config_set_handler_for(config, "Other", echo, NULL, NULL) == QUARK_OK);
    OK(quark_silo_start(config, &caller, &error));
    quark_config_free(config);
    atomic_store(&is_slow, true);
    call_all(caller);
    wait_for(&holds, 1);
    wait_for(&first_ending, 1);
    int64_t begun = now_ms();
    OK(quark_silo_stop(caller, 300, &error));
    int64_t took = now_ms() - begun;
    CHECK(took >= 250 && took < 10000);
    count(&may_end);
    quark_request_free(held);
    quark_silo_free(caller);
    each_ended_once();
    OK(quark_silo_stop(host, 1000, &error));
    quark_silo_free(host);
}

/* In a loop the thread that stops also runs what is due; slow endings do not hold up the stop there either. */
enum { SLOW = 2000 };

static int slow_endings;

static void on_slow_ending(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data;
    CHECK(error == NULL);
    quark_bytes_free(reply);
    usleep(1000);
    ++slow_endings;
}

static void during_slow_endings_in_a_loop(void) {
    quark_error_t *error = NULL;
    quark_silo_t *host = NULL, *caller = NULL;
    OK(quark_loop_new(&loop, &error));
    quark_config_t *config = config_of("host", "memory://stops-loop");
    CHECK(quark_config_set_handler_for(config, "T", echo, NULL, NULL) == QUARK_OK);
    OK(quark_silo_start(config, &host, &error));
    quark_config_free(config);
    config = config_of("caller", "memory://stops-loop");
    CHECK(quark_config_set_handler_for(config, "Other", echo, NULL, NULL) == QUARK_OK);
    CHECK(quark_config_set_loop(config, loop) == QUARK_OK);
    OK(quark_silo_start(config, &caller, &error));
    quark_config_free(config);
    for (int i = 0; i < SLOW; ++i) {
        CHECK(quark_silo_call_async(caller, "T", "1", "", QUARK_BYTES("x"), LIMIT, on_slow_ending, NULL, NULL) == QUARK_OK);
    }
    /* In the order of the calls: when this one is answered, the others have been and are due. */
    quark_bytes_t *reply = NULL;
    OK(quark_silo_call(caller, "T", "1", "", QUARK_BYTES("x"), LIMIT, &reply, &error));
    quark_bytes_free(reply);
    CHECK(slow_endings == 0);
    OK(quark_silo_stop(caller, LIMIT, &error));
    CHECK(slow_endings < SLOW / 2);
    quark_silo_free(caller);
    CHECK(slow_endings == SLOW);
    quark_silo_free(host);
    quark_loop_free(loop);
    loop = NULL;
}

/* ---- Row 11: twice, and before the start ------------------------------------------------------------------------ */

static void out_of_order(void) {
    quark_error_t *error = NULL;
    quark_silo_list_t *silos = NULL;
    quark_config_t *config = config_of("order", "memory://stops-order");
    quark_config_set_advertise(config, "127.0.0.1:9");

    /* A stop before the start has no effect: the start that follows works, once. */
    OK(quark_membership_new(config, &membership, &error));
    OK(quark_membership_stop(membership, &error));
    OK(quark_membership_start(membership, &error));
    OK(quark_membership_silos(membership, &silos, &error));
    CHECK(quark_silo_list_len(silos) == 1);
    quark_silo_list_free(silos);
    FAILS(quark_membership_start(membership, &error), QUARK_NOT_RUNNING, "started before");
    OK(quark_membership_stop(membership, &error));
    OK(quark_membership_stop(membership, &error));
    FAILS(quark_membership_start(membership, &error), QUARK_NOT_RUNNING, "");
    quark_membership_free(membership);

    quark_envelope_t *envelope = quark_envelope_new(), *response = NULL;
    quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_TYPE, "T");
    quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_ID, "1");
    CHECK(quark_config_set_handler(config, echo, NULL, NULL) == QUARK_OK);
    OK(quark_transport_new(config, &transport, &error));
    OK(quark_transport_stop(transport, 1000, &error));
    FAILS(quark_transport_send(transport, "order", envelope, 1000, &response, &error), QUARK_NOT_RUNNING, "");
    OK(quark_transport_start(transport, &error));
    OK(quark_transport_send(transport, "order", envelope, LIMIT, &response, &error));
    quark_envelope_free(response);
    FAILS(quark_transport_start(transport, &error), QUARK_NOT_RUNNING, "started before");
    OK(quark_transport_stop(transport, 1000, &error));
    OK(quark_transport_stop(transport, 1000, &error));
    FAILS(quark_transport_start(transport, &error), QUARK_NOT_RUNNING, "");
    FAILS(quark_transport_send(transport, "order", envelope, 1000, &response, &error), QUARK_NOT_RUNNING, "");
    quark_transport_free(transport);
    quark_envelope_free(envelope);

    /* Never started at all. */
    OK(quark_membership_new(config, &membership, &error));
    quark_membership_free(membership);
    OK(quark_transport_new(config, &transport, &error));
    quark_transport_free(transport);

    /* A config starts again what was stopped. */
    for (int i = 0; i < 3; ++i) {
        OK(quark_silo_start(config, &self, &error));
        OK(quark_silo_stop(self, 1000, &error));
        OK(quark_silo_stop(self, 1000, &error));
        quark_silo_free(self);
    }
    quark_config_free(config);
}

int main(void) {
    for (what = STOPS; what < WHATS; ++what) {
        for (int kind = REQUEST; kind < KINDS; ++kind) inside_a_callback((enum kind)kind);
        inside_those_of_others();
        quark_error_t *error = NULL;
        OK(quark_loop_new(&loop, &error));
        for (int kind = REQUEST; kind < LOG; ++kind) inside_a_callback((enum kind)kind);
        quark_loop_free(loop);
        loop = NULL;
    }
    by_several_threads();
    during_many_calls();
    during_slow_endings_in_a_loop();
    out_of_order();
    return 0;
}
