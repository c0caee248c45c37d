/* Every function of quark.h, given what it must refuse. The calls are generated from the header (programs/sweep.rs);
 * here are the objects that they use and what is checked of each. All failures are told, not the first one only.
 * Given the word "forked", each function is called in a forked child instead, with what it must not refuse elsewhere. */
#define _GNU_SOURCE
#include "check.h"
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

enum expectation {
    FINE,    /* QUARK_OK */
    REFUSED, /* QUARK_INVALID_ARGUMENT, and the message names the argument */
    ENDS,    /* QUARK_OK, and the callback gets such an error */
    STOPPED, /* QUARK_NOT_RUNNING; of an asynchronous call, by its callback */
    ANY      /* either, or a code that the function's comment names */
};

/* What outputs hold before a call: no address. It must be there still when the call has failed. */
#define POISON(type) ((type)(uintptr_t)0x5a5a5a5a5a5a5a58)

static const char *function, *argument, *variant;
static int failures, taken, let_go_of, called, ended;
static quark_status_t last_code;
static char last_message[256];
static char *long_text;
static quark_bytes_view_t no_bytes = {NULL, 3}, endless = {(const uint8_t *)"x", SIZE_MAX};

static void complain(const char *what, const char *detail) {
    fprintf(stderr, "%s, %s=%s: %s%.200s\n", function, argument, variant, what, detail);
    ++failures;
}

static void begin(const char *of_function, const char *of_argument, const char *of_variant) {
    function = of_function;
    argument = of_argument;
    variant = of_variant;
}

/* Whether a message has a name as a word. */
static bool names(const char *message, const char *name) {
    const char *part = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    for (const char *at = message; (at = strstr(at, name)) != NULL; ++at) {
        char after = at[strlen(name)];
        bool whole = (after == '\0' || strchr(part, after) == NULL);
        if (whole && (at == message || strchr(part, at[-1]) == NULL)) {
            return true;
        }
    }
    return false;
}

/* Checks a status; `message` is NULL where the function gives none, `setting` may be named instead of the argument. */
static void judge(quark_status_t status, const char *message, enum expectation wanted, const char *setting, const char *codes) {
    const char *name = quark_status_name(status);
    bool refused = status == QUARK_INVALID_ARGUMENT;
    if (wanted == FINE || wanted == ENDS) {
        if (status != QUARK_OK) {
            complain("wanted OK, got ", name ? name : "no status");
            complain("  ", message ? message : "no message");
        }
    } else if (wanted == STOPPED && status != QUARK_NOT_RUNNING) {
        complain("wanted NOT_RUNNING, got ", name ? name : "no status");
    } else if (wanted == STOPPED) {
        return;
    } else if (wanted == REFUSED && !refused) {
        complain("wanted INVALID_ARGUMENT, got ", name ? name : "no status");
    } else if (!refused && status != QUARK_OK && (name == NULL || !names(codes, name))) {
        complain("a code that its comment does not name: ", name ? name : "no status");
    }
    if (refused && message != NULL && strcmp(argument, "everything") != 0) {
        if (!names(message, argument) && (setting == NULL || !names(message, setting))) {
            complain("the message does not name it: ", message);
        }
    }
}

/* ---- Callbacks -------------------------------------------------------------------------------------------------- */

static char token;

static void let_go(void *user_data) {
    CHECK(user_data == NULL || user_data == &token);
    count(&let_go_of);
}

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    CHECK(user_data == NULL || user_data == &token);
    CHECK((reply == NULL) != (error == NULL));
    pthread_mutex_lock(&check_lock);
    last_code = quark_error_code(error);
    snprintf(last_message, sizeof last_message, "%s", quark_error_message(error));
    pthread_mutex_unlock(&check_lock);
    quark_bytes_free(reply);
    quark_error_free(error);
    count(&ended);
}

/* Of calls that were made to have a request or a call to try functions with. */
static int aside, aside_ended;

static void on_reply_aside(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    (void)user_data;
    quark_bytes_free(reply);
    quark_error_free(error);
    count(&aside_ended);
}

