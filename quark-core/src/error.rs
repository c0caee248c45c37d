//! The one error of Quark: a kind with a fixed number, a message, and whether the handler got the request.
//!
//! Both bindings and the wire use these numbers; the lists in C and Python are checked against [`ErrorKind::ALL`].

use std::fmt;
use std::num::NonZero;

/// `Result` with Quark's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! error_kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $code:literal, $delivered:ident, $retryable:literal;)+) => {
        /// What went wrong. The numbers are part of the wire and of the C ABI and never change; new ones are appended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(i32)]
        pub enum ErrorKind { $($(#[doc = $doc])+ $variant = $number,)+ }

        impl ErrorKind {
            /// Every kind, in the order of its number.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$variant,)+];

            /// The name as written in documents and on the screen, `TIMEOUT` for example.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(ErrorKind::$variant => $code,)+ } }

            /// What is known of the delivery when nothing better is known.
            const fn usual_delivery(self) -> Delivered { match self { $(ErrorKind::$variant => Delivered::$delivered,)+ } }

            const fn usually_retryable(self) -> bool { match self { $(ErrorKind::$variant => $retryable,)+ } }

            /// One sentence about the kind, as in the documentation.
            #[must_use]
            pub const fn description(self) -> &'static str { match self { $(ErrorKind::$variant => concat!($($doc),+),)+ } }
        }
    };
}

error_kinds! {
    /// An argument cannot be used; the message names it and its value.
    InvalidArgument = 1, "INVALID_ARGUMENT", No, false;
    /// Before start, after stop, or in a forked child.
    NotRunning = 2, "NOT_RUNNING", No, false;
    /// No silo in the view serves that actor type.
    NoSilo = 3, "NO_SILO", No, true;
    /// There was no link to the owner before the deadline.
    Unreachable = 4, "UNREACHABLE", No, true;
    /// The link broke after the request was sent.
    ConnectionLost = 5, "CONNECTION_LOST", Unknown, false;
    /// The deadline passed.
    Timeout = 6, "TIMEOUT", Unknown, false;
    /// The caller gave up.
    Cancelled = 7, "CANCELLED", Unknown, false;
    /// A bounded queue is full.
    Overloaded = 8, "OVERLOADED", No, true;
    /// The payload is over the limit; the message has both sizes.
    PayloadTooLarge = 9, "PAYLOAD_TOO_LARGE", No, false;
    /// The handler raised, panicked or dropped the request; carries its message.
    HandlerFailed = 10, "HANDLER_FAILED", Yes, false;
    /// The target has no handler for that actor type.
    NoHandler = 11, "NO_HANDLER", No, false;
    /// The target does not own the actor and could not pass the request on.
    NotOwner = 12, "NOT_OWNER", No, true;
    /// The membership store cannot be reached at start.
    MembershipUnavailable = 13, "MEMBERSHIP_UNAVAILABLE", No, false;
    /// TLS or identity was refused, by either side.
    Unauthenticated = 14, "UNAUTHENTICATED", No, false;
    /// The peer sent what cannot be understood.
    Protocol = 15, "PROTOCOL", Unknown, false;
    /// A defect of Quark itself; never used for anything else.
    Internal = 16, "INTERNAL", Unknown, false;
    /// Another live silo has the id; the message names its endpoint.
    IdInUse = 17, "ID_IN_USE", No, false;
    /// The listen address is taken.
    AddressInUse = 18, "ADDRESS_IN_USE", No, false;
    /// This silo is cut off and does not own anything now.
    Isolated = 19, "ISOLATED", No, true;
    /// Other cluster name, protocol too old, or virtual nodes refused.
    Incompatible = 20, "INCOMPATIBLE", No, false;
    /// A blocking operation that would wait for its own callback.
    Reentrant = 21, "REENTRANT", No, false;
}

impl ErrorKind {
    /// The number on the wire and in the C ABI.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The kind with this number, if it is a known one.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.number() == number)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Did the handler get the request?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Delivered {
    /// Surely not: it is safe to send it again.
    No = 1,
    /// Yes, exactly once.
    Yes = 2,
    /// At most once; nobody can tell.
    Unknown = 3,
}

impl Delivered {
    /// `no`, `yes` or `unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }

    /// The value with this number on the wire.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::No),
            2 => Some(Self::Yes),
            3 => Some(Self::Unknown),
            _ => None,
        }
    }
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Any failure of Quark.
///
/// Cheap to move (one pointer); `Display` prints `CODE: message`.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Clone, PartialEq, Eq)]
struct Parts {
    kind: ErrorKind,
    message: String,
    delivered: Delivered,
    retryable: bool,
    view_version: Option<NonZero<u64>>,
}

