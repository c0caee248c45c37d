/* What a silo owns, gains and loses, as its host hears of it, and what rings and explanations say. */
#include "check.h"

#define MEMBERSHIP "memory://ownership-in-c"

/* What a host keeps of what it hears: all that it owns, and how often it heard. */
static int heard, is_let_go, lets_go;
static quark_hash_ranges_t *lost, *gained, *owned;
static uint64_t view_version;

static void on_ownership(void *user_data, const quark_ownership_change_t *change) {
    (void)user_data;
    pthread_mutex_lock(&check_lock);
    quark_hash_ranges_free(lost), quark_hash_ranges_free(gained), quark_hash_ranges_free(owned);
    lost = quark_hash_ranges_copy(change->lost);
    gained = quark_hash_ranges_copy(change->gained);
    owned = quark_hash_ranges_copy(change->owned);
    view_version = change->view_version;
    pthread_mutex_unlock(&check_lock);
    count(&heard);
    if (quark_hash_ranges_len(change->owned) == 0) {
        /* It has much to hand over. */
        wait_for(&is_let_go, 1);
        count(&lets_go);
    }
}

static bool owns(quark_silo_t *silo, const char *id) {
    quark_error_t *error = NULL;
    bool owns = false;
    OK(quark_silo_owns(silo, "T", id, &owns, &error));
    return owns;
}

static void *stop(void *silo) {
    CHECK(quark_silo_stop(silo, 60000, NULL) == QUARK_OK);
    CHECK(lets_go == 1);
    return NULL;
}

static void what_is_gained_and_lost(void) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = NULL, *none = NULL;
    int finalized = 0;
    quark_config_t *config = config_of("one", MEMBERSHIP);
    CHECK(quark_config_set_handler(config, echo, NULL, NULL) == QUARK_OK);
    CHECK(quark_config_set_ownership_callback(config, NULL, on_ownership, &finalized, count_up) == QUARK_OK);
    OK(quark_silo_start(config, &silo, &error));
    quark_config_free(config);
    wait_for(&heard, 1);
    CHECK(quark_hash_ranges_share(owned) == 1.0 && quark_hash_ranges_share(gained) == 1.0);
    CHECK(quark_hash_ranges_len(lost) == 0 && quark_hash_ranges_len(owned) == 1);
    CHECK(quark_hash_ranges_data(owned)[0].first == 0 && quark_hash_ranges_data(owned)[0].last == UINT32_MAX);

    quark_silo_t *other = start_echo("two", MEMBERSHIP, NULL);
    wait_for(&heard, 2);
    CHECK(view_version == quark_silo_view_version(silo) && quark_hash_ranges_len(gained) == 0);
    CHECK(quark_hash_ranges_share(lost) + quark_hash_ranges_share(owned) == 1.0);
    quark_ring_t *ring = NULL;
    OK(quark_silo_ring(silo, "T", &ring, &error));
    CHECK(quark_ring_share(ring, "one") == quark_hash_ranges_share(owned));
    CHECK(quark_ring_share(ring, "two") == quark_hash_ranges_share(lost));
    quark_ring_free(ring);
    for (int i = 0; i < 100; ++i) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        CHECK(owns(silo, id) == quark_hash_ranges_contain_actor(owned, "T", id));
        CHECK(owns(other, id) == quark_hash_ranges_contain_actor(lost, "T", id));
        CHECK(owns(silo, id) == quark_hash_ranges_contain(owned, quark_hash_actor("T", id)));
    }
    quark_silo_stop(other, 1000, NULL);
    quark_silo_free(other);
    wait_for(&heard, 3);
    CHECK(quark_hash_ranges_share(owned) == 1.0 && quark_hash_ranges_len(lost) == 0);

    /* A stop waits until the host has handed over. */
    pthread_t stopping;
    CHECK(pthread_create(&stopping, NULL, stop, silo) == 0);
    wait_for(&heard, 4);
    CHECK(quark_hash_ranges_share(lost) == 1.0 && !owns(silo, "1"));
    CHECK(quark_silo_is_running(silo) && lets_go == 0);
    struct timespec a_while = {0, 50000000};
    nanosleep(&a_while, NULL);
    count(&is_let_go);
    pthread_join(stopping, NULL);
    CHECK(lets_go == 1 && !quark_silo_is_running(silo) && !owns(silo, "1"));
    CHECK(finalized == 0);
    quark_silo_free(silo);
    CHECK(finalized == 1 && heard == 4);
    quark_hash_ranges_free(lost), quark_hash_ranges_free(gained), quark_hash_ranges_free(owned);

    /* What cannot be told is said at once, and nobody sees such a silo. */
    quark_membership_t *looking = NULL;
    config = config_of(NULL, MEMBERSHIP);
    OK(quark_membership_new(config, &looking, &error));
    OK(quark_membership_start(looking, &error));
    quark_config_free(config);
    uint64_t before = quark_membership_view_version(looking);
    config = config_of("three", MEMBERSHIP);
    CHECK(quark_config_set_handler_for(config, "Counter", echo, NULL, NULL) == QUARK_OK);
    CHECK(quark_config_set_handler_for(config, "Greeter", echo, NULL, NULL) == QUARK_OK);
    CHECK(quark_config_set_ownership_callback(config, NULL, on_ownership, NULL, NULL) == QUARK_OK);
    FAILS(quark_silo_start(config, &none, &error), QUARK_INVALID_ARGUMENT, "Counter, Greeter");
    CHECK(quark_config_set_ownership_callback(config, NULL, on_ownership, NULL, NULL) == QUARK_INVALID_ARGUMENT);
    FAILS(quark_silo_start(config, &none, &error), QUARK_INVALID_ARGUMENT, "already");
    quark_config_free(config);
    config = config_of("three", MEMBERSHIP);
    CHECK(quark_config_set_handler_for(config, "Counter", echo, NULL, NULL) == QUARK_OK);
    CHECK(quark_config_set_ownership_callback(config, "Other", on_ownership, NULL, NULL) == QUARK_OK);
    FAILS(quark_silo_start(config, &none, &error), QUARK_INVALID_ARGUMENT, "\"Other\"");
    quark_config_free(config);
    CHECK(quark_membership_view_version(looking) == before);
    quark_membership_free(looking);
    config = config_of(NULL, MEMBERSHIP);
    CHECK(quark_config_set_ownership_callback(config, "T", on_ownership, NULL, NULL) == QUARK_OK);
    quark_client_t *client = NULL;
    quark_membership_t *membership = NULL;
    FAILS(quark_client_start(config, &client, &error), QUARK_INVALID_ARGUMENT, "ownership_callback");
    FAILS(quark_membership_new(config, &membership, &error), QUARK_INVALID_ARGUMENT, "ownership_callback");
    quark_config_free(config);
}

