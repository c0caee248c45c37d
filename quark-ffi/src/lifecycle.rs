//! What silos, clients, memberships and transports have in common: they run, are stopped, and are freed, also from
//! inside their own callbacks.

use std::sync::Arc;
use std::time::Duration;

use quark_core::{Client, Membership, Result, Silo, Transport, View, host};

use crate::callback::{Callback, MembershipFn};
use crate::hosting::Host;

/// What can be stopped.
pub(crate) trait Stop: Send + Sync + 'static {
    fn stop(&self, drain: Duration) -> impl Future<Output = Result<()>> + Send;
}

impl Stop for Silo {
    async fn stop(&self, drain: Duration) -> Result<()> {
        self.stop(drain).await;
        Ok(())
    }
}

impl Stop for Client {
    async fn stop(&self, drain: Duration) -> Result<()> {
        self.stop(drain).await;
        Ok(())
    }
}

impl Stop for Transport {
    async fn stop(&self, drain: Duration) -> Result<()> {
        self.stop(drain).await;
        Ok(())
    }
}

impl Stop for Membership {
    async fn stop(&self, _drain: Duration) -> Result<()> {
        self.stop().await
    }
}

/// Something of the core's with the callbacks that belong to it.
pub(crate) struct Lifecycle<T: Stop> {
    core: Arc<T>,
    host: Arc<Host>,
    /// One stop at a time; the next one finds nothing to do.
    stopping: Arc<tokio::sync::Mutex<()>>,
}

impl<T: Stop> Lifecycle<T> {
    pub(crate) fn new(core: T, host: Arc<Host>) -> Self {
        Self { core: Arc::new(core), host, stopping: Arc::default() }
    }

    pub(crate) fn core(&self) -> Arc<T> {
        self.core.clone()
    }

    /// Stops and waits for it; inside a callback of its own, begins to stop when the callback has returned.
    pub(crate) fn stop(&self, drain: Duration) -> Result<()> {
        let runtime = host::handle()?;
        let (core, stopping) = (self.core.clone(), self.stopping.clone());
        let work = async move {
            let _one_at_a_time = stopping.lock().await;
            core.stop(drain).await
        };
        if self.host.is_running_here() {
            self.host.after_callback(move || drop(runtime.spawn(work)));
            return Ok(());
        }
        host::check_may_block()?;
        let (done, waiter) = host::done_and_waiter();
        runtime.spawn(async move { done.tell(work.await) });
        self.host.wait(waiter)
    }

    /// Ends without a word to anybody and waits for callbacks and finalizers; inside a callback of its own, does so
    /// when the callback has returned.
    pub(crate) fn free(self) {
        let Ok(runtime) = host::handle() else {
            // A forked child has none of the threads that this would wait for.
            std::mem::forget(self);
            return;
        };
        let Self { core, host, stopping } = self;
        let end = {
            let host = host.clone();
            move || {
                drop(core);
                host.close();
            }
        };
        if host.is_running_here() {
            let work = async move {
                // A stop that the same callback asked for comes first.
                let _one_at_a_time = stopping.lock().await;
                end();
            };
            host.after_callback(move || drop(runtime.spawn(work)));
            return;
        }
        end();
        let _ = host.wait(host.finished());
    }
}

/// Tells a callback of everything that changes from `before` on, until its host is closed.
pub(crate) fn follow(
    host: &Arc<Host>,
    callback: &Callback<MembershipFn>,
    mut views: tokio::sync::watch::Receiver<Arc<View>>,
) -> Result<()> {
    let tell = host.events(callback);
    host::handle()?.spawn(async move {
        let mut before = Arc::new(View::default());
        loop {
            let view = views.borrow_and_update().clone();
            for event in view.events_since(&before) {
                if !tell(&event) {
                    return;
                }
            }
            before = view;
            if views.changed().await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
