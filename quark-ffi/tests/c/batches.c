/* Requests and endings that come many at once. */
#include "check.h"

#define CALLS 2000

static int finalized, handled, largest, answered, failed, dropped, ended, submitted, last = -1;
static int endings[CALLS], largest_endings;
static int numbers[CALLS];
static int stopped_inside;
static quark_silo_t *inside;

static int number_of(quark_bytes_view_t payload) {
    int number;
    CHECK(payload.len == sizeof number);
    memcpy(&number, payload.data, sizeof number);
    return number;
}

/* Every tenth fails, every tenth is let go of without an answer. */
static void on_requests(void *user_data, quark_request_t *const *requests, size_t n) {
    CHECK(user_data == &finalized && n >= 1 && n <= QUARK_MAX_BATCH);
    wait_for(&submitted, 1);
    if ((int)n > largest) largest = (int)n;
    for (size_t i = 0; i < n; ++i) {
        int number = number_of(quark_request_payload(requests[i]));
        CHECK(number == last + 1 && "in the order in which they were sent");
        last = number;
        if (number % 10 == 3) {
            CHECK(quark_request_fail(requests[i], "as asked") == QUARK_OK);
        } else if (number % 10 == 7) {
            quark_request_free(requests[i]);
        } else {
            CHECK(quark_request_reply(requests[i], quark_request_payload(requests[i])) == QUARK_OK);
        }
    }
    pthread_mutex_lock(&check_lock);
    handled += (int)n;
    pthread_cond_broadcast(&check_news);
    pthread_mutex_unlock(&check_lock);
}

static void on_endings(void *user_data, const quark_ending_t *ends, size_t n) {
    CHECK(user_data == &finalized && n >= 1 && n <= QUARK_MAX_BATCH);
    wait_for(&handled, CALLS);
    if ((int)n > largest_endings) largest_endings = (int)n;
    for (size_t i = 0; i < n; ++i) {
        int number = *(const int *)ends[i].user_data;
        CHECK((ends[i].reply == NULL) != (ends[i].error == NULL));
        ++endings[number];
        if (ends[i].reply != NULL) {
            CHECK(number_of(quark_bytes_view(ends[i].reply)) == number);
            ++answered;
        } else if (number % 10 == 3) {
            CHECK(quark_error_code(ends[i].error) == QUARK_HANDLER_FAILED);
            CHECK(strcmp(quark_error_message(ends[i].error), "as asked") == 0);
            ++failed;
        } else {
            CHECK(number % 10 == 7 && quark_error_code(ends[i].error) == QUARK_HANDLER_FAILED);
            ++dropped;
        }
        quark_bytes_free(ends[i].reply);
        quark_error_free(ends[i].error);
    }
    pthread_mutex_lock(&check_lock);
    ended += (int)n;
    pthread_cond_broadcast(&check_news);
    pthread_mutex_unlock(&check_lock);
}

static void echo_all(void *user_data, quark_request_t *const *requests, size_t n) {
    (void)user_data;
    for (size_t i = 0; i < n; ++i) echo(NULL, requests[i]);
}

/* The stop comes when the callback has returned, so this answers what it was given. */
static void stop_and_answer(void *user_data, quark_request_t *const *requests, size_t n) {
    (void)user_data;
    quark_error_t *error = NULL;
    OK(quark_silo_stop(inside, 1000, &error));
    quark_silo_free(inside);
    echo_all(NULL, requests, n);
    count(&stopped_inside);
}

