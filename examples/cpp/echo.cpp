// A silo that echoes, and calls itself. How to build it: docs/C.md.
#include <iostream>
#include <quark.hpp>

int main() try {
    quark::Config config("silo-cpp");
    config.membership("gossip://127.0.0.1:0").handler([](quark::Request &request) {
        return request.payload();
    });
    quark::Silo silo(config);
    std::cout << silo.call("Echo", "ann", "say", "hello") << '\n';
} catch (const quark::Error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
