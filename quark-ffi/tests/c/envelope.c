/* Envelopes against the vectors; the table is generated from them. */
#include "check.h"

typedef struct {
    const char *name;
    const char *message_id, *actor_id, *actor_type, *method, *correlation_id, *error_message;
    long long timestamp;
    bool is_error;
    const uint8_t *payload;
    size_t payload_len;
    const uint8_t *response_payload;
    size_t response_payload_len;
    const uint8_t *bytes;
    size_t len;
} case_t;

#include "envelope_cases.h"

static void same(const quark_envelope_t *envelope, int32_t field, const char *text) {
    CHECK(strcmp(quark_envelope_text(envelope, field), text) == 0);
}

static void same_bytes(const quark_envelope_t *envelope, int32_t field, const uint8_t *bytes, size_t len) {
    quark_bytes_view_t view = quark_envelope_bytes(envelope, field);
    CHECK(view.len == len && (len == 0 || memcmp(view.data, bytes, len) == 0));
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const case_t *c = &cases[i];
        quark_error_t *error = NULL;
        quark_envelope_t *envelope = NULL;
        quark_bytes_t *encoded = NULL;
        quark_bytes_view_t view = {c->bytes, c->len};
        OK(quark_envelope_decode(view, &envelope, &error));
        same(envelope, QUARK_ENVELOPE_MESSAGE_ID, c->message_id);
        same(envelope, QUARK_ENVELOPE_ACTOR_ID, c->actor_id);
        same(envelope, QUARK_ENVELOPE_ACTOR_TYPE, c->actor_type);
        same(envelope, QUARK_ENVELOPE_METHOD_NAME, c->method);
        same(envelope, QUARK_ENVELOPE_CORRELATION_ID, c->correlation_id);
        same(envelope, QUARK_ENVELOPE_ERROR_MESSAGE, c->error_message);
        same_bytes(envelope, QUARK_ENVELOPE_PAYLOAD, c->payload, c->payload_len);
        same_bytes(envelope, QUARK_ENVELOPE_RESPONSE_PAYLOAD, c->response_payload, c->response_payload_len);
        CHECK(quark_envelope_number(envelope, QUARK_ENVELOPE_TIMESTAMP) == c->timestamp);
        CHECK((quark_envelope_number(envelope, QUARK_ENVELOPE_IS_ERROR) != 0) == c->is_error);
        OK(quark_envelope_encode(envelope, &encoded, &error));
        CHECK(quark_bytes_len(encoded) == c->len);
        CHECK(c->len == 0 || memcmp(quark_bytes_data(encoded), c->bytes, c->len) == 0);
        quark_bytes_free(encoded);
        quark_envelope_free(envelope);
    }
    return 0;
}
