/* Every way to end a request uses it up and gives its caller one ending, also when the answer itself cannot be used; and
 * a function that takes a finalizer and fails has run it once. */
#include "check.h"

static int endings, finalized;
static quark_status_t last;

static void end(void *user_data, quark_request_t *request) {
    (void)user_data;
    static const uint8_t bytes[2000];
    const char *method = quark_request_method_name(request);
    quark_bytes_view_t none = {NULL, 3}, large = {bytes, sizeof bytes};
    if (strcmp(method, "no bytes") == 0) {
        CHECK(quark_request_reply(request, none) == QUARK_INVALID_ARGUMENT);
    } else if (strcmp(method, "too large") == 0) {
        CHECK(quark_request_reply(request, large) == QUARK_PAYLOAD_TOO_LARGE);
    } else if (strcmp(method, "no message") == 0) {
        CHECK(quark_request_fail(request, NULL) == QUARK_INVALID_ARGUMENT);
    } else if (strcmp(method, "no text") == 0) {
        CHECK(quark_request_fail(request, "\xff") == QUARK_INVALID_ARGUMENT);
    } else {
        echo(NULL, request);
    }
}

static void on_ending(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data;
    CHECK((reply == NULL) != (error == NULL));
    pthread_mutex_lock(&check_lock);
    last = quark_error_code(error);
    pthread_mutex_unlock(&check_lock);
    quark_bytes_free(reply);
    quark_error_free(error);
    count(&endings);
}

static void ends_with(quark_silo_t *silo, const char *method, quark_status_t code) {
    static int calls;
    CHECK(quark_silo_call_async(silo, "T", "1", method, QUARK_BYTES("x"), 20000, on_ending, NULL, NULL) == QUARK_OK);
    wait_for(&endings, ++calls);
    CHECK(last == code);
    /* A second ending would come before that of a later call. */
    CHECK(quark_silo_call_async(silo, "T", "1", "", QUARK_BYTES("x"), 20000, on_ending, NULL, NULL) == QUARK_OK);
    wait_for(&endings, ++calls);
    CHECK(last == QUARK_OK && endings == calls);
}

/* What a function that failed was given has been let go of when it returns, once. */
#define LETS_GO(call)                              \
    do {                                           \
        finalized = 0;                             \
        CHECK((call) == QUARK_INVALID_ARGUMENT);   \
        CHECK(finalized == 1);                     \
    } while (0)

int main(void) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_config_t *config = quark_config_new("one");
    quark_config_set_membership(config, "memory://answers");
    CHECK(quark_config_set_max_payload(config, 1000) == QUARK_OK);
    CHECK(quark_config_set_handler(config, end, NULL, NULL) == QUARK_OK);
    OK(quark_silo_start(config, &silo, &error));
    ends_with(silo, "no bytes", QUARK_HANDLER_FAILED);
    ends_with(silo, "too large", QUARK_PAYLOAD_TOO_LARGE);
    ends_with(silo, "no message", QUARK_HANDLER_FAILED);
    ends_with(silo, "no text", QUARK_HANDLER_FAILED);
    ends_with(silo, "fail", QUARK_HANDLER_FAILED);
    ends_with(silo, "drop", QUARK_HANDLER_FAILED);
    ends_with(silo, "", QUARK_OK);

    LETS_GO(quark_config_set_handler(NULL, end, &finalized, count_up));
    LETS_GO(quark_config_set_handler(config, NULL, &finalized, count_up));
    LETS_GO(quark_config_set_handler(config, end, &finalized, count_up)); /* the second one */
    LETS_GO(quark_config_set_handler_for(NULL, "T", end, &finalized, count_up));
    LETS_GO(quark_config_set_handler_for(config, NULL, end, &finalized, count_up));
    LETS_GO(quark_config_set_handler_for(config, "\xff", end, &finalized, count_up));
    LETS_GO(quark_config_set_handler_for(config, "T", NULL, &finalized, count_up));
    LETS_GO(quark_config_set_membership_callback(NULL, NULL, &finalized, count_up));
    LETS_GO(quark_config_set_membership_callback(config, NULL, &finalized, count_up));
    quark_config_free(config);
    CHECK(finalized == 1);

    OK(quark_silo_stop(silo, 1000, &error));
    quark_silo_free(silo);
    return 0;
}
