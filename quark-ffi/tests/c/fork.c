/* Row 25. Forks after the start: in the child nothing works and nothing hangs, however it ends, and the parent does not
 * notice. Not under valgrind, which counts what the child does not free. What every single function says in a child is in
 * sweep.c. */
#define _GNU_SOURCE
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Asked by the leak checker at exit. In a child it would count what the threads hold that are not there. */
static pid_t parent;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return getpid() != parent; }

static quark_silo_t *host, *caller;
static quark_client_t *client;
static quark_membership_t *membership;
static quark_transport_t *transport;
/* Counted in memory that children share, so that what one of them does by mistake is seen. */
static struct {
    atomic_int handled, let_go;
} *shared;

/* In the child; a hang ends it. 0 when all is as it should be, else the number of what is not. */
static int nothing_works(void) {
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    quark_silo_list_t *silos = NULL;
    alarm(20);
    if (quark_silo_call(host, "T", "1", "", QUARK_BYTES(""), 0, &reply, &error) != QUARK_NOT_RUNNING) return 1;
    if (strstr(quark_error_message(error), "fork") == NULL || quark_error_delivered(error) != QUARK_DELIVERED_NO) return 2;
    quark_error_free(error);
    if (quark_client_notify(client, "T", "1", "", QUARK_BYTES(""), 0, NULL) != QUARK_NOT_RUNNING) return 3;
    if (quark_membership_silos(membership, &silos, NULL) != QUARK_NOT_RUNNING) return 4;
    if (quark_transport_connect(transport, "x", "127.0.0.1:1", NULL) != QUARK_NOT_RUNNING) return 5;
    if (quark_silo_stop(host, 1000, NULL) != QUARK_NOT_RUNNING) return 6;
    if (quark_silo_is_running(host) || quark_client_is_running(client)) return 7;
    if (quark_silo_view_version(host) != 0 || quark_membership_view_version(membership) != 0) return 8;
    return 0;
}

static void free_all(void) {
    quark_silo_free(host);
    quark_silo_free(caller);
    quark_client_free(client);
    quark_membership_free(membership);
    quark_transport_free(transport);
}

static void ends_with(pid_t child, int wanted) {
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    if (code != wanted) {
        fprintf(stderr, "the child ended with %d, not with %d\n", code, wanted);
        exit(1);
    }
}

enum way { EXITS, EXITS_AT_ONCE, FREES, EXECS, IS_KILLED, WAYS };

/* A child that ends in this way. */
static void fork_once(enum way way) {
    pid_t child = fork();
    if (child == 0) {
        int wrong = nothing_works();
        if (wrong != 0) _exit(100 + wrong);
        switch (way) {
        case FREES: free_all(); /* fall through */
        case EXITS: exit(3);
        case EXECS: execl("/bin/sh", "sh", "-c", "exit 3", (char *)NULL); _exit(99);
        case IS_KILLED: raise(SIGKILL); /* fall through */
        default: _exit(3);
        }
    }
    ends_with(child, way == IS_KILLED ? -SIGKILL : 3);
}

/* ---- While other threads are in calls --------------------------------------------------------------------------- */

static atomic_bool over;
static atomic_int made[4];

static void *call_on(void *counter) {
    atomic_int *calls = counter;
    quark_error_t *error = NULL;
    while (!atomic_load(&over)) {
        quark_bytes_t *reply = NULL;
        switch (calls - made) {
        case 0: OK(quark_silo_call(host, "T", "1", "", QUARK_BYTES("x"), 60000, &reply, &error)); break;
        case 1: OK(quark_silo_call(caller, "T", "1", "", QUARK_BYTES("x"), 60000, &reply, &error)); break;
        default: OK(quark_client_call(client, "T", "1", "", QUARK_BYTES("x"), 60000, &reply, &error)); break;
        }
        CHECK(quark_bytes_len(reply) == 1);
        quark_bytes_free(reply);
        atomic_fetch_add(calls, 1);
    }
    return NULL;
}

static void while_others_call(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, call_on, &made[i]) == 0);
    for (int n = 0; n < 4 * WAYS; ++n) {
        fork_once((enum way)(n % WAYS));
        /* The parent goes on. */
        for (int i = 0; i < 4; ++i) {
            int before = atomic_load(&made[i]);
            for (int limit = 0; atomic_load(&made[i]) < before + 3; ++limit) {
                CHECK(limit < 60000);
                usleep(1000);
            }
        }
    }
    atomic_store(&over, true);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* ---- Inside callbacks ------------------------------------------------------------------------------------------- */

static quark_silo_t *inside;
static int forked, ended, let_go;

/* The kind of callback that forks next. */
enum kind { NONE, REQUEST, BATCH, REPLY, ENDINGS, EVENT, LOG, FINALIZER };
static atomic_int armed;

static void arm(enum kind kind) { atomic_store(&armed, (int)kind); }

