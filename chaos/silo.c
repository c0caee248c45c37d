/* The C program of a run: a silo or a client that writes a ledger and makes calls.
 *
 * Its arguments, what it says and what it is told are described in src/program.rs, the lines in src/ledger.rs. One
 * thread makes calls with callbacks, another one-way calls, which block; each has actors of its own, because there is
 * no order between two threads. */

#define _GNU_SOURCE
#include <quark.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ACTORS = 60, BURST = 4, ID = 128, SMALL = 64, LEAST_LARGE = 1 << 16, MOST_LARGE = 1 << 20 };

/* A silo or a client; the other is NULL. Handlers may look for it before its start has returned. */
typedef struct {
    quark_silo_t *_Atomic silo;
    quark_client_t *client;
} node_t;

static node_t node;
static const char *silo_id, *life;
static int ledger = -1;
static double rate;
static atomic_bool stopped;
static atomic_ulong made, succeeded, failed;

static unsigned long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (unsigned long long)time.tv_sec * 1000 + (unsigned long long)time.tv_nsec / 1000000;
}

static void pause_ms(double ms) {
    long ns = (long)(ms * 1e6);
    struct timespec time = {ns / 1000000000, ns % 1000000000};
    nanosleep(&time, NULL);
}

/* A line is one write(2), so that a SIGKILL loses none. */
__attribute__((format(printf, 1, 2))) static void record(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length < 0 || length >= (int)sizeof line - 1) {
        abort(); /* A run without its ledger proves nothing. */
    }
    line[length] = '\n';
    if (write(ledger, line, (size_t)length + 1) != length + 1) {
        abort();
    }
}

static unsigned long long view_version(void) {
    return node.silo != NULL ? quark_silo_view_version(node.silo) : quark_client_view_version(node.client);
}

static const char *delivered_name(int32_t delivered) {
    return delivered == QUARK_DELIVERED_NO ? "no" : delivered == QUARK_DELIVERED_YES ? "yes" : "unknown";
}

/* ---- handling ---------------------------------------------------------------------------------------------------- */

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    quark_bytes_view_t payload = quark_request_payload(request);
    const uint8_t *end = payload.len > 0 ? memchr(payload.data, ' ', payload.len) : NULL;
    int length = end != NULL ? (int)(end - payload.data) : 0;
    char reply[ID + 32];
    int reply_length = snprintf(reply, sizeof reply, "%.*s/%zu", length, (const char *)payload.data, payload.len);
    record("ran %.*s %s %s %s %llu %llu", length, (const char *)payload.data, quark_request_actor_id(request), silo_id,
           life, now(), (unsigned long long)quark_request_view_version(request));
    const char *method = quark_request_method_name(request);
    if (strcmp(method, "fail") == 0) {
        quark_request_fail(request, "as it was told to");
        return;
    }
    if (strcmp(method, "slow") == 0) {
        pause_ms(2); /* There is one thread for all requests. */
    }
    quark_request_reply(request, (quark_bytes_view_t){(const uint8_t *)reply, (size_t)reply_length});
}

/* ---- calling ----------------------------------------------------------------------------------------------------- */

static void record_end(const char *call, quark_bytes_view_t reply, const quark_error_t *error) {
    if (error != NULL) {
        record("end %s %s %s %llu %llu -", call, quark_status_name(quark_error_code(error)),
               delivered_name(quark_error_delivered(error)), now(), view_version());
        atomic_fetch_add(&failed, 1);
        return;
    }
    int length = reply.len < ID ? (int)reply.len : ID;
    record("end %s ok - %llu %llu %.*s", call, now(), view_version(), length, (const char *)reply.data);
    atomic_fetch_add(&succeeded, 1);
}

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    char *call = user_data;
    record_end(call, quark_bytes_view(reply), error);
    quark_bytes_free(reply);
    quark_error_free(error);
    free(call);
}

/* The id and padding, in a buffer as large as the largest payload. */
static quark_bytes_view_t payload_of(const char *call, size_t size, uint8_t *buffer) {
    int length = snprintf((char *)buffer, ID, "%s ", call);
    memset(buffer + length, '.', MOST_LARGE - (size_t)length);
    return (quark_bytes_view_t){buffer, size};
}

static void record_begin(const char *call, const char *way, unsigned timeout_ms, size_t size) {
    record("begin %s %s %u %zu %llu %llu", call, way, timeout_ms, size, now(), view_version());
    atomic_fetch_add(&made, 1);
}

static void make_call(const char *actor, unsigned number, unsigned *seed, uint8_t *buffer) {
    char *call = malloc(ID);
    snprintf(call, ID, "%s:%s:%s:%u", silo_id, life, actor, number);
    int kind = rand_r(seed) % 90;
    size_t size = kind >= 88 ? LEAST_LARGE + (size_t)rand_r(seed) % (MOST_LARGE - LEAST_LARGE) : SMALL;
    const char *method = kind < 2 ? "fail" : kind < 7 ? "slow" : "echo";
    bool cancelled = kind >= 7 && kind < 12;
    unsigned timeout_ms = 1000 + (unsigned)rand_r(seed) % 4000;
    quark_bytes_view_t payload = payload_of(call, size, buffer);
    quark_call_t *handle = NULL;
    record_begin(call, "call", timeout_ms, size);
    if (node.silo != NULL) {
        quark_silo_call_async(node.silo, "Ledger", actor, method, payload, timeout_ms, on_reply, call, &handle);
    } else {
        quark_client_call_async(node.client, "Ledger", actor, method, payload, timeout_ms, on_reply, call, &handle);
    }
    if (cancelled) {
        pause_ms(rand_r(seed) % 20);
        quark_call_cancel(handle);
    }
    quark_call_free(handle);
}

