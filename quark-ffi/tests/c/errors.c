/* Bad input: each a clear error that names argument and value; NULL is never followed. */
#include "check.h"

static void start_fails(quark_config_t *config, int32_t code, const char *text) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    FAILS(quark_silo_start(config, &silo, &error), code, text);
    CHECK(silo == NULL);
    quark_config_free(config);
}

static quark_config_t *wrong_config(const char *id, const char *membership) {
    quark_config_t *config = quark_config_new(id);
    if (membership != NULL) {
        quark_config_set_membership(config, membership);
    }
    return config;
}

int main(void) {
    quark_error_t *error = NULL;
    CHECK(quark_abi_version() == QUARK_ABI_VERSION);

    start_fails(wrong_config("", "memory://errors"), QUARK_INVALID_ARGUMENT, "silo_id=\"\"");
    start_fails(wrong_config("a\x01", "memory://errors"), QUARK_INVALID_ARGUMENT, "silo_id=");
    start_fails(wrong_config("a", NULL), QUARK_INVALID_ARGUMENT, "membership");
    start_fails(wrong_config("a", "http://x"), QUARK_INVALID_ARGUMENT, "unknown scheme");
    start_fails(wrong_config("a", "gossip://x"), QUARK_INVALID_ARGUMENT, "membership=\"gossip://x\"");
    start_fails(wrong_config("a", "redis://u:canary-secret@127.0.0.1:1"), QUARK_MEMBERSHIP_UNAVAILABLE, "127.0.0.1:1");
    quark_config_t *config = wrong_config("a", "memory://errors");
    quark_config_set_listen(config, "nonsense");
    start_fails(config, QUARK_INVALID_ARGUMENT, "listen=\"nonsense\"");
    config = wrong_config("a", "memory://errors");
    quark_config_set_listen(config, "0.0.0.0:0");
    start_fails(config, QUARK_INVALID_ARGUMENT, "advertise");
    config = wrong_config("a", "memory://errors");
    quark_config_set_virtual_nodes(config, 0);
    start_fails(config, QUARK_INVALID_ARGUMENT, "virtual_nodes=0");

    quark_silo_t *silo = start_echo("one", "memory://errors", NULL);
    config = wrong_config("two", "memory://errors");
    quark_config_set_listen(config, quark_silo_endpoint(silo));
    start_fails(config, QUARK_ADDRESS_IN_USE, quark_silo_endpoint(silo));
    start_fails(wrong_config("one", "memory://errors"), QUARK_ID_IN_USE, quark_silo_endpoint(silo));

    quark_bytes_t *reply = NULL;
    quark_bytes_view_t bad = {NULL, 3};
    FAILS(quark_silo_call(silo, "", "1", "", QUARK_BYTES(""), 0, &reply, &error), QUARK_INVALID_ARGUMENT, "actor_type=\"\"");
    FAILS(quark_silo_call(silo, "T", "", "", QUARK_BYTES(""), 0, &reply, &error), QUARK_INVALID_ARGUMENT, "actor_id=\"\"");
    FAILS(quark_silo_call(silo, "T", "a\x7f", "", QUARK_BYTES(""), 0, &reply, &error), QUARK_INVALID_ARGUMENT, "actor_id=");
    FAILS(quark_silo_call(silo, "T", "\xff", "", QUARK_BYTES(""), 0, &reply, &error), QUARK_INVALID_ARGUMENT, "actor_id");
    FAILS(quark_silo_call(silo, NULL, "1", "", QUARK_BYTES(""), 0, &reply, &error), QUARK_INVALID_ARGUMENT, "actor_type");
    FAILS(quark_silo_call(silo, "T", "1", "", bad, 0, &reply, &error), QUARK_INVALID_ARGUMENT, "payload");
    FAILS(quark_silo_call(NULL, "T", "1", "", QUARK_BYTES(""), 0, &reply, &error), QUARK_INVALID_ARGUMENT, "silo");
    FAILS(quark_silo_call(silo, "T", "1", "", QUARK_BYTES(""), 0, NULL, &error), QUARK_INVALID_ARGUMENT, "reply");
    CHECK(quark_silo_call(silo, "", "1", "", QUARK_BYTES(""), 0, &reply, NULL) == QUARK_INVALID_ARGUMENT);
    CHECK(reply == NULL);

    /* NULL where an object is wanted is an error or a harmless value, and freeing it is allowed. */
    CHECK(quark_config_set_membership(NULL, "memory://x") == QUARK_INVALID_ARGUMENT);
    CHECK(quark_silo_start(NULL, &silo, NULL) == QUARK_INVALID_ARGUMENT);
    CHECK(quark_request_reply(NULL, QUARK_BYTES("")) == QUARK_INVALID_ARGUMENT);
    CHECK(quark_error_message(NULL) != NULL || 1);
    CHECK(quark_bytes_len(NULL) == 0 && quark_bytes_data(NULL) == NULL);
    CHECK(!quark_silo_is_running(NULL) && quark_silo_endpoint(NULL) == NULL);
    quark_config_free(NULL);
    quark_silo_free(NULL);
    quark_client_free(NULL);
    quark_bytes_free(NULL);
    quark_error_free(NULL);
    quark_request_free(NULL);
    quark_string_free(NULL);
    quark_ring_free(NULL);

    /* Row 11. Stop twice, use after stop. */
    OK(quark_silo_stop(silo, 1000, &error));
    FAILS(quark_silo_call(silo, "T", "1", "", QUARK_BYTES(""), 0, &reply, &error), QUARK_NOT_RUNNING, "");
    OK(quark_silo_stop(silo, 1000, &error));
    quark_silo_free(silo);
    return 0;
}
