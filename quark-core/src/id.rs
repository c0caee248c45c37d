//! Identifiers: who a silo is, which actor is meant, how long their names may be.
//!
//! Pure words without I/O; every other module speaks them. Validation lives here so that a bad name gets the
//! same error wherever it comes in.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::ascii;
use crate::error::{Error, Result};

/// Longest silo id, in bytes of UTF-8.
pub(crate) const MAX_SILO_ID_BYTES: usize = 255;
/// Longest actor id and longest actor type, in bytes of UTF-8.
pub(crate) const MAX_ACTOR_NAME_BYTES: usize = 1024;
/// Longest method name, in bytes of UTF-8.
pub(crate) const MAX_METHOD_BYTES: usize = 1024;
/// Longest message id, in bytes of UTF-8.
pub(crate) const MAX_MESSAGE_ID_BYTES: usize = 64;

/// The id of a silo (or of a client, which is no silo but has a name too).
///
/// 1 to 255 bytes of UTF-8 without control characters; every other character is allowed, colons and braces too.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiloId(Arc<str>);

impl SiloId {
    /// Checks and wraps `id`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming `silo_id` when it is empty, too long or holds a control character.
    pub fn new(id: impl AsRef<str>) -> Result<Self> {
        check_name("silo_id", id.as_ref(), MAX_SILO_ID_BYTES)?;
        Ok(Self(id.as_ref().into()))
    }

    /// A fresh id for a client: `client:<uuid>`.
    #[must_use]
    pub fn new_client() -> Self {
        Self(format!("client:{}", uuid::Uuid::new_v4()).into())
    }

    /// What a peer that did not announce itself is called.
    pub(crate) fn plain() -> Self {
        Self("plain".into())
    }

    /// Whether it is a client's: clients own nothing and are sent nothing but answers.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.0.starts_with("client:")
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiloId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SiloId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Borrow<str> for SiloId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for SiloId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for SiloId {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Self::new(s)
    }
}

/// Checks one name: not empty, at most `max` bytes, no control characters.
///
/// # Errors
/// `INVALID_ARGUMENT` with `argument` and the value (shortened) in the message.
pub(crate) fn check_name(argument: &str, value: &str, max: usize) -> Result<()> {
    if value.is_empty() {
        return Err(Error::invalid(argument, value, "must not be empty"));
    }
    if value.len() > max {
        return Err(Error::invalid(
            argument,
            value,
            &format!("is {} bytes long, the limit is {max}", value.len()),
        ));
    }
    // Nearly all names are printable ASCII.
    if !ascii::is_printable(value.as_bytes()) && value.chars().any(char::is_control) {
        return Err(Error::invalid(argument, value, "must not contain control characters"));
    }
    Ok(())
}

/// Checks an actor's type and id.
///
/// # Errors
/// `INVALID_ARGUMENT` naming `actor_type` or `actor_id`.
pub(crate) fn check_actor(actor_type: &str, actor_id: &str) -> Result<()> {
    check_name("actor_type", actor_type, MAX_ACTOR_NAME_BYTES)?;
    check_name("actor_id", actor_id, MAX_ACTOR_NAME_BYTES)
}

/// Checks a method name; unlike the others it may be empty.
///
/// # Errors
/// `INVALID_ARGUMENT` naming `method_name`.
pub(crate) fn check_method(method: &str) -> Result<()> {
    if method.is_empty() { Ok(()) } else { check_name("method_name", method, MAX_METHOD_BYTES) }
}

/// Checks the name of a cluster: `[A-Za-z0-9._-]{1,64}`.
///
/// # Errors
/// `INVALID_ARGUMENT` naming `cluster`.
pub(crate) fn check_cluster(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err(Error::invalid("cluster", name, "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_character_but_control_is_allowed() {
        for id in ["a", "10.0.0.7:11111", "silo:with:colons", "σίλο-α", "a b", "{x}*", &"x".repeat(255)]
        {
            assert_eq!(SiloId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn a_bad_id_is_named_with_its_value() {
        let error = SiloId::new("a\0b").unwrap_err();
        assert!(error.message().contains("silo_id"), "{error}");
        assert!(error.message().contains("a\\0b"), "{error}");
        assert!(SiloId::new("").is_err());
        assert!(SiloId::new("x".repeat(256)).is_err());
        assert!(check_actor("T", &"x".repeat(1 << 20)).unwrap_err().message().len() < 300);
    }

    #[test]
    fn cluster_names_keep_to_what_redis_keys_can_carry() {
        assert!(check_cluster("quark").is_ok());
        for bad in ["", "a b", "{x}", "a:b", &"x".repeat(65)] {
            assert!(check_cluster(bad).is_err(), "{bad}");
        }
    }
}
