// Placement by callables.
#include "check.hpp"

#include <atomic>
#if QUARK_HPP_EXCEPTIONS
#include <stdexcept>
#endif

int main() {
    auto silo = [](std::string_view id, quark::Config config) {
        config.membership("memory://cpp-placement").handler([name = std::string(id)](quark::Request &) { return name; });
        auto started = quark::Silo::start(config);
        CHECK(started);
        return *std::move(started);
    };
    quark::Silo one = silo("one", quark::Config("one")), two = silo("two", quark::Config("two"));

    std::atomic<int> asked{0};
    quark::Config config("caller");
    config.placement("Text", [](std::string_view, std::string_view id, quark::Silos, std::string_view) { return id; })
        .placement("Long", [](std::string_view, std::string_view, auto, auto) { return std::string(2000, 'x'); })
        .placement("Last", [&](std::string_view type, std::string_view id, quark::Silos silos, std::string_view local) {
            CHECK(type == "Last" && local == "caller" && silos.size() == 3 && silos.view_version() > 0);
            std::string ids;
            for (quark::SiloInfo info : silos) ids += info.id();
            CHECK(ids == "calleronetwo");
            ++asked;
            if (id == "none") return std::optional<std::string>();
            return std::optional<std::string>(silos[silos.size() - 1].id());
        });
#if QUARK_HPP_EXCEPTIONS
    config.placement("Throwing", [](std::string_view, std::string_view id, quark::Silos, std::string_view) -> std::string {
        throw std::runtime_error("not today, " + std::string(id));
    });
#endif
    quark::Silo caller = silo("caller", std::move(config));
    auto says = [&](std::string_view type, std::string_view id, std::string_view text) {
        auto reply = caller.try_call(type, id, "");
        return reply && *reply == text;
    };
    CHECK(says("Text", "one", "one") && says("Text", "caller", "caller") && says("Last", "1", "two"));
    CHECK(fails(caller.try_call("Last", "none", ""), QUARK_NO_SILO, "chose no silo"));
    CHECK(fails(caller.try_call("Text", "nowhere", ""), QUARK_NO_SILO, "\"nowhere\""));
    CHECK(fails(caller.try_call("Long", "1", ""), QUARK_INVALID_ARGUMENT, "too long"));
    CHECK(asked == 2);
#if QUARK_HPP_EXCEPTIONS
    CHECK(fails(caller.try_call("Throwing", "1", ""), QUARK_INVALID_ARGUMENT, "not today, 1"));
#endif

    CHECK(two.try_drain());
    auto drains = [&](quark::Silo &silo) {
        auto silos = silo.try_silos();
        CHECK(silos && silos->size() == 3);
        return (*silos)[2].id() == "two" && (*silos)[2].is_draining();
    };
    CHECK(drains(two));
    auto owner = two.try_owner("T", "1");
    auto next = two.try_next_owners("T", "1", 9), copies = two.try_successors("T", "1", 9);
    CHECK(owner && next && copies && next->size() == 2 && copies->front() == **owner && next->front() != **owner);
    CHECK(fails(two.try_next_owners("T", "", 9), QUARK_INVALID_ARGUMENT, "actor_id"));
    CHECK(two.try_resume() && !drains(two) && two.try_set_virtual_nodes(75));
    CHECK(fails(two.try_set_virtual_nodes(0), QUARK_INVALID_ARGUMENT, "virtual_nodes=0"));
#if QUARK_HPP_EXCEPTIONS
    two.drain();
    two.resume();
    two.set_virtual_nodes(150);
    CHECK(two.next_owners("T", "1", 1).size() == 1 && two.successors("T", "1", 2).size() == 2);
#endif
    return 0;
}