/* Forks if it is armed: one child ends at once, the other frees all, the silo of its callback as well. */
static void fork_here(enum kind kind) {
    int wanted = (int)kind;
    if (!atomic_compare_exchange_strong(&armed, &wanted, NONE)) return;
    for (int frees = 0; frees < 2; ++frees) {
        pid_t child = fork();
        if (child == 0) {
            int wrong = nothing_works();
            if (wrong != 0) _exit(100 + wrong);
            if (frees) {
                quark_silo_free(inside);
                free_all();
            }
            exit(3);
        }
        ends_with(child, 3);
    }
    count(&forked);
}

static void on_request(void *user_data, quark_request_t *request) {
    (void)user_data;
    fork_here(REQUEST);
    echo(NULL, request);
}

static void on_batch(void *user_data, quark_request_t *const *requests, size_t n) {
    (void)user_data;
    fork_here(BATCH);
    for (size_t i = 0; i < n; ++i) echo(NULL, requests[i]);
}

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data;
    CHECK(error == NULL);
    fork_here(REPLY);
    quark_bytes_free(reply);
    count(&ended);
}

static void on_endings(void *user_data, const quark_ending_t *endings, size_t n) {
    fork_here(ENDINGS);
    for (size_t i = 0; i < n; ++i) on_reply(user_data, endings[i].reply, endings[i].error);
}

static void on_event(void *user_data, int32_t kind, const quark_silo_info_t *silo) {
    (void)user_data, (void)kind, (void)silo;
    fork_here(EVENT);
}

static void on_log(void *user_data, int32_t level, const char *target, const char *message) {
    (void)user_data, (void)level, (void)target, (void)message;
    fork_here(LOG);
}

static void finalize(void *counter) {
    /* The silo is being freed already. */
    inside = NULL;
    fork_here(FINALIZER);
    count(counter);
}

static void inside_callbacks(void) {
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    quark_config_t *config = quark_config_new("inside");
    quark_config_set_membership(config, "memory://fork-inside");
    quark_config_set_handler_for(config, "Each", on_request, NULL, NULL);
    quark_config_set_batch_handler(config, "Batch", on_batch, NULL, NULL);
    quark_config_set_ending_batch_callback(config, on_endings, NULL, NULL);
    quark_config_set_membership_callback(config, on_event, &let_go, finalize);
    OK(quark_silo_start(config, &inside, &error));

    arm(REQUEST);
    OK(quark_silo_call(inside, "Each", "1", "", QUARK_BYTES("x"), 60000, &reply, &error));
    quark_bytes_free(reply);
    wait_for(&forked, 1);
    arm(BATCH);
    OK(quark_silo_call(inside, "Batch", "1", "", QUARK_BYTES("x"), 60000, &reply, &error));
    quark_bytes_free(reply);
    wait_for(&forked, 2);
    arm(REPLY);
    CHECK(quark_silo_call_async(caller, "T", "1", "", QUARK_BYTES("x"), 60000, on_reply, NULL, NULL) == QUARK_OK);
    wait_for(&forked, 3);
    quark_silo_t *other = NULL;
    quark_config_t *others = quark_config_new("other");
    quark_config_set_membership(others, "memory://fork-inside");
    quark_config_set_handler_for(others, "Plain", echo, NULL, NULL);
    arm(EVENT);
    OK(quark_silo_start(others, &other, &error));
    quark_config_free(others);
    wait_for(&forked, 4);
    arm(ENDINGS);
    CHECK(quark_silo_call_async(inside, "Plain", "1", "", QUARK_BYTES("x"), 60000, NULL, NULL, NULL) == QUARK_OK);
    wait_for(&forked, 5);
    CHECK(quark_set_log_callback(on_log, NULL, NULL, QUARK_LOG_INFO) == QUARK_OK);
    arm(LOG);
    OK(quark_silo_stop(other, 1000, &error));
    wait_for(&forked, 6);
    CHECK(quark_set_log_callback(NULL, NULL, NULL, 0) == QUARK_OK);
    quark_silo_free(other);
    wait_for(&ended, 2);

    quark_silo_t *freed = inside;
    quark_config_free(config);
    arm(FINALIZER);
    quark_silo_free(freed);
    wait_for(&forked, 7);
    CHECK(let_go == 1);
}

/* ---- A child that comes back from a callback -------------------------------------------------------------------- */

static quark_silo_t *queueing;
static int queued;
static pid_t came_back = -1;

/* Forks at the first request, when others wait behind it; the child returns as the parent does. */
static void fork_and_return(void *user_data, quark_request_t *request) {
    (void)user_data;
    if (strcmp(quark_request_method_name(request), "first") == 0) {
        wait_for(&queued, 1);
        came_back = fork();
        if (came_back == 0) alarm(20);
    }
    atomic_fetch_add(&shared->handled, 1);
    quark_status_t status = quark_request_reply(request, quark_request_payload(request));
    CHECK(status == (came_back == 0 ? QUARK_NOT_RUNNING : QUARK_OK));
}

