// What the C++ test programs share.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <quark.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                            \
        }                                                                            \
    } while (false)

/// Waits until something is so; fails after 60 s.
template <class F>
void wait_until(F &&is_so) {
    for (int i = 0; i < 60000; ++i) {
        if (is_so()) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(!"waited in vain");
}

/// Whether a result is an error of this code whose message contains a text.
template <class T>
bool fails(const quark::Result<T> &result, quark_status_t code, std::string_view text) {
    if (result.has_value()) return std::fprintf(stderr, "no error\n"), false;
    if (result.error().code() == code && result.error().message().find(text) != std::string::npos) return true;
    return std::fprintf(stderr, "%.*s: %s\n", int(result.error().name().size()), result.error().name().data(),
                        result.error().what()),
           false;
}

#endif