static void many_at_once(void) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL, *caller = NULL;
    quark_config_t *config = config_of("batches", "memory://batches");
    CHECK(quark_config_set_batch_handler(config, "Sum", on_requests, &finalized, count_up) == QUARK_OK);
    OK(quark_silo_start(config, &silo, &error));
    quark_config_free(config);
    config = config_of("caller", "memory://batches");
    CHECK(quark_config_set_handler_for(config, "Other", echo, NULL, NULL) == QUARK_OK);
    CHECK(quark_config_set_ending_batch_callback(config, on_endings, &finalized, count_up) == QUARK_OK);
    OK(quark_silo_start(config, &caller, &error));
    quark_config_free(config);
    /* The first half one by one, the others at once. */
    static quark_message_t others[CALLS / 2];
    for (int i = 0; i < CALLS; ++i) {
        numbers[i] = i;
        quark_bytes_view_t payload = {(const uint8_t *)&numbers[i], sizeof numbers[i]};
        if (i < CALLS / 2) {
            CHECK(quark_silo_call_async(caller, "Sum", "1", "add", payload, 60000, NULL, &numbers[i], NULL) == QUARK_OK);
        } else {
            others[i - CALLS / 2] = (quark_message_t){"Sum", "1", "add", payload, &numbers[i]};
        }
    }
    CHECK(quark_silo_call_many(caller, others, CALLS / 2, 60000, NULL) == QUARK_OK);
    memset(others, 0, sizeof others);
    count(&submitted);
    wait_for(&ended, CALLS);
    for (int i = 0; i < CALLS; ++i) CHECK(endings[i] == 1);
    CHECK(answered == CALLS * 8 / 10 && failed == CALLS / 10 && dropped == CALLS / 10);
    CHECK(largest > 1 && largest_endings > 1);
    OK(quark_silo_stop(caller, 1000, &error));
    OK(quark_silo_stop(silo, 1000, &error));
    quark_silo_free(caller);
    quark_silo_free(silo);
    wait_for(&finalized, 2);
    CHECK(finalized == 2);
}

/* A batch ends at what belongs to another callback, and the limit of the loop holds. */
static int on_loop_requests, on_loop_endings;

static void due(void *user_data, quark_request_t *const *requests, size_t n) {
    CHECK(n <= 3);
    for (size_t i = 0; i < n; ++i) CHECK(strcmp(quark_request_actor_type(requests[i]), user_data) == 0);
    echo_all(NULL, requests, n);
    on_loop_requests += (int)n;
}

static void due_endings(void *user_data, const quark_ending_t *ends, size_t n) {
    (void)user_data;
    CHECK(n <= 3);
    for (size_t i = 0; i < n; ++i) {
        CHECK(ends[i].error == NULL);
        quark_bytes_free(ends[i].reply);
    }
    on_loop_endings += (int)n;
}

static void in_a_loop(void) {
    quark_error_t *error = NULL;
    quark_loop_t *loop = NULL;
    quark_silo_t *silo = NULL;
    OK(quark_loop_new(&loop, &error));
    quark_config_t *config = config_of("looped", "memory://batches-loop");
    CHECK(quark_config_set_loop(config, loop) == QUARK_OK);
    CHECK(quark_config_set_batch_handler(config, "A", due, "A", NULL) == QUARK_OK);
    CHECK(quark_config_set_batch_handler(config, NULL, due, "B", NULL) == QUARK_OK);
    CHECK(quark_config_set_ending_batch_callback(config, due_endings, NULL, NULL) == QUARK_OK);
    OK(quark_silo_start(config, &silo, &error));
    quark_config_free(config);
    for (int i = 0; i < 100; ++i) {
        const char *type = i % 2 ? "A" : "B";
        CHECK(quark_silo_call_async(silo, type, "1", "", QUARK_BYTES("x"), 60000, NULL, NULL, NULL) == QUARK_OK);
    }
    while (on_loop_endings < 100) CHECK(quark_loop_run(loop, 3) <= 3);
    CHECK(on_loop_requests == 100);
    OK(quark_silo_stop(silo, 1000, &error));
    quark_silo_free(silo);
    quark_loop_free(loop);
}

static void stopped_from_inside(void) {
    quark_error_t *error = NULL;
    quark_client_t *client = NULL;
    /* Not set here: a thread that is there already may raise it, and the thread sanitizer would not see what is between. */
    static int let_go;
    quark_config_t *config = config_of("inside", "memory://batches-stop");
    CHECK(quark_config_set_batch_handler(config, NULL, stop_and_answer, &let_go, count_up) == QUARK_OK);
    OK(quark_silo_start(config, &inside, &error));
    quark_config_free(config);
    config = config_of(NULL, "memory://batches-stop");
    OK(quark_client_start(config, &client, &error));
    quark_config_free(config);
    quark_bytes_t *reply = NULL;
    OK(quark_client_call(client, "Any", "1", "", QUARK_BYTES("x"), 60000, &reply, &error));
    CHECK(quark_bytes_len(reply) == 1);
    quark_bytes_free(reply);
    wait_for(&let_go, 1);
    wait_for(&stopped_inside, 1);
    CHECK(stopped_inside == 1);
    quark_client_free(client);
}

