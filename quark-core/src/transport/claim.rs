//! Settles, for a request that nobody will answer, who was first: the link that takes it, or its sender who gives up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

/// The half that goes with the request.
pub(crate) struct Claim {
    settled: Arc<AtomicBool>,
    taken: oneshot::Sender<()>,
}

/// The sender's half. Dropped, it gives up, unless it left the request alone.
pub(crate) struct Claimant {
    settled: Arc<AtomicBool>,
    taken: oneshot::Receiver<()>,
    gives_up: bool,
}

impl Claim {
    pub(crate) fn new() -> (Self, Claimant) {
        let (sender, receiver) = oneshot::channel();
        let settled = Arc::<AtomicBool>::default();
        (
            Self { settled: settled.clone(), taken: sender },
            Claimant { settled, taken: receiver, gives_up: true },
        )
    }

    /// A link takes the request; not if its sender gave up before.
    pub(crate) fn take(self) -> bool {
        let first = !self.settled.swap(true, Ordering::AcqRel);
        if first {
            let _ = self.taken.send(());
        }
        first
    }
}

impl Claimant {
    /// Until a link has taken the request, or none will.
    pub(crate) async fn settled(&mut self) {
        let _ = (&mut self.taken).await;
    }

    /// The request is on its way, or will be: the sender waits no longer and does not give up.
    pub(crate) fn leave_it(mut self) {
        self.gives_up = false;
    }

    /// Gives up; not if a link took the request before.
    pub(crate) fn give_up(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
    }
}

impl Drop for Claimant {
    fn drop(&mut self) {
        if self.gives_up {
            self.give_up();
        }
    }
}