/* Waits for the ending of the call that was just made. */
static void wait_for_ending(enum expectation wanted, const char *codes) {
    wait_for(&ended, ++called);
    judge(last_code, last_message, wanted == ENDS ? REFUSED : wanted == STOPPED ? STOPPED : ANY, NULL, codes);
}

static void on_event(void *user_data, int32_t kind, const quark_silo_info_t *silo) {
    (void)user_data, (void)kind;
    CHECK(quark_silo_info_id(silo) != NULL);
}

static void on_ownership(void *user_data, const quark_ownership_change_t *change) {
    CHECK(user_data == NULL || user_data == &token);
    CHECK(change->lost != NULL && change->gained != NULL && change->owned != NULL);
}

static bool give_credentials(void *user_data, char *user, char *password) {
    (void)user_data;
    strcpy(user, "sweep");
    strcpy(password, "canary-sweep");
    return true;
}

static bool choose_the_first(void *user_data, const char *actor_type, const char *actor_id, const quark_silo_list_t *silos,
                             const char *local_id, char *chosen) {
    CHECK(user_data == NULL || user_data == &token);
    CHECK(actor_type != NULL && actor_id != NULL && local_id != NULL);
    strcpy(chosen, quark_silo_info_id(quark_silo_list_at(silos, 0)));
    return true;
}

static void on_log(void *user_data, int32_t level, const char *target, const char *message) {
    (void)user_data;
    CHECK(level >= 1 && level <= 5 && target != NULL && message != NULL);
}

/* Keeps the request of a call named `keep`; echoes others. */
static quark_request_t *kept;
static int keeps;

static void keep_or_echo(void *user_data, quark_request_t *request) {
    if (strcmp(quark_request_method_name(request), "keep") != 0) {
        echo(user_data, request);
        return;
    }
    kept = request;
    count(&keeps);
}

static void keep_or_echo_all(void *user_data, quark_request_t *const *requests, size_t n) {
    for (size_t i = 0; i < n; ++i) keep_or_echo(user_data, requests[i]);
}

static void on_endings(void *user_data, const quark_ending_t *endings, size_t n) {
    (void)user_data;
    for (size_t i = 0; i < n; ++i) on_reply(endings[i].user_data, endings[i].reply, endings[i].error);
}

/* ---- Objects: make_ gives a new one, lend_ one that stays ------------------------------------------------------ */

static quark_config_t *make_config(void) {
    static int number;
    char id[32];
    snprintf(id, sizeof id, "sweep-%d", ++number);
    quark_config_t *config = quark_config_new(id);
    CHECK(quark_config_set_membership(config, "memory://sweep") == QUARK_OK);
    return config;
}

/* What can be started as anything. */
static const quark_config_t *lend_config(void) {
    static quark_config_t *config;
    if (config == NULL) {
        config = make_config();
        CHECK(quark_config_set_advertise(config, "127.0.0.1:9") == QUARK_OK);
        CHECK(quark_config_set_membership(config, "memory://sweep-lent") == QUARK_OK);
    }
    return config;
}

static quark_silo_t *make_silo(void) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    quark_config_t *config = make_config();
    CHECK(quark_config_set_handler(config, keep_or_echo, NULL, NULL) == QUARK_OK);
    OK(quark_silo_start(config, &silo, &error));
    quark_config_free(config);
    return silo;
}

static quark_client_t *make_client(void) {
    quark_error_t *error = NULL;
    quark_client_t *client = NULL;
    quark_config_t *config = make_config();
    OK(quark_client_start(config, &client, &error));
    quark_config_free(config);
    return client;
}

static quark_membership_t *make_membership(void) {
    quark_error_t *error = NULL;
    quark_membership_t *membership = NULL;
    OK(quark_membership_new(lend_config(), &membership, &error));
    return membership;
}

static quark_transport_t *make_transport(void) {
    quark_error_t *error = NULL;
    quark_transport_t *transport = NULL;
    OK(quark_transport_new(lend_config(), &transport, &error));
    return transport;
}

static quark_ring_t *make_ring(void) {
    quark_error_t *error = NULL;
    quark_ring_t *ring = quark_ring_new();
    OK(quark_ring_add(ring, "a", 10, NULL, &error));
    return ring;
}

