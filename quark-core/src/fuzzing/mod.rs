//! Fuzz targets: one function for each kind of foreign bytes, which must return whatever it is given.
//!
//! They are written once and driven twice: by the tests below with the seeds in `testdata/fuzz` and mutations of them, a
//! few seconds in every run of the tests, and by `cargo xtask fuzz` with libFuzzer, for as long as one likes. They exist in
//! tests and with `--cfg quark_fuzzing` only. That is a cfg and not a feature, because features of one package are
//! switched on for all that use it, and this is nobody's API.
//!
//! A target lives in the room of what it looks at, as everything does; this file only lists them.

mod bytes;
#[cfg(test)]
mod quick;
mod words;

pub(crate) use self::bytes::Script;
use crate::{membership, transport};

/// A target's name, which is its folder's in `testdata/fuzz`, and the target.
pub type Target = (&'static str, fn(&[u8]));

macro_rules! targets {
    ($($name:ident = $target:path;)*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[$((stringify!($name), $target)),*];

        #[cfg(test)]
        mod survives_its_seeds_and_mutations_of_them {
            $(#[test]
            fn $name() {
                super::quick::drive(stringify!($name));
            })*
        }
    };
}

targets! {
    endpoint = words::endpoint;
    envelope = words::envelope;
    frames = transport::fuzzing::frames;
    gossip_datagram = membership::fuzzing::gossip_datagram;
    gossip_values = membership::fuzzing::gossip_values;
    health = transport::fuzzing::health;
    link = transport::fuzzing::link;
    membership_url = words::membership_url;
    metadata = transport::fuzzing::metadata;
    parts = transport::fuzzing::parts;
    redis_answers = membership::fuzzing::redis_answers;
    redis_channels = membership::fuzzing::redis_channels;
    silo_info = words::silo_info;
    traceparent = words::traceparent;
    turns = transport::fuzzing::turns;
}
