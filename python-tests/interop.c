/* A C silo of the interop test: serves InC, calls InPython once and says what came back, then waits to be dismissed. */
#include <quark.h>

#include <stdio.h>
#include <string.h>

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    if (strcmp(quark_request_method_name(request), "fail") == 0) {
        quark_request_fail(request, "C says no");
    } else {
        quark_request_reply(request, quark_request_payload(request));
    }
}

int main(int argc, char **argv) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_bytes_t *reply = NULL;
    quark_config_t *config = quark_config_new("silo-c");
    quark_config_set_membership(config, argc > 1 ? argv[1] : "");
    quark_config_set_cluster(config, argc > 2 ? argv[2] : "");
    quark_config_set_handler_for(config, "InC", on_request, NULL, NULL);
    if (quark_silo_start(config, &silo, &error) != QUARK_OK ||
        quark_silo_call(silo, "InPython", "1", "greet", QUARK_BYTES("from C"), 20000, &reply, &error) != QUARK_OK) {
        fprintf(stderr, "%s\n", quark_error_message(error));
        return 1;
    }
    printf("%.*s\n", (int)quark_bytes_len(reply), (const char *)quark_bytes_data(reply));
    quark_bytes_free(reply);
    reply = NULL;
    quark_status_t status = quark_silo_call(silo, "InPython", "1", "fail", QUARK_BYTES(""), 20000, &reply, &error);
    printf("%s %s\n", quark_status_name(status), status == QUARK_OK ? "" : quark_error_message(error));
    quark_error_free(error);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    quark_silo_stop(silo, 5000, NULL);
    quark_silo_free(silo);
    quark_config_free(config);
    return 0;
}
