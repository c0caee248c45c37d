/// Quark for C++17 and later: RAII over quark.h, header only, made by hand.
///
/// Objects are move-only and own what they name, rings and ranges can be copied; what is called a view or an info is borrowed, and lives as long as its
/// owner. Threads and callbacks are as quark.h says.
///
/// Errors come by choice. A function whose name begins with `try_` returns a Result, which has a value or an Error. The
/// same without `try_` returns the value and throws the Error; with -fno-exceptions these functions are not there. A
/// Config never fails: what it cannot use is told by the start, with the setting's name and value.
///
/// Handlers are callables that take a Request & and return something that a BytesView can be made of, nothing when they
/// answered or moved the request away, an Error, or a Result; an error's message fails the request. A handler that
/// throws fails its request with the exception's what(). Other callbacks must not throw: that is std::terminate, as in a
/// std::thread.
#ifndef QUARK_HPP
#define QUARK_HPP

#if __cplusplus < 201703L
#error "quark.hpp needs C++17 or later"
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <future>
#include <iosfwd>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "quark.h"

#if defined(__cpp_exceptions)
#define QUARK_HPP_EXCEPTIONS 1
#else
#define QUARK_HPP_EXCEPTIONS 0
#endif

/// What is returned lives as long as the object; compilers that know this warn of what outlives it.
#if defined(__clang__)
#define QUARK_HPP_BORROWED [[clang::lifetimebound]]
#else
#define QUARK_HPP_BORROWED
#endif

namespace quark {

// ---- Bytes ----------------------------------------------------------------------------------------------------------

/// Bytes that belong to somebody else. Made of anything that lies in a row: text, std::vector<std::uint8_t>, std::array,
/// std::span<const std::byte>; made back into std::string_view by itself and into a std::span by its constructor.
class BytesView {
public:
    constexpr BytesView() noexcept : data_(nullptr), size_(0) {}
    BytesView(const void *data, std::size_t size) noexcept : data_(static_cast<const std::uint8_t *>(data)), size_(size) {}
    BytesView(quark_bytes_view_t bytes) noexcept : data_(bytes.data), size_(bytes.len) {}
    /// A text up to its NUL.
    BytesView(const char *text) noexcept : BytesView(text, text == nullptr ? 0 : std::strlen(text)) {}
    /// Also a literal 0, which is rather meant as a number.
    BytesView(std::nullptr_t) = delete;

    template <class Row, class Byte = std::remove_pointer_t<decltype(std::data(std::declval<const Row &>()))>,
              class = std::enable_if_t<sizeof(Byte) == 1 && std::is_trivially_copyable_v<Byte> &&
                                       !std::is_same_v<Row, BytesView> &&
                                       !(std::is_array_v<Row> && std::is_same_v<std::remove_cv_t<Byte>, char>)>>
    BytesView(const Row &row) noexcept : BytesView(std::data(row), std::size(row)) {}

    const std::uint8_t *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const std::uint8_t *begin() const noexcept { return data_; }
    const std::uint8_t *end() const noexcept { return data_ + size_; }
    std::uint8_t operator[](std::size_t at) const noexcept { return data_[at]; }
    std::string_view text() const noexcept { return {reinterpret_cast<const char *>(data_), size_}; }
    /// A copy.
    std::string str() const { return std::string(text()); }
    operator std::string_view() const noexcept { return text(); }
    quark_bytes_view_t get() const noexcept { return {data_, size_}; }

private:
    const std::uint8_t *data_;
    std::size_t size_;
};

inline bool operator==(BytesView a, BytesView b) noexcept { return a.text() == b.text(); }
inline bool operator!=(BytesView a, BytesView b) noexcept { return a.text() != b.text(); }

template <class Traits>
std::basic_ostream<char, Traits> &operator<<(std::basic_ostream<char, Traits> &out, BytesView bytes) {
    return out << bytes.text();
}

namespace detail {

template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T *object) const noexcept { Free(object); }
};

/// Something of quark.h with the function that frees it.
template <class T, auto Free>
using Handle = std::unique_ptr<T, Deleter<Free>>;

inline std::string_view view(const char *text) noexcept { return text == nullptr ? std::string_view() : text; }

}  // namespace detail

/// Bytes of one's own: a reply, as it came, without a copy.
class Bytes {
public:
    Bytes() = default;
    explicit Bytes(quark_bytes_t *bytes) noexcept : bytes_(bytes) {}

    const std::uint8_t *data() const noexcept { return view().data(); }
    std::size_t size() const noexcept { return view().size(); }
    bool empty() const noexcept { return size() == 0; }
    /// All three live as long as this.
    BytesView view() const noexcept QUARK_HPP_BORROWED { return quark_bytes_view(bytes_.get()); }
    std::string_view text() const noexcept QUARK_HPP_BORROWED { return view().text(); }
    const std::uint8_t *begin() const noexcept { return view().begin(); }
    const std::uint8_t *end() const noexcept { return view().end(); }
    /// A copy.
    std::string str() const { return std::string(text()); }
    operator std::string() const { return str(); }

private:
    detail::Handle<quark_bytes_t, quark_bytes_free> bytes_;
};

// ---- Errors ---------------------------------------------------------------------------------------------------------

/// Any failure of Quark.
class Error : public std::exception {
public:
    /// Takes an error of the C interface over and frees it.
    explicit Error(quark_error_t *error)
        : code_(quark_error_code(error)),
          delivered_(quark_error_delivered(error)),
          retryable_(quark_error_retryable(error)),
          view_version_(quark_error_view_version(error)),
          message_(error == nullptr ? quark_status_name(code_) : quark_error_message(error)) {
        quark_error_free(error);
    }

    /// An error of one's own. Of one that a handler returns the caller gets the message, under QUARK_HANDLER_FAILED.
    explicit Error(quark_status_t code) : Error(code, std::string(detail::view(quark_status_name(code)))) {}
    Error(quark_status_t code, std::string message) : code_(code), message_(std::move(message)) {}

    /// One of the QUARK_... numbers.
    quark_status_t code() const noexcept { return code_; }
    /// Its name, "TIMEOUT" for example.
    std::string_view name() const noexcept { return detail::view(quark_status_name(code_)); }
    /// Whether the handler got the request: QUARK_DELIVERED_NO, _YES or _UNKNOWN.
    std::int32_t delivered() const noexcept { return delivered_; }
    /// Whether the same call may be made again without the risk of running twice.
    bool retryable() const noexcept { return retryable_; }
    /// With QUARK_NOT_OWNER, the version of the view of the silo that refused; else 0.
    std::uint64_t view_version() const noexcept { return view_version_; }
    const std::string &message() const noexcept { return message_; }
    const char *what() const noexcept override { return message_.c_str(); }

private:
    quark_status_t code_;
    std::int32_t delivered_ = 0;
    bool retryable_ = false;
    std::uint64_t view_version_ = 0;
    std::string message_;
};

template <class Traits>
std::basic_ostream<char, Traits> &operator<<(std::basic_ostream<char, Traits> &out, const Error &error) {
    return out << error.name() << ": " << error.message();
}

/// A value or an error.
template <class T>
class [[nodiscard]] Result {
public:
    Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
    /// Of what the value can be made of by itself.
    template <class U, class = std::enable_if_t<std::is_convertible_v<U, T> && !std::is_base_of_v<Error, std::decay_t<U>> &&
                                                !std::is_same_v<std::decay_t<U>, Result> && !std::is_same_v<std::decay_t<U>, T>>>
    Result(U &&value) : held_(std::in_place_index<0>, T(std::forward<U>(value))) {}
    Result(Error error) : held_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return held_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    /// The value, which must be there.
    T &operator*() & noexcept { return *std::get_if<0>(&held_); }
    const T &operator*() const & noexcept { return *std::get_if<0>(&held_); }
    T &&operator*() && noexcept { return std::move(*std::get_if<0>(&held_)); }
    T *operator->() noexcept { return std::get_if<0>(&held_); }
    const T *operator->() const noexcept { return std::get_if<0>(&held_); }
    T value_or(T otherwise) && { return has_value() ? *std::move(*this) : std::move(otherwise); }
    /// The error, which must be there.
    const Error &error() const noexcept { return *std::get_if<1>(&held_); }

#if QUARK_HPP_EXCEPTIONS
    /// The value; throws the error.
    T value() && {
        if (!has_value()) throw error();
        return *std::move(*this);
    }
    T &value() & {
        if (!has_value()) throw error();
        return **this;
    }
    const T &value() const & {
        if (!has_value()) throw error();
        return **this;
    }
#endif

private:
    std::variant<T, Error> held_;
};

/// Nothing, or an error.
template <>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}

    bool has_value() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return has_value(); }
    /// The error, which must be there.
    const Error &error() const noexcept { return *error_; }

#if QUARK_HPP_EXCEPTIONS
    /// Throws the error, if there is one.
    void value() const {
        if (error_) throw *error_;
    }
#endif

private:
    std::optional<Error> error_;
};

/// How long something may take; nothing stands for the default. Less than a millisecond is no time.
using Timeout = std::optional<std::chrono::milliseconds>;

namespace detail {

inline Error invalid(std::string_view name, const std::string &value, std::string_view why) {
    return Error(QUARK_INVALID_ARGUMENT, std::string(name) + "=" + value + ": " + std::string(why));
}

/// Texts and times on their way to C, which knows no NUL inside and no negative numbers. Remembers what cannot go, until
/// the same argument is given again.
class Arguments {
public:
    std::string text(std::string_view name, std::string_view value) {
        const bool usable = value.find('\0') == value.npos;
        judge(name, usable ? std::nullopt : std::optional(invalid(name, '"' + shown(value) + '"', "has a NUL inside")));
        return std::string(value);
    }

