/* Where calls go: by a callback of the program's, by zone. */
#include "check.h"

static void whoami(void *user_data, quark_request_t *request) {
    const char *id = user_data;
    CHECK(quark_request_reply(request, (quark_bytes_view_t){(const uint8_t *)id, strlen(id)}) == QUARK_OK);
}

static quark_silo_t *start(quark_config_t *config, const char *id) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL;
    CHECK(quark_config_set_handler(config, whoami, (void *)id, NULL) == QUARK_OK);
    OK(quark_silo_start(config, &silo, &error));
    quark_config_free(config);
    return silo;
}

/* Who answers. */
static const char *answers(quark_silo_t *silo, const char *type, const char *id) {
    static char name[64];
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    OK(quark_silo_call(silo, type, id, "", QUARK_BYTES(""), 10000, &reply, &error));
    snprintf(name, sizeof name, "%.*s", (int)quark_bytes_len(reply), (const char *)quark_bytes_data(reply));
    quark_bytes_free(reply);
    return name;
}

static quark_silo_t *asked_for;
static int let_go_of, asked;
static pthread_t asked_on;

/* Does what the actor's id says; else chooses "ghost" while it is there, and then the last one. */
static bool choose(void *user_data, const char *actor_type, const char *actor_id, const quark_silo_list_t *silos,
                   const char *local_id, char *chosen) {
    CHECK(strcmp(actor_type, "Session") == 0 && strcmp(local_id, "caller") == 0 && chosen[0] == '\0');
    CHECK(strcmp(user_data, "data") == 0 && quark_silo_list_len(silos) > 0);
    asked_on = pthread_self();
    count(&asked);
    if (strcmp(actor_id, "none") == 0) return true;
    if (strcmp(actor_id, "fail") == 0) return strcpy(chosen, "as asked"), false;
    if (strcmp(actor_id, "endless") == 0) return memset(chosen, 'x', QUARK_PLACEMENT_BYTES), true;
    if (strcmp(actor_id, "nowhere") == 0) return strcpy(chosen, "nowhere"), true;
    if (strcmp(actor_id, "tab") == 0) return strcpy(chosen, "a\tb"), true;
    if (strcmp(actor_id, "calls") == 0) {
        quark_bytes_t *reply = NULL;
        quark_error_t *error = NULL;
        char *owner = NULL;
        OK(quark_silo_owner(asked_for, "Session", "1", &owner, &error));
        quark_string_free(owner);
        FAILS(quark_silo_call(asked_for, "Other", "1", "", QUARK_BYTES(""), 0, &reply, &error), QUARK_REENTRANT,
              "cannot make calls");
        FAILS(quark_silo_notify(asked_for, "Other", "1", "", QUARK_BYTES(""), 0, &error), QUARK_REENTRANT, "");
    }
    const char *last = quark_silo_info_id(quark_silo_list_at(silos, quark_silo_list_len(silos) - 1));
    for (size_t i = 0; i < quark_silo_list_len(silos); ++i) {
        const char *id = quark_silo_info_id(quark_silo_list_at(silos, i));
        if (strcmp(id, "ghost") == 0) last = id;
    }
    return strcpy(chosen, last), true;
}

static int ended;

static void on_reply(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
    if (error != NULL) fprintf(stderr, "%s\n", quark_error_message(error));
    CHECK(error == NULL && strncmp((const char *)quark_bytes_data(reply), user_data, quark_bytes_len(reply)) == 0);
    quark_bytes_free(reply);
    count(&ended);
}

