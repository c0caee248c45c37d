//! Who waits for which answer, for the baselines that make a future for each request.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::message::Echo;

/// Slots, used again when they are free.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    taken: Vec<Option<oneshot::Sender<Echo>>>,
    free: Vec<usize>,
}

impl Waiting {
    pub(crate) fn begin(&self) -> (usize, oneshot::Receiver<Echo>) {
        let (answered, answer) = oneshot::channel();
        let mut slots = self.lock();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.taken.push(None);
            slots.taken.len() - 1
        });
        slots.taken[slot] = Some(answered);
        (slot, answer)
    }

    pub(crate) fn end(&self, answer: Echo) {
        let slot = answer.slot();
        let mut slots = self.lock();
        slots.free.push(slot);
        let call = slots.taken[slot].take().expect("one answer per request");
        drop(slots);
        let _ = call.send(answer);
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().expect("nobody panics with it")
    }
}
