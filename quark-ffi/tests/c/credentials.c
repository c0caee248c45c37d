/* A user and a password for Redis from a callback. */
#include "check.h"

#include <stdatomic.h>
#include <unistd.h>

static atomic_int asked, let_go_of;

static bool give(void *user_data, char *user, char *password) {
    CHECK(user[0] == '\0' && password[0] == '\0');
    atomic_fetch_add(&asked, 1);
    if (user_data == NULL) return false;
    /* The default user of a Redis without a password takes any. */
    strcpy(user, "default");
    strcpy(password, user_data);
    return true;
}

static void let_go(void *user_data) {
    (void)user_data;
    atomic_fetch_add(&let_go_of, 1);
}

static quark_status_t start(const char *url, const char *gives, char *message, size_t size) {
    quark_silo_t *silo = NULL;
    quark_error_t *error = NULL;
    quark_config_t *config = quark_config_new("credentials");
    char cluster[64];
    snprintf(cluster, sizeof cluster, "credentials-%ld", (long)getpid());
    quark_config_set_cluster(config, cluster);
    quark_config_set_membership(config, url);
    quark_config_set_start_timeout_ms(config, 2000);
    CHECK(quark_config_set_redis_credentials(config, give, (void *)gives, let_go) == QUARK_OK);
    quark_status_t status = quark_silo_start(config, &silo, &error);
    snprintf(message, size, "%s", quark_error_message(error));
    quark_error_free(error);
    quark_silo_stop(silo, 1000, NULL);
    quark_silo_free(silo);
    quark_config_free(config);
    return status;
}

int main(void) {
    const char *url = getenv("QUARK_TEST_REDIS");
    CHECK(url != NULL);
    char message[512];
    CHECK(start(url, "canary-c", message, sizeof message) == QUARK_OK);
    CHECK(atomic_load(&asked) >= 1);

    CHECK(start(url, NULL, message, sizeof message) == QUARK_MEMBERSHIP_UNAVAILABLE);
    CHECK(strstr(message, "redis_credentials: the callback gave none") != NULL);

    CHECK(start("redis://u:canary-url@127.0.0.1:1", "canary-c", message, sizeof message) == QUARK_INVALID_ARGUMENT);
    CHECK(strstr(message, "redis_credentials=") != NULL && strstr(message, "canary") == NULL);

    CHECK(quark_config_set_redis_credentials(NULL, give, NULL, let_go) == QUARK_INVALID_ARGUMENT);
    for (int waited = 0; atomic_load(&let_go_of) < 4 && waited < 10000; ++waited) {
        struct timespec millisecond = {0, 1000000};
        nanosleep(&millisecond, NULL);
    }
    CHECK(atomic_load(&let_go_of) == 4);
    return 0;
}