static quark_loop_t *make_loop(void) {
    quark_error_t *error = NULL;
    quark_loop_t *event_loop = NULL;
    OK(quark_loop_new(&event_loop, &error));
    return event_loop;
}

static quark_envelope_t *make_envelope(void) {
    quark_envelope_t *envelope = quark_envelope_new();
    CHECK(quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_TYPE, "T") == QUARK_OK);
    CHECK(quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_ID, "1") == QUARK_OK);
    return envelope;
}

#define LENT(type, name)                  \
    static type *lent_##name;             \
    static type *lend_##name(void) {      \
        if (lent_##name == NULL) {        \
            lent_##name = make_##name();  \
        }                                 \
        return lent_##name;               \
    }

LENT(quark_silo_t, silo)
LENT(quark_client_t, client)
LENT(quark_membership_t, membership)
LENT(quark_ring_t, ring)
LENT(quark_loop_t, loop)
LENT(quark_envelope_t, envelope)

/* Started, and linked to the lent silo. */
static quark_transport_t *lent_transport;
static quark_transport_t *lend_transport(void) {
    if (lent_transport == NULL) {
        quark_error_t *error = NULL;
        lent_transport = make_transport();
        OK(quark_transport_start(lent_transport, &error));
        OK(quark_transport_connect(lent_transport, quark_silo_id(lend_silo()), quark_silo_endpoint(lend_silo()), &error));
    }
    return lent_transport;
}

#define STOPPED_ONE(name, start, ...)                     \
    static quark_##name##_t *ended_##name;                \
    static quark_##name##_t *stopped_##name(void) {       \
        if (ended_##name == NULL) {                       \
            quark_error_t *error = NULL;                  \
            ended_##name = make_##name();                 \
            start;                                        \
            OK(quark_##name##_stop(__VA_ARGS__, &error)); \
        }                                                 \
        return ended_##name;                              \
    }

STOPPED_ONE(silo, , ended_silo, 1000)
STOPPED_ONE(client, , ended_client, 1000)
STOPPED_ONE(membership, OK(quark_membership_start(ended_membership, &error)), ended_membership)
STOPPED_ONE(transport, OK(quark_transport_start(ended_transport, &error)), ended_transport, 1000)

static quark_request_t *make_request(void) {
    CHECK(quark_silo_call_async(lend_silo(), "T", "1", "keep", QUARK_BYTES("x"), 60000, on_reply_aside, NULL, NULL) == QUARK_OK);
    ++aside;
    static int wanted;
    wait_for(&keeps, ++wanted);
    return kept;
}

static quark_call_t *make_call(void) {
    quark_call_t *call = NULL;
    CHECK(quark_silo_call_async(lend_silo(), "T", "1", "echo", QUARK_BYTES("x"), 60000, on_reply_aside, NULL, &call) == QUARK_OK);
    ++aside;
    return call;
}

static quark_bytes_t *make_bytes(void) {
    quark_error_t *error = NULL;
    quark_bytes_t *bytes = NULL;
    OK(quark_envelope_encode(lend_envelope(), &bytes, &error));
    return bytes;
}

static quark_error_t *make_error(void) {
    quark_error_t *error = NULL;
    CHECK(quark_ring_remove(NULL, "a", NULL, &error) == QUARK_INVALID_ARGUMENT);
    return error;
}

static char *make_string(void) {
    quark_error_t *error = NULL;
    char *owner = NULL;
    OK(quark_silo_owner(lend_silo(), "T", "1", &owner, &error));
    return owner;
}

static quark_silo_list_t *make_silo_list(void) {
    quark_error_t *error = NULL;
    quark_silo_list_t *silos = NULL;
    OK(quark_silo_silos(lend_silo(), &silos, &error));
    return silos;
}

static quark_hash_ranges_t *make_hash_ranges(void) {
    quark_error_t *error = NULL;
    quark_hash_ranges_t *ranges = NULL;
    OK(quark_ring_ranges(lend_ring(), "a", &ranges, &error));
    return ranges;
}

static quark_ring_moves_t *make_ring_moves(void) {
    quark_error_t *error = NULL;
    quark_ring_moves_t *moves = NULL;
    quark_ring_t *nobody = quark_ring_new();
    OK(quark_ring_moves(nobody, lend_ring(), &moves, &error));
    quark_ring_free(nobody);
    return moves;
}