static void the_program_chooses(void) {
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    quark_silo_t *other = start(config_of("other", "memory://placement-c"), "other");
    quark_config_t *config = config_of("caller", "memory://placement-c");
    CHECK(quark_config_set_placement(config, "Session", "random") == QUARK_OK);
    CHECK(quark_config_set_placement_callback(config, "Session", choose, "data", NULL) == QUARK_OK);
    CHECK(quark_config_set_placement_callback(config, "Session", NULL, &let_go_of, count_up) == QUARK_INVALID_ARGUMENT);
    CHECK(let_go_of == 1);
    CHECK(quark_config_set_placement_callback(config, "Session", choose, "data", NULL) == QUARK_OK);
    CHECK(quark_config_set_placement_callback(config, "Replaced", choose, &let_go_of, count_up) == QUARK_OK);
    CHECK(quark_config_set_placement(config, "Replaced", "random") == QUARK_OK && let_go_of == 2);
    CHECK(quark_config_set_placement_callback(config, "Kept", choose, &let_go_of, count_up) == QUARK_OK);
    quark_silo_t *caller = asked_for = start(config, "caller");

    CHECK(strcmp(answers(caller, "Session", "1"), "other") == 0 && pthread_equal(asked_on, pthread_self()));
    CHECK(strcmp(answers(caller, "Session", "calls"), "other") == 0);
    const char *refused[][2] = {{"none", "the placement of \"Session\" chose no silo for \"none\""},
                                {"nowhere", "\"Session\" chose \"nowhere\", which is not in the view"}};
    for (int i = 0; i < 2; ++i) {
        FAILS(quark_silo_call(caller, "Session", refused[i][0], "", QUARK_BYTES(""), 0, &reply, &error), QUARK_NO_SILO,
              refused[i][1]);
    }
    const char *wrong[][2] = {{"fail", "the callback of \"Session\" failed: as asked"},
                              {"endless", "\"Session\" wrote a text that is too long"},
                              {"tab", "\"Session\" chose silo_id=\"a\\tb\""}};
    for (int i = 0; i < 3; ++i) {
        FAILS(quark_silo_call(caller, "Session", wrong[i][0], "", QUARK_BYTES(""), 0, &reply, &error),
              QUARK_INVALID_ARGUMENT, wrong[i][1]);
    }

    /* An envelope of one's own is placed on this thread too. */
    quark_envelope_t *envelope = quark_envelope_new(), *response = NULL;
    CHECK(quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_TYPE, "Session") == QUARK_OK);
    CHECK(quark_envelope_set_text(envelope, QUARK_ENVELOPE_ACTOR_ID, "1") == QUARK_OK);
    memset(&asked_on, 0, sizeof asked_on);
    OK(quark_silo_send(caller, envelope, 0, &response, &error));
    CHECK(pthread_equal(asked_on, pthread_self()));
    quark_envelope_free(response);
    quark_envelope_free(envelope);

    /* What was not sent when its silo went is placed once more, on another thread. */
    quark_membership_t *ghost = NULL;
    config = config_of("ghost", "memory://placement-c");
    CHECK(quark_config_set_advertise(config, "127.0.0.1:9") == QUARK_OK);
    OK(quark_membership_new(config, &ghost, &error));
    OK(quark_membership_start(ghost, &error));
    quark_config_free(config);
    quark_silo_list_t *silos = NULL;
    for (size_t len = 0; len < 3; quark_silo_list_free(silos)) {
        OK(quark_silo_silos(caller, &silos, &error));
        len = quark_silo_list_len(silos);
    }
    int before = asked;
    CHECK(quark_silo_call_async(caller, "Session", "1", "", QUARK_BYTES(""), 30000, on_reply, "other", NULL) == QUARK_OK);
    CHECK(asked == before + 1 && ended == 0);
    OK(quark_membership_stop(ghost, &error));
    quark_membership_free(ghost);
    wait_for(&ended, 1);
    CHECK(asked == before + 2 && !pthread_equal(asked_on, pthread_self()));

    quark_silo_stop(caller, 1000, NULL);
    quark_silo_free(caller);
    CHECK(let_go_of == 3);
    quark_silo_stop(other, 1000, NULL);
    quark_silo_free(other);
}

static void stateless_workers_of_the_own_zone_come_first(void) {
    quark_error_t *error = NULL;
    const char *ids[] = {"near", "far", "nearer"}, *zones[] = {"x", "y", "x"};
    quark_silo_t *silos[3];
    for (int i = 0; i < 3; ++i) {
        quark_config_t *config = config_of(ids[i], "memory://placement-zones");
        CHECK(quark_config_set_zone(config, zones[i]) == QUARK_OK);
        silos[i] = start(config, ids[i]);
    }
    quark_client_t *client = NULL;
    quark_config_t *config = config_of(NULL, "memory://placement-zones");
    CHECK(quark_config_set_zone(config, "y") == QUARK_OK);
    CHECK(quark_config_set_placement(config, "Worker", "stateless-worker") == QUARK_OK);
    OK(quark_client_start(config, &client, &error));
    quark_config_free(config);
    for (int i = 0; i < 6; ++i) {
        quark_bytes_t *reply = NULL;
        OK(quark_client_call(client, "Worker", "1", "", QUARK_BYTES(""), 10000, &reply, &error));
        CHECK(quark_bytes_len(reply) == 3 && memcmp(quark_bytes_data(reply), "far", 3) == 0);
        quark_bytes_free(reply);
    }
    quark_client_stop(client, 1000, NULL);
    quark_client_free(client);
    for (int i = 0; i < 3; ++i) {
        quark_silo_stop(silos[i], 1000, NULL);
        quark_silo_free(silos[i]);
    }
}

