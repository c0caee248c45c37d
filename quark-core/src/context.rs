//! What the running handler's code inherits to the calls it makes: the correlation id, the trace and the deadline, and
//! whether it runs inside a handler at all.

use tokio::time::Instant;

use crate::envelope::{Envelope, Text};
use crate::request::Request;

/// The request that is being handled on this task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current {
    correlation_id: Text,
    traceparent: Text,
    /// When nobody waits for the answer any more; nothing when nobody does already, as for a one-way request.
    deadline: Option<Instant>,
}

tokio::task_local! {
    static CURRENT: Current;
}

impl Current {
    pub(crate) fn of(request: &Request) -> Self {
        let awaited = !request.is_one_way() && !request.is_answered();
        Self {
            correlation_id: request.correlation_id().into(),
            traceparent: request.traceparent().into(),
            deadline: awaited.then(|| request.deadline()),
        }
    }

    /// Runs a handler's future as handling that request.
    pub(crate) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Runs a host's callback as handling that request.
    pub(crate) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

/// Lets a call inherit from the request that is being handled, where it says nothing of its own; returns when that
/// request's caller stops waiting, which is the latest that the call may take.
pub(crate) fn inherit(envelope: &mut Envelope) -> Option<Instant> {
    CURRENT
        .try_with(|current| {
            if envelope.correlation_id.is_empty() {
                envelope.correlation_id.clone_from(&current.correlation_id);
            }
            if envelope.traceparent.is_empty() {
                envelope.traceparent.clone_from(&current.traceparent);
            }
            current.deadline
        })
        .ok()
        .flatten()
}

/// A future that runs as handling the request that is being handled here, wherever it will be polled.
pub(crate) async fn inheriting<F: Future>(current: Option<Current>, future: F) -> F::Output {
    match current {
        Some(current) => current.scope(future).await,
        None => future.await,
    }
}

/// The request that is being handled here.
pub(crate) fn current() -> Option<Current> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Whether this task runs an async handler.
pub(crate) fn is_in_handler() -> bool {
    CURRENT.try_with(|_| ()).is_ok()
}