    std::uint64_t ms(std::string_view name, std::chrono::milliseconds time) {
        const std::string given = std::to_string(time.count()) + "ms";
        judge(name, time.count() > 0 ? std::nullopt : std::optional(invalid(name, given, "must be more than 0")));
        return static_cast<std::uint64_t>(time.count());
    }

    std::uint64_t ms(std::string_view name, Timeout time) { return time ? ms(name, *time) : 0; }

    const Error *problem() const noexcept { return problems_.empty() ? nullptr : &problems_.begin()->second; }

private:
    static std::string shown(std::string_view value) {
        std::string shown;
        for (char c : value) c == '\0' ? shown.append("\\0") : shown.append(1, c);
        return shown;
    }

    void judge(std::string_view name, std::optional<Error> problem) {
        if (!problem && problems_.empty()) return;
        problems_.erase(std::string(name));
        if (problem) problems_.emplace(name, *std::move(problem));
    }

    std::map<std::string, Error> problems_;
};

/// What a function said that returned a status and perhaps an error.
inline Result<void> said(quark_status_t status, quark_error_t *error = nullptr) {
    if (status == QUARK_OK) return {};
    return error == nullptr ? Error(status) : Error(error);
}

/// Calls a function that returns a status and an error.
template <class F>
Result<void> checked(F &&function) {
    quark_error_t *error = nullptr;
    const quark_status_t status = function(&error);
    return said(status, error);
}

/// Calls a function that gives an object too, of which `make` makes the value.
template <class T, class F, class Make>
auto made(F &&function, Make &&make) -> Result<std::decay_t<decltype(make(std::declval<T *>()))>> {
    T *object = nullptr;
    quark_error_t *error = nullptr;
    const quark_status_t status = function(&object, &error);
    if (status != QUARK_OK) return error == nullptr ? Error(status) : Error(error);
    return make(object);
}

inline std::optional<std::string> taken(char *text) {
    Handle<char, quark_string_free> owned(text);
    return text == nullptr ? std::nullopt : std::optional<std::string>(text);
}

template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {};

/// A callable as the user_data of a callback.
template <class F>
void destroy(void *user_data) { delete static_cast<F *>(user_data); }

template <class F>
F &callable(void *user_data) { return *static_cast<F *>(user_data); }

}  // namespace detail

/// The library's version, "0.1.0" for example.
inline std::string_view version() noexcept { return quark_version(); }

// ---- Requests -------------------------------------------------------------------------------------------------------

/// A received request. Answered by reply() or fail(), from any thread; dropped, it fails its caller. What it gives lives
/// until then.
class Request {
public:
    explicit Request(quark_request_t *request) noexcept : request_(request) {}

    std::string_view actor_type() const { return detail::view(quark_request_actor_type(request_.get())); }
    std::string_view actor_id() const { return detail::view(quark_request_actor_id(request_.get())); }
    std::string_view method() const { return detail::view(quark_request_method_name(request_.get())); }
    std::string_view message_id() const { return detail::view(quark_request_message_id(request_.get())); }
    std::string_view correlation_id() const { return detail::view(quark_request_correlation_id(request_.get())); }
    std::string_view traceparent() const { return detail::view(quark_request_traceparent(request_.get())); }
    /// The silo or client that sent it.
    std::string_view caller() const { return detail::view(quark_request_caller(request_.get())); }
    BytesView payload() const { return quark_request_payload(request_.get()); }
    /// Until the caller stops waiting.
    std::chrono::milliseconds time_left() const {
        return std::chrono::milliseconds(quark_request_deadline_ms_left(request_.get()));
    }
    /// The version of the view by which the sender chose this silo.
    std::uint64_t view_version() const { return quark_request_view_version(request_.get()); }
    /// Whether nobody waits for the answer any more: the caller gave up, its time is over, or its link is gone.
    bool is_abandoned() const { return quark_request_is_abandoned(request_.get()); }
    bool is_one_way() const { return quark_request_is_one_way(request_.get()); }

    /// Replies; the request is used up, whatever comes of it.
    Result<void> try_reply(BytesView payload) { return detail::said(quark_request_reply(request_.release(), payload.get())); }
    /// Fails; the request is used up, whatever comes of it. The message ends at its first NUL.
    Result<void> try_fail(std::string_view message) {
        return detail::said(quark_request_fail(request_.release(), std::string(message).c_str()));
    }
    /// Whether it is still to be answered.
    explicit operator bool() const noexcept { return request_ != nullptr; }

#if QUARK_HPP_EXCEPTIONS
    void reply(BytesView payload) { try_reply(payload).value(); }
    void fail(std::string_view message) { try_fail(message).value(); }
#endif

private:
    detail::Handle<quark_request_t, quark_request_free> request_;
};

// ---- Silos of a view ------------------------------------------------------------------------------------------------

/// One silo as the others see it. Borrowed: of a SiloList, or until the callback returns.
class SiloInfo {
public:
    explicit SiloInfo(const quark_silo_info_t *info) noexcept : info_(info) {}

    std::string_view id() const { return detail::view(quark_silo_info_id(info_)); }
    std::string_view endpoint() const { return detail::view(quark_silo_info_endpoint(info_)); }
    /// One of QUARK_SILO_STATUS_...
    std::int32_t status() const { return quark_silo_info_status(info_); }
    std::uint64_t incarnation() const { return quark_silo_info_incarnation(info_); }
    std::uint32_t virtual_nodes() const { return quark_silo_info_virtual_nodes(info_); }
    /// Whether it keeps what it has and gets nothing new.
    bool is_draining() const { return quark_silo_info_is_draining(info_); }
    std::optional<std::string_view> zone() const { return optional(quark_silo_info_zone(info_)); }
    std::optional<std::string_view> label(const std::string &key) const {
        return optional(quark_silo_info_label(info_, key.c_str()));
    }
    bool serves(const std::string &actor_type) const { return quark_silo_info_serves(info_, actor_type.c_str()); }
    /// The types that it declares; a silo that declares none serves all.
    std::vector<std::string_view> actor_types() const {
        std::vector<std::string_view> types;
        while (const char *type = quark_silo_info_actor_type(info_, types.size())) types.emplace_back(type);
        return types;
    }

private:
    static std::optional<std::string_view> optional(const char *text) {
        return text == nullptr ? std::nullopt : std::optional<std::string_view>(text);
    }

    const quark_silo_info_t *info_;
};

/// The silos of one view, sorted by id.
class SiloList {
public:
    explicit SiloList(quark_silo_list_t *list) : list_(list) {
        for (std::size_t i = 0; i < quark_silo_list_len(list); ++i) silos_.emplace_back(quark_silo_list_at(list, i));
    }

    std::size_t size() const noexcept { return silos_.size(); }
    bool empty() const noexcept { return silos_.empty(); }
    const SiloInfo &operator[](std::size_t at) const noexcept { return silos_[at]; }
    auto begin() const noexcept { return silos_.begin(); }
    auto end() const noexcept { return silos_.end(); }
    std::uint64_t view_version() const { return quark_silo_list_view_version(list_.get()); }

private:
    detail::Handle<quark_silo_list_t, quark_silo_list_free> list_;
    std::vector<SiloInfo> silos_;
};

/// The silos that a placement may choose from, sorted by id. Borrowed: until it returns.
class Silos {
public:
    explicit Silos(const quark_silo_list_t *list) noexcept : list_(list) {}

    std::size_t size() const { return quark_silo_list_len(list_); }
    SiloInfo operator[](std::size_t at) const { return SiloInfo(quark_silo_list_at(list_, at)); }
    std::uint64_t view_version() const { return quark_silo_list_view_version(list_); }

    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = SiloInfo;
        using difference_type = std::ptrdiff_t;
        using pointer = const SiloInfo *;
        using reference = SiloInfo;

        Iterator(const quark_silo_list_t *list, std::size_t at) noexcept : list_(list), at_(at) {}
        SiloInfo operator*() const { return SiloInfo(quark_silo_list_at(list_, at_)); }
        Iterator &operator++() noexcept { return ++at_, *this; }
        Iterator operator++(int) noexcept { return Iterator(list_, at_++); }
        bool operator==(const Iterator &other) const noexcept { return at_ == other.at_; }
        bool operator!=(const Iterator &other) const noexcept { return at_ != other.at_; }

    private:
        const quark_silo_list_t *list_;
        std::size_t at_;
    };
    Iterator begin() const noexcept { return Iterator(list_, 0); }
    Iterator end() const { return Iterator(list_, size()); }

private:
    const quark_silo_list_t *list_;
};

/// What became of a silo.
enum class Change : std::int32_t {
    joined = QUARK_SILO_JOINED,
    left = QUARK_SILO_LEFT,
    /// Another incarnation, endpoint, status, weight or set of actor types, or it drains.
    updated = QUARK_SILO_UPDATED,
};

/// How a silo or client fares.
struct Health {
    /// One of QUARK_HEALTH_...
    std::int32_t state;
    /// Since when; the epoch when it is healthy.
    std::chrono::system_clock::time_point since;
    std::string reason;

    bool is_healthy() const noexcept { return state == QUARK_HEALTH_HEALTHY; }
};

// ---- Rings, and what is owned of them -------------------------------------------------------------------------------

