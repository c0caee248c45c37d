// Everything with errors as results; also compiled without exceptions and without RTTI.
#include "check.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

using namespace std::chrono_literals;

static quark::Config config_of(std::string_view id, std::string_view membership) {
    quark::Config config(id);
    config.membership(membership);
    return config;
}

static void bytes_of_every_kind() {
    auto config = config_of("bytes", "memory://cpp-bytes");
    config.handler([](quark::Request &request) { return request.payload(); });
    auto silo = quark::Silo::start(config);
    CHECK(silo);
    const std::array<std::byte, 2> bytes{std::byte{1}, std::byte{2}};
    const std::vector<std::uint8_t> vector{1, 2};
    const std::string string("\1\2");
    const std::uint8_t array[] = {1, 2};
    for (quark::BytesView sent : {quark::BytesView("\1\2"), quark::BytesView(string), quark::BytesView(bytes),
                                  quark::BytesView(vector), quark::BytesView(array), quark::BytesView(array, 2)}) {
        auto reply = silo->try_call("T", "1", "", sent);
        CHECK(reply && reply->size() == 2 && reply->data()[1] == 2 && *reply == sent);
        CHECK(std::vector<std::uint8_t>(reply->begin(), reply->end()) == vector);
    }
    auto with_nul = silo->try_call("T", "1", "", std::string_view("a\0b", 3));
    CHECK(with_nul && with_nul->text() == std::string_view("a\0b", 3) && with_nul->str().size() == 3);
    auto none = silo->try_call("T", "1", "");
    CHECK(none && none->empty() && quark::Bytes().empty() && quark::Bytes().text().empty());
#if __cplusplus >= 202002L
    auto spanned = silo->try_call("T", "1", "", std::span<const std::byte>(bytes));
    CHECK(spanned && std::span<const std::uint8_t>(spanned->view()).size() == 2);
#endif
}

static void answers_of_every_kind() {
    auto config = config_of("answers", "memory://cpp-answers");
    config.handler_for("Text", [](quark::Request &) { return "text"; })
        .handler_for("Vector", [](quark::Request &) { return std::vector<std::uint8_t>{'v'}; })
        .handler_for("Nothing", [](quark::Request &request) { CHECK(request.try_reply("done")); })
        .handler_for("Forgotten", [](quark::Request &) {})
        .handler_for("Failed", [](quark::Request &request) { CHECK(request.try_fail("as asked")); })
        .handler_for("Result", [](quark::Request &request) -> quark::Result<std::string> {
            if (request.method() == "fail") return quark::Error(QUARK_INTERNAL, "no such account");
            return "result";
        })
        .handler_for("Void", [](quark::Request &request) -> quark::Result<void> {
            if (request.method() == "fail") return quark::Error(QUARK_INTERNAL, "nothing to say");
            return request.try_reply("void");
        })
        .handler_for("Error", [](quark::Request &request) { return quark::Error(QUARK_OVERLOADED, request.payload().str()); })
        .handler_for("Moved", [](quark::Request &request) {
            std::thread([moved = std::move(request)]() mutable { CHECK(moved.try_reply("later")); }).detach();
        })
        .handler_for("Twice", [](quark::Request &request) -> std::string {
            CHECK(request.try_reply("first") && !request);
            CHECK(fails(request.try_reply("second"), QUARK_INVALID_ARGUMENT, ""));
            return "third, which goes nowhere";
        });
    auto started = quark::Silo::start(config);
    CHECK(started);
    quark::Silo silo = *std::move(started);
    auto says = [&](std::string_view type, std::string_view text, std::string_view method = "") {
        auto reply = silo.try_call(type, "1", method);
        return reply && *reply == text;
    };
    CHECK(says("Text", "text") && says("Vector", "v") && says("Nothing", "done") && says("Result", "result"));
    CHECK(says("Void", "void") && says("Moved", "later") && says("Twice", "first"));
    CHECK(fails(silo.try_call("Forgotten", "1", ""), QUARK_HANDLER_FAILED, ""));
    CHECK(fails(silo.try_call("Failed", "1", ""), QUARK_HANDLER_FAILED, "as asked"));
    CHECK(fails(silo.try_call("Result", "1", "fail"), QUARK_HANDLER_FAILED, "no such account"));
    CHECK(fails(silo.try_call("Void", "1", "fail"), QUARK_HANDLER_FAILED, "nothing to say"));
    CHECK(fails(silo.try_call("Error", "1", "", "my own"), QUARK_HANDLER_FAILED, "my own"));
    CHECK(fails(silo.try_call("Else", "1", ""), QUARK_NO_SILO, "Else"));
}

