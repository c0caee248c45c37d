/* What the test programs share: a check that says where it failed, and waiting for something with a limit. */
#ifndef CHECK_H
#define CHECK_H

#include <quark.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

/* Checks that a call succeeded, and says its error when it did not. */
#define OK(call)                                                                                    \
    do {                                                                                            \
        error = NULL;                                                                               \
        if ((call) != QUARK_OK) {                                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, error ? quark_error_message(error) : #call); \
            exit(1);                                                                                \
        }                                                                                           \
    } while (0)

/* Checks that a call fails with this code and that its message contains this text. */
#define FAILS(call, code, text)                                                                     \
    do {                                                                                            \
        error = NULL;                                                                               \
        CHECK((call) == (code));                                                                    \
        CHECK(error != NULL && quark_error_code(error) == (code));                                  \
        if (strstr(quark_error_message(error), (text)) == NULL) {                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, quark_error_message(error));         \
            exit(1);                                                                                \
        }                                                                                           \
        quark_error_free(error);                                                                    \
        error = NULL;                                                                               \
    } while (0)

static pthread_mutex_t check_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t check_news = PTHREAD_COND_INITIALIZER;

/* Raises a counter that another thread waits for. */
static inline void count(int *counter) {
    pthread_mutex_lock(&check_lock);
    ++*counter;
    pthread_cond_broadcast(&check_news);
    pthread_mutex_unlock(&check_lock);
}

/* Waits until a counter has reached a number; fails after 60 s and says where. */
#define wait_for(counter, wanted) wait_until((counter), (wanted), __FILE__, __LINE__)

static inline void wait_until(int *counter, int wanted, const char *file, int line) {
    struct timespec limit;
    timespec_get(&limit, TIME_UTC);
    limit.tv_sec += 60;
    pthread_mutex_lock(&check_lock);
    while (*counter < wanted) {
        if (pthread_cond_timedwait(&check_news, &check_lock, &limit) != 0) {
            fprintf(stderr, "%s:%d: waited for %d, there are %d\n", file, line, wanted, *counter);
            exit(1);
        }
    }
    pthread_mutex_unlock(&check_lock);
}

static inline void count_up(void *counter) { count(counter); }

/* Echoes; or does what the method says. */
static inline void echo(void *user_data, quark_request_t *request) {
    (void)user_data;
    const char *method = quark_request_method_name(request);
    if (strcmp(method, "fail") == 0) {
        CHECK(quark_request_fail(request, "as asked") == QUARK_OK);
    } else if (strcmp(method, "drop") == 0) {
        quark_request_free(request);
    } else {
        CHECK(quark_request_reply(request, quark_request_payload(request)) == QUARK_OK);
    }
}

static inline quark_config_t *config_of(const char *id, const char *membership) {
    quark_config_t *config = quark_config_new(id);
    CHECK(quark_config_set_membership(config, membership) == QUARK_OK);
    return config;
}

static inline quark_silo_t *start_echo(const char *id, const char *membership, int *finalized) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_config_t *config = config_of(id, membership);
    CHECK(quark_config_set_handler(config, echo, finalized, finalized ? count_up : NULL) == QUARK_OK);
    OK(quark_silo_start(config, &silo, &error));
    quark_config_free(config);
    return silo;
}

#endif
