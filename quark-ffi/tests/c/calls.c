/* Calls between silos and from a client: blocking, with a callback, one way; answers given later from another thread. */
#include "check.h"

static int replies, failures, notified;
static quark_request_t *kept;
static int keeping;

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data;
    if (reply != NULL) {
        CHECK(error == NULL && quark_bytes_len(reply) == 5 && memcmp(quark_bytes_data(reply), "hello", 5) == 0);
        quark_bytes_free(reply);
        count(&replies);
    } else {
        CHECK(quark_error_code(error) == QUARK_HANDLER_FAILED);
        CHECK(strcmp(quark_error_message(error), "as asked") == 0);
        quark_error_free(error);
        count(&failures);
    }
}

static void on_notify(void *user_data, quark_request_t *request) {
    (void)user_data;
    CHECK(quark_request_is_one_way(request));
    quark_request_free(request);
    count(&notified);
}

static void on_keep(void *user_data, quark_request_t *request) {
    (void)user_data;
    kept = request;
    count(&keeping);
}

static void *answer_later(void *nothing) {
    (void)nothing;
    wait_for(&keeping, 1);
    CHECK(quark_request_reply(kept, QUARK_BYTES("later")) == QUARK_OK);
    return NULL;
}

int main(void) {
    quark_error_t *error = NULL;
    quark_silo_t *one = start_echo("one", "memory://calls", NULL);
    quark_silo_t *two = NULL;
    quark_config_t *config = quark_config_new("two");
    quark_config_set_membership(config, "memory://calls");
    quark_config_set_handler_for(config, "Notified", on_notify, NULL, NULL);
    quark_config_set_handler_for(config, "Later", on_keep, NULL, NULL);
    quark_config_set_handler_for(config, "Echo", echo, NULL, NULL);
    OK(quark_silo_start(config, &two, &error));
    quark_config_free(config);

    config = quark_config_new(NULL);
    quark_config_set_membership(config, "memory://calls");
    quark_client_t *client = NULL;
    OK(quark_client_start(config, &client, &error));
    quark_config_free(config);

    quark_silo_list_t *silos = NULL;
    OK(quark_client_silos(client, &silos, &error));
    CHECK(quark_silo_list_len(silos) == 2);
    CHECK(strcmp(quark_silo_info_id(quark_silo_list_at(silos, 0)), "one") == 0);
    quark_silo_list_free(silos);

    int32_t health = 0;
    int64_t since_ms = -1;
    char *reason = NULL;
    CHECK(quark_silo_health(one, &health, &since_ms, &reason) == QUARK_OK);
    CHECK(health == QUARK_HEALTH_HEALTHY && since_ms == 0 && strcmp(reason, "healthy") == 0);
    quark_string_free(reason);
    CHECK(quark_client_health(client, &health, NULL, NULL) == QUARK_OK && health == QUARK_HEALTH_HEALTHY);
    CHECK(quark_client_health(client, NULL, NULL, NULL) == QUARK_INVALID_ARGUMENT);
    CHECK(quark_silo_health(NULL, &health, NULL, NULL) == QUARK_INVALID_ARGUMENT);

    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        quark_bytes_t *reply = NULL;
        OK(quark_client_call(client, "Echo", id, "", QUARK_BYTES("hello"), 20000, &reply, &error));
        CHECK(quark_bytes_len(reply) == 5);
        quark_bytes_free(reply);
        reply = NULL;
        OK(quark_silo_call(one, "Echo", id, "", QUARK_BYTES(""), 20000, &reply, &error));
        CHECK(quark_bytes_len(reply) == 0);
        quark_bytes_free(reply);
        FAILS(quark_silo_call(two, "Echo", id, "fail", QUARK_BYTES(""), 20000, &reply, &error), QUARK_HANDLER_FAILED, "as asked");
        FAILS(quark_client_call(client, "Echo", id, "drop", QUARK_BYTES(""), 20000, &reply, &error), QUARK_HANDLER_FAILED, "dropped");
        CHECK(quark_silo_call_async(one, "Echo", id, "", QUARK_BYTES("hello"), 20000, on_reply, NULL, NULL) == QUARK_OK);
        CHECK(quark_client_call_async(client, "Echo", id, "fail", QUARK_BYTES(""), 20000, on_reply, NULL, NULL) == QUARK_OK);
    }
    wait_for(&replies, 50);
    wait_for(&failures, 50);

    /* "one" takes every type, so look for an actor of each type that "two" owns. */
    char later[16], noted[16];
    for (int i = 0, found = 0; found != 3; i++) {
        char id[16], *owner = NULL;
        snprintf(id, sizeof id, "%d", i);
        OK(quark_silo_owner(one, "Later", id, &owner, &error));
        if (strcmp(owner, "two") == 0) { strcpy(later, id); found |= 1; }
        quark_string_free(owner);
        OK(quark_silo_owner(one, "Notified", id, &owner, &error));
        if (strcmp(owner, "two") == 0) { strcpy(noted, id); found |= 2; }
        quark_string_free(owner);
    }
    OK(quark_client_notify(client, "Notified", noted, "", QUARK_BYTES("x"), 20000, &error));
    wait_for(&notified, 1);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, answer_later, NULL) == 0);
    quark_bytes_t *reply = NULL;
    OK(quark_client_call(client, "Later", later, "", QUARK_BYTES(""), 20000, &reply, &error));
    CHECK(memcmp(quark_bytes_data(reply), "later", 5) == 0);
    quark_bytes_free(reply);
    pthread_join(thread, NULL);

    OK(quark_client_stop(client, 1000, &error));
    quark_client_free(client);
    OK(quark_silo_stop(two, 1000, &error));
    quark_silo_free(two);
    OK(quark_silo_stop(one, 1000, &error));
    quark_silo_free(one);
    return 0;
}
