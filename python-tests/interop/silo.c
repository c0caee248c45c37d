/* The silo of README.md in C. */
#define _POSIX_C_SOURCE 200809L
#include <quark.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *own_type;
static quark_silo_t *silo;
static int waiting, given_up;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;

static void pause_ms(long ms) {
    struct timespec time = {0, ms * 1000000};
    nanosleep(&time, NULL);
}

static void add(int *counter) {
    pthread_mutex_lock(&lock);
    ++*counter;
    pthread_mutex_unlock(&lock);
}

static quark_bytes_view_t bytes(const char *text) {
    quark_bytes_view_t view = {(const uint8_t *)text, strlen(text)};
    return view;
}

/* How a call ended, as text of the caller's to free; takes both over. */
static char *outcome(quark_bytes_t *reply, quark_error_t *error) {
    static const char *const delivered[] = {"", "no", "yes", "unknown"};
    size_t size = 512 + quark_bytes_len(reply) + strlen(quark_error_message(error));
    char *text = malloc(size);
    if (reply != NULL) {
        snprintf(text, size, "OK %.*s", (int)quark_bytes_len(reply), (const char *)quark_bytes_data(reply));
    } else {
        snprintf(text, size, "%s %s %s", quark_status_name(quark_error_code(error)),
                 delivered[quark_error_delivered(error)], quark_error_message(error));
    }
    quark_bytes_free(reply);
    quark_error_free(error);
    return text;
}

static char *make_call(char *order) {
    char *rest = NULL;
    const char *type = strtok_r(order, " ", &rest), *method = strtok_r(NULL, " ", &rest);
    uint64_t timeout_ms = strtoull(strtok_r(NULL, " ", &rest), NULL, 10);
    quark_bytes_view_t payload = bytes(rest);
    void *large = NULL;
    if (rest[0] == '#') {
        payload.len = strtoull(rest + 1, NULL, 10);
        payload.data = large = memset(malloc(payload.len), 'x', payload.len);
    }
    quark_bytes_t *reply = NULL;
    quark_error_t *error = NULL;
    quark_silo_call(silo, type, "1", method, payload, timeout_ms, &reply, &error);
    free(large);
    return outcome(reply, error);
}

static void on_ending(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    pthread_mutex_lock(&lock);
    *(char **)user_data = outcome(reply, error);
    pthread_cond_broadcast(&news);
    pthread_mutex_unlock(&lock);
}

static int begun(const char *type) {
    quark_bytes_t *reply = NULL;
    int number = 0;
    if (quark_silo_call(silo, type, "1", "counts", QUARK_BYTES(""), 30000, &reply, NULL) == QUARK_OK) {
        number = atoi((const char *)quark_bytes_data(reply));
    }
    quark_bytes_free(reply);
    return number;
}

static char *cancel(const char *type) {
    char *ended = NULL;
    quark_call_t *call = NULL;
    int before = begun(type);
    quark_silo_call_async(silo, type, "1", "wait", QUARK_BYTES(""), 60000, on_ending, &ended, &call);
    while (begun(type) == before) pause_ms(1);
    quark_call_cancel(call);
    quark_call_free(call);
    pthread_mutex_lock(&lock);
    while (ended == NULL) pthread_cond_wait(&news, &lock);
    pthread_mutex_unlock(&lock);
    return ended;
}

static void relay(quark_request_t *request, char *route) {
    char *rest = NULL;
    const char *next = strtok_r(route, " ", &rest);
    if (next == NULL) {
        quark_request_reply(request, bytes(own_type));
        return;
    }
    quark_bytes_t *reply = NULL;
    quark_error_t *error = NULL;
    if (quark_silo_call(silo, next, "1", "relay", bytes(rest), 0, &reply, &error) == QUARK_OK) {
        char text[512];
        snprintf(text, sizeof text, "%s>%.*s", own_type, (int)quark_bytes_len(reply), (const char *)quark_bytes_data(reply));
        quark_request_reply(request, bytes(text));
    } else {
        quark_request_fail(request, quark_error_message(error));
    }
    quark_bytes_free(reply);
    quark_error_free(error);
}

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    const char *method = quark_request_method_name(request);
    quark_bytes_view_t payload = quark_request_payload(request);
    char *text = calloc(1, payload.len + 1), *answer = NULL;
    memcpy(text, payload.data, payload.len);
    if (strcmp(method, "echo") == 0) {
        quark_request_reply(request, payload);
    } else if (strcmp(method, "fail") == 0) {
        quark_request_fail(request, text);
    } else if (strcmp(method, "relay") == 0) {
        relay(request, text);
    } else if (strcmp(method, "wait") == 0) {
        add(&waiting);
        while (!quark_request_is_abandoned(request)) pause_ms(1);
        add(&given_up);
        pause_ms(100);
        quark_request_free(request);
    } else {
        char numbers[64];
        if (strcmp(method, "left") == 0) {
            snprintf(numbers, sizeof numbers, "%llu", (unsigned long long)quark_request_deadline_ms_left(request));
            answer = strdup(numbers);
        } else if (strcmp(method, "counts") == 0) {
            pthread_mutex_lock(&lock);
            snprintf(numbers, sizeof numbers, "%d %d", waiting, given_up);
            pthread_mutex_unlock(&lock);
            answer = strdup(numbers);
        } else if (strcmp(method, "call") == 0) {
            answer = make_call(text);
        } else if (strcmp(method, "cancel") == 0) {
            answer = cancel(text);
        }
        if (answer != NULL) {
            quark_request_reply(request, bytes(answer));
        } else {
            quark_request_fail(request, "no such method");
        }
    }
    free(answer);
    free(text);
}

int main(int argc, char **argv) {
    if (argc != 5 && argc != 9) return 2;
    own_type = argv[4];
    quark_error_t *error = NULL;
    quark_config_t *config = quark_config_new(argv[1]);
    quark_config_set_membership(config, argv[2]);
    quark_config_set_cluster(config, argv[3]);
    if (argc == 9) {
        quark_config_set_tls(config, argv[5], argv[6], argv[7]);
        quark_config_set_transport(config, argv[8]);
    }
    quark_config_set_callback_threads(config, 8);
    quark_config_set_handler_for(config, own_type, on_request, NULL, NULL);
    quark_status_t status = quark_silo_start(config, &silo, &error);
    quark_config_free(config);
    if (status != QUARK_OK) {
        fprintf(stderr, "%s\n", quark_error_message(error));
        quark_error_free(error);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    quark_silo_stop(silo, 5000, NULL);
    quark_silo_free(silo);
    return 0;
}
