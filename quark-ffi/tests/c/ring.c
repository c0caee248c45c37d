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

int main(void) {
    cases();
    quark_ring_free(ring);
    return 0;
}
