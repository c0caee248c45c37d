/* Handlers that are slow or never return, and callers that give up. Two silos of one process, over a real connection. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <stdatomic.h>
#include <unistd.h>

static int entered, given_up, ended;
static atomic_bool over;

/* Row 6: does not return until the test is over. */
static void stuck(void *user_data, quark_request_t *request) {
    (void)user_data;
    count(&entered);
    while (!atomic_load(&over)) {
        usleep(1000);
    }
    quark_request_reply(request, QUARK_BYTES("late"));
}

/* Works until nobody waits for it any more. */
static void watching(void *user_data, quark_request_t *request) {
    (void)user_data;
    CHECK(!quark_request_is_abandoned(request));
    count(&entered);
    for (int i = 0; i < 20000 && !quark_request_is_abandoned(request); i++) {
        usleep(1000);
    }
    CHECK(quark_request_is_abandoned(request));
    count(&given_up);
    /* Freeing it is an answer, which must not be there before the caller's own clock has struck. */
    usleep(100 * 1000);
    quark_request_free(request);
}

static void on_ended(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    int wanted = *(int *)user_data;
    CHECK(quark_error_code(error) == wanted);
    quark_bytes_free(reply);
    quark_error_free(error);
    count(&ended);
}

/* Writing to a connection that is gone must not raise SIGPIPE in a program that did not say anything about it. */
static void check_sigpipe(void) {
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    int found = 0, workers = 0;
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], line[300], name[100] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *status = fopen(path, "r");
        while (status != NULL && fgets(line, sizeof line, status) != NULL) {
            unsigned long long blocked;
            sscanf(line, "Name: %99s", name);
            bool works = strcmp(name, "quark-handler") == 0 || strcmp(name, "quark-callback") == 0;
            if ((works || strcmp(name, "quark-io") == 0) && sscanf(line, "SigBlk: %llx", &blocked) == 1) {
                CHECK((blocked & (1ull << (13 - 1))) != 0);
                *(works ? &workers : &found) += 1;
            }
        }
        if (status != NULL) {
            fclose(status);
        }
    }
    closedir(tasks);
    CHECK(found == 1);
}

int main(void) {
    quark_error_t *error = NULL;
    quark_silo_t *host = NULL, *caller = NULL;
    quark_config_t *config = quark_config_new("host");
    quark_config_set_membership(config, "memory://pressure");
    quark_config_set_handler_for(config, "Stuck", stuck, NULL, NULL);
    quark_config_set_handler_for(config, "Watching", watching, NULL, NULL);
    quark_config_set_handler_for(config, "Echo", echo, NULL, NULL);
    CHECK(quark_config_set_inbox_capacity(config, 4) == QUARK_OK);
    CHECK(quark_config_set_inbox_bytes(config, 1 << 20) == QUARK_OK);
    CHECK(quark_config_set_answer_capacity(config, 1 << 20) == QUARK_OK);
    OK(quark_silo_start(config, &host, &error));
    quark_config_free(config);
    config = quark_config_new("caller");
    quark_config_set_membership(config, "memory://pressure");
    quark_config_set_handler_for(config, "Nothing", echo, NULL, NULL);
    CHECK(quark_config_set_outbox_capacity(config, 1000) == QUARK_OK);
    CHECK(quark_config_set_max_pending(config, 1000) == QUARK_OK);
    OK(quark_silo_start(config, &caller, &error));
    quark_config_free(config);
    check_sigpipe();

    /* Row 6: the caller's deadline fires, other handlers and the silo go on, and so do replies of both. */
    quark_bytes_t *reply = NULL;
    OK(quark_silo_call(caller, "Echo", "1", "", QUARK_BYTES("x"), 20000, &reply, &error));
    quark_bytes_free(reply);
    FAILS(quark_silo_call(caller, "Stuck", "1", "", QUARK_BYTES(""), 500, &reply, &error), QUARK_TIMEOUT, "no reply");
    FAILS(quark_silo_call(host, "Stuck", "1", "", QUARK_BYTES(""), 100, &reply, &error), QUARK_TIMEOUT, "no reply");
    wait_for(&entered, 1);
    for (int i = 0; i < 100; i++) {
        OK(quark_silo_call(caller, "Echo", "1", "", QUARK_BYTES("x"), 20000, &reply, &error));
        quark_bytes_free(reply);
    }

    /* Its inbox is full with four; the fifth is refused at once, and only there. */
    static int timeout = QUARK_TIMEOUT;
    for (int i = 0; i < 2; i++) {
        OK(quark_silo_call_async(caller, "Stuck", "1", "", QUARK_BYTES(""), 1000, on_ended, &timeout, NULL));
    }
    for (int i = 0; i < 500; i++) {
        if (quark_silo_call(caller, "Stuck", "1", "", QUARK_BYTES(""), 500, &reply, &error) == QUARK_OVERLOADED) {
            break;
        }
        CHECK(i < 499);
        quark_error_free(error);
    }
    CHECK(quark_error_code(error) == QUARK_OVERLOADED && quark_error_delivered(error) == QUARK_DELIVERED_NO);
    CHECK(quark_error_retryable(error));
    quark_error_free(error);
    OK(quark_silo_call(caller, "Echo", "1", "", QUARK_BYTES("x"), 20000, &reply, &error));
    quark_bytes_free(reply);
    wait_for(&ended, 2);

    /* Cancelling reaches a handler that asks, on the own silo and on another one; so does the deadline. */
    static int cancelled = QUARK_CANCELLED;
    quark_silo_t *callers[] = {caller, host};
    for (int i = 0; i < 2; i++) {
        quark_call_t *call = NULL;
        int before = entered;
        OK(quark_silo_call_async(callers[i], "Watching", "1", "", QUARK_BYTES(""), 60000, on_ended, &cancelled, &call));
        wait_for(&entered, before + 1);
        CHECK(quark_call_cancel(call));
        quark_call_free(call);
        wait_for(&given_up, i + 1);
    }
    FAILS(quark_silo_call(caller, "Watching", "1", "", QUARK_BYTES(""), 1000, &reply, &error), QUARK_TIMEOUT, "");
    wait_for(&given_up, 3);

    atomic_store(&over, true);
    quark_silo_stop(caller, 1000, NULL);
    quark_silo_stop(host, 1000, NULL);
    quark_silo_free(caller);
    quark_silo_free(host);
    return 0;
}
