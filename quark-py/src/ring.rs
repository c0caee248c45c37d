//! `quark.HashRing`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::args;
use crate::columns;
use crate::errors::OrRaise as _;
use crate::ranges::HashRanges;

/// The position of a key on the ring.
#[pyfunction]
pub(crate) fn hash(key: &Bound<'_, PyAny>) -> PyResult<u32> {
    Ok(quark_core::hash(&args::text("key", key)?))
}

/// What pickle keeps: the function that makes a ring, and its argument.
type Reduced<'py> = (Bound<'py, PyAny>, (BTreeMap<String, u32>, BTreeMap<String, HashRanges>));

/// A consistent hash ring, usable alone and from any thread.
#[pyclass(frozen, module = "quark")]
#[derive(Default)]
pub(crate) struct HashRing(Mutex<quark_core::HashRing>);

impl From<quark_core::HashRing> for HashRing {
    fn from(ring: quark_core::HashRing) -> Self {
        Self(Mutex::new(ring))
    }
}

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

    /// Gives a silo another number of points, and says whether it is there. One that drains goes on to.
    fn set_virtual_nodes(
        &self,
        py: Python<'_>,
        silo_id: &Bound<'_, PyAny>,
        virtual_nodes: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let silo_id = args::borrowed_text("silo_id", silo_id)?;
        let virtual_nodes = args::number("virtual_nodes", virtual_nodes)?;
        let mut ring = self.0.lock().expect("no panic while a ring is locked");
        ring.set_virtual_nodes(silo_id, virtual_nodes).or_raise(py)
    }

    /// Removes a silo and says whether it was there.
    fn remove(&self, silo_id: &Bound<'_, PyAny>) -> PyResult<bool> {
        let silo_id = args::text("silo_id", silo_id)?;
        Ok(self.0.lock().expect("no panic while a ring is locked").remove(&silo_id))
    }

    /// The owner of a key such as "Counter:42", or None when the ring is empty.
    fn owner(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
        let key = args::borrowed_text("key", key)?;
        Ok(self.snapshot().owner(key).map(str::to_owned))
    }

    /// The owners of many keys, in their order: cheaper for each than one by one.
    fn owners<'py>(&self, py: Python<'py>, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let ring = self.snapshot();
        // Each owner is one object, however often it is in the list.
        let silos: Vec<_> = ring.silos().map(|id| PyString::new(py, id.as_str())).collect();
        let mut owners = Vec::new();
        columns::each("keys", keys, |texts| {
            owners.reserve(texts.len());
            ring.each_owner(texts, |place| owners.push(place.map(|place| &silos[place])));
        })?;
        PyList::new(py, owners)
    }

    /// The silos, sorted.
    #[getter]
    fn silos(&self) -> Vec<String> {
        self.snapshot().silos().map(ToString::to_string).collect()
    }

    /// The part of all keys that each silo owns; together 1.
    fn shares(&self) -> BTreeMap<String, f64> {
        let ring = self.snapshot();
        ring.silos().map(ToString::to_string).zip(ring.shares()).collect()
    }

    /// The part of all keys that goes from one owner to another when this ring becomes that one.
    fn moves(&self, after: &Self) -> BTreeMap<(Option<String>, Option<String>), f64> {
        let named = |id: Option<quark_core::SiloId>| id.map(|id| id.to_string());
        let moves = self.snapshot().moves(&after.snapshot());
        moves.into_iter().map(|((from, to), part)| ((named(from), named(to)), part)).collect()
    }

    /// The positions that a silo owns; none when it is not there.
    fn ranges(&self, silo_id: &Bound<'_, PyAny>) -> PyResult<HashRanges> {
        Ok(HashRanges(self.snapshot().ranges(args::borrowed_text("silo_id", silo_id)?)))
    }

    /// Who owns a key when its owner goes, who when that one goes too, and so on.
    #[pyo3(signature = (key, count=None))]
    fn next_owners(&self, key: &Bound<'_, PyAny>, count: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
        let key = args::borrowed_text("key", key)?;
        let count = count.map_or(Ok(3), |count| args::number("count", count))?;
        Ok(self.snapshot().next_owners(key, count).into_iter().map(ToString::to_string).collect())
    }

    /// How many virtual nodes each silo has.
    fn virtual_nodes(&self) -> BTreeMap<String, u32> {
        let ring = self.snapshot();
        ring.silos().map(|id| (id.to_string(), ring.virtual_nodes(id.as_str()).unwrap_or(0))).collect()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        let ring = slf.get().snapshot();
        let kept = ring.kept().map(|(id, kept)| (id.to_string(), HashRanges(kept.clone()))).collect();
        Ok((slf.get_type().getattr("_of")?, (slf.get().virtual_nodes(), kept)))
    }

    /// A ring of these silos with their virtual nodes, and what those keep that drain.
    #[staticmethod]
    fn _of(
        py: Python<'_>,
        silos: BTreeMap<String, u32>,
        kept: BTreeMap<String, PyRef<'_, HashRanges>>,
    ) -> PyResult<Self> {
        let mut ring = quark_core::HashRing::new();
        for (silo_id, virtual_nodes) in silos {
            ring.add(&silo_id, virtual_nodes).or_raise(py)?;
        }
        let kept = kept.into_iter().map(|(id, kept)| Ok((id.parse()?, kept.0.clone())));
        Ok(ring.draining(kept.collect::<quark_core::Result<Vec<_>>>().or_raise(py)?).into())
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.snapshot() == other.snapshot()
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
