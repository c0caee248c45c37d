/* A silo that echoes, and calls itself. How to build it: docs/C.md. */
#include <quark.h>
#include <stdio.h>

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_request_reply(request, quark_request_payload(request));
}

int main(void) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_bytes_t *reply = NULL;
    quark_config_t *config = quark_config_new("silo-c");
    quark_config_set_membership(config, "gossip://127.0.0.1:0");
    quark_config_set_handler(config, on_request, NULL, NULL);
    if (quark_silo_start(config, &silo, &error) == QUARK_OK &&
        quark_silo_call(silo, "Echo", "ann", "say", QUARK_BYTES("hello"), 5000, &reply, &error) == QUARK_OK) {
        printf("%.*s\n", (int)quark_bytes_len(reply), (const char *)quark_bytes_data(reply));
    } else {
        fprintf(stderr, "%s\n", quark_error_message(error));
    }
    quark_bytes_free(reply);
    quark_error_free(error);
    if (silo != NULL) quark_silo_stop(silo, 1000, NULL); /* leaves; without it the others take this for a crash */
    quark_silo_free(silo);
    quark_config_free(config);
    return 0;
}