static void every_verb() {
    std::atomic<int> joined{0}, left{0}, seen{0}, let_go{0};
    auto counted = std::shared_ptr<int>(new int(7), [&](int *it) {
        delete it;
        ++let_go;
    });
    auto config = config_of("verbs", "memory://cpp-verbs");
    config.zone("z").label("rack", "7").virtual_nodes(10).default_timeout(20s).callback_threads(2);
    config.handler_for("T", [&, counted](quark::Request &request) -> quark::Result<std::string> {
        ++seen;
        CHECK(request.actor_type() == "T" && request.actor_id() == "1" && !request.message_id().empty());
        CHECK(request.view_version() > 0);
        if (request.method() == "wait") {
            wait_until([&] { return request.is_abandoned(); });
            CHECK(request.time_left() >= 0ms);
        }
        if (request.is_one_way()) return std::string();
        CHECK(request.time_left() > 0ms || request.is_abandoned());
        return std::string(request.caller()) + "/" + std::string(request.correlation_id());
    });
    counted.reset();
    config.on_change([&](quark::Change change, quark::SiloInfo silo) {
        CHECK(!silo.id().empty());
        if (change == quark::Change::joined) ++joined;
        if (change == quark::Change::left) ++left;
    });
    {
        auto silo = quark::Silo::start(config);
        CHECK(silo && silo->id() == "verbs" && !silo->endpoint().empty() && silo->is_running() && silo->view_version() > 0);
        auto client = quark::Client::start(quark::Config().membership("memory://cpp-verbs"));
        CHECK(client && !client->id().empty());

        auto reply = client->try_call("T", "1", "say", "", 10s);
        CHECK(reply && reply->text().substr(0, client->id().size()) == client->id());
        CHECK(client->try_notify("T", "1", "seen"));
        wait_until([&] { return seen == 2; });

        quark::Envelope envelope;
        CHECK(envelope.try_set_text(QUARK_ENVELOPE_ACTOR_TYPE, "T") && envelope.try_set_text(QUARK_ENVELOPE_ACTOR_ID, "1"));
        CHECK(envelope.try_set_text(QUARK_ENVELOPE_CORRELATION_ID, "c-1"));
        CHECK(envelope.try_set_bytes(QUARK_ENVELOPE_PAYLOAD, "x") && envelope.try_set_number(QUARK_ENVELOPE_TIMESTAMP, 5));
        CHECK(fails(envelope.try_set_number(QUARK_ENVELOPE_PAYLOAD, 5), QUARK_INVALID_ARGUMENT, "field=5"));
        auto response = client->try_send(envelope, 10s);
        CHECK(response && *response && (*response)->text(QUARK_ENVELOPE_CORRELATION_ID) == "c-1");
        auto encoded = envelope.try_encode();
        CHECK(encoded);
        auto decoded = quark::Envelope::try_decode(*encoded);
        CHECK(decoded && decoded->bytes(QUARK_ENVELOPE_PAYLOAD) == "x" && decoded->number(QUARK_ENVELOPE_TIMESTAMP) == 5);
        CHECK(fails(quark::Envelope::try_decode("\xff"), QUARK_PROTOCOL, ""));
        CHECK(envelope.try_set_number(QUARK_ENVELOPE_ONE_WAY, 1));
        auto nothing = client->try_send(envelope);
        CHECK(nothing && !*nothing);

        auto owner = client->try_owner("T", "1"), nobody = client->try_owner("Other", "1");
        CHECK(owner && *owner == "verbs" && nobody && !*nobody);
        auto silos = client->try_silos();
        CHECK(silos && silos->size() == 1 && silos->view_version() == client->view_version());
        const quark::SiloInfo &info = (*silos)[0];
        CHECK(info.id() == "verbs" && info.endpoint() == silo->endpoint() && info.status() == QUARK_SILO_STATUS_ACTIVE);
        CHECK(info.zone() == "z" && info.label("rack") == "7" && !info.label("other") && info.virtual_nodes() == 10);
        CHECK(info.serves("T") && !info.serves("U") && info.actor_types() == std::vector<std::string_view>{"T"});
        auto health = silo->try_health();
        CHECK(health && health->is_healthy());

        std::atomic<int> ended{0};
        quark::Call call = client->call_then("T", "1", "wait", "", 30s, [&](quark::Result<quark::Bytes> ending) {
            CHECK(fails(ending, QUARK_CANCELLED, ""));
            ++ended;
        });
        CHECK(call.cancel() && !quark::Call().cancel());
        wait_until([&] { return ended == 1; });
        CHECK(!call.cancel());
        auto future = client->try_call_async("T", "1", "say");
        CHECK(future.get());
        quark::Call to_cancel;
        auto cancelled = client->try_call_async("T", "1", "wait", "", 30s, &to_cancel);
        CHECK(to_cancel.cancel());
        CHECK(fails(cancelled.get(), QUARK_CANCELLED, ""));

        {
            auto other = quark::Silo::start(config_of("other", "memory://cpp-verbs"));
            CHECK(other);
            wait_until([&] { return joined == 2; });
        }
        wait_until([&] { return left == 1; });  // It left by being dropped.

        CHECK(client->try_stop() && client->try_stop(0ms) && !client->is_running());
        CHECK(fails(client->try_call("T", "1", ""), QUARK_NOT_RUNNING, ""));
        CHECK(silo->try_stop());
        CHECK(let_go == 0);
    }
    config = quark::Config();
    wait_until([&] { return let_go == 1; });
}

