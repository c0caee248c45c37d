// What a silo owns, gains and loses, and what rings and explanations say.
#include "check.hpp"

#include <atomic>
#include <mutex>
#include <utility>

using namespace std::chrono_literals;

int main() {
    const std::string url = "memory://ownership-in-cpp";
    std::mutex lock;
    quark::OwnershipChange last{};
    std::atomic<int> heard{0};
    auto keep = [&](const quark::OwnershipChange &change) {
        std::lock_guard held(lock);
        last = change;
        ++heard;
    };
    auto one = quark::Silo::start(quark::Config("one").membership(url).on_ownership(keep).handler(
        [](quark::Request &) { return "one"; }));
    CHECK(one.has_value());
    wait_until([&] { return heard == 1; });
    CHECK(last.gained.share() == 1.0 && last.owned.size() == 1 && last.lost.empty());
    CHECK(last.owned.begin()->first == 0 && last.owned.begin()->last == UINT32_MAX);

    auto two = quark::Silo::start(quark::Config("two").membership(url).handler_for("Counter", [](quark::Request &) {
        return "two";
    }));
    CHECK(two.has_value());
    quark::HashRing ring = one->try_ring("Counter").value();
    wait_until([&] { return (ring = one->try_ring("Counter").value()).size() == 2; });
    const quark::HashRanges of_one = ring.try_ranges("one").value();
    CHECK(of_one.share() == ring.share("one") && of_one.size() > 1);
    for (int i = 0; i < 100; ++i) {
        const std::string id = std::to_string(i);
        const quark::Explanation why = one->try_explain("Counter", id).value();
        CHECK(one->try_owns("Counter", id).value() == of_one.contains("Counter", id));
        CHECK(two->try_owns("Counter", id).value() == !of_one.contains(quark::hash("Counter", id)));
        CHECK(why.is_owned_here() == one->try_owns("Counter", id).value());
        CHECK(why.owner()->id() == one->try_owner("Counter", id).value() && why.next_owners().size() == 1);
        CHECK(why.next_owners()[0].id() == ring.try_next_owners("Counter:" + id).value().at(0));
        CHECK(why.position() == quark::hash("Counter:" + id) && why.serving() == 2 && why.is_placed_by_ring());
        CHECK(why.view_version() == one->view_version());
    }
    // The ring of the other types has stayed as it was.
    CHECK(heard == 1);

    quark::HashRing after = ring;
    CHECK(after.try_remove("two").value() && ring.size() == 2 && ring.virtual_nodes("two") == 150);
    const auto moves = ring.try_moves(after).value();
    CHECK(moves.size() == 1 && moves[0].from == "two" && moves[0].to == "one" && moves[0].share == ring.share("two"));
    after = std::move(ring);
    CHECK(after.size() == 2);

    CHECK(fails(one->try_owns("T", std::string_view("a\0b", 3)), QUARK_INVALID_ARGUMENT, "a\\0b"));
    CHECK(fails(one->try_explain("T", ""), QUARK_INVALID_ARGUMENT, "actor_id"));
    CHECK(fails(after.try_ranges(std::string_view("a\0b", 3)), QUARK_INVALID_ARGUMENT, "silo_id"));
    CHECK(fails(quark::Silo::start(quark::Config("bad").membership(url).on_ownership("T", keep)), QUARK_INVALID_ARGUMENT, "\"T\""));
    CHECK(quark::Error(QUARK_NOT_OWNER).view_version() == 0);

#if QUARK_HPP_EXCEPTIONS
    CHECK(one->owns("T", "1") && one->explain("T", "1").owner()->id() == "one" && one->ring("T").size() == 1);
    CHECK(after.ranges("one").share() == of_one.share() && after.next_owners("Counter:1").size() == 1);
    CHECK(after.moves(after).empty());
    quark::Membership looking(quark::Config().membership(url));
    CHECK(looking.ring("Counter").size() == 2);
    quark::Client client(quark::Config().membership(url));
    CHECK(!client.explain("T", "1").is_owned_here() && client.ring("Counter").size() == 2);
#endif

    CHECK(one->try_stop(5s).has_value());
    CHECK(heard == 2 && last.lost.share() == 1.0 && last.owned.empty() && !one->try_owns("T", "1").value());
    return 0;
}
