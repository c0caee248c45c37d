//! What a silo gains and loses, for `Silo.ownership`.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::bridge::Bridge;
use crate::errors::OrRaise as _;
use crate::outcome::{Outcome, run};
use crate::process;
use crate::ranges::HashRanges;

/// View version, lost, gained, owned.
type Change = (u64, HashRanges, HashRanges, HashRanges);

/// A watch of what a silo owns.
#[pyclass(frozen)]
pub(crate) struct OwnershipWatch(Arc<quark_core::OwnershipWatch>);

impl From<quark_core::OwnershipWatch> for OwnershipWatch {
    fn from(watch: quark_core::OwnershipWatch) -> Self {
        Self(Arc::new(watch))
    }
}

#[pymethods]
impl OwnershipWatch {
    /// Waits until there is a change to take, or never will be; the last one is done with.
    fn ready<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        process::check_fork().or_raise(py)?;
        let watch = self.0.clone();
        run(py, bridge, async move {
            watch.ready().await;
            Ok(Outcome::Nothing)
        })
    }

    /// What has changed, if anything has.
    fn take(&self) -> Option<Change> {
        let change = self.0.take()?;
        let [lost, gained, owned] = [change.lost, change.gained, change.owned].map(HashRanges);
        Some((change.view_version, lost, gained, owned))
    }

    /// Whether nothing comes after what can be taken now.
    fn is_over(&self) -> bool {
        self.0.is_over()
    }
}