static void make_notify(const char *actor, unsigned number, unsigned *seed, uint8_t *buffer) {
    char call[ID];
    snprintf(call, ID, "%s:%s:%s:%u", silo_id, life, actor, number);
    unsigned timeout_ms = 1000 + (unsigned)rand_r(seed) % 4000;
    quark_bytes_view_t payload = payload_of(call, SMALL, buffer);
    quark_error_t *error = NULL;
    record_begin(call, "notify", timeout_ms, SMALL);
    if (node.silo != NULL) {
        quark_silo_notify(node.silo, "Ledger", actor, "echo", payload, timeout_ms, &error);
    } else {
        quark_client_notify(node.client, "Ledger", actor, "echo", payload, timeout_ms, &error);
    }
    record_end(call, QUARK_BYTES("-"), error);
    quark_error_free(error);
}

/* What a calling thread does: bursts to one actor after another. */
typedef struct {
    const char *actors; /* The first letter of their names. */
    double rate;
    void (*make)(const char *actor, unsigned number, unsigned *seed, uint8_t *buffer);
} calls_t;

static void *call_until_stopped(void *argument) {
    const calls_t *calls = argument;
    unsigned numbers[ACTORS] = {0};
    unsigned seed = (unsigned)getpid() ^ (unsigned)calls->actors[0];
    uint8_t *buffer = malloc(MOST_LARGE);
    while (!atomic_load(&stopped)) {
        int place = rand_r(&seed) % ACTORS;
        char actor[16];
        snprintf(actor, sizeof actor, "%s%d", calls->actors, place);
        for (int i = 0; i < BURST; i++) {
            calls->make(actor, ++numbers[place], &seed, buffer);
        }
        pause_ms(1000.0 * BURST / calls->rate);
    }
    free(buffer);
    return NULL;
}

static void wait_for_endings(void) {
    while (atomic_load(&succeeded) + atomic_load(&failed) < atomic_load(&made)) {
        pause_ms(20);
    }
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static void on_log(void *user_data, int32_t level, const char *target, const char *message) {
    (void)user_data;
    fprintf(stderr, "%llu %d %s %s\n", now(), level, target, message);
}

static bool start(const char *role, const char *url, const char *cluster, const char *host) {
    char listen[64];
    snprintf(listen, sizeof listen, "%s:0", host);
    bool is_silo = strcmp(role, "silo") == 0;
    quark_error_t *error = NULL;
    quark_config_t *config = quark_config_new(is_silo ? silo_id : NULL);
    quark_config_set_membership(config, url);
    quark_config_set_cluster(config, cluster);
    quark_config_set_allow_plaintext(config, true);
    /* What src/security.rs tells. */
    const char *transport = getenv("CHAOS_TRANSPORT");
    if (transport != NULL) {
        quark_config_set_transport(config, transport);
        quark_config_set_tls(config, getenv("CHAOS_AUTHORITY"), getenv("CHAOS_CERTIFICATE"), getenv("CHAOS_KEY"));
    }
    if (is_silo) {
        quark_config_set_listen(config, listen);
        quark_config_set_handler_for(config, "Ledger", on_request, NULL, NULL);
        quark_silo_t *silo = NULL;
        quark_silo_start(config, &silo, &error);
        atomic_store(&node.silo, silo);
    } else {
        quark_client_start(config, &node.client, &error);
    }
    quark_config_free(config);
    if (error != NULL) {
        fprintf(stderr, "%s: %s\n", quark_status_name(quark_error_code(error)), quark_error_message(error));
        quark_error_free(error);
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fputs("usage: silo-c silo|client ID LIFE MEMBERSHIP CLUSTER HOST LEDGER RATE\n", stderr);
        return 2;
    }
    silo_id = argv[2];
    life = argv[3];
    ledger = open(argv[7], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    rate = atof(argv[8]);
    quark_set_log_callback(on_log, NULL, NULL, QUARK_LOG_DEBUG);
    if (ledger < 0 || !start(argv[1], argv[4], argv[5], argv[6])) {
        return 1;
    }
    printf("ready %s\n", node.silo != NULL ? quark_silo_endpoint(node.silo) : "-");
    fflush(stdout);

    calls_t calls[] = {{"a", 0.9 * rate, make_call}, {"n", 0.1 * rate, make_notify}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, call_until_stopped, &calls[i]);
    }
    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strcmp(line, "quiet\n") == 0) {
            atomic_store(&stopped, true);
            wait_for_endings();
            printf("quiet %lu %lu\n", atomic_load(&succeeded), atomic_load(&failed));
            fflush(stdout);
        }
    }
    /* It leaves in the midst of calling. */
    if (node.silo != NULL) {
        quark_silo_stop(node.silo, 5000, NULL);
    } else {
        quark_client_stop(node.client, 5000, NULL);
    }
    atomic_store(&stopped, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    wait_for_endings();
    quark_silo_free(node.silo);
    quark_client_free(node.client);
    quark_set_log_callback(NULL, NULL, NULL, 0);
    return 0;
}
