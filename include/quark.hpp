/// Quark for C++17 and later: RAII over quark.h, header only, made by hand.
///
/// Objects are move-only; errors are exceptions of type quark::Error; handlers are callables that take a Request and
/// return something that std::string can be made of. Threads and callbacks are as quark.h says. A handler that throws
/// fails its request with the exception's what().
#ifndef QUARK_HPP
#define QUARK_HPP

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quark.h"

namespace quark {

/// Bytes that belong to somebody else; quark copies them before it returns.
inline quark_bytes_view_t bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t *>(text.data()), text.size()};
}

/// Bytes as text; they live as long as their owner.
inline std::string_view text(quark_bytes_view_t bytes) {
    return {reinterpret_cast<const char *>(bytes.data), bytes.len};
}

/// Any failure of Quark.
class Error : public std::exception {
public:
    /// Takes an error of the C interface over and frees it.
    explicit Error(quark_error_t *error)
        : code_(quark_error_code(error)),
          delivered_(quark_error_delivered(error)),
          retryable_(quark_error_retryable(error)),
          message_(error == nullptr ? quark_status_name(code_) : quark_error_message(error)) {
        quark_error_free(error);
    }

    /// An error of which only the code is known.
    explicit Error(quark_status_t code) : code_(code), message_(quark_status_name(code)) {}

    /// One of the QUARK_... numbers.
    quark_status_t code() const noexcept { return code_; }
    /// Whether the handler got the request: QUARK_DELIVERED_NO, _YES or _UNKNOWN.
    std::int32_t delivered() const noexcept { return delivered_; }
    /// Whether the same call may be made again without the risk of running twice.
    bool retryable() const noexcept { return retryable_; }
    const char *what() const noexcept override { return message_.c_str(); }

private:
    quark_status_t code_;
    std::int32_t delivered_ = 0;
    bool retryable_ = false;
    std::string message_;
};

namespace detail {

template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T *object) const noexcept { Free(object); }
};

template <class T, auto Free>
using Handle = std::unique_ptr<T, Deleter<Free>>;

// By reference: the call that writes the error stands in the same argument list, evaluated in any order.
inline void check(quark_status_t status, quark_error_t *const &error) {
    if (status != QUARK_OK) throw error == nullptr ? Error(status) : Error(error);
}

inline std::string take(quark_bytes_t *reply) {
    Handle<quark_bytes_t, quark_bytes_free> owned(reply);
    return std::string(text(quark_bytes_view(owned.get())));
}

inline std::uint64_t ms(std::chrono::milliseconds time) {
    return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
}

}  // namespace detail

/// The default timeout of the silo or client.
inline constexpr std::chrono::milliseconds default_timeout{0};

/// A received request. Answered by reply() or fail(), from any thread; dropped, it fails its caller.
class Request {
public:
    explicit Request(quark_request_t *request) : request_(request) {}

    std::string_view actor_type() const { return quark_request_actor_type(request_.get()); }
    std::string_view actor_id() const { return quark_request_actor_id(request_.get()); }
    std::string_view method() const { return quark_request_method_name(request_.get()); }
    std::string_view correlation_id() const { return quark_request_correlation_id(request_.get()); }
    std::string_view caller() const { return quark_request_caller(request_.get()); }
    std::string_view payload() const { return text(quark_request_payload(request_.get())); }
    /// Whether nobody waits for the answer any more: the caller gave up, its time is over, or its link is gone.
    bool is_abandoned() const { return quark_request_is_abandoned(request_.get()); }
    bool is_one_way() const { return quark_request_is_one_way(request_.get()); }

    /// Replies; the request is used up.
    void reply(std::string_view payload) { detail::check(quark_request_reply(request_.release(), bytes(payload)), nullptr); }
    /// Fails; the request is used up.
    void fail(const std::string &message) { detail::check(quark_request_fail(request_.release(), message.c_str()), nullptr); }
    /// Whether it is still to be answered.
    explicit operator bool() const noexcept { return request_ != nullptr; }

private:
    detail::Handle<quark_request_t, quark_request_free> request_;
};

