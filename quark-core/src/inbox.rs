//! What arrives, in order, bounded: finds the handler of a request and hands it over, or refuses at once.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;

use crate::error::{Error, ErrorKind};
use crate::handler::{Handler, Handlers};
use crate::request::{Capacity, Full, Load, Request, Share};
use crate::transport::not_running;

/// The handlers of a silo, each with a bound of its own, so that one that is slow fails only its own callers.
pub(crate) struct Inbox {
    /// Gone once the silo is over, so that a handler that holds its silo does not keep it alive.
    slots: ArcSwapOption<Slots>,
    capacity: Capacity,
    is_open: AtomicBool,
    /// What came before it was open.
    early: Mutex<Option<Vec<Request>>>,
}

pub(crate) struct Slots {
    by_type: HashMap<String, Slot>,
    catch_all: Option<Slot>,
}

struct Slot {
    handler: Arc<dyn Handler>,
    load: Arc<Load>,
}

impl Slots {
    fn of(&self, actor_type: &str) -> Option<&Slot> {
        self.by_type.get(actor_type).or(self.catch_all.as_ref())
    }

    fn all(&self) -> impl Iterator<Item = &Slot> {
        self.by_type.values().chain(&self.catch_all)
    }
}

impl Inbox {
    pub(crate) fn new(handlers: Handlers, capacity: Capacity) -> Self {
        let slot = |handler| Slot { handler, load: Arc::default() };
        let by_type = handlers.by_type.into_iter().map(|(name, handler)| (name, slot(handler))).collect();
        let slots = Slots { by_type, catch_all: handlers.catch_all.map(slot) };
        Self {
            slots: ArcSwapOption::from_pointee(slots),
            capacity,
            is_open: AtomicBool::new(false),
            early: Mutex::new(Some(Vec::new())),
        }
    }

    pub(crate) fn start(&self, runtime: &Handle) {
        if let Some(slots) = &*self.slots.load() {
            slots.all().for_each(|slot| slot.handler.start(runtime));
        }
    }

    /// Begins to hand requests over. Others find a silo before its own program has been told that it has started, and
    /// what they send meanwhile waits: a handler may use its silo.
    pub(crate) fn open(&self) {
        loop {
            let mut early = self.lock_early();
            let waiting = early.as_mut().map(std::mem::take).unwrap_or_default();
            if waiting.is_empty() {
                *early = None;
                self.is_open.store(true, Ordering::Release);
                return;
            }
            // Handed over without the lock: a handler may call its own silo.
            drop(early);
            for request in waiting {
                let Some(request) = request.unless_abandoned() else { continue };
                if let Some(slot) =
                    self.slots.load().as_ref().and_then(|slots| slots.of(request.actor_type()))
                {
                    slot.handler.handle(request);
                }
            }
        }
    }

    fn lock_early(&self) -> MutexGuard<'_, Option<Vec<Request>>> {
        self.early.lock().expect("no panic while locked")
    }

    /// Lets go of the handlers, and of what waits for them.
    pub(crate) fn close(&self) {
        self.slots.store(None);
        let early = self.lock_early().take();
        drop(early);
    }

    /// Whether no handler has a request.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests() == 0
    }

    /// How many requests handlers have that are not answered.
    pub(crate) fn requests(&self) -> usize {
        let count = |slots: &Arc<Slots>| slots.all().map(|slot| slot.load.requests()).sum();
        self.slots.load().as_ref().map_or(0, count)
    }

    /// Hands a request to its handler.
    ///
    /// # Errors
    /// `NO_HANDLER`, `OVERLOADED` or `NOT_RUNNING`, with the request.
    pub(crate) fn admit(&self, request: Request) -> Result<(), (Request, Error)> {
        self.admit_at(&self.slots(), request)
    }

    /// The handlers there are now, for many requests.
    pub(crate) fn slots(&self) -> impl Deref<Target = Option<Arc<Slots>>> {
        self.slots.load()
    }

    /// Hands a request to its handler among these.
    ///
    /// # Errors
    /// `NO_HANDLER`, `OVERLOADED` or `NOT_RUNNING`, with the request.
    pub(crate) fn admit_at(
        &self,
        slots: &Option<Arc<Slots>>,
        mut request: Request,
    ) -> Result<(), (Request, Error)> {
        let Some(slots) = slots else { return Err((request, not_running())) };
        let actor_type = request.actor_type();
        let Some(slot) = slots.of(actor_type) else {
            let message = format!("no handler for actor type {actor_type:?}");
            return Err((request, Error::new(ErrorKind::NoHandler, message)));
        };
        match Share::take(&slot.load, request.payload().len(), self.capacity) {
            Ok(share) => request.hold(share),
            Err(full) => {
                let has = match full {
                    Full::OfRequests => format!("{} requests", self.capacity.requests),
                    Full::OfBytes => format!("payloads of up to {} bytes", self.capacity.bytes),
                };
                let message = format!("the handler of actor type {actor_type:?} has {has} already");
                return Err((request, Error::new(ErrorKind::Overloaded, message)));
            }
        }
        if !self.is_open.load(Ordering::Acquire)
            && let Some(early) = &mut *self.lock_early()
        {
            early.push(request.queued());
            return Ok(());
        }
        slot.handler.handle(request);
        Ok(())
    }
}
