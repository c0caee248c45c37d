/* Row 32. Silos, clients, memberships, transports, loops, configs, lists, calls, requests and replies freed in every order,
 * hundreds of times: each finalizer runs once, and the process has no more threads and descriptors than before. That
 * nothing is leaked or used afterwards say valgrind and the sanitizers. */
#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>
#include <stdatomic.h>
#include <unistd.h>

#define LIMIT 60000

static int entries(const char *folder) {
    int found = 0;
    DIR *opened = opendir(folder);
    CHECK(opened != NULL);
    while (readdir(opened) != NULL) ++found;
    closedir(opened);
    return found;
}

static int threads(void) { return entries("/proc/self/task"); }
static int descriptors(void) { return entries("/proc/self/fd"); }

/* Threads and connections that are let go of end soon, not at once. */
static void comes_down_to(int (*now)(void), int before, const char *what) {
    for (int i = 0; now() > before; ++i) {
        if (i == 10000) {
            fprintf(stderr, "%d %s, before it were %d\n", now(), what, before);
            exit(1);
        }
        usleep(1000);
    }
}

/* ---- What there is to free ------------------------------------------------------------------------------------- */

enum thing { SILO, CALLER, CLIENT, MEMBERSHIP, TRANSPORT, CONFIG, LOOP, CALL, REQUEST, LIST, REPLY, FAILURE, THINGS };

static struct {
    quark_silo_t *silo, *caller;
    quark_client_t *client;
    quark_membership_t *membership;
    quark_transport_t *transport;
    quark_config_t *config;
    quark_loop_t *loop;
    quark_call_t *call;
    quark_request_t *request;
    quark_silo_list_t *list;
    quark_bytes_t *reply;
    quark_error_t *failure;
} it;

static int kept, ended;
static atomic_int let_go[8], calls_ended[8];

/* One finalizer runs for each function that took one, whoever shares the config. */
static void finalize(void *counter) { atomic_fetch_add((atomic_int *)counter, 1); }

static void keep_or_echo(void *user_data, quark_request_t *request) {
    CHECK(atomic_load((atomic_int *)user_data) == 0 && "not after the finalizer");
    if (strcmp(quark_request_method_name(request), "keep") == 0) {
        it.request = request;
        count(&kept);
    } else {
        echo(NULL, request);
    }
}

static void keep_or_echo_all(void *user_data, quark_request_t *const *requests, size_t n) {
    for (size_t i = 0; i < n; ++i) keep_or_echo(user_data, requests[i]);
}

static void on_event(void *user_data, int32_t kind, const quark_silo_info_t *silo) {
    (void)kind;
    CHECK(atomic_load((atomic_int *)user_data) == 0 && quark_silo_info_id(silo) != NULL);
}

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    CHECK((reply == NULL) != (error == NULL));
    atomic_fetch_add((atomic_int *)user_data, 1);
    quark_bytes_free(reply);
    quark_error_free(error);
    count(&ended);
}

static void on_endings(void *user_data, const quark_ending_t *endings, size_t n) {
    CHECK(atomic_load((atomic_int *)user_data) == 0 && "not after the finalizer");
    for (size_t i = 0; i < n; ++i) on_reply(endings[i].user_data, endings[i].reply, endings[i].error);
}

static void make_all(bool with_a_loop) {
    quark_error_t *error = NULL;
    for (int i = 0; i < 8; ++i) {
        atomic_store(&let_go[i], 0);
        atomic_store(&calls_ended[i], 0);
    }
    OK(quark_loop_new(&it.loop, &error));
    it.config = quark_config_new("silo");
    CHECK(quark_config_set_membership(it.config, "memory://drops") == QUARK_OK);
    CHECK(quark_config_set_handler(it.config, keep_or_echo, &let_go[0], finalize) == QUARK_OK);
    CHECK(quark_config_set_batch_handler(it.config, "Batch", keep_or_echo_all, &let_go[1], finalize) == QUARK_OK);
    CHECK(quark_config_set_ending_batch_callback(it.config, on_endings, &let_go[2], finalize) == QUARK_OK);
    CHECK(quark_config_set_membership_callback(it.config, on_event, &let_go[3], finalize) == QUARK_OK);
    OK(quark_silo_start(it.config, &it.silo, &error));
    OK(quark_transport_new(it.config, &it.transport, &error));
    OK(quark_transport_start(it.transport, &error));

    quark_config_t *config = quark_config_new(NULL);
    CHECK(quark_config_set_membership(config, "memory://drops") == QUARK_OK);
    CHECK(quark_config_set_membership_callback(config, on_event, &let_go[4], finalize) == QUARK_OK);
    OK(quark_membership_new(config, &it.membership, &error));
    OK(quark_membership_start(it.membership, &error));
    quark_config_free(config);
    config = quark_config_new(NULL);
    CHECK(quark_config_set_membership(config, "memory://drops") == QUARK_OK);
    CHECK(quark_config_set_ending_batch_callback(config, on_endings, &let_go[5], finalize) == QUARK_OK);
    OK(quark_client_start(config, &it.client, &error));
    quark_config_free(config);
    config = quark_config_new("caller");
    CHECK(quark_config_set_membership(config, "memory://drops") == QUARK_OK);
    CHECK(quark_config_set_handler_for(config, "Other", keep_or_echo, &let_go[6], finalize) == QUARK_OK);
    CHECK(quark_config_set_ending_batch_callback(config, on_endings, &let_go[7], finalize) == QUARK_OK);
    if (with_a_loop) CHECK(quark_config_set_loop(config, it.loop) == QUARK_OK);
    OK(quark_silo_start(config, &it.caller, &error));
    quark_config_free(config);

    static int keeps;
    OK(quark_silo_silos(it.silo, &it.list, &error));
    OK(quark_client_call(it.client, "Batch", "1", "", QUARK_BYTES("reply"), LIMIT, &it.reply, &error));
    CHECK(quark_client_call(it.client, "T", "1", "fail", QUARK_BYTES(""), LIMIT, NULL, &it.failure) == QUARK_INVALID_ARGUMENT);
    CHECK(quark_client_call_async(it.client, "T", "1", "keep", QUARK_BYTES("kept"), LIMIT, NULL, &calls_ended[0], &it.call) == QUARK_OK);
    wait_for(&kept, ++keeps);
    /* Calls under way, of every kind, whose handles are not wanted. */
    CHECK(quark_silo_call_async(it.caller, "T", "1", "", QUARK_BYTES("x"), LIMIT, NULL, &calls_ended[1], NULL) == QUARK_OK);
    CHECK(quark_silo_call_async(it.caller, "Batch", "1", "", QUARK_BYTES("x"), LIMIT, on_reply, &calls_ended[2], NULL) == QUARK_OK);
    CHECK(quark_silo_call_async(it.silo, "Other", "1", "", QUARK_BYTES("x"), LIMIT, NULL, &calls_ended[3], NULL) == QUARK_OK);
}

