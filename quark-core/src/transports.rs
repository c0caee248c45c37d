//! Which networks a silo's transport speaks: HTTP/2, HTTP/3, or both.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The networks that a silo's transport listens on and dials by. Written `http2`, `http3` or `http2+http3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transports {
    http2: bool,
    http3: bool,
}

/// How they are written, in the order in which they are written.
const HTTP2: &str = "http2";
const HTTP3: &str = "http3";

impl Transports {
    /// HTTP/2 over TCP; what silos speak that say nothing.
    pub const HTTP2: Self = Self { http2: true, http3: false };
    /// HTTP/3 over QUIC, at the UDP port of the listening port's number. Always with TLS.
    pub const HTTP3: Self = Self { http2: false, http3: true };
    /// Both; two silos that have both meet on HTTP/3.
    pub const BOTH: Self = Self { http2: true, http3: true };

    /// Whether HTTP/2 is among them.
    #[must_use]
    pub const fn has_http2(self) -> bool {
        self.http2
    }

    /// Whether HTTP/3 is among them.
    #[must_use]
    pub const fn has_http3(self) -> bool {
        self.http3
    }

    /// Their names.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.http2, HTTP2), (self.http3, HTTP3)].into_iter().filter_map(|(is, name)| is.then_some(name))
    }

    /// Those that have these names; others are of networks that this build does not know.
    pub(crate) fn among<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        names.fold(Self { http2: false, http3: false }, |found, name| Self {
            http2: found.http2 || name == HTTP2,
            http3: found.http3 || name == HTTP3,
        })
    }

    /// What two silos meet on: HTTP/3 where both speak it, else HTTP/2.
    ///
    /// # Errors
    /// `INCOMPATIBLE` with what either speaks.
    pub(crate) fn meet(self, silo: &dyn fmt::Display, theirs: Self) -> Result<Meeting> {
        if self.http3 && theirs.http3 {
            return Ok(Meeting::Http3);
        }
        if self.http2 && theirs.http2 {
            return Ok(Meeting::Http2);
        }
        let message = format!("silo {silo} speaks {theirs}, this one speaks {self}: nothing in common");
        Err(Error::new(ErrorKind::Incompatible, message))
    }
}

/// The network that two silos meet on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    Http2,
    Http3,
}

impl Default for Transports {
    fn default() -> Self {
        Self::HTTP2
    }
}

impl fmt::Display for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.http2, self.http3) {
            (true, true) => write!(f, "{HTTP2}+{HTTP3}"),
            (true, false) => f.write_str(HTTP2),
            (false, true) => f.write_str(HTTP3),
            (false, false) => f.write_str("nothing that is known here"),
        }
    }
}

impl FromStr for Transports {
    type Err = Error;

    /// # Errors
    /// `INVALID_ARGUMENT` naming `transport`.
    fn from_str(text: &str) -> Result<Self> {
        let refused = || Error::invalid("transport", text, "must be http2, http3 or http2+http3");
        let names: Vec<_> = text.split('+').collect();
        let found = Self::among(names.iter().copied());
        // Neither a name that is not known nor one twice.
        if found.names().count() == names.len() { Ok(found) } else { Err(refused()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is_read() {
        for transports in [Transports::HTTP2, Transports::HTTP3, Transports::BOTH] {
            assert_eq!(transports.to_string().parse::<Transports>().unwrap(), transports);
        }
        assert_eq!("http3+http2".parse::<Transports>().unwrap(), Transports::BOTH);
        for bad in ["", "http", "HTTP2", "http2+", "http2+http2", "http2,http3", "quic"] {
            let error = bad.parse::<Transports>().unwrap_err();
            assert!(error.message().starts_with("transport="), "{error}");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn silos_meet_on_the_newest_that_both_speak_or_are_told_what_either_speaks() {
        use Transports as T;
        let meet = |ours: T, theirs: T| ours.meet(&"b", theirs);
        assert_eq!(meet(T::BOTH, T::BOTH).unwrap(), Meeting::Http3);
        assert_eq!(meet(T::BOTH, T::HTTP3).unwrap(), Meeting::Http3);
        assert_eq!(meet(T::BOTH, T::HTTP2).unwrap(), Meeting::Http2);
        assert_eq!(meet(T::HTTP2, T::BOTH).unwrap(), Meeting::Http2);
        let error = meet(T::HTTP2, T::HTTP3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert_eq!(error.message(), "silo b speaks http3, this one speaks http2: nothing in common");
        let unknown = T::among(["http4"].into_iter());
        assert!(meet(T::BOTH, unknown).unwrap_err().message().contains("nothing that is known here"));
    }
}