static void what_rings_say(void) {
    quark_error_t *error = NULL;
    quark_ring_t *before = quark_ring_new();
    OK(quark_ring_add(before, "a", 150, NULL, &error));
    OK(quark_ring_add(before, "b", 50, NULL, &error));
    CHECK(quark_ring_virtual_nodes(before, "b") == 50 && quark_ring_virtual_nodes(before, "c") == 0);
    CHECK(quark_ring_share(before, "a") + quark_ring_share(before, "b") == 1.0 && quark_ring_share(before, "c") == 0.0);
    quark_hash_ranges_t *ranges = NULL;
    OK(quark_ring_ranges(before, "b", &ranges, &error));
    CHECK(quark_hash_ranges_share(ranges) == quark_ring_share(before, "b"));
    const quark_hash_range_t *data = quark_hash_ranges_data(ranges);
    for (size_t i = 1; i < quark_hash_ranges_len(ranges); ++i) CHECK(data[i - 1].last < data[i].first);
    quark_hash_ranges_free(ranges);

    const char *next[3], *owner = NULL;
    OK(quark_ring_owner(before, "T:1", &owner, &error));
    OK(quark_ring_next_owners(before, "T:1", next, 3, &error));
    CHECK(next[0] != NULL && strcmp(next[0], owner) != 0 && next[1] == NULL && next[2] == NULL);

    quark_ring_t *after = quark_ring_copy(before);
    OK(quark_ring_add(after, "c", 150, NULL, &error));
    CHECK(quark_ring_len(before) == 2);
    quark_ring_moves_t *moves = NULL;
    OK(quark_ring_moves(before, after, &moves, &error));
    double moved = 0;
    for (size_t i = 0; i < quark_ring_moves_len(moves); ++i) {
        CHECK(quark_ring_moves_from(moves, i) != NULL && strcmp(quark_ring_moves_to(moves, i), "c") == 0);
        moved += quark_ring_moves_share(moves, i);
    }
    CHECK(quark_ring_moves_len(moves) == 2 && moved == quark_ring_share(after, "c"));
    CHECK(quark_ring_moves_from(moves, 2) == NULL && quark_ring_moves_share(moves, 2) == 0.0);
    quark_ring_moves_free(moves);
    quark_ring_free(before), quark_ring_free(after);
}

static void what_an_explanation_says(void) {
    quark_error_t *error = NULL;
    quark_silo_t *silo = start_echo("one", "memory://explained-in-c", NULL);
    quark_silo_t *other = start_echo("two", "memory://explained-in-c", NULL);
    quark_explanation_t *why = NULL;
    OK(quark_silo_explain(silo, "T", "1", &why, &error));
    const char *owner = quark_silo_info_id(quark_explanation_owner(why));
    const char *next = quark_silo_info_id(quark_explanation_next_owner(why, 0));
    CHECK(quark_explanation_is_owned_here(why) == (strcmp(owner, "one") == 0) && strcmp(owner, next) != 0);
    CHECK(quark_explanation_next_owner(why, 1) == NULL && quark_explanation_serving(why) == 2);
    CHECK(quark_explanation_position(why) == quark_hash("T:1") && quark_explanation_is_placed_by_ring(why));
    CHECK(quark_explanation_view_version(why) == quark_silo_view_version(silo));
    quark_explanation_free(why);
    FAILS(quark_silo_explain(silo, "", "1", &why, &error), QUARK_INVALID_ARGUMENT, "actor_type");
    quark_silo_stop(silo, 1000, NULL), quark_silo_stop(other, 1000, NULL);
    quark_silo_free(silo), quark_silo_free(other);
}

int main(void) {
    what_is_gained_and_lost();
    what_rings_say();
    what_an_explanation_says();
    return 0;
}