static void free_one(enum thing thing) {
    switch (thing) {
    case SILO: quark_silo_free(it.silo); break;
    case CALLER: quark_silo_free(it.caller); break;
    case CLIENT: quark_client_free(it.client); break;
    case MEMBERSHIP: quark_membership_free(it.membership); break;
    case TRANSPORT: quark_transport_free(it.transport); break;
    case CONFIG: quark_config_free(it.config); break;
    case LOOP: quark_loop_free(it.loop); break;
    case CALL: quark_call_free(it.call); break;
    case LIST:
        CHECK(quark_silo_list_len(it.list) > 0 && quark_silo_info_id(quark_silo_list_at(it.list, 0)) != NULL);
        quark_silo_list_free(it.list);
        break;
    case REPLY:
        CHECK(quark_bytes_len(it.reply) == 5 && memcmp(quark_bytes_data(it.reply), "reply", 5) == 0);
        quark_bytes_free(it.reply);
        break;
    case FAILURE:
        CHECK(strstr(quark_error_message(it.failure), "reply") != NULL);
        quark_error_free(it.failure);
        break;
    default:
        CHECK(quark_request_payload(it.request).len == 4);
        if (atomic_load(&calls_ended[0]) % 2 == 0) {
            CHECK(quark_request_reply(it.request, quark_request_payload(it.request)) == QUARK_OK);
        } else {
            quark_request_free(it.request);
        }
    }
}

static void free_all(const enum thing order[THINGS]) {
    static const char *names[] = {"a handler's", "a batch handler's", "the endings'", "the events'", "a membership's", "a client's", "the caller's", "the caller's endings'"};
    for (int i = 0; i < THINGS; ++i) free_one(order[i]);
    for (int i = 0; i < 8; ++i) {
        if (atomic_load(&let_go[i]) != 1) {
            fprintf(stderr, "%s finalizer ran %d times\n", names[i], atomic_load(&let_go[i]));
            exit(1);
        }
        CHECK(atomic_load(&calls_ended[i]) == (i < 4 ? 1 : 0));
    }
}

/* The next order by size, as of the digits of a number; false after the last one. */
static bool next_order(enum thing *order, int n) {
    int i = n - 2;
    while (i >= 0 && order[i] > order[i + 1]) --i;
    if (i < 0) return false;
    int j = n - 1;
    while (order[j] < order[i]) --j;
    enum thing swapped = order[i];
    order[i] = order[j], order[j] = swapped;
    for (int left = i + 1, right = n - 1; left < right; ++left, --right) {
        swapped = order[left];
        order[left] = order[right], order[right] = swapped;
    }
    return true;
}

/* All orders of some, which begin in that of the enum, with the others wherever they fall. */
static int every_order_of(const enum thing *few, int n, unsigned *seed) {
    int orders = 0;
    enum thing sorted[THINGS];
    memcpy(sorted, few, (size_t)n * sizeof *few);
    do {
        enum thing order[THINGS];
        int length = n;
        memcpy(order, sorted, (size_t)n * sizeof *order);
        for (enum thing other = SILO; other < THINGS; ++other) {
            bool is_there = false;
            for (int i = 0; i < n; ++i) is_there = is_there || few[i] == other;
            if (is_there) continue;
            *seed = *seed * 1103515245u + 12345u;
            int at = (int)(*seed >> 16) % (length + 1);
            memmove(order + at + 1, order + at, (size_t)(length - at) * sizeof *order);
            order[at] = other;
            ++length;
        }
        make_all(orders % 2 == 0);
        free_all(order);
        ++orders;
    } while (next_order(sorted, n));
    return orders;
}

int main(int given, char **arguments) {
    unsigned seed = given > 1 ? (unsigned)atoi(arguments[1]) : 1;
    static const enum thing hosts[] = {SILO, CALLER, CONFIG, LOOP, REQUEST};
    static const enum thing callers[] = {SILO, CLIENT, CALL, REQUEST};
    static const enum thing parts[] = {MEMBERSHIP, TRANSPORT, CONFIG, LOOP};
    /* What Quark keeps for good is there after the first time. */
    every_order_of(parts, 1, &seed);
    int threads_before = threads(), descriptors_before = descriptors();
    int orders = every_order_of(hosts, 5, &seed) + every_order_of(callers, 4, &seed) + every_order_of(parts, 4, &seed);
    CHECK(orders == 120 + 24 + 24);
    comes_down_to(threads, threads_before, "threads");
    comes_down_to(descriptors, descriptors_before, "descriptors");
    return 0;
}
