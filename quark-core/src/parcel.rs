//! An envelope on its way, in memory that is used again: a burst of them comes and goes faster than the allocator likes, which
//! keeps few pieces of a size at hand, and makes threads wait for each other where one frees what another took.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use crate::caller::Actor;
use crate::envelope::{Envelope, EnvelopeKind, Text, unix_millis};
use crate::error::Result;

/// Boxes that go from one thread to another at once.
const CRATE: usize = 64;
/// Crates that wait for a thread that needs one, less than 200 KiB. A thread has less than two.
const MOST_CRATES: usize = 8;

/// Empty boxes.
type Boxes = Vec<Box<Envelope>>;

thread_local! {
    static HERE: RefCell<Boxes> = const { RefCell::new(Vec::new()) };
}

/// Of threads that are done with more than they need.
static CRATES: Mutex<Vec<Boxes>> = Mutex::new(Vec::new());

/// Unless another thread is at them, which is not waited for: it may be one that a forked child does not have.
fn crates() -> Option<MutexGuard<'static, Vec<Boxes>>> {
    CRATES.try_lock().ok()
}

/// An empty box, if there is one.
fn take() -> Option<Box<Envelope>> {
    // None while the thread ends.
    let taken = HERE.try_with(|here| {
        let mut here = here.borrow_mut();
        if here.is_empty() {
            *here = crates()?.pop()?;
        }
        here.pop()
    });
    taken.ok().flatten()
}

fn keep(empty: Box<Envelope>) {
    let _ = HERE.try_with(|here| {
        let mut here = here.borrow_mut();
        here.push(empty);
        if here.len() == 2 * CRATE {
            let full = here.split_off(CRATE);
            if let Some(mut crates) = crates().filter(|crates| crates.len() < MOST_CRATES) {
                crates.push(full);
            }
        }
    });
}

/// An envelope in a box that is kept when it is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parcel(Option<Box<Envelope>>);

impl Parcel {
    /// A request made now; see [`Envelope::request`]. Put together in its box, because an envelope is large.
    pub(crate) fn request(actor: Actor, method_name: Text, payload: Bytes) -> Self {
        let mut parcel = Self::default();
        let request = &mut *parcel;
        request.actor_type = actor.actor_type;
        request.actor_id = actor.actor_id;
        request.method_name = method_name;
        request.payload = payload;
        request.timestamp = unix_millis();
        request.kind = EnvelopeKind::Request;
        parcel
    }

    /// The envelope, out of its box.
    pub(crate) fn open(mut self) -> Envelope {
        std::mem::take(&mut self)
    }

    /// What a response says.
    ///
    /// # Errors
    /// The error that it carries.
    pub(crate) fn into_result(mut self) -> Result<Bytes> {
        self.take_result()
    }
}

impl Default for Parcel {
    fn default() -> Self {
        Self(Some(take().unwrap_or_default()))
    }
}

impl From<Envelope> for Parcel {
    fn from(envelope: Envelope) -> Self {
        let mut parcel = Self::default();
        // It is empty, so that nothing of it has to be dropped.
        std::mem::forget(std::mem::replace(&mut *parcel, envelope));
        parcel
    }
}

impl Deref for Parcel {
    type Target = Envelope;

    fn deref(&self) -> &Envelope {
        self.0.as_ref().expect("it has its box until it is dropped")
    }
}

impl DerefMut for Parcel {
    fn deref_mut(&mut self) -> &mut Envelope {
        self.0.as_mut().expect("it has its box until it is dropped")
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let Some(mut spent) = self.0.take() else { return };
        // What it held goes at once.
        *spent = Envelope::default();
        keep(spent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_again_is_empty_and_only_so_much_is_kept() {
        let made = || {
            (0..100 * CRATE).map(|id| Parcel::from(Envelope::request("T", id.to_string(), "m", vec![1; 100])))
        };
        let parcels: Vec<_> = made().collect();
        assert_eq!(parcels[7].actor_id, "7");
        drop(parcels);
        assert!(HERE.with_borrow(Vec::len) < 2 * CRATE);
        let few = || CRATES.lock().unwrap().len() <= MOST_CRATES;
        assert!(few());
        let again: Vec<_> = (0..100 * CRATE).map(|_| Parcel::default()).collect();
        assert!(again.iter().all(|parcel| **parcel == Envelope::default()));
        // One thread makes what another is done with.
        let (sender, receiver) = std::sync::mpsc::channel();
        let done = std::thread::spawn(move || receiver.into_iter().map(drop::<Parcel>).count());
        made().for_each(|parcel| sender.send(parcel).unwrap());
        drop(sender);
        assert_eq!(done.join().unwrap(), 100 * CRATE);
        assert!(few());
    }

    #[test]
    fn a_request_made_in_its_box_is_one_like_any_other() {
        let payload = Bytes::from_static(b"x");
        let made = Parcel::request(("T", "1").into(), "m".into(), payload.clone()).open();
        let other = Envelope::request("T", "1", "m", payload);
        assert!(made.timestamp > 0);
        assert_eq!(Envelope { timestamp: other.timestamp, ..made }, other);
    }

    #[test]
    fn what_is_taken_out_is_what_was_put_in() {
        let envelope = Envelope::request("T", "1", "m", "x");
        assert_eq!(Parcel::from(envelope.clone()).open(), envelope);
    }
}