/// A part of the ring: ranges of positions, sorted, that neither overlap nor touch. One that a callback gets lives until the
/// callback returns; a copy is one's own.
class HashRanges {
public:
    HashRanges() = default;
    /// Takes ranges over.
    explicit HashRanges(quark_hash_ranges_t *ranges) noexcept : owned_(ranges), ranges_(ranges) {}
    /// Looks at ranges of somebody else's.
    explicit HashRanges(const quark_hash_ranges_t *ranges) noexcept : ranges_(ranges) {}
    HashRanges(const HashRanges &other) : HashRanges(quark_hash_ranges_copy(other.ranges_)) {}
    HashRanges(HashRanges &&) = default;
    HashRanges &operator=(HashRanges other) noexcept {
        owned_ = std::move(other.owned_);
        ranges_ = other.ranges_;
        return *this;
    }

    /// Whether a position, see quark::hash, is in it.
    bool contains(std::uint32_t position) const noexcept { return quark_hash_ranges_contain(ranges_, position); }
    /// Whether an actor's position is in it.
    bool contains(const std::string &actor_type, const std::string &actor_id) const noexcept {
        return quark_hash_ranges_contain_actor(ranges_, actor_type.c_str(), actor_id.c_str());
    }
    /// The part of all keys that is in it, 0 to 1.
    double share() const noexcept { return quark_hash_ranges_share(ranges_); }
    std::size_t size() const noexcept { return quark_hash_ranges_len(ranges_); }
    bool empty() const noexcept { return size() == 0; }
    const quark_hash_range_t *begin() const noexcept { return quark_hash_ranges_data(ranges_); }
    const quark_hash_range_t *end() const noexcept { return begin() + size(); }

private:
    detail::Handle<quark_hash_ranges_t, quark_hash_ranges_free> owned_;
    const quark_hash_ranges_t *ranges_ = nullptr;
};

/// What a silo lost and gained of the ring: first give up what is lost, then take what is gained. What was lost and came
/// back is in both.
struct OwnershipChange {
    /// The version of the view at which it stands.
    std::uint64_t view_version;
    HashRanges lost, gained, owned;
};

/// The position of a text on the ring.
inline std::uint32_t hash(const std::string &text) noexcept { return quark_hash(text.c_str()); }

/// The position of an actor on the ring.
inline std::uint32_t hash(const std::string &actor_type, const std::string &actor_id) noexcept {
    return quark_hash_actor(actor_type.c_str(), actor_id.c_str());
}

/// A consistent hash ring, usable alone.
class HashRing {
public:
    /// What goes from one silo to another when one ring becomes another; nobody's keys come from nobody.
    struct Move {
        std::optional<std::string> from, to;
        /// The part of all keys.
        double share;
    };

    HashRing() : ring_(quark_ring_new()) {}
    /// Takes a ring over.
    explicit HashRing(quark_ring_t *ring) noexcept : ring_(ring) {}
    HashRing(const HashRing &other) : HashRing(quark_ring_copy(other.get())) {}
    HashRing(HashRing &&) = default;
    HashRing &operator=(HashRing other) noexcept {
        ring_ = std::move(other.ring_);
        return *this;
    }

    /// Adds a silo; false when it is there already.
    Result<bool> try_add(std::string_view silo_id, std::uint32_t virtual_nodes = QUARK_DEFAULT_VIRTUAL_NODES) {
        if (virtual_nodes == 0) return detail::invalid("virtual_nodes", "0", "must be 1 to 100000");
        return changed(silo_id, [&](const char *id, bool *added, quark_error_t **error) {
            return quark_ring_add(ring_.get(), id, virtual_nodes, added, error);
        });
    }

    /// Gives a silo another number of points, and says whether it is there. One that drains goes on to.
    Result<bool> try_set_virtual_nodes(std::string_view silo_id, std::uint32_t virtual_nodes) {
        return changed(silo_id, [&](const char *id, bool *found, quark_error_t **error) {
            return quark_ring_set_virtual_nodes(ring_.get(), id, virtual_nodes, found, error);
        });
    }

    /// Removes a silo and says whether it was there.
    Result<bool> try_remove(std::string_view silo_id) {
        return changed(silo_id, [&](const char *id, bool *removed, quark_error_t **error) {
            return quark_ring_remove(ring_.get(), id, removed, error);
        });
    }

    /// The owner of a key such as "Counter:42"; nothing when the ring is empty.
    Result<std::optional<std::string>> try_owner(std::string_view key) const {
        detail::Arguments arguments;
        const std::string text = arguments.text("key", key);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<const char>(
            [&](auto **owner, auto **error) { return quark_ring_owner(ring_.get(), text.c_str(), owner, error); },
            [](const char *owner) { return owner == nullptr ? std::nullopt : std::optional<std::string>(owner); });
    }

    /// The owners of keys, in their order; none are there when the ring is empty.
    Result<std::vector<std::string>> try_owners(const std::vector<std::string> &keys) const {
        std::vector<const char *> texts, owners(keys.size());
        detail::Arguments arguments;
        for (const std::string &key : keys) {
            static_cast<void>(arguments.text("keys", key));
            texts.push_back(key.c_str());
        }
        if (arguments.problem()) return *arguments.problem();
        std::vector<std::string> found;
        if (keys.empty() || size() == 0) return found;
        Result<void> asked = detail::checked([&](auto **error) {
            return quark_ring_owners(ring_.get(), texts.data(), texts.size(), owners.data(), error);
        });
        if (!asked) return asked.error();
        found.assign(owners.begin(), owners.end());
        return found;
    }

    /// The next owners of a key, at most so many: who owns it when its owner goes, who when that one goes too, and so on.
    Result<std::vector<std::string>> try_next_owners(std::string_view key, std::size_t count = 3) const {
        detail::Arguments arguments;
        const std::string text = arguments.text("key", key);
        if (arguments.problem()) return *arguments.problem();
        std::vector<const char *> next(std::min(count, size()));
        Result<void> asked = detail::checked([&](auto **error) {
            return quark_ring_next_owners(ring_.get(), text.c_str(), next.data(), next.size(), error);
        });
        if (!asked) return asked.error();
        std::vector<std::string> found;
        for (const char *id : next) {
            if (id != nullptr) found.emplace_back(id);
        }
        return found;
    }

    /// The positions that a silo owns; none when it is not there.
    Result<HashRanges> try_ranges(std::string_view silo_id) const {
        detail::Arguments arguments;
        const std::string id = arguments.text("silo_id", silo_id);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<quark_hash_ranges_t>(
            [&](auto **ranges, auto **error) { return quark_ring_ranges(ring_.get(), id.c_str(), ranges, error); },
            [](quark_hash_ranges_t *ranges) { return HashRanges(ranges); });
    }

    /// What would move if this ring became that one.
    Result<std::vector<Move>> try_moves(const HashRing &after) const {
        return detail::made<quark_ring_moves_t>(
            [&](auto **moves, auto **error) { return quark_ring_moves(get(), after.get(), moves, error); },
            [](quark_ring_moves_t *moves) {
                detail::Handle<quark_ring_moves_t, quark_ring_moves_free> owned(moves);
                const auto name = [](const char *id) { return id == nullptr ? std::nullopt : std::optional<std::string>(id); };
                std::vector<Move> found;
                for (std::size_t i = 0; i < quark_ring_moves_len(moves); ++i) {
                    found.push_back({name(quark_ring_moves_from(moves, i)), name(quark_ring_moves_to(moves, i)),
                                     quark_ring_moves_share(moves, i)});
                }
                return found;
            });
    }

#if QUARK_HPP_EXCEPTIONS
    std::vector<std::string> next_owners(std::string_view key, std::size_t count = 3) const {
        return try_next_owners(key, count).value();
    }
    HashRanges ranges(std::string_view silo_id) const { return try_ranges(silo_id).value(); }
    std::vector<Move> moves(const HashRing &after) const { return try_moves(after).value(); }
    bool add(std::string_view silo_id, std::uint32_t virtual_nodes = QUARK_DEFAULT_VIRTUAL_NODES) {
        return try_add(silo_id, virtual_nodes).value();
    }
    bool set_virtual_nodes(std::string_view silo_id, std::uint32_t virtual_nodes) {
        return try_set_virtual_nodes(silo_id, virtual_nodes).value();
    }
    bool remove(std::string_view silo_id) { return try_remove(silo_id).value(); }
    std::optional<std::string> owner(std::string_view key) const { return try_owner(key).value(); }
    std::vector<std::string> owners(const std::vector<std::string> &keys) const { return try_owners(keys).value(); }
#endif

    /// The part of all keys that a silo owns, 0 to 1; of all silos together 1.
    double share(const std::string &silo_id) const noexcept { return quark_ring_share(get(), silo_id.c_str()); }
    /// How many points a silo has; 0 when it is not there.
    std::uint32_t virtual_nodes(const std::string &silo_id) const noexcept {
        return quark_ring_virtual_nodes(get(), silo_id.c_str());
    }
    quark_ring_t *get() const noexcept { return ring_.get(); }
    std::size_t size() const noexcept { return quark_ring_len(ring_.get()); }
    /// The ids of its silos, in bytewise order.
    std::vector<std::string> silos() const {
        std::vector<std::string> silos;
        while (const char *id = quark_ring_silo(ring_.get(), silos.size())) silos.emplace_back(id);
        return silos;
    }

private:
    template <class F>
    static Result<bool> changed(std::string_view silo_id, F &&change) {
        detail::Arguments arguments;
        const std::string id = arguments.text("silo_id", silo_id);
        if (arguments.problem()) return *arguments.problem();
        bool changed = false;
        Result<void> done = detail::checked([&](auto **error) { return change(id.c_str(), &changed, error); });
        if (!done) return done.error();
        return changed;
    }

