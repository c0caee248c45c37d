//! What the language bindings have in common: the process-wide runtime, the fork check, blocking waits, and the ways
//! batches cross from the runtime's thread to the host's.
//!
//! Rust programs do not need it: they start silos on their own tokio runtime.

mod driver;
mod log;
mod loop_wait;
mod mailbox;
mod reluctance;
mod runtime;
mod together;
mod workers;

pub(crate) use driver::drives_here;
pub use log::{LogSink, set_log_sink};
pub use loop_wait::{LoopWait, Waited, Watch};
pub use mailbox::Mailbox;
pub use runtime::{
    Done, Here, Waiter, begin_here, check_fork, check_may_block, children_are_told, done_and_waiter, handle,
    is_forked, note_fork, run,
};
pub use together::Together;
pub use workers::{Surroundings, Workers};

/// Sees to it that somebody drives the runtime. Says whether nobody does, for the moment.
pub(crate) fn look_after_driver() -> bool {
    runtime::driver().is_some_and(driver::Driver::look)
}

pub use crate::ascii::text as text_of;
pub use crate::batch::{Held, run as batch, run_foreign as batch_of_foreign};
pub use crate::trace::new_traceparent;

/// What calls made while a request is handled inherit from it: the correlation id, the trace, and the deadline while the
/// request is not answered.
pub struct Handling(crate::context::Current);

impl Handling {
    /// Of this request.
    #[must_use]
    pub fn of(request: &crate::Request) -> Self {
        Self(crate::context::Current::of(request))
    }

    /// Runs a host's callback as handling that request: calls it makes on this thread inherit.
    pub fn run<T>(self, callback: impl FnOnce() -> T) -> T {
        self.0.sync_scope(callback)
    }
}

/// A call's future that inherits from the request that is being handled here, wherever it will be polled.
pub fn inheriting<F: Future>(future: F) -> impl Future<Output = F::Output> {
    crate::context::inheriting(crate::context::current(), future)
}

/// The request, from now on in a queue of the host's. Dropped there, as when the silo stops, it is answered as not
/// delivered; [`unless_abandoned`] ends that.
#[must_use]
pub fn queued(request: crate::Request) -> crate::Request {
    request.queued()
}

/// The request, unless its caller waits no longer: then it is answered as not delivered, and no handler gets it. Called
/// right before a handler is, because a request may have waited long by then.
#[must_use]
pub fn unless_abandoned(request: crate::Request) -> Option<crate::Request> {
    request.unless_abandoned()
}
