// CAF, the C++ Actor Framework: an actor in one process, requests from one in another over its own network layer. A message is as long
// as an envelope and begins with the slot of its caller.
#include "../c/meter.h"

#include <vector>

#include <unistd.h>

#include <caf/all.hpp>
#include <caf/io/all.hpp>

static const size_t HEAD = 117;

static int serve(caf::actor_system &system) {
    caf::actor echo = system.spawn([]() -> caf::behavior {
        return {[](uint32_t slot, const std::string &payload) { return caf::make_message(slot, payload); }};
    });
    auto port = system.middleman().publish(echo, 0, "127.0.0.1");
    if (!port) fail("no port");
    printf("ready 127.0.0.1:%d\n", int(*port));
    fflush(stdout);
    while (getchar() != EOF) {
    }
    _exit(0);
}

struct Calling {
    caf::event_based_actor *self;
    caf::actor server;
    const load_t *load;
    std::string payload;
    std::vector<uint64_t> times;
    uint64_t end = now() + uint64_t(load->warm_up * 1e9);
    bool warm = false;

    void request(uint32_t slot) {
        times[slot] = now();
        self->request(server, caf::infinite, slot, payload)
            .then([this](uint32_t slot, const std::string &) { answered(slot); }, [](const caf::error &) { fail("no answer"); });
    }

    void answered(uint32_t slot) {
        uint64_t time = now();
        record(time - times[slot]);
        if (time >= end) {
            if (warm) {
                report(load, 1);
                _exit(0);
            }
            warm = true;
            begin(load);
            end = now() + uint64_t(load->seconds * 1e9);
        }
        request(slot);
    }
};

static int call(caf::actor_system &system, const load_t &load) {
    std::string address = address_of(&load);
    size_t colon = address.rfind(':');
    auto server = system.middleman().remote_actor(address.substr(0, colon), uint16_t(std::stoi(address.substr(colon + 1))));
    if (!server) fail("no connection");
    system.spawn([&](caf::event_based_actor *self) {
        size_t length = HEAD + load.payload - sizeof(uint32_t);
        auto *calling = new Calling{self, *server, &load, std::string(length, 7), std::vector<uint64_t>(size_t(load.depth))};
        for (int slot = 0; slot < load.depth; slot++) calling->request(uint32_t(slot));
    });
    for (;;) pause();
}

int main(int argc, char **argv) {
    load_t load;
    bool serves = argc == 4 && strcmp(argv[1], "serve") == 0;
    if (!serves && !load_of(argc, argv, &load)) return 2;
    caf::actor_system_config config;
    config.load<caf::io::middleman>();
    caf::actor_system system{config};
    return serves ? serve(system) : call(system, load);
}