    detail::Handle<quark_ring_t, quark_ring_free> ring_;
};

/// Where an actor belongs by one view, and where it would go.
class Explanation {
public:
    explicit Explanation(quark_explanation_t *explanation) noexcept : explanation_(explanation) {}

    /// The actor's position on the ring.
    std::uint32_t position() const noexcept { return quark_explanation_position(explanation_.get()); }
    std::uint64_t view_version() const noexcept { return quark_explanation_view_version(explanation_.get()); }
    /// Nothing when nobody serves the type. Lives as long as this.
    std::optional<SiloInfo> owner() const noexcept { return optional(quark_explanation_owner(explanation_.get())); }
    /// Who owns the actor when its owner goes, when that one goes too, and so on. Live as long as this.
    std::vector<SiloInfo> next_owners() const {
        std::vector<SiloInfo> next;
        while (const auto info = optional(quark_explanation_next_owner(explanation_.get(), next.size()))) {
            next.push_back(*info);
        }
        return next;
    }
    /// How many silos serve the type.
    std::size_t serving() const noexcept { return quark_explanation_serving(explanation_.get()); }
    /// Whether the asked silo is the owner and serves.
    bool is_owned_here() const noexcept { return quark_explanation_is_owned_here(explanation_.get()); }
    /// Whether calls from the asked silo go to the owner: the type is placed by the ring alone.
    bool is_placed_by_ring() const noexcept { return quark_explanation_is_placed_by_ring(explanation_.get()); }

private:
    static std::optional<SiloInfo> optional(const quark_silo_info_t *info) noexcept {
        return info == nullptr ? std::nullopt : std::optional<SiloInfo>(info);
    }

    detail::Handle<quark_explanation_t, quark_explanation_free> explanation_;
};

// ---- Configs --------------------------------------------------------------------------------------------------------

/// Where callbacks wait for an event loop of the program's own.
class Loop {
public:
    static Result<Loop> create() {
        auto make = [](quark_loop_t **loop, quark_error_t **error) { return quark_loop_new(loop, error); };
        return detail::made<quark_loop_t>(make, [](quark_loop_t *loop) { return Loop(loop); });
    }
#if QUARK_HPP_EXCEPTIONS
    Loop() : Loop(create().value()) {}
#endif

    /// The descriptor to poll for reading; readable when something is due.
    int descriptor() const noexcept { return quark_loop_descriptor(loop_.get()); }
    /// Runs what is due, `at_most` of it (0: all), on this thread, and says how much that was.
    std::size_t run(std::size_t at_most = 0) { return quark_loop_run(loop_.get(), at_most); }
    const quark_loop_t *get() const noexcept { return loop_.get(); }

private:
    explicit Loop(quark_loop_t *loop) noexcept : loop_(loop) {}

    detail::Handle<quark_loop_t, quark_loop_free> loop_;
};

/// One of many calls that are made at once.
struct Outgoing {
    std::string actor_type, actor_id, method;
    BytesView payload;
    /// What its Ending has.
    void *user_data = nullptr;
};

/// The ending of a call that was made without a callback of its own.
struct Ending {
    /// What the call was given.
    void *user_data;
    Result<Bytes> result;
};

/// Describes a silo, a client, a membership or a transport. The setters say what quark.h says of quark_config_set_...
class Config {
public:
    /// A config of something that has an id.
    explicit Config(std::string_view silo_id) : config_(quark_config_new(arguments_.text("silo_id", silo_id).c_str())) {}
    /// A config of a client, or of a membership that only looks on.
    Config() : config_(quark_config_new(nullptr)) {}

    Config &membership(std::string_view url) { return set_text(quark_config_set_membership, "membership", url); }
    Config &listen(std::string_view endpoint) { return set_text(quark_config_set_listen, "listen", endpoint); }
    /// Of a transport: it only dials.
    Config &listen_nowhere() { return set(quark_config_set_listen, nullptr); }
    Config &advertise(std::string_view endpoint) { return set_text(quark_config_set_advertise, "advertise", endpoint); }
    Config &cluster(std::string_view name) { return set_text(quark_config_set_cluster, "cluster", name); }
    Config &transport(std::string_view networks) { return set_text(quark_config_set_transport, "transport", networks); }
    Config &tls(std::string_view authority, std::string_view certificate, std::string_view key) {
        const std::string ca = arguments_.text("authority", authority);
        const std::string own = arguments_.text("certificate", certificate), secret = arguments_.text("key", key);
        return set(quark_config_set_tls, ca.c_str(), own.c_str(), secret.c_str());
    }
    /// Of a client that shows no certificate.
    Config &tls(std::string_view authority) {
        return set(quark_config_set_tls, arguments_.text("authority", authority).c_str(), nullptr, nullptr);
    }
    Config &anonymous_clients(bool let_in = true) { return set(quark_config_set_anonymous_clients, let_in); }
    Config &allow_plaintext(bool allow = true) { return set(quark_config_set_allow_plaintext, allow); }
    Config &virtual_nodes(std::uint32_t count) { return set(quark_config_set_virtual_nodes, count); }
    Config &zone(std::string_view name) { return set_text(quark_config_set_zone, "zone", name); }
    Config &label(std::string_view key, std::string_view value) {
        const std::string k = arguments_.text("key", key), v = arguments_.text("value", value);
        return set(quark_config_set_label, k.c_str(), v.c_str());
    }
    Config &no_label(std::string_view key) {
        return set(quark_config_set_label, arguments_.text("key", key).c_str(), nullptr);
    }
    Config &placement(std::string_view actor_type, std::string_view policy) {
        const std::string type = arguments_.text("actor_type", actor_type), name = arguments_.text("placement", policy);
        return set(quark_config_set_placement, type.c_str(), name.c_str());
    }

    /// A callable `(std::string_view actor_type, std::string_view actor_id, Silos silos, std::string_view local_id)` that gives the id
    /// of one of the silos: a text, or a std::optional of one. Nothing, or an empty text, means none of them; an exception ends the call with
    /// QUARK_INVALID_ARGUMENT and its what(). See quark_config_set_placement_callback.
    template <class F, class = std::enable_if_t<std::is_invocable_v<F &, std::string_view, std::string_view, Silos, std::string_view>>>
    Config &placement(std::string_view actor_type, F function) {
        const std::string type = arguments_.text("actor_type", actor_type);
        return set(quark_config_set_placement_callback, type.c_str(), choose<F>, kept(std::move(function)),
                   detail::destroy<F>);
    }

    Config &default_timeout(std::chrono::milliseconds time) {
        return set_time(quark_config_set_default_timeout_ms, "default_timeout", time);
    }
    Config &ttl(std::chrono::milliseconds time) { return set_time(quark_config_set_ttl_ms, "ttl", time); }
    Config &heartbeat(std::chrono::milliseconds time) { return set_time(quark_config_set_heartbeat_ms, "heartbeat", time); }
    Config &start_timeout(std::chrono::milliseconds time) {
        return set_time(quark_config_set_start_timeout_ms, "start_timeout", time);
    }

    Config &max_payload(std::size_t bytes) { return set(quark_config_set_max_payload, bytes); }
    Config &inbox_capacity(std::size_t requests) { return set(quark_config_set_inbox_capacity, requests); }
    Config &inbox_bytes(std::size_t bytes) { return set(quark_config_set_inbox_bytes, bytes); }
    Config &outbox_capacity(std::uint32_t requests) { return set(quark_config_set_outbox_capacity, requests); }
    Config &max_pending(std::size_t calls) { return set(quark_config_set_max_pending, calls); }
    Config &answer_capacity(std::size_t bytes) { return set(quark_config_set_answer_capacity, bytes); }
    Config &max_metadata(std::uint32_t bytes) { return set(quark_config_set_max_metadata, bytes); }
    Config &max_streams(std::uint32_t streams) { return set(quark_config_set_max_streams, streams); }
    Config &connection_window(std::uint32_t bytes) { return set(quark_config_set_connection_window, bytes); }
    Config &max_links_per_peer(std::size_t links) { return set(quark_config_set_max_links_per_peer, links); }
    Config &max_connections(std::size_t connections) { return set(quark_config_set_max_connections, connections); }
    Config &max_connections_per_address(std::size_t connections) { return set(quark_config_set_max_connections_per_address, connections); }
    Config &handshake_timeout(std::chrono::milliseconds time) {
        return set_time(quark_config_set_handshake_timeout_ms, "handshake_timeout", time);
    }
    Config &callback_threads(std::uint32_t count) { return set(quark_config_set_callback_threads, count); }
    Config &loop(const Loop &loop) { return set(quark_config_set_loop, loop.get()); }

    /// A callable `std::pair<std::string, std::string>()` that gives the user, empty for the default one, and the password for a
    /// Redis whose URL has none; an empty password or an exception means that there are none now.
    template <class F>
    Config &redis_credentials(F function) {
        return set(quark_config_set_redis_credentials, give<F>, kept(std::move(function)), detail::destroy<F>);
    }

    /// The handler of every type without one of its own.
    template <class F>
    Config &handler(F function) {
        check_handler<F>();
        return set(quark_config_set_handler, call<F>, kept(std::move(function)), detail::destroy<F>);
    }

    /// The handler of one actor type.
    template <class F>
    Config &handler_for(std::string_view actor_type, F function) {
        check_handler<F>();
        const std::string type = arguments_.text("actor_type", actor_type);
        return set(quark_config_set_handler_for, type.c_str(), call<F>, kept(std::move(function)), detail::destroy<F>);
    }

