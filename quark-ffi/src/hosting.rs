//! On which threads callbacks run, and when finalizers do.
//!
//! Each silo, client, membership and transport has one [`Host`] with a pool of threads that runs its replies and events;
//! each handler has a pool of its own, so that one that never returns holds up nobody else. Whatever will end in a
//! callback holds a [`Token`]; when the host is closed and the last token is back, the finalizers run, as the last thing
//! on the pool. So no finalizer runs before the last callback has returned, and none inside the runtime.

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quark_core::host::{self, Waiter, Workers};
use quark_core::{Endings, Error, ErrorKind, Handler, MembershipEvent, Request, Result};

use crate::callback::{
    Callback, EndingBatchFn, MembershipFn, Pointer, QUARK_SILO_JOINED, QUARK_SILO_LEFT, QUARK_SILO_UPDATED,
    ReplyFn, RequestFn, Unowned, UserData, quark_reply_fn,
};
use crate::config::quark_config_t;
use crate::event_loop::Loop;
use crate::handle;
use crate::job::{Ended, Job};
use crate::silo_info::quark_silo_info_t;

/// The threads of one silo's callbacks, and what these own.
pub(crate) struct Host {
    desk: Desk,
    /// Of each pool.
    threads: usize,
    /// Tokens given out, and the top bit once closed.
    tokens: AtomicUsize,
    /// Hears of the endings of calls without a callback of their own.
    endings: Option<Unowned<EndingBatchFn>>,
    ending: Mutex<Ending>,
}

/// Where callbacks run.
enum Desk {
    /// On threads of Quark's.
    Threads(Workers<Job>),
    /// Where the program runs its own.
    Loop(Arc<Loop>),
}

impl Desk {
    fn new(name: &str, threads: usize, event_loop: Option<&Arc<Loop>>) -> Self {
        match event_loop {
            None => Self::Threads(Workers::grouped(name, threads, Job::together(), Job::run)),
            Some(event_loop) => Self::Loop(event_loop.clone()),
        }
    }

    fn push(&self, job: Job) {
        match self {
            Self::Threads(workers) => workers.push(job),
            Self::Loop(event_loop) => event_loop.push(job),
        }
    }
}

const CLOSED: usize = 1 << (usize::BITS - 1);

#[derive(Default)]
struct Ending {
    finished: bool,
    owned: Vec<Arc<UserData>>,
    waiting: Vec<Box<dyn FnOnce(Result<()>) + Send>>,
}

/// Something that will end in a callback. Finalizers wait for it.
pub(crate) struct Token(Arc<Host>);

/// A callback that runs on this thread.
struct Running {
    host: *const Host,
    after: Vec<Box<dyn FnOnce()>>,
}

