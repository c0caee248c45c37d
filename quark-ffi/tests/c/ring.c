/* The hash ring against the vectors; the table is generated from them. */
#include <quark.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static quark_ring_t *ring;

static void begin(void) {
    quark_ring_free(ring);
    ring = quark_ring_new();
}

static void add(const char *id, uint32_t virtual_nodes) {
    bool added = false;
    if (quark_ring_add(ring, id, virtual_nodes, &added, NULL) != QUARK_OK || !added) {
        fprintf(stderr, "could not add %s\n", id);
        exit(1);
    }
}

static void owns(const char *key, uint32_t hash, const char *owner) {
    const char *found = NULL;
    quark_error_t *error = NULL;
    if (quark_hash(key) != hash || quark_ring_owner(ring, key, &found, &error) != QUARK_OK || strcmp(found, owner) != 0) {
        fprintf(stderr, "%s: hash %u, owner %s; expected %u, %s\n", key, (unsigned)quark_hash(key), found ? found : "-", (unsigned)hash, owner);
        exit(1);
    }
}

#include "ring_cases.h"

/* Many keys in one call, short and long, and ids that the ring itself gave. */
static void many(void) {
    enum { KEYS = 100 };
    static char keys[KEYS][200];
    const char *pointers[KEYS], *owners[KEYS], *alone = NULL;
    begin();
    for (int i = 0; i < KEYS; ++i) {
        memset(keys[i], (char)(33 + i % 90), (size_t)(1 + i));
        pointers[i] = keys[i];
    }
    if (quark_ring_owners(ring, pointers, KEYS, owners, NULL) != QUARK_OK || owners[0] != NULL) exit(2);
    add("b", 150), add("a", 150), add("c", 10);
    if (quark_ring_owners(ring, pointers, KEYS, owners, NULL) != QUARK_OK) exit(3);
    for (int i = 0; i < KEYS; ++i) {
        if (quark_ring_owner(ring, keys[i], &alone, NULL) != QUARK_OK || alone != owners[i]) exit(4);
    }
    bool removed = false;
    const char *first = quark_ring_silo(ring, 0);
    if (strcmp(first, "a") != 0 || quark_ring_remove(ring, first, &removed, NULL) != QUARK_OK || !removed) exit(5);
    if (strcmp(quark_ring_silo(ring, 0), "b") != 0 || strcmp(quark_ring_silo(ring, 1), "c") != 0) exit(6);
    if (quark_ring_silo(ring, 2) != NULL || quark_ring_len(ring) != 2) exit(7);
    bool found = true;
    if (quark_ring_set_virtual_nodes(ring, "a", 30, &found, NULL) != QUARK_OK || found) exit(8);
    if (quark_ring_set_virtual_nodes(ring, "c", 450, &found, NULL) != QUARK_OK || !found) exit(9);
    if (quark_ring_share(ring, "c") < 0.6 || quark_ring_len(ring) != 2) exit(10);
    if (quark_ring_set_virtual_nodes(ring, "c", 0, &found, NULL) != QUARK_INVALID_ARGUMENT) exit(11);
}

int main(void) {
    cases();
    many();
    quark_ring_free(ring);
    return 0;
}