static void what_cannot_be_used() {
    const std::string_view nul("a\0b", 3);
    CHECK(fails(quark::Silo::start(config_of("x", "nonsense")), QUARK_INVALID_ARGUMENT, "nonsense"));
    CHECK(fails(quark::Silo::start(config_of(nul, "memory://cpp-bad")), QUARK_INVALID_ARGUMENT, "silo_id=\"a\\0b\""));
    CHECK(fails(quark::Silo::start(config_of("x", nul)), QUARK_INVALID_ARGUMENT, "membership=\"a\\0b\""));
    CHECK(fails(quark::Silo::start(config_of("x", "memory://cpp-bad").ttl(0s)), QUARK_INVALID_ARGUMENT, "ttl=0ms"));
    CHECK(fails(quark::Silo::start(config_of("x", "memory://cpp-bad").heartbeat(-5s)), QUARK_INVALID_ARGUMENT,
                "heartbeat=-5000ms"));
    CHECK(fails(quark::Silo::start(config_of("x", "memory://cpp-bad").callback_threads(0)), QUARK_INVALID_ARGUMENT,
                "callback_threads"));
    CHECK(fails(quark::Silo::start(quark::Config().membership("memory://cpp-bad")), QUARK_INVALID_ARGUMENT, ""));

    auto config = config_of("bad", "memory://cpp-bad");
    config.handler([](quark::Request &) { return ""; });
    auto silo = quark::Silo::start(config);
    CHECK(silo);
    CHECK(fails(silo->try_call("T", nul, ""), QUARK_INVALID_ARGUMENT, "actor_id=\"a\\0b\""));
    CHECK(fails(silo->try_call("T", "", ""), QUARK_INVALID_ARGUMENT, "actor_id"));
    CHECK(fails(silo->try_call("T", "1", "", "", 0s), QUARK_INVALID_ARGUMENT, "timeout=0ms"));
    CHECK(fails(silo->try_call_async("T", "1", "", "", -1ms).get(), QUARK_INVALID_ARGUMENT, "timeout=-1ms"));
    CHECK(fails(silo->try_call_async(nul, "1", "").get(), QUARK_INVALID_ARGUMENT, "actor_type"));
    CHECK(fails(silo->try_call_batched("T", "1", "", "", {}, nullptr), QUARK_INVALID_ARGUMENT, "on_endings"));
    CHECK(fails(silo->try_call_many({{"T", "1", "", "", nullptr}}), QUARK_INVALID_ARGUMENT, "on_endings"));
    CHECK(fails(silo->try_notify("T", "1", nul), QUARK_INVALID_ARGUMENT, "method_name"));
    CHECK(quark::Silo::start(config_of("again", nul).membership("memory://cpp-bad").ttl(0s).ttl(60s)));
    CHECK(fails(silo->try_owner(nul, "1"), QUARK_INVALID_ARGUMENT, "actor_type"));
    CHECK(fails(silo->try_stop(-1s), QUARK_INVALID_ARGUMENT, "drain=-1000ms"));
    CHECK(silo->is_running());

    quark::Silo moved = *std::move(silo);
    CHECK(fails(silo->try_call("T", "1", ""), QUARK_INVALID_ARGUMENT, "silo=NULL"));
    CHECK(silo->id().empty() && !silo->is_running());
    quark::Request none(nullptr);
    CHECK(!none && none.actor_type().empty() && none.payload().empty());

    quark::HashRing ring;
    CHECK(fails(ring.try_add("a", 0), QUARK_INVALID_ARGUMENT, "virtual_nodes=0"));
    CHECK(fails(ring.try_add(nul), QUARK_INVALID_ARGUMENT, "silo_id"));
    CHECK(fails(ring.try_owner(nul), QUARK_INVALID_ARGUMENT, "key"));
    CHECK(fails(ring.try_owners({"x", std::string(nul)}), QUARK_INVALID_ARGUMENT, "keys"));
}