thread_local! {
    /// The innermost is the last: who waits on a thread that runs a loop runs callbacks inside a callback.
    static RUNNING: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

impl Host {
    /// A host whose callbacks of one kind run on so many threads at once, or in a loop, as the config says.
    pub(crate) fn new(config: &quark_config_t) -> Arc<Self> {
        crate::fork::watch();
        let threads = config.callback_threads;
        let on_endings = config.on_endings.as_ref();
        let owned = on_endings.map(Callback::data).into_iter().collect();
        Arc::new(Self {
            desk: Desk::new("quark-callback", threads, config.event_loop.as_ref()),
            threads,
            tokens: AtomicUsize::new(0),
            endings: on_endings.map(Callback::unowned),
            ending: Mutex::new(Ending { owned, ..Ending::default() }),
        })
    }

    fn ending(&self) -> MutexGuard<'_, Ending> {
        self.ending.lock().expect("no panic while locked")
    }

    /// A token, unless the host is closed.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Token> {
        let token = Token(self.clone());
        let open = self.tokens.fetch_add(1, Ordering::AcqRel) & CLOSED == 0;
        open.then_some(token)
    }

    /// No callback begins after this but those that have a token. Finalizers run after the last of them.
    pub(crate) fn close(self: &Arc<Self>) {
        if self.tokens.fetch_or(CLOSED, Ordering::AcqRel) == 0 {
            self.desk.push(Job::Finish(self.clone()));
        }
    }

    /// The outcome of a start; after a failure nothing of C's is called or owned any more.
    pub(crate) fn or_close<T>(self: &Arc<Self>, started: Result<T>) -> Result<T> {
        if started.is_err() && host::check_fork().is_ok() {
            self.close();
            let _ = self.wait(self.finished());
        }
        started
    }

    /// Blocks until the result is there. Callbacks that wait for the program's loop are run meanwhile, on this thread:
    /// the result may depend on them.
    pub(crate) fn wait<T>(&self, mut waiter: Waiter<T>) -> Result<T> {
        let Desk::Loop(event_loop) = &self.desk else { return waiter.wait() };
        const LOOK_AGAIN: Duration = Duration::from_millis(2);
        loop {
            // Not all that is due at once: slow callbacks must not hold up who waits when the result is there.
            let ran = event_loop.run_due(1);
            if let Some(result) = waiter.wait_for(if ran > 0 { Duration::ZERO } else { LOOK_AGAIN }) {
                return result;
            }
        }
    }

    /// What waits until the finalizers have run.
    pub(crate) fn finished(&self) -> Waiter<()> {
        let (done, waiter) = host::done_and_waiter();
        let mut ending = self.ending();
        if ending.finished {
            drop(ending);
            done.tell(Ok(()));
        } else {
            ending.waiting.push(Box::new(|ended| done.tell(ended)));
        }
        waiter
    }

    /// Runs the finalizers, and tells who waits for that.
    pub(crate) fn finish(&self) {
        let owned = std::mem::take(&mut self.ending().owned);
        drop(owned);
        let waiting = {
            let mut ending = self.ending();
            ending.finished = true;
            std::mem::take(&mut ending.waiting)
        };
        waiting.into_iter().for_each(|done| done(Ok(())));
    }

    /// Whether this thread runs a callback of this host.
    pub(crate) fn is_running_here(&self) -> bool {
        RUNNING.with_borrow(|running| running.iter().any(|running| std::ptr::eq(running.host, self)))
    }

    /// Does something when the outermost callback of this host that runs on this thread has returned.
    pub(crate) fn after_callback(&self, work: impl FnOnce() + 'static) {
        RUNNING.with_borrow_mut(|running| {
            let own = running.iter_mut().find(|running| std::ptr::eq(running.host, self));
            own.expect("only called inside a callback").after.push(Box::new(work));
        });
    }

    /// Keeps a callback's data until the last callback has returned.
    pub(crate) fn own<F: Copy>(&self, callback: &Callback<F>) {
        self.ending().owned.push(callback.data());
    }

    /// Runs something that may call callbacks where those run; after the end not at all.
    pub(crate) fn run_later(self: &Arc<Self>, work: Box<dyn FnOnce() + Send>) {
        if let Some(token) = self.enter() {
            self.desk.push(Job::Later(work, token));
        }
    }

    /// A handler that gives requests to this callback.
    pub(crate) fn handler(self: &Arc<Self>, callback: &Callback<RequestFn>) -> Arc<dyn Handler> {
        self.own(callback);
        let event_loop = match &self.desk {
            Desk::Threads(_) => None,
            Desk::Loop(event_loop) => Some(event_loop),
        };
        let desk = Desk::new("quark-handler", self.threads, event_loop);
        Arc::new(CHandler { host: self.clone(), desk, callback: callback.unowned() })
    }

    /// Does something where callbacks run.
    pub(crate) fn push(&self, job: Job) {
        self.desk.push(job);
    }

    /// What tells this callback of events, in order.
    pub(crate) fn events(
        self: &Arc<Self>,
        callback: &Callback<MembershipFn>,
    ) -> impl Fn(&MembershipEvent) -> bool + Send + Sync + 'static {
        self.own(callback);
        let (host, callback) = (self.clone(), callback.unowned());
        move |event| {
            let Some(token) = host.enter() else { return false };
            let kind = match event {
                MembershipEvent::Joined(_) => QUARK_SILO_JOINED,
                MembershipEvent::Left(_) => QUARK_SILO_LEFT,
                _ => QUARK_SILO_UPDATED,
            };
            let silo = Box::new(quark_silo_info_t::new(event.silo().clone()));
            host.desk.push(Job::Event { callback, kind, silo, token });
            true
        }
    }

    /// What takes the ending of a call and gives it to this callback or, without one, to that of the config, exactly
    /// once.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when there is neither; `NOT_RUNNING` when the host is closed.
    pub(crate) fn completion(
        self: &Arc<Self>,
        callback: quark_reply_fn,
        data: *mut c_void,
    ) -> Result<Completion> {
        let (to, token) = (self.listener(callback)?.of(Pointer(data)), self.enter_call()?);
        Ok(Completion { to, token: Some(token) })
    }

    /// The same for calls that are made at once: their keys are addresses of their data.
    ///
    /// # Errors
    /// As [`completion`](Self::completion).
    pub(crate) fn completions(self: &Arc<Self>, callback: quark_reply_fn) -> Result<Arc<Completions>> {
        let (listener, token) = (self.listener(callback)?, self.enter_call()?);
        Ok(Arc::new(Completions { listener, token }))
    }

    fn enter_call(self: &Arc<Self>) -> Result<Token> {
        self.enter().ok_or_else(|| Error::new(ErrorKind::NotRunning, "it was freed"))
    }

    fn listener(&self, callback: quark_reply_fn) -> Result<Listener> {
        match (callback, self.endings) {
            (Some(function), _) => Ok(Listener::Own(function)),
            (None, Some(shared)) => Ok(Listener::Shared(shared)),
            (None, None) => Err(handle::null("callback")),
        }
    }
}

