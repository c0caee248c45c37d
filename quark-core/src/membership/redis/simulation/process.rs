//! A process of a simulated cluster.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// A process that can be stopped and continued: its tasks make no progress meanwhile, its timers do.
#[derive(Default)]
pub(super) struct Process {
    state: Mutex<ProcessState>,
}

#[derive(Default)]
struct ProcessState {
    stopped: bool,
    sleepers: Vec<Waker>,
}

impl Process {
    pub(super) fn set_stopped(&self, stopped: bool) {
        let mut state = self.state.lock().expect("no panic while locked");
        state.stopped = stopped;
        if !stopped {
            state.sleepers.drain(..).for_each(Waker::wake);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().expect("no panic while locked").stopped
    }
}

/// A task of a process.
pub(super) struct Task {
    pub(super) process: Arc<Process>,
    pub(super) work: BoxFuture<'static, ()>,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.process.state.lock().expect("no panic while locked");
            if state.stopped {
                state.sleepers.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.work.poll_unpin(cx)
    }
}