impl Error {
    /// An error of `kind` with the delivery and retryability that are usual for it.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            message: message.into(),
            delivered: kind.usual_delivery(),
            retryable: kind.usually_retryable(),
            view_version: None,
        }))
    }

    /// `INVALID_ARGUMENT` in its one form: the argument's name, its value (shortened), and what is wrong with it.
    #[must_use]
    pub fn invalid(argument: &str, value: impl fmt::Debug, problem: &str) -> Self {
        Self::new(ErrorKind::InvalidArgument, format!("{argument}={}: {problem}", shortened(&value)))
    }

    /// The same error with another word on delivery. An error after which the handler may have run is not retryable.
    #[must_use]
    pub fn with_delivered(mut self, delivered: Delivered) -> Self {
        self.0.delivered = delivered;
        self
    }

    /// The same error, retryable or not.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// The same error with the view by which it was decided; 0 is none.
    #[must_use]
    pub fn with_view_version(mut self, view_version: u64) -> Self {
        self.0.view_version = NonZero::new(view_version);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the handler got the request.
    #[must_use]
    pub fn delivered(&self) -> Delivered {
        self.0.delivered
    }

    /// With `NOT_OWNER`, the version of the view by which the silo that refused is not the owner: one of that silo's own
    /// views, whose versions only grow.
    #[must_use]
    pub fn view_version(&self) -> Option<u64> {
        self.0.view_version.map(NonZero::get)
    }

    /// Whether the same call may succeed if it is made again, without the risk of running twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }
}

/// The debug form of a value, cut to a length that fits into a message.
pub(crate) fn shortened(value: &impl fmt::Debug) -> String {
    const LIMIT: usize = 120;
    let mut text = format!("{value:?}");
    if text.len() > LIMIT {
        let mut end = LIMIT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind(), self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} (delivered: {}, retryable: {})", self.delivered(), self.is_retryable())
    }
}

impl std::error::Error for Error {}

/// What an async Rust handler returns when it fails with words of its own; becomes `HANDLER_FAILED`.
impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::new(ErrorKind::HandlerFailed, message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self::new(ErrorKind::HandlerFailed, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        let order = [
            "INVALID_ARGUMENT",
            "NOT_RUNNING",
            "NO_SILO",
            "UNREACHABLE",
            "CONNECTION_LOST",
            "TIMEOUT",
            "CANCELLED",
            "OVERLOADED",
            "PAYLOAD_TOO_LARGE",
            "HANDLER_FAILED",
            "NO_HANDLER",
            "NOT_OWNER",
            "MEMBERSHIP_UNAVAILABLE",
            "UNAUTHENTICATED",
            "PROTOCOL",
            "INTERNAL",
            "ID_IN_USE",
            "ADDRESS_IN_USE",
            "ISOLATED",
            "INCOMPATIBLE",
            "REENTRANT",
        ];
        let ours: Vec<_> = ErrorKind::ALL.iter().map(|kind| (kind.number(), kind.code())).collect();
        let theirs: Vec<_> = (1..).zip(order).collect();
        assert_eq!(ours, theirs);
        assert!(ErrorKind::from_number(0).is_none() && ErrorKind::from_number(22).is_none());
    }
}
