//! `quark.HashRing`.

use std::sync::Mutex;

use pyo3::prelude::*;

use crate::args;
use crate::errors::OrRaise as _;

/// The position of a key on the ring.
#[pyfunction]
pub(crate) fn hash(key: &Bound<'_, PyAny>) -> PyResult<u32> {
    Ok(quark_core::hash(&args::text("key", key)?))
}

/// A consistent hash ring, usable alone and from any thread.
#[pyclass(frozen, module = "quark")]
#[derive(Default)]
pub(crate) struct HashRing(Mutex<quark_core::HashRing>);

impl HashRing {
    fn snapshot(&self) -> quark_core::HashRing {
        self.0.lock().expect("no panic while a ring is locked").clone()
    }
}

#[pymethods]
impl HashRing {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Adds a silo with so many points; False when it is there already, which changes nothing.
    #[pyo3(signature = (silo_id, virtual_nodes=None))]
    fn add(
        &self,
        py: Python<'_>,
        silo_id: &Bound<'_, PyAny>,
        virtual_nodes: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let silo_id = args::text("silo_id", silo_id)?;
        let virtual_nodes = match virtual_nodes {
            None => quark_core::DEFAULT_VIRTUAL_NODES,
            Some(number) => args::number("virtual_nodes", number)?,
        };
        self.0.lock().expect("no panic while a ring is locked").add(&silo_id, virtual_nodes).or_raise(py)
    }

    /// Removes a silo and says whether it was there.
    fn remove(&self, silo_id: &Bound<'_, PyAny>) -> PyResult<bool> {
        let silo_id = args::text("silo_id", silo_id)?;
        Ok(self.0.lock().expect("no panic while a ring is locked").remove(&silo_id))
    }

    /// The owner of a key such as "Counter:42", or None when the ring is empty.
    fn owner(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
        let key = args::text("key", key)?;
        Ok(self.snapshot().owner(&key).map(str::to_owned))
    }

    /// The owners of many keys, in their order.
    fn owners(&self, py: Python<'_>, keys: Vec<String>) -> Vec<Option<String>> {
        let ring = self.snapshot();
        py.detach(|| ring.owners(&keys).into_iter().map(|owner| owner.map(str::to_owned)).collect())
    }

    /// The silos, sorted.
    #[getter]
    fn silos(&self) -> Vec<String> {
        self.snapshot().silos().map(ToString::to_string).collect()
    }

    fn __len__(&self) -> usize {
        self.snapshot().len()
    }

    fn __contains__(&self, silo_id: &str) -> bool {
        self.snapshot().contains(silo_id)
    }

    fn __repr__(&self) -> String {
        format!("<quark.HashRing {:?}>", self.snapshot())
    }
}
