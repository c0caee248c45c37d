//! C's callbacks: on which threads they run, and when their data is let go of.
//!
//! Each silo, client, membership and transport has one [`Host`] with a pool of threads that runs its replies and events;
//! each handler has a pool of its own, so that one that never returns holds up nobody else. Whatever will end in a
//! callback holds a [`Token`]; when the host is closed and the last token is back, the finalizers run, as the last thing
//! on the pool. So no finalizer runs before the last callback has returned, and none on the runtime's thread.

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quark_core::host::{self, Handling, Waiter, Workers};
use quark_core::{Error, ErrorKind, Handler, MembershipEvent, Request, Result};

use crate::config::quark_config_t;
use crate::event_loop::Loop;
use crate::request::quark_request_t;
use crate::silo_info::quark_silo_info_t;
use crate::status::quark_error_t;
use crate::view::quark_bytes_t;

/// Lets go of the `user_data` of a callback. Runs exactly once for each function that took one, also when that
/// function fails; never before the last callback with that `user_data` has returned. NULL where there is nothing to do.
pub type quark_finalizer_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Takes a request. It is yours: end it with `quark_request_reply`, `quark_request_fail` or `quark_request_free`, now or
/// later, from any thread.
pub type quark_request_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, request: *mut quark_request_t)>;

/// Takes the ending of an asynchronous call: `reply` or `error`, the other is NULL. Both are yours: free them.
pub type quark_reply_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, reply: *mut quark_bytes_t, error: *mut quark_error_t),
>;

/// Hears that a silo joined, left or changed (`QUARK_SILO_JOINED` ...). `silo` lives until the callback returns.
pub type quark_membership_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, kind: i32, silo: *const quark_silo_info_t)>;

/// A silo came into the view.
pub const QUARK_SILO_JOINED: i32 = 1;
/// A silo went out of the view.
pub const QUARK_SILO_LEFT: i32 = 2;
/// A silo of the view changed: another incarnation, endpoint, status, weight or set of actor types.
pub const QUARK_SILO_UPDATED: i32 = 3;

/// The pointer that C wants to get back.
#[derive(Clone, Copy)]
struct Pointer(*mut c_void);

// SAFETY: Quark only carries it; the header says on which threads callbacks run.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

/// A callback's data, with what lets go of it.
pub(crate) struct UserData {
    pointer: Pointer,
    finalizer: quark_finalizer_fn,
}

impl UserData {
    /// Takes it over: from here on the finalizer runs, whatever happens.
    pub(crate) fn new(pointer: *mut c_void, finalizer: quark_finalizer_fn) -> Arc<Self> {
        Arc::new(Self { pointer: Pointer(pointer), finalizer })
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer.0
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            // SAFETY: the header demands a function that may be called once with this data, from any thread.
            unsafe { finalizer(self.pointer.0) };
        }
    }
}

/// A function of C's with its data; `F` is one of the function types above without its `Option`.
#[derive(Clone)]
pub(crate) struct Callback<F> {
    function: F,
    data: Arc<UserData>,
}

impl<F: Copy> Callback<F> {
    /// # Errors
    /// `INVALID_ARGUMENT` for a NULL function.
    pub(crate) fn new(function: Option<F>, data: Arc<UserData>, name: &str) -> Result<Self> {
        Ok(Self { function: function.ok_or_else(|| crate::handle::null(name))?, data })
    }

