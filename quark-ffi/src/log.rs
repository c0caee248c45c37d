//! What Quark has to say, for a callback of C's: a `tracing` subscriber, a bounded queue, and a thread that delivers.

use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_void};
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, mpsc};
use std::thread::ThreadId;

use quark_core::{Error, ErrorKind, Result, host};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::callback::{UserData, quark_finalizer_fn};
use crate::guard;
use crate::status::quark_status_t;
use crate::text::c_string;

/// Log level: something is broken.
pub const QUARK_LOG_ERROR: i32 = 1;
/// Log level: something is wrong, and Quark goes on.
pub const QUARK_LOG_WARN: i32 = 2;
/// Log level: what an operator wants to read: starts, stops, silos that come and go.
pub const QUARK_LOG_INFO: i32 = 3;
/// Log level: for finding out.
pub const QUARK_LOG_DEBUG: i32 = 4;
/// Log level: everything.
pub const QUARK_LOG_TRACE: i32 = 5;

/// Takes a log message. `target` is `quark::silo`, `quark::membership`, `quark::link` or `quark::handler`; `message` ends with the
/// event's fields as ` key=value`. Both live until the callback returns.
pub type quark_log_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, level: i32, target: *const c_char, message: *const c_char),
>;

type LogFn = unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char);

/// Messages that may wait for the callback.
const CAPACITY: usize = 4096;

struct Logger {
    function: LogFn,
    data: Arc<UserData>,
}

enum Item {
    Message { level: i32, target: &'static str, message: CString },
    Change { to: Option<Logger>, done: mpsc::Sender<()> },
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    dropped: u64,
}

/// The queue and the thread behind it, of this process.
struct Log {
    queue: Mutex<Queue>,
    news: Condvar,
    thread: OnceLock<ThreadId>,
}

static LOG: Log = Log {
    queue: Mutex::new(Queue { items: VecDeque::new(), dropped: 0 }),
    news: Condvar::new(),
    thread: OnceLock::new(),
};
/// The most detailed level that the callback wants; 0 without a callback.
static MAX_LEVEL: AtomicI32 = AtomicI32::new(0);

/// Gives log messages of `max_level` (`QUARK_LOG_...`) and graver ones to a callback, one at a time, on a thread that does
/// nothing else; NULL as the callback ends that. The callback that was there before gets what was logged before, then
/// its finalizer runs, and then this returns; called inside the log callback it does not wait for that. Messages
/// beyond 4,096 waiting ones are dropped, and their number is logged. Without a callback logging costs nothing.
///
/// `QUARK_INVALID_ARGUMENT`; `QUARK_NOT_RUNNING` in a forked child; `QUARK_INTERNAL` in a Rust program that has a `tracing`
/// subscriber of its own, which gets the messages.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_set_log_callback(
    callback: quark_log_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
    max_level: i32,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    guard::status(|| {
        host::check_fork()?;
        if !(QUARK_LOG_ERROR..=QUARK_LOG_TRACE).contains(&max_level) && callback.is_some() {
            return Err(Error::invalid("max_level", max_level, "must be 1 to 5"));
        }
        let logger = callback.map(|function| Logger { function, data });
        if logger.is_none() && LOG.thread.get().is_none() {
            return Ok(());
        }
        let level = if logger.is_some() { max_level } else { 0 };
        LOG.start()?;
        let (done, changed) = mpsc::channel();
        LOG.push(Item::Change { to: logger, done });
        MAX_LEVEL.store(level, Ordering::Release);
        tracing::callsite::rebuild_interest_cache();
        if LOG.thread.get() != Some(&std::thread::current().id()) {
            let _ = changed.recv();
        }
        Ok(())
    })
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no panic while locked")
    }

    fn push(&self, item: Item) {
        let mut queue = self.lock();
        if matches!(item, Item::Message { .. }) && queue.items.len() >= CAPACITY {
            queue.dropped += 1;
            return;
        }
        queue.items.push_back(item);
        if queue.items.len() == 1 {
            drop(queue);
            self.news.notify_one();
        }
    }

    /// Starts what is needed, once.
    fn start(&'static self) -> Result<()> {
        static STARTED: Mutex<bool> = Mutex::new(false);
        let mut started = STARTED.lock().expect("no panic while locked");
        if *started {
            return Ok(());
        }
        // Makes the runtime, by whose process a forked child is recognized.
        host::handle()?;
        tracing::subscriber::set_global_default(ToQueue)
            .map_err(|_| Error::new(ErrorKind::Internal, "this program has a tracing subscriber already"))?;
        let thread = std::thread::Builder::new().name("quark-log".to_owned()).spawn(|| self.deliver());
        let thread = thread
            .map_err(|error| Error::new(ErrorKind::Internal, format!("no thread for the log: {error}")))?;
        let _ = self.thread.set(thread.thread().id());
        *started = true;
        Ok(())
    }

    fn deliver(&self) {
        let mut logger: Option<Logger> = None;
        loop {
            let (items, dropped) = {
                let mut queue = self.lock();
                while queue.items.is_empty() {
                    queue = self.news.wait(queue).expect("no panic while locked");
                }
                (std::mem::take(&mut queue.items), std::mem::take(&mut queue.dropped))
            };
            for item in items {
                match item {
                    Item::Message { level, target, message } => {
                        tell(logger.as_ref(), level, target, &message);
                    }
                    Item::Change { to, done } => {
                        logger = to;
                        let _ = done.send(());
                    }
                }
            }
            if dropped > 0 {
                let message =
                    c_string(&format!("{dropped} log messages were dropped, the callback is too slow"));
                tell(logger.as_ref(), QUARK_LOG_WARN, quark_core::SILO, &message);
            }
        }
    }
}

fn tell(logger: Option<&Logger>, level: i32, target: &str, message: &CString) {
    if let Some(logger) = logger {
        let target = c_string(target);
        // SAFETY: the data lives as long as the logger; the texts live until the callback has returned.
        unsafe { (logger.function)(logger.data.pointer(), level, target.as_ptr(), message.as_ptr()) };
    }
}

/// The subscriber: puts Quark's events into the queue and ignores everything else.
struct ToQueue;

fn number(level: &Level) -> i32 {
    match *level {
        Level::ERROR => QUARK_LOG_ERROR,
        Level::WARN => QUARK_LOG_WARN,
        Level::INFO => QUARK_LOG_INFO,
        Level::DEBUG => QUARK_LOG_DEBUG,
        Level::TRACE => QUARK_LOG_TRACE,
    }
}

impl Subscriber for ToQueue {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // The cache is rebuilt when the level changes.
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("quark")
            && number(metadata.level()) <= MAX_LEVEL.load(Ordering::Acquire)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match MAX_LEVEL.load(Ordering::Acquire) {
            QUARK_LOG_ERROR => LevelFilter::ERROR,
            QUARK_LOG_WARN => LevelFilter::WARN,
            QUARK_LOG_INFO => LevelFilter::INFO,
            QUARK_LOG_DEBUG => LevelFilter::DEBUG,
            QUARK_LOG_TRACE => LevelFilter::TRACE,
            _ => LevelFilter::OFF,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Line::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let message = c_string(&(text.message + &text.fields));
        LOG.push(Item::Message { level: number(metadata.level()), target: metadata.target(), message });
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An event as one line: the message, then ` key=value` for each field.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