/// Describes a silo or a client.
class Config {
public:
    /// A config of a silo.
    explicit Config(const std::string &silo_id) : config_(quark_config_new(silo_id.c_str())) {}
    /// A config of a client.
    Config() : config_(quark_config_new(nullptr)) {}

    Config &membership(const std::string &url) { return set(quark_config_set_membership(get(), url.c_str())); }
    Config &listen(const std::string &endpoint) { return set(quark_config_set_listen(get(), endpoint.c_str())); }
    Config &cluster(const std::string &name) { return set(quark_config_set_cluster(get(), name.c_str())); }
    Config &virtual_nodes(std::uint32_t count) { return set(quark_config_set_virtual_nodes(get(), count)); }
    Config &callback_threads(std::uint32_t count) { return set(quark_config_set_callback_threads(get(), count)); }
    Config &placement(const std::string &actor_type, const std::string &policy) {
        return set(quark_config_set_placement(get(), actor_type.c_str(), policy.c_str()));
    }

    /// A callable `std::string(Request &)` for every type without a handler of its own; what it returns is the reply
    /// unless it has answered or moved the request away.
    template <class F>
    Config &handler(F function) {
        return set(quark_config_set_handler(get(), call<F>, new F(std::move(function)), destroy<F>));
    }

    /// The same for one actor type.
    template <class F>
    Config &handler_for(const std::string &actor_type, F function) {
        auto *state = new F(std::move(function));
        return set(quark_config_set_handler_for(get(), actor_type.c_str(), call<F>, state, destroy<F>));
    }

    quark_config_t *get() const noexcept { return config_.get(); }

private:
    Config &set(quark_status_t status) {
        detail::check(status, nullptr);
        return *this;
    }

    template <class F>
    static void call(void *user_data, quark_request_t *raw) {
        Request request(raw);
        try {
            std::string reply((*static_cast<F *>(user_data))(request));
            if (request) request.reply(reply);
        } catch (const std::exception &error) {
            if (request) quietly([&] { request.fail(error.what()); });
        } catch (...) {
            if (request) quietly([&] { request.fail("an exception that is no std::exception"); });
        }
    }

    template <class G>
    static void quietly(G &&answer) noexcept {
        try {
            answer();
        } catch (...) {
        }
    }

    template <class F>
    static void destroy(void *user_data) { delete static_cast<F *>(user_data); }

    detail::Handle<quark_config_t, quark_config_free> config_;
};

namespace detail {

/// The verbs of a silo and of a client, over their C functions.
template <class T, auto Free, auto Stop, auto Call, auto CallAsync, auto Notify, auto Owner>
class Caller {
public:
    /// Calls an actor wherever it lives, and waits for the reply.
    std::string call(const std::string &actor_type, const std::string &actor_id, const std::string &method,
                     std::string_view payload, std::chrono::milliseconds timeout = default_timeout) const {
        quark_bytes_t *reply = nullptr;
        quark_error_t *error = nullptr;
        check(Call(get(), actor_type.c_str(), actor_id.c_str(), method.c_str(), bytes(payload), ms(timeout), &reply, &error), error);
        return take(reply);
    }

    /// Calls and gives a future of the reply.
    std::future<std::string> call_async(const std::string &actor_type, const std::string &actor_id,
                                        const std::string &method, std::string_view payload,
                                        std::chrono::milliseconds timeout = default_timeout) const {
        auto promise = std::make_unique<std::promise<std::string>>();
        auto future = promise->get_future();
        check(CallAsync(get(), actor_type.c_str(), actor_id.c_str(), method.c_str(), bytes(payload), ms(timeout),
                        ended, promise.get(), nullptr), nullptr);
        promise.release();  // Its callback has it now, which comes exactly once.
        return future;
    }

