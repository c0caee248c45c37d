/* ZeroMQ, DEALER to ROUTER, one thread beside ZeroMQ's own on each side. A message is as long as an envelope and begins with
 * the slot of its caller. */
#define _GNU_SOURCE
#include "meter.h"

#include <zmq.h>

enum { HEAD = 117 };

/* More than any depth, so that nothing is dropped or held back. */
static void *open_socket(int kind) {
    void *opened = zmq_socket(zmq_ctx_new(), kind);
    int none = 0;
    zmq_setsockopt(opened, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(opened, ZMQ_RCVHWM, &none, sizeof none);
    zmq_setsockopt(opened, ZMQ_LINGER, &none, sizeof none);
    return opened;
}

/* Ends with its standard input, which it looks at when nothing comes. */
static int serve(void) {
    void *router = open_socket(ZMQ_ROUTER);
    char endpoint[128];
    size_t length = sizeof endpoint;
    if (zmq_bind(router, "tcp://127.0.0.1:*")) fail("no port");
    zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &length);
    printf("ready %s\n", endpoint + strlen("tcp://"));
    fflush(stdout);
    for (;;) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        while (zmq_msg_recv(&part, router, ZMQ_DONTWAIT) >= 0) {
            zmq_msg_send(&part, router, zmq_msg_more(&part) ? ZMQ_SNDMORE : 0);
            zmq_msg_init(&part);
        }
        zmq_pollitem_t either[] = {{router, 0, ZMQ_POLLIN, 0}, {NULL, 0, ZMQ_POLLIN, 0}};
        zmq_poll(either, 2, -1);
        if (either[1].revents && getchar() == EOF) return 0;
    }
}

static void request(void *dealer, const load_t *load, uint32_t slot, uint64_t *times) {
    zmq_msg_t message;
    zmq_msg_init_size(&message, HEAD + load->payload);
    memset(zmq_msg_data(&message), 7, HEAD + load->payload);
    memcpy(zmq_msg_data(&message), &slot, sizeof slot);
    times[slot] = now();
    if (zmq_msg_send(&message, dealer, 0) < 0) fail(zmq_strerror(zmq_errno()));
}

int main(int argc, char **argv) {
    load_t load;
    if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve();
    if (!load_of(argc, argv, &load)) return 2;
    void *dealer = open_socket(ZMQ_DEALER);
    char endpoint[128];
    snprintf(endpoint, sizeof endpoint, "tcp://%s", address_of(&load));
    if (zmq_connect(dealer, endpoint)) fail("no connection");
    uint64_t *times = calloc((size_t)load.depth, sizeof *times), end = now() + (uint64_t)(load.warm_up * 1e9);
    for (int slot = 0; slot < load.depth; slot++) request(dealer, &load, (uint32_t)slot, times);
    for (bool warm = false;;) {
        zmq_msg_t answer;
        zmq_msg_init(&answer);
        if (zmq_msg_recv(&answer, dealer, 0) < 0) fail(zmq_strerror(zmq_errno()));
        uint32_t slot;
        memcpy(&slot, zmq_msg_data(&answer), sizeof slot);
        zmq_msg_close(&answer);
        uint64_t time = now();
        record(time - times[slot]);
        if (time >= end) {
            if (warm) break;
            warm = true;
            begin(&load);
            end = now() + (uint64_t)(load.seconds * 1e9);
        }
        request(dealer, &load, slot, times);
    }
    report(&load, 1);
    return 0;
}