static void count_shared(void *nothing) {
    (void)nothing;
    atomic_fetch_add(&shared->let_go, 1);
}

static void on_queued(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    CHECK(error == NULL);
    quark_bytes_free(reply);
    count(user_data);
}

static quark_silo_t *start_queueing(quark_loop_t *loop) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_config_t *config = quark_config_new("queueing");
    quark_config_set_membership(config, "memory://fork-queueing");
    quark_config_set_handler(config, fork_and_return, NULL, count_shared);
    quark_config_set_loop(config, loop);
    OK(quark_silo_start(config, &silo, &error));
    quark_config_free(config);
    atomic_store(&shared->handled, 0);
    atomic_store(&shared->let_go, 0);
    return silo;
}

static void calls_ten(int *replies) {
    for (int i = 0; i < 10; ++i) {
        const char *method = i == 0 ? "first" : "";
        CHECK(quark_silo_call_async(queueing, "T", "1", method, QUARK_BYTES("x"), 60000, on_queued, replies, NULL) == QUARK_OK);
    }
}

static void back_from_a_callback(void) {
    static int replies;
    queueing = start_queueing(NULL);
    calls_ten(&replies);
    count(&queued);
    wait_for(&replies, 10);
    /* Its thread, the only one that the child has, goes no further, and so the child ends. */
    ends_with(came_back, 0);
    quark_silo_free(queueing);
    CHECK(atomic_load(&shared->handled) == 11 && "the first request twice, the others in the parent only");
    CHECK(atomic_load(&shared->let_go) == 1);
}

/* ---- With an event loop ----------------------------------------------------------------------------------------- */

static bool is_readable(const quark_loop_t *loop, int limit_ms) {
    struct pollfd readable = {quark_loop_descriptor(loop), POLLIN, 0};
    return poll(&readable, 1, limit_ms) == 1;
}

static void with_a_loop(void) {
    quark_error_t *error = NULL;
    quark_loop_t *loop = NULL;
    static int replies;
    OK(quark_loop_new(&loop, &error));
    queueing = start_queueing(loop);
    calls_ten(&replies);
    CHECK(is_readable(loop, 60000));
    /* What is due is the parent's, and so is the word that something is. */
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        if (quark_loop_run(loop, 0) != 0) _exit(101);
        quark_silo_free(queueing);
        quark_loop_free(loop);
        exit(3);
    }
    ends_with(child, 3);
    CHECK(atomic_load(&shared->handled) == 0 && replies == 0);
    CHECK(is_readable(loop, 0));
    /* The first callback forks, and the child comes back from it to here. */
    came_back = -1;
    for (int before = 0; replies < 10;) {
        CHECK(is_readable(loop, 60000));
        size_t ran = quark_loop_run(loop, 0);
        if (came_back == 0) _exit(ran == 0 && quark_loop_run(loop, 0) == 0 && before == 0 ? 3 : 102);
        before = replies;
    }
    ends_with(came_back, 3);
    CHECK(atomic_load(&shared->handled) == 11);
    OK(quark_silo_stop(queueing, 1000, &error));
    quark_silo_free(queueing);
    quark_loop_free(loop);
    CHECK(atomic_load(&shared->let_go) == 1);
}

int main(void) {
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    parent = getpid();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);

    host = start_echo("host", "memory://fork", NULL);
    quark_config_t *config = quark_config_new("caller");
    quark_config_set_membership(config, "memory://fork");
    quark_config_set_handler_for(config, "Other", echo, NULL, NULL);
    OK(quark_silo_start(config, &caller, &error));
    quark_config_free(config);
    config = quark_config_new(NULL);
    quark_config_set_membership(config, "memory://fork");
    OK(quark_client_start(config, &client, &error));
    OK(quark_membership_new(config, &membership, &error));
    OK(quark_membership_start(membership, &error));
    quark_config_free(config);
    config = quark_config_new("transport");
    OK(quark_transport_new(config, &transport, &error));
    OK(quark_transport_start(transport, &error));
    quark_config_free(config);

    for (int way = 0; way < WAYS; ++way) fork_once((enum way)way);
    while_others_call();
    inside_callbacks();
    back_from_a_callback();
    with_a_loop();

    OK(quark_silo_call(caller, "T", "1", "", QUARK_BYTES("x"), 60000, &reply, &error));
    quark_bytes_free(reply);
    OK(quark_membership_stop(membership, &error));
    OK(quark_transport_stop(transport, 1000, &error));
    OK(quark_client_stop(client, 1000, &error));
    OK(quark_silo_stop(caller, 1000, &error));
    OK(quark_silo_stop(host, 1000, &error));
    free_all();
    return 0;
}
