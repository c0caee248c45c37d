// A silo in C++ with counters that live through joins, leaves and kills: the same as counters.py, whose first lines say how.
//
// Started as `counters ID REDIS_URL CLUSTER`.
#include "resp.hpp"

#include <quark.hpp>

#include <array>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace {

const char *const REPLACE = "local now = redis.call('HGET', KEYS[1], ARGV[1]) or '0'\n"
                            "if now ~= ARGV[2] then return {0, now} end\n"
                            "redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])\n"
                            "return {1, ARGV[3]}\n";

class Counters {
public:
    Counters(std::string url, std::string key) : url_(std::move(url)), key_(std::move(key)) {}

    std::string on_request(const quark::Request &request) {
        const std::string counter(request.actor_id());
        // Requests of one actor start in order and may overlap: handlers have several threads.
        std::lock_guard turn(turns_[quark::hash(counter) % turns_.size()]);
        if (request.method() == "read") return stored(counter);
        const auto payload = request.payload();
        const std::string by(reinterpret_cast<const char *>(payload.data()), payload.size());
        return add(counter, by.empty() ? 1 : std::stoll(by));
    }

    // Hands over and takes over.
    void on_ownership(const quark::OwnershipChange &change) {
        std::size_t gave = 0, took = 0;
        {
            std::lock_guard held(lock_);
            for (auto at = values_.begin(); at != values_.end();) {
                const bool lost = change.lost.contains("Counter", at->first);
                gave += lost;
                at = lost ? values_.erase(at) : std::next(at);
            }
        }
        const resp::Reply all = store([&](resp::Connection &redis) { return redis.command({"HGETALL", key_}); });
        for (std::size_t i = 0; i + 1 < all.items.size(); i += 2) {
            if (!change.gained.contains("Counter", all.items[i].text)) continue;
            std::lock_guard held(lock_);
            took += values_.emplace(all.items[i].text, all.items[i + 1].text).second;
        }
        std::printf("{\"view\": %llu, \"share\": %.6f, \"gave\": %zu, \"took\": %zu}\n",
                    static_cast<unsigned long long>(change.view_version), change.owned.share(), gave, took);
        std::fflush(stdout);
    }

private:
    std::string add(const std::string &counter, long long by) {
        std::optional<std::string> known;
        {
            // Whatever goes wrong, it is read anew.
            std::lock_guard held(lock_);
            if (const auto node = values_.extract(counter)) known = node.mapped();
        }
        if (!known) known = stored(counter);
        for (;;) {
            const std::string next = std::to_string(std::stoll(*known) + by);
            const resp::Reply reply = store([&](resp::Connection &redis) {
                return redis.command({"EVAL", REPLACE, "1", key_, counter, *known, next});
            });
            known = reply.items.at(1).text;
            if (reply.items.at(0).text == "1") break;
        }
        std::lock_guard held(lock_);
        return values_[counter] = *known;
    }

    std::string stored(const std::string &counter) {
        const resp::Reply reply = store([&](resp::Connection &redis) { return redis.command({"HGET", key_, counter}); });
        return reply.is_nothing ? "0" : reply.text;
    }

    // Each thread has a connection, and a new one after a failure.
    template <class Work>
    resp::Reply store(Work work) {
        static thread_local std::unique_ptr<resp::Connection> connection;
        try {
            if (!connection) connection = std::make_unique<resp::Connection>(url_);
            return work(*connection);
        } catch (...) {
            connection.reset();
            throw;
        }
    }

    const std::string url_, key_;
    std::array<std::mutex, 64> turns_;
    std::mutex lock_;
    std::map<std::string, std::string> values_;
};

} // namespace

int main(int argc, char **argv) try {
    if (argc != 4) return 2;
    const std::string url = argv[2], cluster = argv[3];
    Counters counters(url, "counters:" + cluster);
    quark::Config config(argv[1]);
    config.membership(url).cluster(cluster).callback_threads(4);
    config.handler_for("Counter", [&](quark::Request &request) { return counters.on_request(request); });
    config.on_ownership("Counter", [&](const quark::OwnershipChange &change) { counters.on_ownership(change); });
    quark::Silo silo(config);
    std::cout << "{\"ready\": \"" << silo.endpoint() << "\"}" << std::endl;
    // Until whoever started this closes it.
    while (std::cin.get() != EOF) {
    }
    silo.stop();
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
