//! What arrives, in order, bounded: finds the handler of a request and hands it over, or refuses at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;

use crate::error::{Error, ErrorKind};
use crate::handler::{Handler, Handlers};
use crate::request::{Permit, Request};

/// The handlers of a silo, each with a bound of its own, so that one that is slow fails only its own callers.
pub(crate) struct Inbox {
    by_type: HashMap<String, Slot>,
    catch_all: Option<Slot>,
    capacity: usize,
}

struct Slot {
    handler: Arc<dyn Handler>,
    /// Requests that the handler has and has not let go of.
    taken: Arc<AtomicUsize>,
}

impl Inbox {
    pub(crate) fn new(handlers: Handlers, capacity: usize) -> Self {
        let slot = |handler| Slot { handler, taken: Arc::default() };
        let by_type = handlers.by_type.into_iter().map(|(name, handler)| (name, slot(handler))).collect();
        Self { by_type, catch_all: handlers.catch_all.map(slot), capacity }
    }

    pub(crate) fn start(&self, runtime: &Handle) {
        self.slots().for_each(|slot| slot.handler.start(runtime));
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.by_type.values().chain(&self.catch_all)
    }

    fn slot(&self, actor_type: &str) -> Option<&Slot> {
        self.by_type.get(actor_type).or(self.catch_all.as_ref())
    }

    /// Whether no handler has a request.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots().all(|slot| slot.taken.load(Ordering::Acquire) == 0)
    }

    /// Hands a request to its handler.
    ///
    /// # Errors
    /// `NO_HANDLER` or `OVERLOADED`, with the request.
    pub(crate) fn admit(&self, mut request: Request) -> Result<(), (Request, Error)> {
        let Some(slot) = self.slot(request.actor_type()) else {
            let message = format!("no handler for actor type {:?}", request.actor_type());
            return Err((request, Error::new(ErrorKind::NoHandler, message)));
        };
        let Some(permit) = Permit::take(&slot.taken, self.capacity) else {
            let message = format!(
                "the handler of actor type {:?} has {} requests already",
                request.actor_type(),
                self.capacity
            );
            return Err((request, Error::new(ErrorKind::Overloaded, message)));
        };
        request.hold(permit);
        slot.handler.handle(request);
        Ok(())
    }
}