    /// A callable `void(std::vector<Request> &)` that takes what has come, for every type without a handler of its own.
    template <class F>
    Config &batch_handler(F function) {
        check_batch_handler<F>();
        return set(quark_config_set_batch_handler, nullptr, call_batch<F>, kept(std::move(function)), detail::destroy<F>);
    }

    /// The same for one actor type.
    template <class F>
    Config &batch_handler_for(std::string_view actor_type, F function) {
        check_batch_handler<F>();
        const std::string type = arguments_.text("actor_type", actor_type);
        return set(quark_config_set_batch_handler, type.c_str(), call_batch<F>, kept(std::move(function)),
                   detail::destroy<F>);
    }

    /// A callable `void(std::vector<Ending> &)` for the endings of call_batched() and call_many().
    template <class F>
    Config &on_endings(F function) {
        return set(quark_config_set_ending_batch_callback, end_batch<F>, kept(std::move(function)), detail::destroy<F>);
    }

    /// A callable `void(Change, SiloInfo)` that hears of silos that join, leave and change.
    template <class F>
    Config &on_change(F function) {
        return set(quark_config_set_membership_callback, changed<F>, kept(std::move(function)), detail::destroy<F>);
    }

    /// A callable `void(const OwnershipChange &)` that hears of what the silo gains and loses of a type's ring; without a
    /// type, of the one that it serves.
    template <class F>
    Config &on_ownership(F function) {
        return set(quark_config_set_ownership_callback, nullptr, owned<F>, kept(std::move(function)), detail::destroy<F>);
    }
    template <class F>
    Config &on_ownership(std::string_view actor_type, F function) {
        const std::string type = arguments_.text("actor_type", actor_type);
        return set(quark_config_set_ownership_callback, type.c_str(), owned<F>, kept(std::move(function)),
                   detail::destroy<F>);
    }

    quark_config_t *get() const noexcept { return config_.get(); }
    /// What C++ alone could not hand over.
    const Error *problem() const noexcept { return arguments_.problem(); }

private:
    template <class... Parameters, class... Arguments>
    Config &set(quark_status_t (*setter)(quark_config_t *, Parameters...), Arguments... arguments) {
        // The config remembers what it could not use, and the start tells of it.
        setter(get(), arguments...);
        return *this;
    }

    Config &set_text(quark_status_t (*setter)(quark_config_t *, const char *), std::string_view name,
                     std::string_view value) {
        return set(setter, arguments_.text(name, value).c_str());
    }

    Config &set_time(quark_status_t (*setter)(quark_config_t *, std::uint64_t), std::string_view name,
                     std::chrono::milliseconds time) {
        return set(setter, arguments_.ms(name, time));
    }

    template <class F>
    static void check_handler() {
        static_assert(std::is_invocable_v<F &, Request &>, "a handler takes a quark::Request &");
    }

    template <class F>
    static void check_batch_handler() {
        static_assert(std::is_invocable_r_v<void, F &, std::vector<Request> &> &&
                          std::is_void_v<std::invoke_result_t<F &, std::vector<Request> &>>,
                      "a batch handler takes a std::vector<quark::Request> & and returns nothing");
    }

    template <class F>
    static void *kept(F &&function) { return new std::decay_t<F>(std::forward<F>(function)); }

    template <class Answer>
    static void answer(Request &request, Answer &&answer) {
        using Kind = std::decay_t<Answer>;
        if constexpr (std::is_same_v<Kind, Error>) {
            if (request) static_cast<void>(request.try_fail(answer.message()));
        } else if constexpr (detail::IsResult<Kind>::value) {
            if (!answer) {
                if (request) static_cast<void>(request.try_fail(answer.error().message()));
            } else if constexpr (!std::is_same_v<Kind, Result<void>>) {
                Config::answer(request, *std::forward<Answer>(answer));
            }
        } else {
            static_assert(std::is_convertible_v<const Kind &, BytesView>,
                          "a handler returns what a BytesView can be made of, nothing, an Error, or a Result");
            if (request) static_cast<void>(request.try_reply(answer));
        }
    }

    /// Runs a handler; an exception fails what it has not answered.
    template <class Work, class Fail>
    static void guarded(Work &&work, Fail &&fail) noexcept {
#if QUARK_HPP_EXCEPTIONS
        try {
            work();
        } catch (const std::exception &error) {
            fail(error.what());
        } catch (...) {
            fail("an exception that is no std::exception");
        }
#else
        static_cast<void>(fail);
        work();
#endif
    }

    template <class F>
    static void call(void *user_data, quark_request_t *raw) noexcept {
        Request request(raw);
        guarded(
            [&] {
                auto &handler = detail::callable<F>(user_data);
                if constexpr (std::is_void_v<decltype(handler(request))>) {
                    handler(request);
                } else {
                    answer(request, handler(request));
                }
            },
            [&](const char *why) {
                if (request) static_cast<void>(request.try_fail(why));
            });
    }

    template <class F>
    static void call_batch(void *user_data, quark_request_t *const *raw, std::size_t count) noexcept {
        std::vector<Request> requests(raw, raw + count);
        guarded([&] { detail::callable<F>(user_data)(requests); },
                [&](const char *why) {
                    for (Request &request : requests) {
                        if (request) static_cast<void>(request.try_fail(why));
                    }
                });
    }

    template <class F>
    static void end_batch(void *user_data, const quark_ending_t *raw, std::size_t count) noexcept {
        std::vector<Ending> endings;
        endings.reserve(count);
        for (std::size_t i = 0; i < count; ++i) {
            endings.push_back({raw[i].user_data, ended(raw[i].reply, raw[i].error)});
        }
        detail::callable<F>(user_data)(endings);
    }

    template <class F>
    static bool give(void *user_data, char *user, char *password) noexcept {
        bool gave = false;
        guarded(
            [&] {
                const std::pair<std::string, std::string> given = detail::callable<F>(user_data)();
                if (given.first.size() >= QUARK_CREDENTIAL_BYTES || given.second.size() >= QUARK_CREDENTIAL_BYTES) return;
                std::memcpy(user, given.first.c_str(), given.first.size() + 1);
                std::memcpy(password, given.second.c_str(), given.second.size() + 1);
                gave = !given.second.empty();
            },
            [](const char *) {});
        return gave;
    }

    /// Says whether all of it fitted.
    static bool write(std::string_view text, char *to) noexcept {
        const std::size_t size = text.size() < QUARK_PLACEMENT_BYTES ? text.size() : QUARK_PLACEMENT_BYTES - 1;
        std::memcpy(to, text.data(), size);
        to[size] = 0;
        return size == text.size();
    }

    template <class F>
    static bool choose(void *user_data, const char *actor_type, const char *actor_id, const quark_silo_list_t *silos,
                       const char *local_id, char *chosen) noexcept {
        bool chose = false;
        guarded(
            [&] {
                using Text = std::string_view;
                const auto choice = detail::callable<F>(user_data)(Text(actor_type), Text(actor_id), Silos(silos), Text(local_id));
                using Choice = std::decay_t<decltype(choice)>;
                if constexpr (std::is_convertible_v<const Choice &, std::string_view>) {
                    chose = write(choice, chosen);
                } else {
                    chose = !choice || write(*choice, chosen);
                }
                if (!chose) write("the chosen id is too long", chosen);
            },
            [&](const char *why) { write(why, chosen); });
        return chose;
    }

    template <class F>
    static void changed(void *user_data, std::int32_t kind, const quark_silo_info_t *silo) noexcept {
        detail::callable<F>(user_data)(static_cast<Change>(kind), SiloInfo(silo));
    }

    template <class F>
    static void owned(void *user_data, const quark_ownership_change_t *raw) noexcept {
        const OwnershipChange change{raw->view_version, HashRanges(raw->lost), HashRanges(raw->gained), HashRanges(raw->owned)};
        detail::callable<F>(user_data)(change);
    }

    static Result<Bytes> ended(quark_bytes_t *reply, quark_error_t *error) {
        if (error != nullptr) return Error(error);
        return Bytes(reply);
    }

    template <class>
    friend class Caller;

    detail::Arguments arguments_;
    detail::Handle<quark_config_t, quark_config_free> config_;
};

// ---- Envelopes ------------------------------------------------------------------------------------------------------

/// One message; its fields are the QUARK_ENVELOPE_... numbers. What it gives lives until the field is set.
class Envelope {
public:
    Envelope() : envelope_(quark_envelope_new()) {}
    explicit Envelope(quark_envelope_t *envelope) noexcept : envelope_(envelope) {}

    std::string_view text(std::int32_t field) const { return detail::view(quark_envelope_text(get(), field)); }
    std::int64_t number(std::int32_t field) const { return quark_envelope_number(get(), field); }
    BytesView bytes(std::int32_t field) const { return quark_envelope_bytes(get(), field); }

    Result<void> try_set_text(std::int32_t field, std::string_view value) {
        detail::Arguments arguments;
        const std::string text = arguments.text("value", value);
        if (arguments.problem()) return *arguments.problem();
        return set(field, quark_envelope_set_text(get(), field, text.c_str()));
    }
    Result<void> try_set_number(std::int32_t field, std::int64_t value) {
        return set(field, quark_envelope_set_number(get(), field, value));
    }
    Result<void> try_set_bytes(std::int32_t field, BytesView value) {
        return set(field, quark_envelope_set_bytes(get(), field, value.get()));
    }

