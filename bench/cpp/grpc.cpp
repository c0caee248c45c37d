// gRPC C++: one bidirectional stream, callbacks, generic messages, so that nothing is parsed. A message is as long as an envelope and
// begins with the slot of its caller. Of several that wait to be written, all but the last are written with the hint that more come.
#include "../c/meter.h"

#include <deque>
#include <mutex>
#include <vector>

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

static const size_t HEAD = 117;
static const char *const METHOD = "/quark.Bench/Echo";

// Writes to a stream, which takes one at a time.
template <typename Reactor> class Outbox {
    Reactor &stream;
    std::mutex lock;
    // The first one is being written.
    std::deque<grpc::ByteBuffer> waiting;

    void write() {
        grpc::WriteOptions options;
        if (waiting.size() > 1) options.set_buffer_hint();
        stream.StartWrite(&waiting.front(), options);
    }

  public:
    explicit Outbox(Reactor &stream) : stream(stream) {}

    void push(grpc::ByteBuffer &&message) {
        std::lock_guard<std::mutex> locked(lock);
        waiting.push_back(std::move(message));
        if (waiting.size() == 1) write();
    }

    void is_written() {
        std::lock_guard<std::mutex> locked(lock);
        waiting.pop_front();
        if (!waiting.empty()) write();
    }
};

class Serving : public grpc::ServerGenericBidiReactor {
    Outbox<Serving> outbox{*this};
    grpc::ByteBuffer incoming;

  public:
    Serving() { StartRead(&incoming); }

    void OnReadDone(bool ok) override {
        if (!ok) return Finish(grpc::Status::OK);
        outbox.push(std::move(incoming));
        incoming = grpc::ByteBuffer();
        StartRead(&incoming);
    }

    void OnWriteDone(bool ok) override {
        if (ok) outbox.is_written();
    }

    void OnDone() override { delete this; }
};

class Service : public grpc::CallbackGenericService {
    grpc::ServerGenericBidiReactor *CreateReactor(grpc::GenericCallbackServerContext *) override { return new Serving; }
};

static int serve() {
    Service service;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterCallbackGenericService(&service);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server) fail("no port");
    printf("ready 127.0.0.1:%d\n", port);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    _exit(0);
}

class Calling : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
    const load_t &load;
    Outbox<Calling> outbox{*this};
    grpc::ByteBuffer incoming;
    std::vector<uint64_t> times;
    uint64_t end;
    bool warm = false;

    void request(uint32_t slot) {
        grpc::Slice slice(HEAD + load.payload);
        char *bytes = reinterpret_cast<char *>(const_cast<uint8_t *>(slice.begin()));
        memset(bytes, 7, slice.size());
        memcpy(bytes, &slot, sizeof slot);
        times[slot] = now();
        outbox.push(grpc::ByteBuffer(&slice, 1));
    }

  public:
    explicit Calling(const load_t &load)
        : load(load), times(size_t(load.depth)), end(now() + uint64_t(load.warm_up * 1e9)) {}

    void start() {
        StartRead(&incoming);
        StartCall();
        for (int slot = 0; slot < load.depth; slot++) request(uint32_t(slot));
    }

    void OnReadDone(bool ok) override {
        if (!ok) fail("the stream has ended");
        grpc::Slice slice;
        if (!incoming.TrySingleSlice(&slice).ok() && !incoming.DumpToSingleSlice(&slice).ok()) fail("not a message");
        uint32_t slot;
        memcpy(&slot, slice.begin(), sizeof slot);
        uint64_t time = now();
        record(time - times[slot]);
        if (time >= end) {
            if (warm) {
                report(&load, 1);
                _exit(0);
            }
            warm = true;
            begin(&load);
            end = now() + uint64_t(load.seconds * 1e9);
        }
        request(slot);
        StartRead(&incoming);
    }

    void OnWriteDone(bool ok) override {
        if (ok) outbox.is_written();
    }
};

int main(int argc, char **argv) {
    load_t load;
    if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve();
    if (!load_of(argc, argv, &load)) return 2;
    grpc::GenericStub stub(grpc::CreateChannel(address_of(&load), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    Calling calling(load);
    stub.PrepareBidiStreamingCall(&context, METHOD, grpc::StubOptions(), &calling);
    calling.start();
    for (;;) pause();
}
