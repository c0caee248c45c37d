//! Looking at a silo directly: is there a process at its endpoint, and is it that silo? The words for it; those who look
//! are the transport's carriers, which ask for the name, and `membership::hello`, which only knocks.
//!
//! It says what was seen. What follows from it is decided by whoever asked.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::id::SiloId;
use crate::silo_info::SiloInfo;

/// What a look at a silo's endpoint saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// It answered, or at least somebody did who did not say that he is somebody else.
    Answered,
    /// It is surely gone: nobody listens there, or another silo does, or a later life of this one.
    Refused,
    /// No answer in time, no such host, no way there: it may live behind a broken network.
    Silent,
}

impl Probe {
    /// What it means that this silo answered where `silo` was looked for. A starting silo names no life yet, one that has
    /// just begun a later life may be known by its earlier one: only a higher number speaks against it.
    pub(crate) fn answered_by(silo: &SiloInfo, id: &SiloId, incarnation: u64) -> Self {
        if *id == silo.silo_id && incarnation <= silo.incarnation { Self::Answered } else { Self::Refused }
    }
}

/// Somebody who can look.
pub(crate) trait Prober: Send + Sync {
    /// Looks at `silo` on behalf of `from`, for at most `limit`.
    fn probe(&self, from: &SiloId, silo: &SiloInfo, limit: Duration) -> BoxFuture<'static, Probe>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_silo_or_a_later_life_at_the_endpoint_means_that_it_is_gone() {
        let mut silo = SiloInfo::new("a".parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        silo.incarnation = 5;
        let seen = |id: &str, incarnation| Probe::answered_by(&silo, &id.parse().unwrap(), incarnation);
        assert_eq!([seen("a", 5), seen("a", 4), seen("a", 0)], [Probe::Answered; 3]);
        assert_eq!([seen("b", 5), seen("a", 6)], [Probe::Refused; 2]);
    }
}