/* Each call that is made at once has an ending of its own, whatever becomes of the others. */
static int codes[5], late, told;

static void on_told(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    *(int *)user_data = error == NULL ? -1 : quark_error_code(error);
    if (user_data == &codes[1]) CHECK(strstr(quark_error_message(error), "actor_id=") != NULL);
    if (user_data == &codes[2]) CHECK(strcmp(quark_error_message(error), "method_name=NULL: must not be NULL") == 0);
    quark_bytes_free(reply);
    quark_error_free(error);
    count(&told);
}

static void each_its_own_ending(void) {
    quark_error_t *error = NULL;
    quark_client_t *client = NULL;
    quark_silo_t *silo = start_echo("each", "memory://batches-each", NULL);
    quark_config_t *config = config_of(NULL, "memory://batches-each");
    OK(quark_client_start(config, &client, &error));
    quark_config_free(config);
    const quark_message_t messages[] = {
        {"T", "1", "", QUARK_BYTES("x"), &codes[0]}, {"T", "", "", QUARK_BYTES("x"), &codes[1]},
        {"T", "1", NULL, QUARK_BYTES("x"), &codes[2]}, {"T", "2", "", {NULL, 3}, &codes[3]},
        {"T", "2", "", QUARK_BYTES("x"), &codes[4]},
    };
    CHECK(quark_client_call_many(client, messages, 5, 60000, on_told) == QUARK_OK);
    wait_for(&told, 5);
    CHECK(codes[0] == -1 && codes[4] == -1);
    CHECK(codes[1] == QUARK_INVALID_ARGUMENT && codes[2] == QUARK_INVALID_ARGUMENT && codes[3] == QUARK_INVALID_ARGUMENT);
    CHECK(quark_client_call_many(client, NULL, 0, 0, on_told) == QUARK_OK);
    CHECK(quark_client_call_many(client, NULL, 1, 0, on_told) == QUARK_INVALID_ARGUMENT);
    CHECK(quark_client_call_many(client, messages, SIZE_MAX, 0, on_told) == QUARK_INVALID_ARGUMENT);
    CHECK(quark_client_call_many(client, messages, 5, 0, NULL) == QUARK_INVALID_ARGUMENT);
    CHECK(quark_client_call_many(NULL, messages, 5, 0, on_told) == QUARK_INVALID_ARGUMENT);
    OK(quark_client_stop(client, 1000, &error));
    /* Not where one was before: the thread sanitizer does not see what is between. */
    const quark_message_t too_late = {"T", "1", "", QUARK_BYTES("x"), &late};
    CHECK(quark_client_call_many(client, &too_late, 1, 0, on_told) == QUARK_OK);
    wait_for(&told, 6);
    CHECK(late == QUARK_NOT_RUNNING);
    quark_client_free(client);
    CHECK(told == 6);
    quark_silo_free(silo);
}

static void what_cannot_be(void) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    int let_go = 0;
    quark_config_t *config = config_of("wrong", "memory://batches-wrong");
    OK(quark_silo_start(config, &silo, &error));
    CHECK(quark_silo_call_async(silo, "T", "1", "", QUARK_BYTES(""), 0, NULL, NULL, NULL) == QUARK_INVALID_ARGUMENT);
    quark_silo_free(silo);
    CHECK(quark_config_set_handler(config, echo, NULL, NULL) == QUARK_OK);
    CHECK(quark_config_set_batch_handler(config, NULL, echo_all, &let_go, count_up) == QUARK_INVALID_ARGUMENT);
    CHECK(let_go == 1 && "the finalizer runs also when the function fails");
    FAILS(quark_silo_start(config, &silo, &error), QUARK_INVALID_ARGUMENT, "handler");
    quark_config_free(config);
}

int main(void) {
    many_at_once();
    in_a_loop();
    stopped_from_inside();
    each_its_own_ending();
    what_cannot_be();
    return 0;
}
