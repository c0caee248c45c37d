//! An envelope on its way, in memory that is used again: a burst of them comes and goes faster than the allocator likes, which
//! keeps few pieces of a size at hand.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use crate::envelope::Envelope;
use crate::error::Result;

/// Empty envelopes that a thread keeps, less than 100 KiB.
const MOST_KEPT: usize = 256;

thread_local! {
    static KEPT: RefCell<Vec<Box<Envelope>>> = const { RefCell::new(Vec::new()) };
}

/// An envelope in a box that is kept when it is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parcel(Option<Box<Envelope>>);

impl Parcel {
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
        let kept = KEPT.try_with(|kept| kept.borrow_mut().pop()).ok().flatten();
        Self(Some(kept.unwrap_or_default()))
    }
}

impl From<Envelope> for Parcel {
    fn from(envelope: Envelope) -> Self {
        let mut parcel = Self::default();
        *parcel = envelope;
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
        // Not while the thread ends.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < MOST_KEPT {
                kept.push(spent);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_again_is_empty_and_only_so_much_is_kept() {
        std::thread::spawn(|| {
            let parcels: Vec<_> = (0..2 * MOST_KEPT)
                .map(|id| Parcel::from(Envelope::request("T", id.to_string(), "m", vec![1; 100])))
                .collect();
            assert_eq!(parcels[7].actor_id, "7");
            drop(parcels);
            assert_eq!(KEPT.with_borrow(Vec::len), MOST_KEPT);
            let again: Vec<_> = (0..=MOST_KEPT).map(|_| Parcel::default()).collect();
            assert_eq!(KEPT.with_borrow(Vec::len), 0);
            assert!(again.iter().all(|parcel| **parcel == Envelope::default()));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_is_taken_out_is_what_was_put_in() {
        let envelope = Envelope::request("T", "1", "m", "x");
        assert_eq!(Parcel::from(envelope.clone()).open(), envelope);
    }
}
