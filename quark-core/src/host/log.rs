//! What Quark has to say, for a host that knows nothing of `tracing`: a subscriber, a bounded queue, and a thread of its
//! own that delivers, so that a slow log never holds up the runtime. Without a sink logging costs nothing.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, mpsc};
use std::thread::ThreadId;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::error::{Error, ErrorKind, Result};

/// Takes a message: its level (1 error, 2 warning, 3 info, 4 debug, 5 trace), its target and its text, which ends with
/// the event's fields as ` key=value`.
pub type LogSink = Box<dyn FnMut(i32, &str, &str) + Send>;

/// Messages that may wait for the sink.
const CAPACITY: usize = 4096;
const WARN: i32 = 2;

enum Item {
    Message { level: i32, target: &'static str, message: String },
    Change { to: Option<LogSink>, done: mpsc::Sender<()> },
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
/// The most detailed level that the sink wants; 0 without a sink.
static MAX_LEVEL: AtomicI32 = AtomicI32::new(0);

/// Gives log messages of `max_level` and graver ones to a sink, one at a time, on a thread that does nothing else; `None`
/// ends that. The sink that was there before gets what was logged before and is dropped, and then this returns; called
/// inside a sink it does not wait for that. Messages beyond 4,096 waiting ones are dropped, and their number is logged.
///
/// # Errors
/// `INVALID_ARGUMENT` naming `max_level`; `NOT_RUNNING` in a forked child; `INTERNAL` in a program that has a `tracing`
/// subscriber of its own, which gets the messages.
pub fn set_log_sink(max_level: i32, sink: Option<LogSink>) -> Result<()> {
    super::check_fork()?;
    if sink.is_some() && !(1..=5).contains(&max_level) {
        return Err(Error::invalid("max_level", max_level, "must be 1 to 5"));
    }
    if sink.is_none() && LOG.thread.get().is_none() {
        return Ok(());
    }
    let level = if sink.is_some() { max_level } else { 0 };
    LOG.start()?;
    let (done, changed) = mpsc::channel();
    LOG.push(Item::Change { to: sink, done });
    MAX_LEVEL.store(level, Ordering::Release);
    tracing::callsite::rebuild_interest_cache();
    if LOG.thread.get() != Some(&std::thread::current().id()) {
        let _ = changed.recv();
    }
    Ok(())
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
        super::handle()?;
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
        let mut sink: Option<LogSink> = None;
        loop {
            let (items, dropped) = {
                let mut queue = self.lock();
                while queue.items.is_empty() {
                    queue = self.news.wait(queue).expect("no panic while locked");
                }
                (std::mem::take(&mut queue.items), std::mem::take(&mut queue.dropped))
            };
            for item in items {
                match (item, &mut sink) {
                    (Item::Message { level, target, message }, Some(sink)) => sink(level, target, &message),
                    (Item::Message { .. }, None) => {}
                    (Item::Change { to, done }, _) => {
                        sink = to;
                        let _ = done.send(());
                    }
                }
            }
            if let Some(sink) = sink.as_mut().filter(|_| dropped > 0) {
                sink(
                    WARN,
                    crate::telemetry::SILO,
                    &format!("{dropped} log messages were dropped, the sink is too slow"),
                );
            }
        }
    }
}

/// The subscriber: puts Quark's events into the queue and ignores everything else.
struct ToQueue;

fn number(level: &Level) -> i32 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
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
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            5 => LevelFilter::TRACE,
            _ => LevelFilter::OFF,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Line::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let message = text.message + &text.fields;
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
