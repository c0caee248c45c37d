//! How a silo or client fares, for its host and for whoever watches it. Pure.

use std::time::SystemTime;

/// How a silo or client fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// All is well.
    #[default]
    Healthy,
    /// It works, by what it knew last; something that it needs does not.
    Degraded {
        /// What does not work: `membership store`.
        part: String,
        /// What that says.
        reason: String,
        /// Since when.
        since: SystemTime,
    },
    /// It is cut off: neither the store nor half of the others answer. It owns nothing until that is over; requests for
    /// its actors get `ISOLATED`.
    Isolated {
        /// Since when.
        since: SystemTime,
    },
}

impl Health {
    /// `healthy`, `degraded` or `isolated`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded { .. } => "degraded",
            Self::Isolated { .. } => "isolated",
        }
    }

    /// Since when it is not healthy.
    #[must_use]
    pub const fn since(&self) -> Option<SystemTime> {
        match self {
            Self::Healthy => None,
            Self::Degraded { since, .. } | Self::Isolated { since } => Some(*since),
        }
    }

    /// Whether it is cut off.
    #[must_use]
    pub const fn is_isolated(&self) -> bool {
        matches!(self, Self::Isolated { .. })
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Healthy | Self::Isolated { .. } => f.write_str(self.as_str()),
            Self::Degraded { part, reason, .. } => write!(f, "degraded: {part}: {reason}"),
        }
    }
}
