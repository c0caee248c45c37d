// A connection to Redis, for programs that want no further library: commands out, replies in, one after the other.
#ifndef RESP_HPP
#define RESP_HPP

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace resp {

// Text, a number as text, or several replies; nothing for a key that is not there.
struct Reply {
    bool is_nothing = false;
    std::string text;
    std::vector<Reply> items;
};

class Connection {
public:
    // `redis://HOST:PORT`, with `/DATABASE` if need be.
    explicit Connection(const std::string &url) {
        const std::string rest = url.substr(url.find("://") + 3);
        const std::size_t slash = rest.find('/'), colon = rest.find(':');
        const std::string host = rest.substr(0, std::min(slash, colon));
        const std::string port = colon < slash ? rest.substr(colon + 1, slash - colon - 1) : "6379";
        addrinfo hints{}, *found = nullptr;
        hints.ai_socktype = SOCK_STREAM;
        if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) throw std::runtime_error("no address for " + host);
        for (const addrinfo *at = found; at != nullptr && socket_ < 0; at = at->ai_next) {
            socket_ = ::socket(at->ai_family, at->ai_socktype, at->ai_protocol);
            if (socket_ >= 0 && ::connect(socket_, at->ai_addr, at->ai_addrlen) != 0) {
                ::close(socket_);
                socket_ = -1;
            }
        }
        freeaddrinfo(found);
        if (socket_ < 0) throw std::runtime_error("cannot connect to " + host + ":" + port);
        if (slash != std::string::npos && slash + 1 < rest.size()) command({"SELECT", rest.substr(slash + 1)});
    }
    ~Connection() { ::close(socket_); }
    Connection(const Connection &) = delete;
    Connection &operator=(const Connection &) = delete;

    Reply command(const std::vector<std::string> &words) {
        std::string out = "*" + std::to_string(words.size()) + "\r\n";
        for (const std::string &word : words) out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
        for (std::string_view left = out; !left.empty();) {
            const ssize_t sent = ::send(socket_, left.data(), left.size(), MSG_NOSIGNAL);
            if (sent <= 0) throw std::runtime_error("Redis is gone");
            left.remove_prefix(static_cast<std::size_t>(sent));
        }
        return reply();
    }

private:
    Reply reply() {
        const std::string line = this->line();
        const std::string rest = line.substr(1);
        Reply reply;
        switch (line[0]) {
        case '-':
            throw std::runtime_error("Redis says " + rest);
        case '$':
            reply.is_nothing = rest == "-1";
            if (!reply.is_nothing) {
                reply.text = bytes(std::stoul(rest) + 2);
                reply.text.resize(reply.text.size() - 2);
            }
            break;
        case '*':
            for (long left = std::stol(rest); left > 0; --left) reply.items.push_back(this->reply());
            break;
        default:
            reply.text = rest;
        }
        return reply;
    }

    std::string line() {
        std::size_t end;
        while ((end = buffer_.find("\r\n")) == std::string::npos) receive();
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 2);
        if (line.empty()) throw std::runtime_error("no reply of Redis");
        return line;
    }

    std::string bytes(std::size_t count) {
        while (buffer_.size() < count) receive();
        std::string bytes = buffer_.substr(0, count);
        buffer_.erase(0, count);
        return bytes;
    }

    void receive() {
        char more[16 * 1024];
        const ssize_t received = ::recv(socket_, more, sizeof more, 0);
        if (received <= 0) throw std::runtime_error("Redis is gone");
        buffer_.append(more, static_cast<std::size_t>(received));
    }

    int socket_ = -1;
    std::string buffer_;
};

} // namespace resp

#endif