    /// As protobuf, as it stands on the wire.
    Result<Bytes> try_encode() const {
        return detail::made<quark_bytes_t>([&](auto **to, auto **error) { return quark_envelope_encode(get(), to, error); },
                                           [](quark_bytes_t *bytes) { return Bytes(bytes); });
    }
    static Result<Envelope> try_decode(BytesView bytes) {
        return detail::made<quark_envelope_t>(
            [&](auto **to, auto **error) { return quark_envelope_decode(bytes.get(), to, error); },
            [](quark_envelope_t *envelope) { return Envelope(envelope); });
    }

#if QUARK_HPP_EXCEPTIONS
    Envelope &set_text(std::int32_t field, std::string_view value) { return try_set_text(field, value).value(), *this; }
    Envelope &set_number(std::int32_t field, std::int64_t value) { return try_set_number(field, value).value(), *this; }
    Envelope &set_bytes(std::int32_t field, BytesView value) { return try_set_bytes(field, value).value(), *this; }
    Bytes encode() const { return try_encode().value(); }
    static Envelope decode(BytesView bytes) { return try_decode(bytes).value(); }
#endif

    quark_envelope_t *get() const noexcept { return envelope_.get(); }

private:
    static Result<void> set(std::int32_t field, quark_status_t status) {
        if (status == QUARK_OK) return {};
        return detail::invalid("field", std::to_string(field), "is none of that kind, or takes no such value");
    }

    detail::Handle<quark_envelope_t, quark_envelope_free> envelope_;
};

// ---- Silos and clients ----------------------------------------------------------------------------------------------

/// An asynchronous call, to be given up. Dropping it changes nothing.
class Call {
public:
    Call() = default;
    explicit Call(quark_call_t *call) noexcept : call_(call) {}

    /// Gives the call up: it ends with QUARK_CANCELLED. Says whether it still waited.
    bool cancel() { return quark_call_cancel(call_.get()); }

private:
    detail::Handle<quark_call_t, quark_call_free> call_;
};

/// The verbs of a silo and of a client, over the C functions that `C` names.
template <class C>
class Caller {
public:
    Caller(Caller &&) noexcept = default;
    Caller &operator=(Caller &&other) noexcept {
        if (this != &other) {
            leave();
            handle_ = std::move(other.handle_);
        }
        return *this;
    }
    /// Leaves without waiting for what runs: stop() does. Waits until the callbacks that run have returned, unless it is
    /// called by one.
    ~Caller() { leave(); }

    /// Calls an actor wherever it lives, and waits for the reply.
    Result<Bytes> try_call(std::string_view actor_type, std::string_view actor_id, std::string_view method,
                           BytesView payload = {}, Timeout timeout = {}) const {
        const Message message(actor_type, actor_id, method, timeout);
        if (message.problem()) return *message.problem();
        return detail::made<quark_bytes_t>(
            [&](auto **reply, auto **error) {
                return C::call(get(), message.actor_type.c_str(), message.actor_id.c_str(), message.method.c_str(),
                               payload.get(), message.timeout_ms, reply, error);
            },
            [](quark_bytes_t *reply) { return Bytes(reply); });
    }

    /// Calls and gives the ending to a callable `void(Result<Bytes>)`, exactly once: on a thread of the callbacks or, when
    /// the call cannot even begin, on this one.
    template <class F>
    Call call_then(std::string_view actor_type, std::string_view actor_id, std::string_view method, BytesView payload,
                   Timeout timeout, F function) const {
        const Message message(actor_type, actor_id, method, timeout);
        if (message.problem()) return function(Result<Bytes>(*message.problem())), Call();
        auto kept = std::make_unique<F>(std::move(function));
        quark_call_t *call = nullptr;
        const quark_status_t status =
            C::call_async(get(), message.actor_type.c_str(), message.actor_id.c_str(), message.method.c_str(),
                          payload.get(), message.timeout_ms, end<F>, kept.get(), &call);
        if (status != QUARK_OK) {
            (*kept)(Result<Bytes>(Error(status)));
        } else {
            static_cast<void>(kept.release());  // Its callback has it now.
        }
        return Call(call);
    }

    /// Calls and gives a future of the ending; `call`, unless it is nullptr, gets what gives the call up.
    std::future<Result<Bytes>> try_call_async(std::string_view actor_type, std::string_view actor_id,
                                              std::string_view method, BytesView payload = {}, Timeout timeout = {},
                                              Call *call = nullptr) const {
        std::promise<Result<Bytes>> promise;
        auto future = promise.get_future();
        auto keep = [promise = std::move(promise)](Result<Bytes> ending) mutable { promise.set_value(std::move(ending)); };
        Call made = call_then(actor_type, actor_id, method, payload, timeout, std::move(keep));
        if (call != nullptr) *call = std::move(made);
        return future;
    }

    /// Calls and gives the ending, with `user_data`, to Config::on_endings().
    Result<Call> try_call_batched(std::string_view actor_type, std::string_view actor_id, std::string_view method,
                                  BytesView payload, Timeout timeout, void *user_data) const {
        const Message message(actor_type, actor_id, method, timeout);
        if (message.problem()) return *message.problem();
        quark_call_t *call = nullptr;
        const quark_status_t status =
            C::call_async(get(), message.actor_type.c_str(), message.actor_id.c_str(), message.method.c_str(),
                          payload.get(), message.timeout_ms, nullptr, user_data, &call);
        if (auto problem = unbatched(status)) return *std::move(problem);
        return Call(call);
    }

    /// Makes calls at once, for less than they cost one by one, and gives their endings to Config::on_endings(). Those to one
    /// actor keep their order.
    Result<void> try_call_many(const std::vector<Outgoing> &calls, Timeout timeout = {}) const {
        detail::Arguments arguments;
        const std::uint64_t timeout_ms = arguments.ms("timeout", timeout);
        std::vector<quark_message_t> messages;
        messages.reserve(calls.size());
        for (const Outgoing &call : calls) {
            for (const std::string *text : {&call.actor_type, &call.actor_id, &call.method}) {
                if (text->find('\0') == text->npos) continue;
                const char *name = text == &call.actor_type ? ".actor_type" : text == &call.actor_id ? ".actor_id" : ".method";
                arguments.text("calls[" + std::to_string(messages.size()) + "]" + name, *text);
            }
            messages.push_back({call.actor_type.c_str(), call.actor_id.c_str(), call.method.c_str(), call.payload.get(),
                                call.user_data});
        }
        if (arguments.problem()) return *arguments.problem();
        const quark_status_t status = C::call_many(get(), messages.data(), messages.size(), timeout_ms, nullptr);
        if (auto problem = unbatched(status)) return *std::move(problem);
        return {};
    }

    /// Sends one way: returns when the message is on its way.
    Result<void> try_notify(std::string_view actor_type, std::string_view actor_id, std::string_view method,
                            BytesView payload = {}, Timeout timeout = {}) const {
        const Message message(actor_type, actor_id, method, timeout);
        if (message.problem()) return *message.problem();
        return detail::checked([&](auto **error) {
            return C::notify(get(), message.actor_type.c_str(), message.actor_id.c_str(), message.method.c_str(),
                             payload.get(), message.timeout_ms, error);
        });
    }

    /// Sends a request envelope and waits for the response envelope, which may be an error that the handler gave. A
    /// one-way envelope has none.
    Result<std::optional<Envelope>> try_send(const Envelope &envelope, Timeout timeout = {}) const {
        detail::Arguments arguments;
        const std::uint64_t timeout_ms = arguments.ms("timeout", timeout);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<quark_envelope_t>(
            [&](auto **response, auto **error) { return C::send(get(), envelope.get(), timeout_ms, response, error); },
            [](quark_envelope_t *response) {
                return response == nullptr ? std::optional<Envelope>() : std::optional<Envelope>(Envelope(response));
            });
    }

    /// The silo that owns an actor; nothing when nobody serves its type.
    Result<std::optional<std::string>> try_owner(std::string_view actor_type, std::string_view actor_id) const {
        detail::Arguments arguments;
        const std::string type = arguments.text("actor_type", actor_type), id = arguments.text("actor_id", actor_id);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<char>(
            [&](auto **owner, auto **error) { return C::owner(get(), type.c_str(), id.c_str(), owner, error); },
            detail::taken);
    }

    /// Where an actor belongs by the current view, and where it would go.
    Result<Explanation> try_explain(std::string_view actor_type, std::string_view actor_id) const {
        detail::Arguments arguments;
        const std::string type = arguments.text("actor_type", actor_type), id = arguments.text("actor_id", actor_id);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<quark_explanation_t>(
            [&](auto **made, auto **error) { return C::explain(get(), type.c_str(), id.c_str(), made, error); },
            [](quark_explanation_t *made) { return Explanation(made); });
    }

    /// The ring of an actor type in the current view; a copy.
    Result<HashRing> try_ring(std::string_view actor_type) const {
        detail::Arguments arguments;
        const std::string type = arguments.text("actor_type", actor_type);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<quark_ring_t>(
            [&](auto **ring, auto **error) { return C::ring(get(), type.c_str(), ring, error); },
            [](quark_ring_t *ring) { return HashRing(ring); });
    }

    /// The silos of the current view.
    Result<SiloList> try_silos() const {
        return detail::made<quark_silo_list_t>([&](auto **silos, auto **error) { return C::silos(get(), silos, error); },
                                               [](quark_silo_list_t *silos) { return SiloList(silos); });
    }

