//! Why a store did not do what was asked.

use std::fmt;

use ::redis::{ErrorKind, RedisError};

/// Why Redis did not do what was asked.
#[derive(Debug)]
pub(super) struct Refusal(Option<RedisError>);

impl Refusal {
    pub(super) fn no_answer() -> Self {
        Self(None)
    }

    /// Whether trying again is pointless: the password or the address is wrong.
    pub(super) fn is_final(&self) -> bool {
        let kind = self.0.as_ref().map(RedisError::kind);
        matches!(kind, Some(ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig))
    }
}

impl From<RedisError> for Refusal {
    fn from(error: RedisError) -> Self {
        Self(Some(error))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(error) => error.fmt(f),
            None => f.write_str("no answer in time"),
        }
    }
}
