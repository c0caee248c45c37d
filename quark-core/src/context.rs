//! What the running handler's code inherits to the calls it makes: the correlation id and the trace, and whether it
//! runs inside a handler at all.

use crate::envelope::Envelope;
use crate::request::Request;

/// The request that is being handled on this task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current {
    correlation_id: String,
    traceparent: String,
}

tokio::task_local! {
    static CURRENT: Current;
}

impl Current {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            correlation_id: request.correlation_id().to_owned(),
            traceparent: request.envelope().traceparent.clone(),
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

/// Lets a call inherit from the request that is being handled, where it says nothing of its own.
pub fn inherit(envelope: &mut Envelope) {
    let _ = CURRENT.try_with(|current| {
        if envelope.correlation_id.is_empty() {
            envelope.correlation_id.clone_from(&current.correlation_id);
        }
        if envelope.traceparent.is_empty() {
            envelope.traceparent.clone_from(&current.traceparent);
        }
    });
}

/// Whether this task runs an async handler.
pub(crate) fn is_in_handler() -> bool {
    CURRENT.try_with(|_| ()).is_ok()
}