static void what_keeps_strangers_out() {
    auto config = config_of("limits", "memory://cpp-limits");
    config.max_metadata(8192).max_streams(8).connection_window(1 << 20).max_links_per_peer(2).max_connections(10);
    config.max_connections_per_address(5).handshake_timeout(2s).transport("http2").anonymous_clients().allow_plaintext();
    CHECK(quark::Silo::start(config));

    auto asked = config_of("asked", "memory://cpp-asked");
    asked.redis_credentials([] { return std::pair<std::string, std::string>("default", "canary-cpp"); });
    CHECK(fails(quark::Silo::start(asked), QUARK_INVALID_ARGUMENT, "redis_credentials="));

    auto certified = config_of("certified", "memory://cpp-certified");
    certified.tls("/nowhere/ca.pem", "a.pem", "a.key");
    CHECK(fails(quark::Silo::start(certified), QUARK_INVALID_ARGUMENT, "tls.authority=\"/nowhere/ca.pem\""));
    certified.tls("/nowhere/ca.pem");
    CHECK(fails(quark::Silo::start(certified), QUARK_INVALID_ARGUMENT, "tls.certificate"));
}

static void the_parts() {
    quark::HashRing ring;
    auto owner = ring.try_owner("x");
    CHECK(owner && !*owner && ring.try_owners({"x"})->empty());
    CHECK(*ring.try_add("a") && !*ring.try_add("a") && *ring.try_add("b", 10));
    CHECK(*ring.try_set_virtual_nodes("b", 20) && *ring.try_set_virtual_nodes("b", 10) && !*ring.try_set_virtual_nodes("c", 10));
    CHECK(fails(ring.try_set_virtual_nodes("b", 0), QUARK_INVALID_ARGUMENT, "virtual_nodes=0"));
    CHECK(ring.size() == 2 && ring.silos() == (std::vector<std::string>{"a", "b"}));
    auto owners = ring.try_owners({"x", "y"});
    CHECK(owners && owners->size() == 2 && (*owners)[0] == **ring.try_owner("x") && (*owners)[1] == **ring.try_owner("y"));
    CHECK(*ring.try_remove("a") && !*ring.try_remove("a") && quark::hash("Counter:42") == quark_hash("Counter:42"));

    std::atomic<int> joined{0};
    auto config = config_of("member", "memory://cpp-parts");
    config.advertise("127.0.0.1:9").on_change([&](quark::Change, quark::SiloInfo) { ++joined; });
    auto member = quark::Membership::start(config);
    CHECK(member && member->view_version() > 0 && member->try_silos()->size() == 1);
    CHECK(**member->try_owner("T", "1") == "member");
    wait_until([&] { return joined == 1; });
    auto looking = quark::Membership::start(quark::Config().membership("memory://cpp-parts"));
    CHECK(looking && looking->try_silos()->size() == 1);
    CHECK(member->try_stop() && member->try_stop());
    wait_until([&] { return looking->try_silos()->empty(); });

    quark::Config listening("listening");
    listening.handler([](quark::Request &request) { return request.payload().text(); });
    auto to = quark::Transport::start(listening), from = quark::Transport::start(quark::Config("dialling").listen_nowhere());
    CHECK(to && from && to->local_silo_id() == "listening" && from->local_endpoint().empty());
    CHECK(from->try_connect("listening", to->local_endpoint()));
    quark::Envelope envelope;
    CHECK(envelope.try_set_text(QUARK_ENVELOPE_ACTOR_TYPE, "T") && envelope.try_set_text(QUARK_ENVELOPE_ACTOR_ID, "1"));
    CHECK(envelope.try_set_bytes(QUARK_ENVELOPE_PAYLOAD, "x"));
    auto response = from->try_send("listening", envelope, 30s);
    CHECK(response && (*response)->bytes(QUARK_ENVELOPE_RESPONSE_PAYLOAD) == "x");
    CHECK(from->try_disconnect("listening") && from->try_stop() && to->try_stop());
    CHECK(fails(quark::Transport::start(quark::Config("")), QUARK_INVALID_ARGUMENT, ""));
}