    /// The same without owning the data: only to be called while somebody holds a token.
    fn unowned(&self) -> Unowned<F> {
        Unowned { function: self.function, data: self.data.pointer }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Unowned<F> {
    function: F,
    data: Pointer,
}

pub(crate) type RequestFn = unsafe extern "C" fn(*mut c_void, *mut quark_request_t);
pub(crate) type ReplyFn = unsafe extern "C" fn(*mut c_void, *mut quark_bytes_t, *mut quark_error_t);
pub(crate) type MembershipFn = unsafe extern "C" fn(*mut c_void, i32, *const quark_silo_info_t);

// ---- Hosts -----------------------------------------------------------------------------------------------------------

/// The threads of one silo's callbacks, and what these own.
pub(crate) struct Host {
    desk: Desk,
    /// Of each pool.
    threads: usize,
    /// Tokens given out, and the top bit once closed.
    tokens: AtomicUsize,
    ending: Mutex<Ending>,
}

/// Where callbacks run.
enum Desk {
    /// On threads that do nothing else.
    Threads(Workers<Job>),
    /// Where the program runs its own.
    Loop(Arc<Loop>),
}

impl Desk {
    fn new(name: &str, threads: usize, event_loop: Option<&Arc<Loop>>) -> Self {
        match event_loop {
            None => Self::Threads(Workers::new(name, threads, Job::run)),
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

pub(crate) enum Job {
    Request { callback: Unowned<RequestFn>, request: Request, token: Token },
    Reply { callback: Unowned<ReplyFn>, result: Result<Bytes>, token: Token },
    Event { callback: Unowned<MembershipFn>, kind: i32, silo: Box<quark_silo_info_t>, token: Token },
    Finish(Arc<Host>),
}

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
        let threads = config.callback_threads;
        Arc::new(Self {
            desk: Desk::new("quark-callback", threads, config.event_loop.as_ref()),
            threads,
            tokens: AtomicUsize::new(0),
            ending: Mutex::default(),
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
            event_loop.run_due(usize::MAX);
            if let Some(result) = waiter.wait_for(LOOK_AGAIN) {
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

    fn finish(&self) {
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

    /// A handler that gives requests to this callback.
    pub(crate) fn handler(self: &Arc<Self>, callback: &Callback<RequestFn>) -> Arc<dyn Handler> {
        self.ending().owned.push(callback.data.clone());
        let event_loop = match &self.desk {
            Desk::Threads(_) => None,
            Desk::Loop(event_loop) => Some(event_loop),
        };
        let desk = Desk::new("quark-handler", self.threads, event_loop);
        Arc::new(CHandler { host: self.clone(), desk, callback: callback.unowned() })
    }

    /// What tells this callback of events, in order.
    pub(crate) fn events(
        self: &Arc<Self>,
        callback: &Callback<MembershipFn>,
    ) -> impl Fn(&MembershipEvent) -> bool + Send + Sync + 'static {
        self.ending().owned.push(callback.data.clone());
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

    /// What takes the ending of a call and gives it to this function, exactly once. Nothing when the host is closed.
    pub(crate) fn completion(self: &Arc<Self>, function: ReplyFn, data: *mut c_void) -> Option<Completion> {
        let callback = Unowned { function, data: Pointer(data) };
        Some(Completion { callback, token: Some(self.enter()?) })
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
    callback: Unowned<ReplyFn>,
    token: Option<Token>,
}

impl Completion {
    pub(crate) fn complete(mut self, result: Result<Bytes>) {
        self.push(result);
    }

    fn push(&mut self, result: Result<Bytes>) {
        if let Some(token) = self.token.take() {
            let host = token.0.clone();
            host.desk.push(Job::Reply { callback: self.callback, result, token });
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.push(Err(Error::new(ErrorKind::NotRunning, "the silo is not running")));
    }
}

impl Job {
    pub(crate) fn run(self) {
        match self {
            Self::Request { callback, request, token } => {
                if token.0.tokens.load(Ordering::Acquire) & CLOSED != 0 {
                    return;
                }
                let Some(request) = host::unless_abandoned(request) else { return };
                let handling = Handling::of(&request);
                let request = Box::into_raw(Box::new(quark_request_t::new(request)));
                // SAFETY: the token keeps the data; the request is the callback's from here on.
                token.call(|| handling.run(|| unsafe { (callback.function)(callback.data.0, request) }));
            }
            Self::Reply { callback, result, token } => {
                let (reply, error) = match result {
                    Ok(reply) => (Box::into_raw(Box::new(quark_bytes_t(reply))), std::ptr::null_mut()),
                    Err(error) => (std::ptr::null_mut(), quark_error_t::new(error)),
                };
                // SAFETY: the data is the caller's until this one call; reply and error are the callback's.
                token.call(|| unsafe { (callback.function)(callback.data.0, reply, error) });
            }
            Self::Event { callback, kind, silo, token } => {
                // SAFETY: the token keeps the data; the info lives until the callback has returned.
                token.call(|| unsafe { (callback.function)(callback.data.0, kind, &raw const *silo) });
            }
            Self::Finish(host) => host.finish(),
        }
    }
}

impl Token {
    /// Runs foreign code, then what it put off until its end.
    fn call(self, callback: impl FnOnce()) {
        let running = Running { host: Arc::as_ptr(&self.0), after: Vec::new() };
        RUNNING.with_borrow_mut(|stack| stack.push(running));
        callback();
        let after = RUNNING.with_borrow_mut(Vec::pop).map(|running| running.after);
        after.into_iter().flatten().for_each(|work| work());
    }
}