    /// Who would own an actor if its owner went, then if that one went too, `most` at most; see quark_silo_next_owners.
    Result<std::vector<std::string>> try_next_owners(std::string_view actor_type, std::string_view actor_id,
                                                     std::size_t most) const {
        return ranked(C::next_owners, actor_type, actor_id, most);
    }

    /// The owner and the silos for copies, spread over zones, `most` at most; see quark_silo_successors.
    Result<std::vector<std::string>> try_successors(std::string_view actor_type, std::string_view actor_id,
                                                    std::size_t most) const {
        return ranked(C::successors, actor_type, actor_id, most);
    }

    Result<Health> try_health() const {
        std::int32_t state = 0;
        std::int64_t since_ms = 0;
        char *reason = nullptr;
        const quark_status_t status = C::health(get(), &state, &since_ms, &reason);
        if (status != QUARK_OK) return Error(status);
        using std::chrono::system_clock;
        const auto since = std::chrono::duration_cast<system_clock::duration>(std::chrono::milliseconds(since_ms));
        return Health{state, system_clock::time_point(since), detail::taken(reason).value_or(std::string())};
    }

    /// Leaves: answers what came in and waits for what runs, `drain` at most. 0 waits for nothing.
    Result<void> try_stop(std::chrono::milliseconds drain = std::chrono::seconds(10)) {
        if (drain.count() < 0) {
            return detail::invalid("drain", std::to_string(drain.count()) + "ms", "must not be less than 0");
        }
        return detail::checked(
            [&](auto **error) { return C::stop(get(), static_cast<std::uint64_t>(drain.count()), error); });
    }

#if QUARK_HPP_EXCEPTIONS
    /// These are as the ones with `try_`, and throw the error.
    Bytes call(std::string_view actor_type, std::string_view actor_id, std::string_view method, BytesView payload = {},
               Timeout timeout = {}) const {
        return try_call(actor_type, actor_id, method, payload, timeout).value();
    }

    std::future<Bytes> call_async(std::string_view actor_type, std::string_view actor_id, std::string_view method,
                                  BytesView payload = {}, Timeout timeout = {}, Call *call = nullptr) const {
        std::promise<Bytes> promise;
        auto future = promise.get_future();
        auto keep = [promise = std::move(promise)](Result<Bytes> ending) mutable {
            if (ending) {
                promise.set_value(*std::move(ending));
            } else {
                promise.set_exception(std::make_exception_ptr(ending.error()));
            }
        };
        Call made = call_then(actor_type, actor_id, method, payload, timeout, std::move(keep));
        if (call != nullptr) *call = std::move(made);
        return future;
    }

    Call call_batched(std::string_view actor_type, std::string_view actor_id, std::string_view method,
                      BytesView payload, Timeout timeout, void *user_data) const {
        return try_call_batched(actor_type, actor_id, method, payload, timeout, user_data).value();
    }

    void call_many(const std::vector<Outgoing> &calls, Timeout timeout = {}) const { try_call_many(calls, timeout).value(); }

    void notify(std::string_view actor_type, std::string_view actor_id, std::string_view method, BytesView payload = {},
                Timeout timeout = {}) const {
        try_notify(actor_type, actor_id, method, payload, timeout).value();
    }

    std::optional<Envelope> send(const Envelope &envelope, Timeout timeout = {}) const {
        return try_send(envelope, timeout).value();
    }

    std::optional<std::string> owner(std::string_view actor_type, std::string_view actor_id) const {
        return try_owner(actor_type, actor_id).value();
    }

    Explanation explain(std::string_view actor_type, std::string_view actor_id) const {
        return try_explain(actor_type, actor_id).value();
    }
    HashRing ring(std::string_view actor_type) const { return try_ring(actor_type).value(); }

    std::vector<std::string> next_owners(std::string_view actor_type, std::string_view actor_id, std::size_t most) const {
        return try_next_owners(actor_type, actor_id, most).value();
    }

    std::vector<std::string> successors(std::string_view actor_type, std::string_view actor_id, std::size_t most) const {
        return try_successors(actor_type, actor_id, most).value();
    }

    SiloList silos() const { return try_silos().value(); }
    Health health() const { return try_health().value(); }
    void stop(std::chrono::milliseconds drain = std::chrono::seconds(10)) { try_stop(drain).value(); }
#endif

    std::string_view id() const noexcept { return detail::view(C::id(get())); }
    /// The version of the current view; it grows by one with each.
    std::uint64_t view_version() const noexcept { return C::view_version(get()); }
    bool is_running() const noexcept { return C::is_running(get()); }
    typename C::type *get() const noexcept { return handle_.get(); }

protected:
    explicit Caller(typename C::type *started) noexcept : handle_(started) {}

    template <class T>
    static Result<T> started(const Config &config) {
        if (config.problem()) return *config.problem();
        return detail::made<typename C::type>([&](auto **to, auto **error) { return C::start(config.get(), to, error); },
                                              [](typename C::type *it) { return T(it); });
    }

private:
    struct Message : detail::Arguments {
        Message(std::string_view type, std::string_view id, std::string_view name, Timeout timeout)
            : actor_type(text("actor_type", type)),
              actor_id(text("actor_id", id)),
              method(text("method_name", name)),
              timeout_ms(ms("timeout", timeout)) {}

        std::string actor_type, actor_id, method;
        std::uint64_t timeout_ms;
    };

    /// Why calls could not be made whose endings go to Config::on_endings().
    std::optional<Error> unbatched(quark_status_t status) const {
        if (status == QUARK_OK) return {};
        if (status != QUARK_INVALID_ARGUMENT || get() == nullptr) return Error(status);
        return detail::invalid("on_endings", "none", "must be given to the config for calls like this");
    }

    template <class F>
    static void end(void *user_data, quark_bytes_t *reply, quark_error_t *error) noexcept {
        std::unique_ptr<F> function(static_cast<F *>(user_data));
        (*function)(Config::ended(reply, error));
    }

    Result<std::vector<std::string>> ranked(decltype(C::successors) ask, std::string_view actor_type,
                                            std::string_view actor_id, std::size_t most) const {
        detail::Arguments arguments;
        const std::string type = arguments.text("actor_type", actor_type), id = arguments.text("actor_id", actor_id);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<quark_silo_list_t>(
            [&](auto **silos, auto **error) { return ask(get(), type.c_str(), id.c_str(), most, silos, error); },
            [](quark_silo_list_t *list) {
                std::vector<std::string> ids;
                for (const SiloInfo &info : SiloList(list)) ids.emplace_back(info.id());
                return ids;
            });
    }

    void leave() noexcept {
        if (handle_ != nullptr) C::stop(get(), 0, nullptr);
        handle_.reset();
    }

    detail::Handle<typename C::type, C::free> handle_;
};

namespace detail {

struct SiloFunctions {
    using type = quark_silo_t;
    static constexpr auto start = quark_silo_start;
    static constexpr auto free = quark_silo_free;
    static constexpr auto stop = quark_silo_stop;
    static constexpr auto call = quark_silo_call;
    static constexpr auto call_async = quark_silo_call_async;
    static constexpr auto call_many = quark_silo_call_many;
    static constexpr auto notify = quark_silo_notify;
    static constexpr auto send = quark_silo_send;
    static constexpr auto owner = quark_silo_owner;
    static constexpr auto explain = quark_silo_explain;
    static constexpr auto ring = quark_silo_ring;
    static constexpr auto next_owners = quark_silo_next_owners;
    static constexpr auto successors = quark_silo_successors;
    static constexpr auto silos = quark_silo_silos;
    static constexpr auto health = quark_silo_health;
    static constexpr auto id = quark_silo_id;
    static constexpr auto view_version = quark_silo_view_version;
    static constexpr auto is_running = quark_silo_is_running;
};

struct ClientFunctions {
    using type = quark_client_t;
    static constexpr auto start = quark_client_start;
    static constexpr auto free = quark_client_free;
    static constexpr auto stop = quark_client_stop;
    static constexpr auto call = quark_client_call;
    static constexpr auto call_async = quark_client_call_async;
    static constexpr auto call_many = quark_client_call_many;
    static constexpr auto notify = quark_client_notify;
    static constexpr auto send = quark_client_send;
    static constexpr auto owner = quark_client_owner;
    static constexpr auto explain = quark_client_explain;
    static constexpr auto ring = quark_client_ring;
    static constexpr auto next_owners = quark_client_next_owners;
    static constexpr auto successors = quark_client_successors;
    static constexpr auto silos = quark_client_silos;
    static constexpr auto health = quark_client_health;
    static constexpr auto id = quark_client_id;
    static constexpr auto view_version = quark_client_view_version;
    static constexpr auto is_running = quark_client_is_running;
};

}  // namespace detail

/// A member of the cluster: hosts handlers, owns part of the ring, calls others.
class Silo : public Caller<detail::SiloFunctions> {
public:
    static Result<Silo> start(const Config &config) { return started<Silo>(config); }

    /// Whether this silo owns an actor by its current view and serves it; not when it leaves or has stopped.
    Result<bool> try_owns(std::string_view actor_type, std::string_view actor_id) const {
        detail::Arguments arguments;
        const std::string type = arguments.text("actor_type", actor_type), id = arguments.text("actor_id", actor_id);
        if (arguments.problem()) return *arguments.problem();
        bool owns = false;
        Result<void> asked =
            detail::checked([&](auto **error) { return quark_silo_owns(get(), type.c_str(), id.c_str(), &owns, error); });
        if (!asked) return asked.error();
        return owns;
    }

#if QUARK_HPP_EXCEPTIONS
    explicit Silo(const Config &config) : Silo(start(config).value()) {}
    bool owns(std::string_view actor_type, std::string_view actor_id) const {
        return try_owns(actor_type, actor_id).value();
    }
#endif

