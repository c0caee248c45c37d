/* The floor: frames over one blocking TCP connection, up to 64 of them in a write, one thread on each side. A frame is its
 * length, the slot of its caller, the bytes that the other fields of an envelope take, and the payload. */
#define _GNU_SOURCE
#include "meter.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 109, FRAMES = 64 };

typedef struct {
    uint32_t length, slot;
} prefix_t;

typedef struct {
    uint8_t *bytes;
    size_t length, capacity, from;
} buffer_t;

static uint8_t *room(buffer_t *buffer, size_t more) {
    if (buffer->from == buffer->length) buffer->from = buffer->length = 0;
    if (buffer->length + more > buffer->capacity) {
        memmove(buffer->bytes, buffer->bytes + buffer->from, buffer->length -= buffer->from);
        buffer->from = 0;
        if (buffer->length + more > buffer->capacity) {
            buffer->capacity = (buffer->length + more) * 2;
            buffer->bytes = realloc(buffer->bytes, buffer->capacity);
            if (!buffer->bytes) fail("no memory");
        }
    }
    return buffer->bytes + buffer->length;
}

/* Reads what is there, at least something. */
static bool take(int fd, buffer_t *buffer) {
    size_t chunk = 16 * 1024, waiting = buffer->length - buffer->from;
    prefix_t prefix;
    if (waiting >= sizeof prefix) {
        memcpy(&prefix, buffer->bytes + buffer->from, sizeof prefix);
        if (prefix.length > waiting + chunk) chunk = prefix.length - waiting;
    }
    uint8_t *into = room(buffer, chunk);
    ssize_t count = read(fd, into, chunk);
    if (count > 0) buffer->length += (size_t)count;
    return count > 0;
}

/* The next whole frame, or NULL. */
static uint8_t *frame(buffer_t *buffer, prefix_t *prefix) {
    size_t waiting = buffer->length - buffer->from;
    if (waiting < sizeof *prefix) return NULL;
    memcpy(prefix, buffer->bytes + buffer->from, sizeof *prefix);
    if (waiting < prefix->length) return NULL;
    uint8_t *found = buffer->bytes + buffer->from;
    buffer->from += prefix->length;
    return found;
}

static void *echo(void *listening) {
    int fd = accept(*(int *)listening, NULL, NULL), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    buffer_t in = {0}, out = {0};
    while (take(fd, &in)) {
        prefix_t prefix;
        int frames = 0;
        for (bool more = true; more;) {
            uint8_t *found = frame(&in, &prefix);
            more = found != NULL;
            if (found) {
                memcpy(room(&out, prefix.length), found, prefix.length);
                out.length += prefix.length;
            }
            if (frames++ < FRAMES && more) continue;
            while (out.from < out.length) {
                ssize_t count = write(fd, out.bytes + out.from, out.length - out.from);
                if (count <= 0) return NULL;
                out.from += (size_t)count;
            }
            frames = 0;
        }
    }
    return NULL;
}

static int serve(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listening, (struct sockaddr *)&address, length) || listen(listening, 1)) fail("no port");
    getsockname(listening, (struct sockaddr *)&address, &length);
    pthread_t thread;
    pthread_create(&thread, NULL, echo, &listening);
    printf("ready 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}

static void call(const load_t *load) {
    char host[64];
    snprintf(host, sizeof host, "%s", address_of(load));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    address.sin_port = htons((uint16_t)atoi(strchr(host, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("no connection");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    size_t size = sizeof(prefix_t) + HEAD + load->payload;
    uint64_t *times = calloc((size_t)load->depth, sizeof *times);
    uint32_t *free_slots = calloc((size_t)load->depth, sizeof *free_slots);
    int available = load->depth;
    for (int i = 0; i < load->depth; i++) free_slots[i] = (uint32_t)i;
    buffer_t in = {0}, out = {0};
    uint64_t end = now() + (uint64_t)(load->warm_up * 1e9);
    bool warm = false;
    for (;;) {
        for (int frames = 0; frames < FRAMES && available > 0 && out.from == out.length - (size_t)frames * size; frames++) {
            prefix_t prefix = {(uint32_t)size, free_slots[--available]};
            uint8_t *into = room(&out, size);
            memcpy(into, &prefix, sizeof prefix);
            memset(into + sizeof prefix, 7, size - sizeof prefix);
            out.length += size;
            times[prefix.slot] = now();
        }
        if (out.from < out.length) {
            /* Of a large frame the socket may take a part only; waiting for more of it, the answers must be read. */
            ssize_t count = send(fd, out.bytes + out.from, out.length - out.from, MSG_DONTWAIT);
            if (count > 0) out.from += (size_t)count;
        }
        bool unsent = out.from < out.length;
        if (unsent) {
            struct pollfd ready = {fd, POLLIN | POLLOUT, 0};
            poll(&ready, 1, -1);
            if (!(ready.revents & POLLIN)) continue;
        } else if (available > 0) {
            continue; /* the next write */
        }
        if (!take(fd, &in)) fail("the connection ended");
        prefix_t prefix;
        uint64_t time = now();
        while (frame(&in, &prefix)) {
            record(time - times[prefix.slot]);
            free_slots[available++] = prefix.slot;
        }
        if (time < end) continue;
        if (warm) break;
        warm = true;
        begin(load);
        end = now() + (uint64_t)(load->seconds * 1e9);
    }
    report(load, 1);
}

int main(int argc, char **argv) {
    load_t load;
    if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve();
    if (!load_of(argc, argv, &load)) return 2;
    call(&load);
    return 0;
}