/// The function that hears of endings.
#[derive(Clone, Copy)]
enum Listener {
    Own(ReplyFn),
    Shared(Unowned<EndingBatchFn>),
}

impl Listener {
    /// As the one of a call with this data.
    fn of(self, data: Pointer) -> Ended {
        match self {
            Self::Own(function) => Ended::Own(Unowned { function, data }),
            Self::Shared(shared) => Ended::Shared(shared, data),
        }
    }
}

/// The endings of calls that were made at once.
pub(crate) struct Completions {
    listener: Listener,
    token: Token,
}

impl AsRef<Token> for Completions {
    fn as_ref(&self) -> &Token {
        &self.token
    }
}

impl Endings for Completions {
    fn ended(self: Arc<Self>, key: usize, result: Result<Bytes>) {
        let to = self.listener.of(Pointer(std::ptr::with_exposed_provenance_mut(key)));
        let host = self.token.0.clone();
        host.desk.push(Job::Ending { to, result, hold: Hold::Shared(self) });
    }
}

/// What lets finalizers wait for the ending of a call.
pub(crate) enum Hold {
    One(Token),
    Shared(Arc<Completions>),
}

impl AsRef<Token> for Hold {
    fn as_ref(&self) -> &Token {
        match self {
            Self::One(token) => token,
            Self::Shared(completions) => &completions.token,
        }
    }
}

impl AsRef<Token> for Token {
    fn as_ref(&self) -> &Token {
        self
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.0.tokens.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1 {
            self.0.desk.push(Job::Finish(self.0.clone()));
        }
    }
}

struct CHandler {
    host: Arc<Host>,
    desk: Desk,
    callback: Unowned<RequestFn>,
}

impl Handler for CHandler {
    fn handle(&self, request: Request) {
        let request = host::queued(request);
        // After the end the request is dropped, which answers it.
        let Some(token) = self.host.enter() else { return };
        self.desk.push(Job::Request { callback: self.callback, request, token });
    }
}

/// The ending of an asynchronous call. Dropped without one, it is `NOT_RUNNING`.
pub(crate) struct Completion {
    to: Ended,
    token: Option<Token>,
}

impl Completion {
    pub(crate) fn complete(mut self, result: Result<Bytes>) {
        if let Some(token) = self.token.take() {
            self.push(token, result);
        }
    }

    fn push(&self, token: Token, result: Result<Bytes>) {
        let host = token.0.clone();
        host.desk.push(Job::Ending { to: self.to, result, hold: Hold::One(token) });
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.push(token, Err(Error::new(ErrorKind::NotRunning, "the silo is not running")));
        }
    }
}

impl Token {
    /// Whether no callback begins any more but those of calls and events that were under way.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.tokens.load(Ordering::Acquire) & CLOSED != 0
    }

    pub(crate) fn is_of_same_host(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Runs foreign code for which this is held, then what it put off until its end.
pub(crate) fn call(hold: impl AsRef<Token>, callback: impl FnOnce()) {
    let running = Running { host: Arc::as_ptr(&hold.as_ref().0), after: Vec::new() };
    RUNNING.with_borrow_mut(|stack| stack.push(running));
    callback();
    if host::is_forked() {
        // What follows is the parent's to do.
        return std::mem::forget(hold);
    }
    let after = RUNNING.with_borrow_mut(Vec::pop).map(|running| running.after);
    after.into_iter().flatten().for_each(|work| work());
}
