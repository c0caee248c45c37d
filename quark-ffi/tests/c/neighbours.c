/* A program with functions of the same names as some inside of Quark, and with another library written in Rust. */
#include <quark.h>
#include <stdio.h>
#include <string.h>

/* Those of zstd, with which announcements of silos are packed. Who calls these by mistake does not come far. */
unsigned ZSTD_versionNumber(void) { return 42; }
void *ZSTD_createCCtx(void) { return NULL; }
void *ZSTD_createDCtx(void) { return NULL; }
size_t ZSTD_compress(void *to, size_t size, const void *from, size_t length, int level) {
    (void)to, (void)size, (void)from, (void)length, (void)level;
    return 42;
}

/* Of the other library: 1 when a panic inside of it was caught there. */
int neighbour_catches(void);

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_request_reply(request, quark_request_payload(request));
}

int main(void) {
    quark_silo_t *silo = NULL;
    quark_bytes_t *reply = NULL;
    quark_config_t *config = quark_config_new("silo-c");
    quark_config_set_membership(config, "gossip://127.0.0.1:0");
    quark_config_set_handler(config, on_request, NULL, NULL);
    int good = quark_silo_start(config, &silo, NULL) == QUARK_OK &&
               quark_silo_call(silo, "Echo", "ann", "say", QUARK_BYTES("hello"), 5000, &reply, NULL) == QUARK_OK &&
               quark_bytes_len(reply) == 5 && memcmp(quark_bytes_data(reply), "hello", 5) == 0;
    good = good && neighbour_catches() == 1 && ZSTD_versionNumber() == 42 && ZSTD_createCCtx() == NULL;
    quark_bytes_free(reply);
    quark_silo_free(silo);
    quark_config_free(config);
    puts(good ? "hello" : "wrong");
    return !good;
}
