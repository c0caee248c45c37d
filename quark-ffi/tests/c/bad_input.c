/* Bad input, from the table that Rust and Python are tested with too; the calls are generated from it. */
#include "check.h"

static void start_with(const char *argument, const char *value, int32_t code, const char *contains) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_config_t *config = quark_config_new(strcmp(argument, "silo_id") == 0 ? value : "bad-input");
    quark_config_set_membership(config, strcmp(argument, "membership") == 0 ? value : "memory://bad-input-c");
    if (strcmp(argument, "listen") == 0) quark_config_set_listen(config, value);
    if (strcmp(argument, "cluster") == 0) quark_config_set_cluster(config, value);
    if (strcmp(argument, "transport") == 0) quark_config_set_transport(config, value);
    if (strcmp(argument, "placement") == 0) quark_config_set_placement(config, "T", value);
    FAILS(quark_silo_start(config, &silo, &error), code, contains);
    CHECK(silo == NULL);
    quark_config_free(config);
}

static void limit_with(const char *limit, uint32_t value, int32_t code, const char *contains) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_config_t *config = quark_config_new("bad-input");
    quark_config_set_membership(config, "memory://bad-input-c");
    if (strcmp(limit, "max_metadata") == 0) quark_config_set_max_metadata(config, value);
    if (strcmp(limit, "max_streams") == 0) quark_config_set_max_streams(config, value);
    if (strcmp(limit, "connection_window") == 0) quark_config_set_connection_window(config, value);
    if (strcmp(limit, "max_links_per_peer") == 0) quark_config_set_max_links_per_peer(config, value);
    if (strcmp(limit, "max_connections") == 0) quark_config_set_max_connections(config, value);
    if (strcmp(limit, "max_connections_per_address") == 0) quark_config_set_max_connections_per_address(config, value);
    FAILS(quark_silo_start(config, &silo, &error), code, contains);
    quark_config_free(config);
}

static void call_with(quark_silo_t *silo, const char *argument, const char *value, int32_t code, const char *contains) {
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    const char *actor_type = strcmp(argument, "actor_type") == 0 ? value : "T";
    const char *actor_id = strcmp(argument, "actor_id") == 0 ? value : "1";
    const char *method = strcmp(argument, "method_name") == 0 ? value : "";
    FAILS(quark_silo_call(silo, actor_type, actor_id, method, QUARK_BYTES(""), 0, &reply, &error), code, contains);
    if (strcmp(argument, "method_name") != 0) {
        bool owns = false;
        quark_explanation_t *explanation = NULL;
        FAILS(quark_silo_owns(silo, actor_type, actor_id, &owns, &error), code, contains);
        FAILS(quark_silo_explain(silo, actor_type, actor_id, &explanation, &error), code, contains);
    }
    OK(quark_silo_call(silo, "T", "1", "", QUARK_BYTES("x"), 0, &reply, &error));
    quark_bytes_free(reply);
}

#include "bad_input_cases.h"

int main(void) {
    starts();
    limits();
    quark_silo_t *silo = start_echo("bad-input", "memory://bad-input-c", NULL);
    calls(silo);
    quark_silo_stop(silo, 1000, NULL);
    quark_silo_free(silo);
    return 0;
}
