/* What the header forbids, to see that the sanitizers tell of it. */
#include "check.h"
#include <limits.h>

int main(int count, char **arguments) {
    CHECK(count == 2);
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
    } else {
        volatile int most = INT_MAX;
        return most + count;
    }
    return 0;
}
