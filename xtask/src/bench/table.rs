//! What is measured: every subject, every load, and which of them meet in which table. Nothing here runs anything.

/// A program that can serve and call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Driver {
    Rust,
    /// bench/c/quark.c
    C,
    /// bench/c/tcp.c
    CTcp,
    /// bench/c/zeromq.c
    CZeroMq,
    /// bench/cpp/grpc.cpp
    CppGrpc,
    /// bench/cpp/caf.cpp
    CppCaf,
    /// bench/ractor
    Ractor,
    /// python-tests/bench/echo.py
    Python,
    /// The same in a network of its own.
    Secluded,
}

/// One thing that is measured: who serves and who calls.
pub(super) struct Subject {
    pub(super) name: &'static str,
    /// What serves and which word it is told; nothing where a process calls itself.
    pub(super) serve: Option<(Driver, &'static str)>,
    pub(super) call: (Driver, &'static str),
    /// Processes that serve.
    pub(super) silos: usize,
    pub(super) actors: usize,
    /// Threads, one for each call, are not for thousands of calls.
    pub(super) deepest: usize,
    /// Whether a quick run has it.
    pub(super) quick: bool,
    /// Whether it is no peer, and only says how fast the machine is in the same minutes.
    pub(super) is_pace: bool,
}

impl Subject {
    const fn new(
        name: &'static str,
        serve: Option<(Driver, &'static str)>,
        call: (Driver, &'static str),
    ) -> Self {
        Self { name, serve, call, silos: 1, actors: 1, deepest: usize::MAX, quick: true, is_pace: false }
    }
    /// One program on both sides.
    const fn echo(name: &'static str, driver: Driver, serve: &'static str, call: &'static str) -> Self {
        Self::new(name, Some((driver, serve)), (driver, call))
    }
    /// A process that calls itself.
    const fn alone(name: &'static str, driver: Driver, call: &'static str) -> Self {
        Self::new(name, None, (driver, call))
    }
    const fn over(mut self, silos: usize, actors: usize) -> Self {
        self.silos = silos;
        self.actors = actors;
        self
    }
    const fn at_most(mut self, depth: usize) -> Self {
        self.deepest = depth;
        self
    }
    const fn full_only(mut self) -> Self {
        self.quick = false;
        self
    }
    const fn for_pace(mut self) -> Self {
        self.is_pace = true;
        self
    }
}

/// Under what it is measured.
pub(super) struct Load {
    pub(super) name: &'static str,
    pub(super) depth: usize,
    pub(super) payload: usize,
    /// All processes on one core: without the wake-up of another core, depth 1 measures the software.
    pub(super) one_core: bool,
    pub(super) quick: bool,
}

impl Load {
    const fn new(name: &'static str, depth: usize, payload: usize) -> Self {
        Self { name, depth, payload, one_core: false, quick: false }
    }
    const fn on_one_core(mut self) -> Self {
        self.one_core = true;
        self
    }
    const fn also_quick(mut self) -> Self {
        self.quick = true;
        self
    }
}

/// One table for each load.
pub(super) struct Group {
    pub(super) title: &'static str,
    /// Subjects to which the others are compared, each in a column.
    pub(super) baselines: &'static [&'static str],
    pub(super) loads: &'static [Load],
    pub(super) subjects: &'static [Subject],
}

const KIB: usize = 1024;

const BY_DEPTH: &[Load] = &[
    Load::new("depth 1", 1, 64),
    Load::new("depth 1, one core", 1, 64).on_one_core().also_quick(),
    Load::new("depth 16", 16, 64),
    Load::new("depth 256", 256, 64).also_quick(),
    Load::new("depth 4,096", 4096, 64),
];
const BY_PAYLOAD: &[Load] = &[
    Load::new("1 KiB, depth 8", 8, KIB),
    Load::new("64 KiB, depth 8", 8, 64 * KIB),
    Load::new("1 MiB, depth 8", 8, KIB * KIB).also_quick(),
];
const ALONE: &[Load] =
    &[Load::new("depth 1", 1, 64).also_quick(), Load::new("depth 256", 256, 64).also_quick()];
const DEEP: &[Load] = &[Load::new("depth 256", 256, 64).also_quick()];
const LOOKUPS: &[Load] = &[Load::new("10,000 keys", 1, 64).also_quick()];
const CHANGES: &[Load] = &[Load::new("1,000 silos", 1, 64).also_quick()];
const BESIDE: &[Load] = &[Load::new("depth 16", 16, 64).also_quick()];

const C_TCP: Subject = Subject::echo("C TCP (floor)", Driver::CTcp, "tcp", "tcp");
const TCP: Subject = Subject::echo("tokio TCP + prost", Driver::Rust, "tcp", "tcp");
const TCP_FUTURES: Subject = Subject::echo(TOKIO_TCP, Driver::Rust, "tcp", "tcp-futures");
const ZEROMQ: Subject = Subject::echo(ZEROMQ_C, Driver::CZeroMq, "zeromq", "zeromq");
const CPP_GRPC: Subject = Subject::echo(GRPC_CPP, Driver::CppGrpc, "grpc", "grpc");
const CPP_CAF: Subject = Subject::echo(CAF, Driver::CppCaf, "caf", "caf");
const RACTOR_CLUSTER: Subject = Subject::echo(RACTOR, Driver::Ractor, "ractor", "ractor");
const TONIC: Subject = Subject::echo(RAW_TONIC, Driver::Rust, "tonic", "tonic");
const TONIC_TWO: Subject =
    Subject::echo("raw tonic, two threads", Driver::Rust, "tonic-two", "tonic-two").full_only();
const TONIC_FRAMES: Subject =
    Subject::echo("raw tonic, frames as large as Quark's", Driver::Rust, "tonic-frames", "tonic-frames");
const RUST: Subject = Subject::echo("Quark, Rust", Driver::Rust, "quark", "quark");
const RUST_TLS: Subject = Subject::echo("Quark, Rust, TLS", Driver::Rust, "quark-tls", "quark-tls");
const RUST_HTTP3: Subject = Subject::echo("Quark, Rust, HTTP/3", Driver::Rust, "quark-http3", "quark-http3");
const RUST_WITH: Subject =
    Subject::echo("Quark, Rust, no future per request", Driver::Rust, "quark", "quark-with");
const C: Subject = Subject::echo("Quark, C", Driver::C, "callbacks", "callbacks");
const C_BATCHES: Subject = Subject::echo("Quark, C, batches", Driver::C, "batches", "batches");
const C_CALLS: Subject =
    Subject::echo("Quark, C, blocking calls", Driver::C, "callbacks", "calls").at_most(256).full_only();

const PY_TCP: Subject = Subject::echo(ASYNCIO_TCP, Driver::Python, "tcp", "tcp");
const PY_TASKS: Subject =
    Subject::echo("asyncio TCP, a task per request", Driver::Python, "tcp-tasks", "tcp");
const PY_ZEROMQ: Subject = Subject::echo("pyzmq asyncio", Driver::Python, "zeromq", "zeromq");
const PY_GRPC: Subject = Subject::echo("grpc.aio", Driver::Python, "grpc", "grpc");
/// It takes ten seconds to begin and to end.
const PY_RAY: Subject = Subject::echo(RAY, Driver::Secluded, "ray", "ray").full_only();
const PY_DEF: Subject = Subject::echo("Quark, Python, def", Driver::Python, "quark-def", "quark-call");
const PY_ASYNC: Subject =
    Subject::echo("Quark, Python, async def", Driver::Python, "quark-async", "quark-call");
const PY_MANY: Subject =
    Subject::echo("Quark, Python, def, call_many", Driver::Python, "quark-def", "quark-many");
const PY_BLOCKING: Subject =
    Subject::echo("Quark, Python, blocking, threads", Driver::Python, "quark-def", "quark-blocking")
        .at_most(256);
const PY_FROM_C: Subject = Subject::new(
    "Quark, C calls Python (def)",
    Some((Driver::Python, "quark-def")),
    (Driver::C, "callbacks"),
);
const C_FROM_PY: Subject =
    Subject::new("Quark, Python calls C", Some((Driver::C, "callbacks")), (Driver::Python, "quark-call"));

pub(super) const ZEROMQ_C: &str = "ZeroMQ in C";
pub(super) const GRPC_CPP: &str = "gRPC C++";
pub(super) const CAF: &str = "CAF (C++)";
pub(super) const RACTOR: &str = "ractor_cluster";
pub(super) const RAW_TONIC: &str = "raw tonic, one thread";
pub(super) const RAY: &str = "Ray";
pub(super) const TOKIO_TCP: &str = "tokio TCP + prost, a future per request";
pub(super) const ASYNCIO_TCP: &str = "asyncio TCP";
/// The same once more, in the rounds of those that are compared with it there.
pub(super) const ASYNCIO_BESIDE: &str = "asyncio TCP in these rounds";
pub(super) const MD5: &str = "MD5 of the key alone";

const MD5_ALONE: Subject = Subject::alone(MD5, Driver::Rust, "ring-md5");

/// What `cargo xtask bench` measures.
pub(super) const GROUPS: &[Group] = &[
    Group {
        title: "Rust and C, 64 B",
        baselines: &[RAW_TONIC, "C TCP (floor)"],
        loads: BY_DEPTH,
        subjects: &[
            C_TCP,
            TCP,
            TCP_FUTURES,
            ZEROMQ,
            RACTOR_CLUSTER,
            CPP_GRPC,
            CPP_CAF,
            TONIC,
            TONIC_TWO,
            RUST,
            RUST_TLS,
            RUST_HTTP3,
            RUST_WITH,
            C,
            C_BATCHES,
            C_CALLS,
        ],
    },
    Group {
        title: "Rust and C, larger payloads",
        baselines: &[RAW_TONIC, "C TCP (floor)"],
        loads: BY_PAYLOAD,
        subjects: &[
            C_TCP,
            TCP_FUTURES,
            ZEROMQ,
            TONIC,
            TONIC_TWO,
            TONIC_FRAMES,
            RUST,
            RUST_TLS,
            RUST_HTTP3,
            C,
            C_BATCHES,
        ],
    },
    Group {
        title: "Python, 64 B",
        baselines: &[ASYNCIO_TCP, "asyncio TCP, a task per request"],
        loads: BY_DEPTH,
        subjects: &[
            PY_TCP,
            PY_TASKS,
            PY_ZEROMQ,
            PY_GRPC,
            PY_RAY,
            PY_DEF,
            PY_ASYNC,
            PY_MANY,
            PY_BLOCKING,
            PY_FROM_C,
            C_FROM_PY,
        ],
    },
    Group {
        title: "Python, larger payloads",
        baselines: &[ASYNCIO_TCP],
        loads: BY_PAYLOAD,
        subjects: &[PY_TCP, PY_ZEROMQ, PY_GRPC, PY_DEF, PY_ASYNC],
    },
    Group {
        title: "Calls to the own silo, 64 B",
        baselines: &["own silo, Rust"],
        loads: ALONE,
        subjects: &[
            Subject::alone("own silo, Rust", Driver::Rust, "local"),
            Subject::alone("own silo, C", Driver::C, "local"),
            Subject::alone("own silo, C, batches", Driver::C, "local-batches"),
            Subject::alone("own silo, Python, def", Driver::Python, "quark-local"),
            Subject::alone("own silo, Python, async def", Driver::Python, "quark-local-async"),
            MD5_ALONE.for_pace(),
            Subject::echo(ASYNCIO_BESIDE, Driver::Python, "tcp", "tcp").for_pace(),
        ],
    },
    Group {
        title: "One-way, 64 B, in windows of 256 that end with a call",
        baselines: &["one-way, Rust"],
        loads: DEEP,
        subjects: &[
            Subject::echo("one-way, Rust", Driver::Rust, "quark", "one-way"),
            Subject::echo("one-way, C", Driver::C, "callbacks", "one-way"),
            Subject::echo("one-way, Python, def", Driver::Python, "quark-def", "quark-one-way"),
        ],
    },
    Group {
        title: "Many actors and silos, 64 B",
        baselines: &["1,000 actors, Rust"],
        loads: DEEP,
        subjects: &[
            Subject::echo("1,000 actors, Rust", Driver::Rust, "quark", "quark").over(1, 1000),
            Subject::echo("1,000 actors, C", Driver::C, "callbacks", "callbacks").over(1, 1000),
            Subject::echo("1,000 actors, Python, def", Driver::Python, "quark-def", "quark-call")
                .over(1, 1000),
            Subject::echo("8 silos, Rust", Driver::Rust, "quark", "quark").over(8, 1000),
            Subject::echo("8 silos, C", Driver::C, "callbacks", "callbacks").over(8, 1000),
            Subject::echo("8 silos, Python, def", Driver::Python, "quark-def", "quark-call").over(8, 1000),
        ],
    },
    Group {
        title: "Small calls beside a caller that moves 1 MiB there and back",
        baselines: &["small calls alone"],
        loads: BESIDE,
        subjects: &[
            Subject::echo("small calls alone", Driver::Rust, "quark", "quark"),
            Subject::echo("small calls beside 1 MiB", Driver::Rust, "quark", "beside-large"),
        ],
    },
    Group {
        title: "Hash ring: lookups a second; times are of 10,000",
        baselines: &[MD5, "hashlib.md5 alone"],
        loads: LOOKUPS,
        subjects: &[
            MD5_ALONE,
            Subject::alone("lookup, 3 silos", Driver::Rust, "ring-3"),
            Subject::alone("lookup, 1,000 silos", Driver::Rust, "ring-1000"),
            Subject::alone("lookup, 1,000 silos, batch", Driver::Rust, "ring-batch"),
            Subject::alone("hashlib.md5 alone", Driver::Python, "ring-md5"),
            Subject::alone("lookup from Python, 1,000 silos, batch", Driver::Python, "ring-batch"),
            Subject::alone("lookup from Python, 1,000 silos, Arrow column", Driver::Python, "ring-column"),
        ],
    },
    Group {
        title: "Hash ring: changes a second; times are of one silo in and out",
        baselines: &[],
        loads: CHANGES,
        subjects: &[Subject::alone("a silo in or out", Driver::Rust, "ring-change")],
    },
];

/// What `cargo xtask bench --lossy` measures.
pub(super) const LOSSY: &[Group] = &[Group {
    title: "1 % of the packets lost",
    baselines: &["Quark, Rust, TLS"],
    loads: &[
        Load::new("depth 1", 1, 64).also_quick(),
        Load::new("depth 256", 256, 64).also_quick(),
        Load::new("1 MiB, depth 8", 8, KIB * KIB).also_quick(),
    ],
    subjects: &[RUST, RUST_TLS, RUST_HTTP3],
}];

/// What `cargo xtask bench --growth` measures.
pub(super) const GROWTH: &[Group] = &[
    Group {
        title: "1,000 actors on more silos",
        baselines: &["Rust, 1 silo"],
        loads: DEEP,
        subjects: &[
            Subject::echo("Rust, 1 silo", Driver::Rust, "quark", "quark").over(1, 1000),
            Subject::echo("Rust, 2 silos", Driver::Rust, "quark", "quark").over(2, 1000),
            Subject::echo("Rust, 4 silos", Driver::Rust, "quark", "quark").over(4, 1000),
            Subject::echo("Rust, 8 silos", Driver::Rust, "quark", "quark").over(8, 1000),
        ],
    },
    Group {
        title: "More callers at once, one silo",
        baselines: &[RAW_TONIC],
        loads: &[
            Load::new("1 caller", 1, 64).also_quick(),
            Load::new("10 callers", 10, 64).also_quick(),
            Load::new("100 callers", 100, 64).also_quick(),
            Load::new("1,000 callers", 1000, 64).also_quick(),
            Load::new("10,000 callers", 10_000, 64).also_quick(),
        ],
        subjects: &[TONIC, RUST, C],
    },
];
