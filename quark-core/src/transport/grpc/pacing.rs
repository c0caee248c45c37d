//! Of many messages that are ready at once, the first are on their way before the rest are written, so that the peer works
//! meanwhile. Without this, two silos that have less in flight than one write takes wait for each other in turns.
//!
//! Where a host's threads drive the runtime, messages stay together: its callbacks take what came together, and more batches
//! cost more than waiting does.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;

use crate::host;
use crate::parcel::Parcel;

/// Messages that go first. Fewer of them make more writes.
const FIRST: usize = 32;
/// How often the stream says that it has nothing yet: once, and tonic passes on what it has; then it asks again, and is to
/// give the connection its turn.
const RESTS: usize = 2;

/// What goes out on a stream, with a rest after the first messages of many.
pub(super) struct Paced<S> {
    outgoing: S,
    /// Messages since there were none.
    count: usize,
    rests: usize,
}

impl<S> Paced<S> {
    pub(super) fn new(outgoing: S) -> Self {
        Self { outgoing, count: 0, rests: 0 }
    }
}

impl<S: Stream<Item = Parcel> + Unpin> Stream for Paced<S> {
    type Item = Parcel;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Parcel>> {
        if self.count == FIRST && self.rests < RESTS && !host::drives_here() {
            self.rests += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = Pin::new(&mut self.outgoing).poll_next(cx);
        match next {
            Poll::Ready(_) => self.count += 1,
            Poll::Pending => (self.count, self.rests) = (0, 0),
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use futures_util::task::noop_waker_ref;

    use super::*;

    /// How many messages come until there are none, so many times.
    fn runs(paced: &mut Paced<impl Stream<Item = Parcel> + Unpin>, times: usize) -> Vec<usize> {
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut run = || (0..).take_while(|_| Pin::new(&mut *paced).poll_next(&mut cx).is_ready()).count();
        (0..times).map(|_| run()).collect()
    }

    #[test]
    fn the_first_of_many_go_first_and_few_go_together() {
        let mut left = [FIRST, 3 * FIRST, 1];
        let mut bursts = left.iter_mut();
        let mut burst = bursts.next();
        let messages = stream::poll_fn(move |_| match &mut burst {
            Some(left) if **left > 0 => {
                **left -= 1;
                Poll::Ready(Some(Parcel::default()))
            }
            _ => {
                burst = bursts.next();
                Poll::Pending
            }
        });
        let mut paced = Paced::new(messages);
        // A burst of just as many rests as well: whether more come is not known before.
        assert_eq!(runs(&mut paced, 3), [FIRST, 0, 0]);
        assert_eq!(runs(&mut paced, 3), [FIRST, 0, 2 * FIRST]);
        assert_eq!(runs(&mut paced, 2), [1, 0]);
    }
}