static quark_explanation_t *make_explanation(void) {
    quark_error_t *error = NULL;
    quark_explanation_t *explanation = NULL;
    OK(quark_silo_explain(lend_silo(), "T", "1", &explanation, &error));
    return explanation;
}

LENT(quark_silo_list_t, silo_list)
LENT(quark_hash_ranges_t, hash_ranges)
LENT(quark_ring_moves_t, ring_moves)
LENT(quark_explanation_t, explanation)
LENT(quark_error_t, error)
LENT(quark_bytes_t, bytes)
LENT(quark_request_t, request)

static const quark_silo_info_t *lend_silo_info(void) { return quark_silo_list_at(lend_silo_list(), 0); }

/* What was set is told by its status or, at the latest, by the start; and what starts works. */
static void start_with(const quark_config_t *config, enum expectation wanted, const char *setting) {
    quark_silo_t *silo = NULL;
    quark_error_t *error = NULL;
    quark_status_t status = quark_silo_start(config, &silo, &error);
    judge(status, quark_error_message(error), wanted, setting, "UNAUTHENTICATED INCOMPATIBLE");
    if (status == QUARK_OK) {
        quark_bytes_t *reply = NULL;
        status = quark_silo_call(silo, "T", "1", "echo", QUARK_BYTES("x"), 0, &reply, &error);
        if (status == QUARK_INTERNAL || status == QUARK_INVALID_ARGUMENT) {
            complain("a call then fails: ", quark_error_message(error));
        }
        quark_bytes_free(reply);
        quark_silo_free(silo);
    }
    quark_error_free(error);
}

/* ---- In a forked child ------------------------------------------------------------------------------------------ */

static bool begin_child(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        /* A hang ends it. */
        alarm(20);
    }
    return child == 0;
}

static void end_child(bool is_good) { _exit(is_good ? 0 : 1); }

static void wait_for_child(void) {
    int status = 0;
    CHECK(wait(&status) > 0);
    if (WIFSIGNALED(status)) {
        complain("the child was killed, by ", strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0) {
        complain("neither NOT_RUNNING nor the neutral value", "");
    }
}

#include "sweep_cases.h"

/* Says of a crash where it was. */
static void crashed(int signal_number) {
    const char *parts[] = {"crashed: ", function, ", ", argument, "=", variant, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i] != NULL && write(2, parts[i], strlen(parts[i])) < 0) {
            break;
        }
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

int main(int given, char **arguments) {
    signal(SIGABRT, crashed);
    signal(SIGSEGV, crashed);
    long_text = malloc((1 << 20) + 1);
    memset(long_text, 'x', 1 << 20);
    long_text[1 << 20] = '\0';

    if (given == 2 && strcmp(arguments[1], "forked") == 0) {
        forked();
    } else {
        sweep();
    }

    CHECK(quark_set_log_callback(NULL, NULL, NULL, 0) == QUARK_OK);
    quark_request_free(lent_request);
    quark_silo_list_free(lent_silo_list);
    quark_hash_ranges_free(lent_hash_ranges);
    quark_ring_moves_free(lent_ring_moves);
    quark_explanation_free(lent_explanation);
    quark_error_free(lent_error);
    quark_bytes_free(lent_bytes);
    quark_envelope_free(lent_envelope);
    quark_ring_free(lent_ring);
    quark_loop_free(lent_loop);
    quark_transport_free(lent_transport);
    quark_membership_free(lent_membership);
    quark_client_free(lent_client);
    quark_client_free(ended_client);
    quark_membership_free(ended_membership);
    quark_transport_free(ended_transport);
    quark_silo_free(ended_silo);
    quark_silo_free(lent_silo);
    quark_config_free((quark_config_t *)lend_config());
    free(long_text);

    /* Every finalizer ran once, and every call ended once. */
    if (taken != let_go_of || called != ended || aside != aside_ended) {
        fprintf(stderr, "%d of %d finalizers ran, %d of %d calls ended, %d of %d aside\n", let_go_of, taken, ended, called,
                aside_ended, aside);
        ++failures;
    }
    return failures != 0;
}
