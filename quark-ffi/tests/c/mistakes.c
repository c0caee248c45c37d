/* What the header forbids, to see that the sanitizers tell of it. */
#include "check.h"
#include <limits.h>

/* Written by a callback and by main, with nothing in between. */
static int raced, written;

static void write_it(void *user_data, quark_request_t *request) {
    ++raced;
    echo(user_data, request);
    count(&written);
}

/* The same of two threads that know nothing of Quark. */
static void *write_it_too(void *nothing) {
    ++raced;
    return nothing;
}

int main(int given, char **arguments) {
    CHECK(given == 2);
    const char *mistake = arguments[1];
    quark_error_t *error = NULL;
    if (strcmp(mistake, "leak") == 0) {
        /* Many: the last one's address may lie about on the stack, and then it counts as kept. */
        for (int i = 0; i < 100; i++) {
            CHECK(quark_ring_new() != NULL);
        }
    } else if (strcmp(mistake, "use after free") == 0) {
        CHECK(quark_ring_remove(NULL, "a", NULL, &error) == QUARK_INVALID_ARGUMENT);
        const char *message = quark_error_message(error);
        quark_error_free(error);
        return message[0] == 'r';
    } else if (strcmp(mistake, "free twice") == 0) {
        char *owner = NULL;
        quark_silo_t *silo = start_echo("mistakes", "memory://mistakes", NULL);
        OK(quark_silo_owner(silo, "T", "1", &owner, &error));
        free(owner); /* Memory of the library's, and not even once. */
        free(owner);
    } else if (strcmp(mistake, "race with a callback") == 0) {
        quark_silo_t *silo = NULL;
        quark_config_t *config = quark_config_new("races");
        quark_config_set_membership(config, "memory://races");
        quark_config_set_handler(config, write_it, NULL, NULL);
        OK(quark_silo_start(config, &silo, &error));
        quark_config_free(config);
        OK(quark_silo_notify(silo, "T", "1", "", QUARK_BYTES(""), 20000, &error));
        ++raced;
        wait_for(&written, 1);
        quark_silo_free(silo);
    } else if (strcmp(mistake, "race of two threads") == 0) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, write_it_too, NULL) == 0);
        ++raced;
        CHECK(pthread_join(thread, NULL) == 0);
    } else {
        volatile int most = INT_MAX;
        return most + given;
    }
    return 0;
}
