// Errors as exceptions, and exceptions of handlers.
#include "check.hpp"

#include <sstream>
#include <stdexcept>

using namespace std::chrono_literals;

/// Whether something throws an error of this code whose message contains a text.
template <class F>
static bool throws(F &&work, quark_status_t code, std::string_view text) {
    try {
        work();
    } catch (const quark::Error &error) {
        return error.code() == code && error.message().find(text) != std::string::npos && error.what() == error.message();
    }
    return false;
}

int main() {
    quark::Config config("one");
    config.membership("memory://cpp-exceptions")
        .handler([](quark::Request &request) -> std::string {
            if (request.method() == "throw") throw std::runtime_error("no such account");
            if (request.method() == "number") throw 7;
            if (request.method() == "after") {
                request.reply("answered");
                throw std::runtime_error("too late");
            }
            return std::string(request.payload()) + "!";
        })
        .batch_handler_for("Batch", [](std::vector<quark::Request> &requests) {
            for (quark::Request &request : requests) {
                if (request.method() == "reply") request.reply("batch");
            }
            throw std::runtime_error("the rest fails");
        });
    quark::Silo silo(config);
    quark::Client client(quark::Config().membership("memory://cpp-exceptions"));

    std::string copied = client.call("T", "1", "", "x");
    std::ostringstream printed;
    printed << client.call("T", "1", "", "y", 5s) << ' ' << client.call("T", "1", "", "z").view();
    auto kept = client.try_call("T", "1", "", "k");
    CHECK(kept.value() == "k!" && std::as_const(kept).value().str() == "k!");
    std::ostringstream shown;
    shown << quark::Error(QUARK_TIMEOUT, "too late");
    CHECK(shown.str() == "TIMEOUT: too late");
    CHECK(copied == "x!" && printed.str() == "y! z!");
    CHECK(client.call("T", "1", "after") == "answered" && client.call("Batch", "1", "reply") == "batch");
    CHECK(throws([&] { client.call("T", "1", "throw"); }, QUARK_HANDLER_FAILED, "no such account"));
    CHECK(throws([&] { client.call("T", "1", "number"); }, QUARK_HANDLER_FAILED, "no std::exception"));
    CHECK(throws([&] { client.call("Batch", "1", "other"); }, QUARK_HANDLER_FAILED, "the rest fails"));
    CHECK(throws([&] { client.call_async("T", "1", "throw").get(); }, QUARK_HANDLER_FAILED, "no such account"));
    CHECK(throws([&] { client.call_async("T", "", "").get(); }, QUARK_INVALID_ARGUMENT, "actor_id"));
    CHECK(throws([&] { client.notify("T", std::string_view("a\0b", 3), ""); }, QUARK_INVALID_ARGUMENT, "a\\0b"));
    CHECK(throws([&] { client.call_batched("T", "1", "", "", {}, nullptr); }, QUARK_INVALID_ARGUMENT, ""));
    CHECK(throws([&] { client.call_many({{"T", "1", "", "", nullptr}}); }, QUARK_INVALID_ARGUMENT, "on_endings"));
    CHECK(throws([] { quark::Silo bad(quark::Config("a").membership("nonsense")); }, QUARK_INVALID_ARGUMENT, "nonsense"));
    CHECK(throws([] { quark::Membership bad((quark::Config())); }, QUARK_INVALID_ARGUMENT, ""));
    CHECK(throws([] { quark::Transport bad((quark::Config())); }, QUARK_INVALID_ARGUMENT, ""));
    CHECK(throws([] { quark::HashRing().add(""); }, QUARK_INVALID_ARGUMENT, ""));
    CHECK(throws([] { quark::Envelope::decode("\xff"); }, QUARK_PROTOCOL, ""));

    quark::Envelope envelope;
    envelope.set_text(QUARK_ENVELOPE_ACTOR_TYPE, "T").set_text(QUARK_ENVELOPE_ACTOR_ID, "1");
    CHECK(client.send(envelope.set_bytes(QUARK_ENVELOPE_PAYLOAD, "e"))->bytes(QUARK_ENVELOPE_RESPONSE_PAYLOAD) == "e!");
    CHECK(quark::Envelope::decode(envelope.encode()).text(QUARK_ENVELOPE_ACTOR_TYPE) == "T");
    CHECK(client.owner("T", "1") == "one" && client.silos().size() == 1 && client.health().is_healthy());
    for (const quark::SiloInfo &info : silo.silos()) CHECK(info.id() == "one");

    quark::Membership looking(quark::Config().membership("memory://cpp-exceptions"));
    CHECK(looking.owner("T", "1") == "one" && looking.silos().size() == 1);
    looking.stop();
    quark::Transport transport(quark::Config("dialling").listen_nowhere());
    transport.connect("one", silo.endpoint());
    CHECK(transport.send("one", envelope)->bytes(QUARK_ENVELOPE_RESPONSE_PAYLOAD) == "e!");
    transport.disconnect("one");
    transport.stop();
    quark::Loop loop;
    CHECK(loop.run() == 0);
    quark::log_to([](std::int32_t, std::string_view, std::string_view) {});
    quark::log_nowhere();

    // What is moved to lives on; what was there before leaves.
    quark::Silo moved = std::move(silo);
    moved = quark::Silo(quark::Config("two").membership("memory://cpp-exceptions"));
    wait_until([&] { return client.silos().size() == 1 && client.silos()[0].id() == "two"; });
    client.stop();
    moved.stop(5s);
    return 0;
}
