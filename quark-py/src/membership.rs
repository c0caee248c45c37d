//! The native half of `quark.Membership`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use quark_core::{Endpoint, Membership as CoreMembership, Role, SiloConfig, SiloId, SiloInfo};

use crate::args;
use crate::bridge::Bridge;
use crate::errors::OrRaise as _;
use crate::options::configure;
use crate::outcome::{Outcome, next_view, run, silo_infos, view_parts};
use crate::process;
use crate::ring::HashRing;

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
    fn start<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        silo_id: &Bound<'py, PyAny>,
        endpoint: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        process::check_fork().or_raise(py)?;
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

    fn stop<'py>(&self, py: Python<'py>, bridge: Option<&Bound<'py, Bridge>>) -> PyResult<Bound<'py, PyAny>> {
        process::check_fork().or_raise(py)?;
        let membership = self.0.clone();
        run(py, bridge, async move { membership.stop().await.map(|()| Outcome::Nothing) })
    }

    /// The view that [`next_view`](Self::next_view) goes on from; calls may still follow the one before.
    fn latest_view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let view = self.0.watch().borrow().clone();
        view_parts(py, &view)
    }

    /// Waits for a view with another version than this one, and gives it: its version, and its silos.
    fn next_view<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        version: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        next_view(py, bridge, self.0.watch(), version)
    }

    fn silos(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        silo_infos(py, &self.0.silos())
    }

    fn owner(&self, actor_type: &Bound<'_, PyAny>, actor_id: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
        let (actor_type, actor_id) =
            (args::text("actor_type", actor_type)?, args::text("actor_id", actor_id)?);
        Ok(self.0.owner(&actor_type, &actor_id).map(|id| id.to_string()))
    }

    fn ring(&self, actor_type: &Bound<'_, PyAny>) -> PyResult<HashRing> {
        let actor_type = args::borrowed_text("actor_type", actor_type)?;
        Ok(self.0.view().ring(actor_type).clone().into())
    }

    fn view_version(&self) -> u64 {
        self.0.view().version()
    }
}
