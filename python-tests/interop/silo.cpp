// The silo of README.md in C++.
#include <quark.hpp>

#include <atomic>
#include <iostream>
#include <sstream>
#include <thread>

using namespace std::chrono_literals;

static std::string own_type;
static std::optional<quark::Silo> silo;
static std::atomic<int> waiting{0}, given_up{0};

static std::string outcome(const quark::Result<quark::Bytes> &ending) {
    if (ending) return "OK " + ending->str();
    static const char *const delivered[] = {"", "no", "yes", "unknown"};
    const quark::Error &error = ending.error();
    return std::string(error.name()) + ' ' + delivered[error.delivered()] + ' ' + error.message();
}

static std::string make_call(const std::string &order) {
    std::istringstream words(order);
    std::string type, method, payload;
    int timeout_ms = 0;
    words >> type >> method >> timeout_ms >> std::ws;
    std::getline(words, payload);
    if (payload[0] == '#') payload.assign(std::stoul(payload.substr(1)), 'x');
    return outcome(silo->try_call(type, "1", method, payload, std::chrono::milliseconds(timeout_ms)));
}

static std::string cancel(const std::string &type) {
    auto begun = [&] { return std::stoi(silo->call(type, "1", "counts").str()); };
    const int before = begun();
    quark::Call call;
    auto future = silo->try_call_async(type, "1", "wait", "", 60s, &call);
    while (begun() == before) std::this_thread::sleep_for(1ms);
    call.cancel();
    return outcome(future.get());
}

static std::string relay(std::string_view route) {
    if (route.empty()) return own_type;
    const std::size_t end = std::min(route.find(' '), route.size());
    const std::string_view rest = route.substr(std::min(end + 1, route.size()));
    return own_type + ">" + silo->call(route.substr(0, end), "1", "relay", rest).str();
}

static std::string on_request(quark::Request &request) {
    const std::string method(request.method()), payload(request.payload());
    if (method == "echo") return payload;
    if (method == "fail") throw std::runtime_error(payload);
    if (method == "left") return std::to_string(request.time_left().count());
    if (method == "counts") return std::to_string(waiting) + " " + std::to_string(given_up);
    if (method == "relay") return relay(payload);
    if (method == "call") return make_call(payload);
    if (method == "cancel") return cancel(payload);
    if (method != "wait") throw std::runtime_error("no such method");
    ++waiting;
    while (!request.is_abandoned()) std::this_thread::sleep_for(1ms);
    ++given_up;
    std::this_thread::sleep_for(100ms);
    return "nobody hears this";
}

int main(int argc, char **argv) try {
    if (argc != 5 && argc != 9) return 2;
    own_type = argv[4];
    quark::Config config(argv[1]);
    config.membership(argv[2]).cluster(argv[3]).callback_threads(8).handler_for(own_type, on_request);
    if (argc == 9) config.tls(argv[5], argv[6], argv[7]).transport(argv[8]);
    silo.emplace(config);
    std::cout << "ready" << std::endl;
    while (std::cin.get() != std::istream::traits_type::eof()) {
    }
    silo->stop(5s);
    silo.reset();
    return 0;
} catch (const quark::Error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
