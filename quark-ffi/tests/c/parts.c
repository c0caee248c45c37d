/* Membership, its events, transport and envelopes alone; the log callback. */
#include "check.h"

static int joined, left, logged, log_finalized;

static void on_event(void *user_data, int32_t kind, const quark_silo_info_t *silo) {
    (void)user_data;
    CHECK(quark_silo_info_id(silo) != NULL);
    if (kind == QUARK_SILO_JOINED) count(&joined);
    if (kind == QUARK_SILO_LEFT) count(&left);
}

static void on_log(void *user_data, int32_t level, const char *target, const char *message) {
    (void)user_data;
    CHECK(level >= QUARK_LOG_ERROR && level <= QUARK_LOG_INFO && strncmp(target, "quark", 5) == 0);
    if (strstr(message, "started silo=two") != NULL) count(&logged);
}

static quark_config_t *parts_config(const char *id) {
    quark_config_t *config = quark_config_new(id);
    CHECK(quark_config_set_membership(config, "memory://parts") == QUARK_OK);
    return config;
}

static void membership_and_log(void) {
    quark_error_t *error = NULL;
    CHECK(quark_set_log_callback(on_log, &log_finalized, count_up, QUARK_LOG_INFO) == QUARK_OK);
    quark_config_t *config = parts_config(NULL);
    CHECK(quark_config_set_membership_callback(config, on_event, NULL, NULL) == QUARK_OK);
    quark_membership_t *membership = NULL;
    OK(quark_membership_new(config, &membership, &error));
    quark_config_free(config);
    OK(quark_membership_start(membership, &error));
    quark_silo_t *silo = start_echo("two", "memory://parts", NULL);
    wait_for(&joined, 1);
    wait_for(&logged, 1);
    quark_silo_list_t *silos = NULL;
    OK(quark_membership_silos(membership, &silos, &error));
    CHECK(quark_silo_list_len(silos) == 1);
    CHECK(quark_silo_info_status(quark_silo_list_at(silos, 0)) == 1);
    quark_silo_list_free(silos);
    quark_silo_stop(silo, 1000, NULL);
    quark_silo_free(silo);
    wait_for(&left, 1);
    OK(quark_membership_stop(membership, &error));
    quark_membership_free(membership);
    CHECK(quark_set_log_callback(NULL, NULL, NULL, 0) == QUARK_OK);
    wait_for(&log_finalized, 1);
}

static quark_transport_t *transport_of(const char *id) {
    quark_error_t *error = NULL;
    quark_transport_t *transport = NULL;
    quark_config_t *config = quark_config_new(id);
    CHECK(quark_config_set_handler(config, echo, NULL, NULL) == QUARK_OK);
    OK(quark_transport_new(config, &transport, &error));
    quark_config_free(config);
    OK(quark_transport_start(transport, &error));
    return transport;
}

static void transport_and_envelopes(void) {
    quark_error_t *error = NULL;
    quark_transport_t *a = transport_of("a"), *b = transport_of("b");
    OK(quark_transport_connect(a, "b", quark_transport_local_endpoint(b), &error));
    quark_envelope_t *request = quark_envelope_new(), *response = NULL;
    CHECK(quark_envelope_set_text(request, QUARK_ENVELOPE_ACTOR_TYPE, "T") == QUARK_OK);
    CHECK(quark_envelope_set_text(request, QUARK_ENVELOPE_ACTOR_ID, "1") == QUARK_OK);
    CHECK(quark_envelope_set_text(request, QUARK_ENVELOPE_MESSAGE_ID, "mine") == QUARK_OK);
    CHECK(quark_envelope_set_bytes(request, QUARK_ENVELOPE_PAYLOAD, QUARK_BYTES("x")) == QUARK_OK);
    CHECK(quark_envelope_set_text(request, 9999, "x") == QUARK_INVALID_ARGUMENT);
    OK(quark_transport_send(a, "b", request, 20000, &response, &error));
    CHECK(strcmp(quark_envelope_text(response, QUARK_ENVELOPE_MESSAGE_ID), "mine") == 0);
    CHECK(quark_envelope_bytes(response, QUARK_ENVELOPE_RESPONSE_PAYLOAD).len == 1);
    quark_bytes_t *encoded = NULL;
    quark_envelope_t *again = NULL;
    OK(quark_envelope_encode(request, &encoded, &error));
    OK(quark_envelope_decode(quark_bytes_view(encoded), &again, &error));
    CHECK(strcmp(quark_envelope_text(again, QUARK_ENVELOPE_ACTOR_TYPE), "T") == 0);
    FAILS(quark_envelope_decode(QUARK_BYTES("\xff"), &again, &error), QUARK_PROTOCOL, "envelope");
    FAILS(quark_transport_send(a, "nobody", request, 100, &response, &error), QUARK_UNREACHABLE, "nobody");
    quark_bytes_free(encoded);
    quark_envelope_free(again);
    quark_envelope_free(request);
    quark_envelope_free(response);
    OK(quark_transport_stop(a, 1000, &error));
    OK(quark_transport_stop(b, 1000, &error));
    quark_transport_free(a);
    quark_transport_free(b);
}

int main(void) {
    membership_and_log();
    transport_and_envelopes();
    return 0;
}