    /// Gives it another weight while it runs; see quark_silo_set_virtual_nodes.
    Result<void> try_set_virtual_nodes(std::uint32_t count) {
        return detail::checked([&](auto **error) { return quark_silo_set_virtual_nodes(get(), count, error); });
    }
    /// It keeps what it has and gets nothing new, until try_resume(); see quark_silo_drain.
    Result<void> try_drain() {
        return detail::checked([&](auto **error) { return quark_silo_drain(get(), error); });
    }
    Result<void> try_resume() {
        return detail::checked([&](auto **error) { return quark_silo_resume(get(), error); });
    }
#if QUARK_HPP_EXCEPTIONS
    void set_virtual_nodes(std::uint32_t count) { try_set_virtual_nodes(count).value(); }
    void drain() { try_drain().value(); }
    void resume() { try_resume().value(); }
#endif

    /// Where others dial it.
    std::string_view endpoint() const noexcept { return detail::view(quark_silo_endpoint(get())); }

private:
    friend Caller;
    explicit Silo(quark_silo_t *silo) noexcept : Caller(silo) {}
};

/// Calls actors and hosts nothing.
class Client : public Caller<detail::ClientFunctions> {
public:
    static Result<Client> start(const Config &config) { return started<Client>(config); }
#if QUARK_HPP_EXCEPTIONS
    explicit Client(const Config &config) : Client(start(config).value()) {}
#endif

private:
    friend Caller;
    explicit Client(quark_client_t *client) noexcept : Caller(client) {}
};

// ---- The parts, each usable alone -----------------------------------------------------------------------------------

/// Who is in a cluster, without a silo. Leaves when it is dropped.
class Membership {
public:
    /// Joins, or begins to look on when the config has no id; the first view is there when this returns.
    static Result<Membership> start(const Config &config) {
        if (config.problem()) return *config.problem();
        auto made = detail::made<quark_membership_t>(
            [&](auto **to, auto **error) { return quark_membership_new(config.get(), to, error); },
            [](quark_membership_t *membership) { return Membership(membership); });
        if (!made) return made;
        Result<void> started = detail::checked([&](auto **error) { return quark_membership_start(made->get(), error); });
        if (!started) return started.error();
        return made;
    }

    Membership(Membership &&) noexcept = default;
    Membership &operator=(Membership &&other) noexcept {
        if (this != &other) {
            leave();
            handle_ = std::move(other.handle_);
        }
        return *this;
    }
    ~Membership() { leave(); }

    Result<SiloList> try_silos() const {
        return detail::made<quark_silo_list_t>(
            [&](auto **silos, auto **error) { return quark_membership_silos(get(), silos, error); },
            [](quark_silo_list_t *silos) { return SiloList(silos); });
    }

    Result<std::optional<std::string>> try_owner(std::string_view actor_type, std::string_view actor_id) const {
        detail::Arguments arguments;
        const std::string type = arguments.text("actor_type", actor_type), id = arguments.text("actor_id", actor_id);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<char>(
            [&](auto **owner, auto **error) {
                return quark_membership_owner(get(), type.c_str(), id.c_str(), owner, error);
            },
            detail::taken);
    }

    /// The ring of an actor type in the current view; a copy.
    Result<HashRing> try_ring(std::string_view actor_type) const {
        detail::Arguments arguments;
        const std::string type = arguments.text("actor_type", actor_type);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<quark_ring_t>(
            [&](auto **ring, auto **error) { return quark_membership_ring(get(), type.c_str(), ring, error); },
            [](quark_ring_t *ring) { return HashRing(ring); });
    }

    Result<void> try_stop() {
        return detail::checked([&](auto **error) { return quark_membership_stop(get(), error); });
    }

#if QUARK_HPP_EXCEPTIONS
    explicit Membership(const Config &config) : Membership(start(config).value()) {}
    SiloList silos() const { return try_silos().value(); }
    std::optional<std::string> owner(std::string_view actor_type, std::string_view actor_id) const {
        return try_owner(actor_type, actor_id).value();
    }
    HashRing ring(std::string_view actor_type) const { return try_ring(actor_type).value(); }
    void stop() { try_stop().value(); }
#endif

    std::uint64_t view_version() const noexcept { return quark_membership_view_version(get()); }
    quark_membership_t *get() const noexcept { return handle_.get(); }

private:
    explicit Membership(quark_membership_t *membership) noexcept : handle_(membership) {}

    void leave() noexcept {
        if (handle_ != nullptr) quark_membership_stop(get(), nullptr);
        handle_.reset();
    }

    detail::Handle<quark_membership_t, quark_membership_free> handle_;
};

/// Sends envelopes to silos whose endpoint it was told; knows nothing of rings and views.
class Transport {
public:
    /// Begins to listen.
    static Result<Transport> start(const Config &config) {
        if (config.problem()) return *config.problem();
        auto made = detail::made<quark_transport_t>(
            [&](auto **to, auto **error) { return quark_transport_new(config.get(), to, error); },
            [](quark_transport_t *transport) { return Transport(transport); });
        if (!made) return made;
        Result<void> started = detail::checked([&](auto **error) { return quark_transport_start(made->get(), error); });
        if (!started) return started.error();
        return made;
    }

    /// Learns where a silo is and links to it.
    Result<void> try_connect(std::string_view silo_id, std::string_view endpoint) {
        detail::Arguments arguments;
        const std::string id = arguments.text("silo_id", silo_id), where = arguments.text("endpoint", endpoint);
        if (arguments.problem()) return *arguments.problem();
        return detail::checked(
            [&](auto **error) { return quark_transport_connect(get(), id.c_str(), where.c_str(), error); });
    }

    /// Forgets a silo.
    Result<void> try_disconnect(std::string_view silo_id) {
        detail::Arguments arguments;
        const std::string id = arguments.text("silo_id", silo_id);
        if (arguments.problem()) return *arguments.problem();
        return detail::checked([&](auto **error) { return quark_transport_disconnect(get(), id.c_str(), error); });
    }

    /// Sends a request envelope and waits for the response envelope. A one-way envelope has none.
    Result<std::optional<Envelope>> try_send(std::string_view target, const Envelope &envelope, Timeout timeout = {}) const {
        detail::Arguments arguments;
        const std::string id = arguments.text("target", target);
        const std::uint64_t timeout_ms = arguments.ms("timeout", timeout);
        if (arguments.problem()) return *arguments.problem();
        return detail::made<quark_envelope_t>(
            [&](auto **response, auto **error) {
                return quark_transport_send(get(), id.c_str(), envelope.get(), timeout_ms, response, error);
            },
            [](quark_envelope_t *response) {
                return response == nullptr ? std::optional<Envelope>() : std::optional<Envelope>(Envelope(response));
            });
    }

    Result<void> try_stop(std::chrono::milliseconds drain = std::chrono::seconds(10)) {
        if (drain.count() < 0) {
            return detail::invalid("drain", std::to_string(drain.count()) + "ms", "must not be less than 0");
        }
        return detail::checked([&](auto **error) {
            return quark_transport_stop(get(), static_cast<std::uint64_t>(drain.count()), error);
        });
    }

#if QUARK_HPP_EXCEPTIONS
    explicit Transport(const Config &config) : Transport(start(config).value()) {}
    void connect(std::string_view silo_id, std::string_view endpoint) { try_connect(silo_id, endpoint).value(); }
    void disconnect(std::string_view silo_id) { try_disconnect(silo_id).value(); }
    std::optional<Envelope> send(std::string_view target, const Envelope &envelope, Timeout timeout = {}) const {
        return try_send(target, envelope, timeout).value();
    }
    void stop(std::chrono::milliseconds drain = std::chrono::seconds(10)) { try_stop(drain).value(); }
#endif

    std::string_view local_silo_id() const noexcept { return detail::view(quark_transport_local_silo_id(get())); }
    /// Where it listens; empty when it only dials.
    std::string_view local_endpoint() const noexcept { return detail::view(quark_transport_local_endpoint(get())); }
    quark_transport_t *get() const noexcept { return handle_.get(); }

private:
    explicit Transport(quark_transport_t *transport) noexcept : handle_(transport) {}

    detail::Handle<quark_transport_t, quark_transport_free> handle_;
};

// ---- Logging --------------------------------------------------------------------------------------------------------

/// Gives log messages of `max_level` (QUARK_LOG_...) and graver ones to a callable
/// `void(std::int32_t level, std::string_view target, std::string_view message)`, in place of the one before.
template <class F>
Result<void> try_log_to(F function, std::int32_t max_level = QUARK_LOG_INFO) {
    auto call = [](void *user_data, std::int32_t level, const char *target, const char *message) noexcept {
        detail::callable<F>(user_data)(level, std::string_view(target), std::string_view(message));
    };
    return detail::said(quark_set_log_callback(call, new F(std::move(function)), detail::destroy<F>, max_level));
}

/// Ends that.
inline Result<void> try_log_nowhere() { return detail::said(quark_set_log_callback(nullptr, nullptr, nullptr, QUARK_LOG_INFO)); }

#if QUARK_HPP_EXCEPTIONS
template <class F>
void log_to(F function, std::int32_t max_level = QUARK_LOG_INFO) { try_log_to(std::move(function), max_level).value(); }
inline void log_nowhere() { try_log_nowhere().value(); }
#endif

}  // namespace quark

#endif
