// Silos, clients and rings through quark.hpp.
#include <quark.hpp>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                            \
        }                                                                            \
    } while (false)

int main() {
    auto state = std::make_shared<int>(7);
    {
        quark::Config config("one");
        config.membership("memory://cpp").handler([state](quark::Request &request) -> std::string {
            if (request.method() == "throw") throw std::runtime_error("no such account");
            return std::string(request.payload()) + std::to_string(*state);
        });
        quark::Silo silo(config);
        quark::Client client(quark::Config().membership("memory://cpp"));

        CHECK(client.call("T", "1", "", "x") == "x7");
        CHECK(silo.call("T", "1", "", "") == "7");
        auto future = client.call_async("T", "1", "", "later");
        CHECK(future.get() == "later7");
        CHECK(client.owner("T", "1") == "one");
        try {
            client.call("T", "1", "throw", "");
            CHECK(false);
        } catch (const quark::Error &error) {
            CHECK(error.code() == QUARK_HANDLER_FAILED && std::string(error.what()) == "no such account");
        }
        try {
            client.call_async("T", "", "", "").get();
            CHECK(false);
        } catch (const quark::Error &error) {
            CHECK(error.code() == QUARK_INVALID_ARGUMENT);
        }
        client.notify("T", "1", "", "x");
        quark::Silo moved = std::move(silo);
        CHECK(!moved.endpoint().empty());
        client.stop();
        moved.stop();
    }
    CHECK(state.use_count() == 1);

    quark::HashRing ring;
    CHECK(ring.owner("x").empty());
    CHECK(ring.add("a") && !ring.add("a") && ring.size() == 1 && ring.owner("x") == "a");
    CHECK(ring.remove("a") && !ring.remove("a"));
    try {
        quark::Silo(quark::Config("a").membership("nonsense"));
        CHECK(false);
    } catch (const quark::Error &error) {
        CHECK(error.code() == QUARK_INVALID_ARGUMENT);
    }
    return 0;
}
