//! The native half of `quark.Membership`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use quark_core::{
    Endpoint, Error, ErrorKind, Membership as CoreMembership, Role, SiloConfig, SiloId, SiloInfo,
};

use crate::args;
use crate::bridge::Bridge;
use crate::errors::OrRaise as _;
use crate::node::{check_fork, configure};
use crate::outcome::{Outcome, run, silo_infos};

/// Membership alone.
#[pyclass(frozen)]
pub(crate) struct Membership(Arc<CoreMembership>);

#[pymethods]
impl Membership {
    #[new]
    fn new(url: &Bound<'_, PyAny>, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = url.py();
        let url = args::text("url", url)?.parse().or_raise(py)?;
        let mut config = SiloConfig::new(SiloId::new_client());
        for (name, value) in options.iter() {
            if !value.is_none() {
                configure(&mut config, &mut 1, &args::text("option", &name)?, &value)?;
            }
        }
        Ok(Self(Arc::new(CoreMembership::new(&url, config.timing).or_raise(py)?)))
    }

    /// As a silo with an endpoint, or as an observer without one; gives the incarnation.
    fn start(
        &self,
        py: Python<'_>,
        bridge: Option<&Bridge>,
        silo_id: &Bound<'_, PyAny>,
        endpoint: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        check_fork().or_raise(py)?;
        let id = SiloId::new(args::text("silo_id", silo_id)?).or_raise(py)?;
        let role = match endpoint {
            None => Role::Observer(id),
            Some(endpoint) => {
                let endpoint =
                    Endpoint::parse("endpoint", &args::text("endpoint", endpoint)?).or_raise(py)?;
                Role::Member(SiloInfo::new(id, endpoint))
            }
        };
        let membership = self.0.clone();
        run(py, bridge, async move { membership.start(role).await.map(Outcome::Number) })
    }

    fn stop(&self, py: Python<'_>, bridge: Option<&Bridge>) -> PyResult<Py<PyAny>> {
        check_fork().or_raise(py)?;
        let membership = self.0.clone();
        run(py, bridge, async move { membership.stop().await.map(|()| Outcome::Nothing) })
    }

    /// Waits for a view with another version than this one, and gives its version.
    fn next_view(&self, py: Python<'_>, bridge: Option<&Bridge>, version: u64) -> PyResult<Py<PyAny>> {
        let mut views = self.0.watch();
        run(py, bridge, async move {
            let changed = views.wait_for(|view| view.version() != version).await;
            let view = changed.map_err(|_| Error::new(ErrorKind::NotRunning, "it was stopped"))?;
            Ok(Outcome::Number(view.version()))
        })
    }

    fn silos(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        silo_infos(py, &self.0.silos())
    }

    fn owner(&self, actor_type: &Bound<'_, PyAny>, actor_id: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
        let (actor_type, actor_id) =
            (args::text("actor_type", actor_type)?, args::text("actor_id", actor_id)?);
        Ok(self.0.owner(&actor_type, &actor_id).map(|id| id.to_string()))
    }

    fn view_version(&self) -> u64 {
        self.0.view().version()
    }
}