    /// Sends one way: returns when the message is on its way.
    void notify(const std::string &actor_type, const std::string &actor_id, const std::string &method,
                std::string_view payload, std::chrono::milliseconds timeout = default_timeout) const {
        quark_error_t *error = nullptr;
        check(Notify(get(), actor_type.c_str(), actor_id.c_str(), method.c_str(), bytes(payload), ms(timeout), &error), error);
    }

    /// The silo that owns an actor; empty when nobody serves its type.
    std::string owner(const std::string &actor_type, const std::string &actor_id) const {
        char *owner = nullptr;
        quark_error_t *error = nullptr;
        check(Owner(get(), actor_type.c_str(), actor_id.c_str(), &owner, &error), error);
        std::string found(owner == nullptr ? "" : owner);
        quark_string_free(owner);
        return found;
    }

    /// Leaves: answers what came in and waits for what runs, `drain` at most.
    void stop(std::chrono::milliseconds drain = std::chrono::seconds(10)) {
        quark_error_t *error = nullptr;
        check(Stop(get(), ms(drain), &error), error);
    }

    T *get() const noexcept { return handle_.get(); }

protected:
    explicit Caller(T *started) : handle_(started) {}

private:
    static void ended(void *user_data, quark_bytes_t *reply, quark_error_t *error) {
        std::unique_ptr<std::promise<std::string>> promise(static_cast<std::promise<std::string> *>(user_data));
        if (error != nullptr) {
            promise->set_exception(std::make_exception_ptr(Error(error)));
        } else {
            promise->set_value(take(reply));
        }
    }

    Handle<T, Free> handle_;
};

template <class T, auto Start>
T *start(const Config &config) {
    T *started = nullptr;
    quark_error_t *error = nullptr;
    check(Start(config.get(), &started, &error), error);
    return started;
}

using SiloCaller = Caller<quark_silo_t, quark_silo_free, quark_silo_stop, quark_silo_call, quark_silo_call_async,
                          quark_silo_notify, quark_silo_owner>;
using ClientCaller = Caller<quark_client_t, quark_client_free, quark_client_stop, quark_client_call,
                            quark_client_call_async, quark_client_notify, quark_client_owner>;

}  // namespace detail

/// A member of the cluster: hosts handlers, owns part of the ring, calls others.
class Silo : public detail::SiloCaller {
public:
    explicit Silo(const Config &config) : detail::SiloCaller(detail::start<quark_silo_t, quark_silo_start>(config)) {}
    /// Where others dial it.
    std::string endpoint() const { return quark_silo_endpoint(get()); }
};

/// Calls actors and hosts nothing.
class Client : public detail::ClientCaller {
public:
    explicit Client(const Config &config) : detail::ClientCaller(detail::start<quark_client_t, quark_client_start>(config)) {}
};

/// A consistent hash ring, usable alone.
class HashRing {
public:
    HashRing() : ring_(quark_ring_new()) {}

    /// Adds a silo; false when it is there already.
    bool add(const std::string &silo_id, std::uint32_t virtual_nodes = 150) {
        bool added = false;
        quark_error_t *error = nullptr;
        detail::check(quark_ring_add(ring_.get(), silo_id.c_str(), virtual_nodes, &added, &error), error);
        return added;
    }

    /// Removes a silo and says whether it was there.
    bool remove(const std::string &silo_id) {
        bool removed = false;
        quark_error_t *error = nullptr;
        detail::check(quark_ring_remove(ring_.get(), silo_id.c_str(), &removed, &error), error);
        return removed;
    }

    /// The owner of a key; empty when the ring is.
    std::string owner(const std::string &key) const {
        const char *owner = nullptr;
        quark_error_t *error = nullptr;
        detail::check(quark_ring_owner(ring_.get(), key.c_str(), &owner, &error), error);
        return owner == nullptr ? std::string() : std::string(owner);
    }

    std::size_t size() const noexcept { return quark_ring_len(ring_.get()); }

private:
    detail::Handle<quark_ring_t, quark_ring_free> ring_;
};

}  // namespace quark

#endif