static void many_at_once() {
    constexpr int calls = 500;
    std::atomic<int> ended{0}, biggest{0};
    auto config = config_of("batches", "memory://cpp-batches");
    config.batch_handler_for("Sum", [](std::vector<quark::Request> &requests) {
              for (quark::Request &request : requests) {
                  if (request.method() == "reply") CHECK(request.try_reply(request.payload()));
              }
          })
        .batch_handler([](std::vector<quark::Request> &) {})
        .on_endings([&](std::vector<quark::Ending> &endings) {
            for (quark::Ending &ending : endings) {
                ++*static_cast<int *>(ending.user_data);
                CHECK(ending.result && *ending.result == "x");
            }
            biggest = std::max(biggest.load(), static_cast<int>(endings.size()));
            ended += static_cast<int>(endings.size());
        });
    auto silo = quark::Silo::start(config);
    CHECK(silo);
    std::vector<int> counts(calls);
    for (int &count : counts) CHECK(silo->try_call_batched("Sum", "1", "reply", "x", 60s, &count));
    wait_until([&] { return ended == calls; });
    for (int count : counts) CHECK(count == 1);
    std::vector<quark::Outgoing> together;
    for (int &count : counts) together.push_back({"Sum", "1", "reply", "x", &count});
    CHECK(silo->try_call_many(together, 60s));
    CHECK(silo->try_call_many({}));
    wait_until([&] { return ended == 2 * calls; });
    for (int count : counts) CHECK(count == 2);
    together[7].actor_id = std::string("a\0b", 3);
    CHECK(fails(silo->try_call_many(together), QUARK_INVALID_ARGUMENT, "calls[7].actor_id=\"a\\0b\""));
    CHECK(fails(silo->try_call_many({}, 0s), QUARK_INVALID_ARGUMENT, "timeout"));
    CHECK(ended == 2 * calls && "none of them was made");
    CHECK(biggest <= QUARK_MAX_BATCH);
    CHECK(fails(silo->try_call("Sum", "1", "forget"), QUARK_HANDLER_FAILED, ""));
    CHECK(fails(silo->try_call("Other", "1", "forget"), QUARK_HANDLER_FAILED, ""));
}

static void a_loop_of_ones_own() {
    auto loop = quark::Loop::create();
    CHECK(loop && loop->descriptor() >= 0);
    int ended = 0;
    const auto own = std::this_thread::get_id();
    auto config = config_of("looped", "memory://cpp-loop");
    config.loop(*loop).handler([&](quark::Request &) {
        CHECK(std::this_thread::get_id() == own);
        return "here";
    });
    auto silo = quark::Silo::start(config);
    CHECK(silo);
    quark::Call call = silo->call_then("T", "1", "", "", 60s, [&](quark::Result<quark::Bytes> ending) {
        CHECK(ending && *ending == "here");
        ++ended;
    });
    wait_until([&] { return loop->run(), ended == 1; });
    CHECK(silo->try_stop());
}

static void logging() {
    std::atomic<int> lines{0};
    CHECK(quark::try_log_to([&](std::int32_t level, std::string_view target, std::string_view message) {
        CHECK(level >= QUARK_LOG_ERROR && level <= QUARK_LOG_INFO && !target.empty() && !message.empty());
        ++lines;
    }));
    CHECK(quark::Silo::start(config_of("logged", "memory://cpp-log")));
    CHECK(quark::try_log_nowhere());
    CHECK(lines > 0 && !quark::version().empty());
    CHECK(fails(quark::try_log_to([](std::int32_t, std::string_view, std::string_view) {}, 77), QUARK_INVALID_ARGUMENT, ""));
}

int main() {
    bytes_of_every_kind();
    answers_of_every_kind();
    every_verb();
    what_cannot_be_used();
    what_keeps_strangers_out();
    the_parts();
    many_at_once();
    a_loop_of_ones_own();
    logging();
    return 0;
}
