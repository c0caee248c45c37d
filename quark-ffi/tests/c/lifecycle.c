/* Silos called, stopped and freed from inside callbacks; finalizers; cancelling; deadlines. */
#include "check.h"

static quark_silo_t *self;
static int finalized, cancelled, stopped, held;

/* Row 8. "outer" calls the own actor again and waits for it, on the one callback thread that there is. */
static void nested(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_error_t *error = NULL;
    const char *method = quark_request_method_name(request);
    if (strcmp(method, "outer") == 0) {
        quark_bytes_t *reply = NULL;
        OK(quark_silo_call(self, "T", quark_request_actor_id(request), "inner", QUARK_BYTES("x"), 20000, &reply, &error));
        CHECK(quark_request_reply(request, quark_bytes_view(reply)) == QUARK_OK);
        quark_bytes_free(reply);
    } else if (strcmp(method, "stop") == 0) {
        CHECK(quark_silo_stop(self, 1000, NULL) == QUARK_OK);
        quark_request_reply(request, QUARK_BYTES("stopping"));
        count(&stopped);
    } else if (strcmp(method, "never") == 0) {
        quark_request_t **slot = user_data;
        *slot = request;
        count(&held);
    } else {
        quark_request_reply(request, quark_request_payload(request));
    }
}

static void on_cancelled(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data;
    CHECK(reply == NULL && quark_error_code(error) == QUARK_CANCELLED);
    quark_error_free(error);
    count(&cancelled);
}

int main(void) {
    quark_error_t *error = NULL;
    quark_request_t *waiting = NULL;

    /* A finalizer runs once, also when the start fails. */
    quark_config_t *config = quark_config_new("");
    quark_config_set_membership(config, "memory://life");
    quark_config_set_handler(config, echo, &finalized, count_up);
    CHECK(quark_silo_start(config, &self, NULL) == QUARK_INVALID_ARGUMENT);
    quark_config_free(config);
    wait_for(&finalized, 1);
    CHECK(quark_config_set_handler(NULL, echo, &finalized, count_up) == QUARK_INVALID_ARGUMENT);
    wait_for(&finalized, 2);

    config = quark_config_new("one");
    quark_config_set_membership(config, "memory://life");
    quark_config_set_handler(config, nested, &waiting, NULL);
    OK(quark_silo_start(config, &self, &error));
    quark_config_free(config);
    quark_bytes_t *reply = NULL;
    OK(quark_silo_call(self, "T", "1", "outer", QUARK_BYTES(""), 20000, &reply, &error));
    CHECK(quark_bytes_len(reply) == 1);
    quark_bytes_free(reply);

    /* Row 6. A call ends by its deadline, and one that is given up at once. One that nobody waits for any more is not handed over:
       its time is long enough for a slow machine to do that before. */
    FAILS(quark_silo_call(self, "T", "1", "never", QUARK_BYTES(""), 1500, &reply, &error), QUARK_TIMEOUT, "deadline");
    wait_for(&held, 1);
    quark_request_free(waiting);
    waiting = NULL;
    quark_call_t *call = NULL;
    CHECK(quark_silo_call_async(self, "T", "1", "never", QUARK_BYTES(""), 20000, on_cancelled, NULL, &call) == QUARK_OK);
    CHECK(quark_call_cancel(call));
    CHECK(!quark_call_cancel(call));
    quark_call_free(call);
    wait_for(&cancelled, 1);

    /* Row 9. A stop from inside a callback happens after the callback has returned. */
    CHECK(quark_silo_call(self, "T", "1", "stop", QUARK_BYTES(""), 20000, &reply, NULL) == QUARK_OK);
    quark_bytes_free(reply);
    wait_for(&stopped, 1);
    OK(quark_silo_stop(self, 5000, &error));
    if (waiting != NULL) {
        quark_request_free(waiting);
    }
    quark_silo_free(self);

    /* Row 32. 20 lives; every finalizer runs exactly once. */
    for (int i = 0; i < 20; i++) {
        quark_silo_t *silo = start_echo("again", "memory://life", &finalized);
        if (i % 2 == 0) {
            OK(quark_silo_stop(silo, 1000, &error));
        }
        quark_silo_free(silo);
        wait_for(&finalized, 3 + i);
    }
    CHECK(finalized == 22);
    return 0;
}