/* Whether a silo sees another one drain. */
static bool drains(quark_silo_t *silo, const char *id) {
    quark_error_t *error = NULL;
    quark_silo_list_t *silos = NULL;
    bool found = false;
    OK(quark_silo_silos(silo, &silos, &error));
    for (size_t i = 0; i < quark_silo_list_len(silos); ++i) {
        const quark_silo_info_t *info = quark_silo_list_at(silos, i);
        found |= strcmp(quark_silo_info_id(info), id) == 0 && quark_silo_info_is_draining(info);
    }
    quark_silo_list_free(silos);
    return found;
}

static size_t ranked(quark_silo_list_t *silos, const char *ids[3]) {
    static char names[3][32];
    size_t len = quark_silo_list_len(silos);
    CHECK(len <= 3);
    for (size_t i = 0; i < len; ++i) {
        snprintf(names[i], sizeof names[i], "%s", quark_silo_info_id(quark_silo_list_at(silos, i)));
        ids[i] = names[i];
    }
    quark_silo_list_free(silos);
    return len;
}

static void a_drained_silo_keeps_what_it_has_and_weights_change(void) {
    quark_error_t *error = NULL;
    quark_silo_list_t *silos = NULL;
    const char *names[] = {"a", "b", "c"}, *zones[] = {"x", "x", "y"}, *ids[3];
    quark_silo_t *all[3];
    for (int i = 0; i < 3; ++i) {
        quark_config_t *config = config_of(names[i], "memory://placement-drain");
        CHECK(quark_config_set_zone(config, zones[i]) == QUARK_OK);
        all[i] = start(config, names[i]);
    }
    quark_client_t *client = NULL;
    quark_config_t *config = config_of(NULL, "memory://placement-drain");
    OK(quark_client_start(config, &client, &error));
    quark_config_free(config);

    char *owner = NULL;
    OK(quark_client_owner(client, "T", "1", &owner, &error));
    OK(quark_client_successors(client, "T", "1", 2, &silos, &error));
    CHECK(ranked(silos, ids) == 2 && strcmp(ids[0], owner) == 0);
    CHECK((strcmp(ids[0], "c") == 0) != (strcmp(ids[1], "c") == 0)); /* another zone */
    OK(quark_client_next_owners(client, "T", "1", 9, &silos, &error));
    CHECK(ranked(silos, ids) == 2 && strcmp(ids[0], owner) != 0 && strcmp(ids[1], owner) != 0);
    quark_string_free(owner);
    FAILS(quark_client_successors(client, "", "1", 2, &silos, &error), QUARK_INVALID_ARGUMENT, "actor_type=\"\"");

    OK(quark_silo_drain(all[0], &error));
    OK(quark_silo_drain(all[0], &error));
    CHECK(drains(all[0], "a") && !drains(all[0], "b"));
    OK(quark_silo_next_owners(all[0], "T", "1", 9, &silos, &error));
    size_t len = ranked(silos, ids);
    CHECK(len == 2 && (strcmp(ids[0], "a") != 0));
    OK(quark_silo_successors(all[0], "T", "1", 9, &silos, &error));
    CHECK(ranked(silos, ids) >= 2);
    OK(quark_silo_resume(all[0], &error));
    CHECK(!drains(all[0], "a"));
    OK(quark_silo_set_virtual_nodes(all[0], 300, &error));
    OK(quark_silo_silos(all[0], &silos, &error));
    CHECK(quark_silo_info_virtual_nodes(quark_silo_list_at(silos, 0)) == 300);
    quark_silo_list_free(silos);
    FAILS(quark_silo_set_virtual_nodes(all[0], 0, &error), QUARK_INVALID_ARGUMENT, "virtual_nodes=0: must be 1 to 100000");

    quark_client_free(client);
    for (int i = 0; i < 3; ++i) {
        quark_silo_stop(all[i], 1000, NULL);
        FAILS(quark_silo_drain(all[i], &error), QUARK_NOT_RUNNING, "");
        quark_silo_free(all[i]);
    }
}

int main(void) {
    the_program_chooses();
    a_drained_silo_keeps_what_it_has_and_weights_change();
    stateless_workers_of_the_own_zone_come_first();
    return 0;
}
