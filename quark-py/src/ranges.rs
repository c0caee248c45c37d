//! `quark.HashRanges`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use quark_core::HashRange;

use crate::args;

/// What pickle keeps: the class, and its argument.
type Reduced<'py> = (Bound<'py, PyAny>, (Vec<(u32, u32)>,));

/// A part of the ring: ranges of positions, sorted, that neither overlap nor touch.
#[pyclass(frozen, eq, sequence, module = "quark")]
#[derive(PartialEq)]
pub(crate) struct HashRanges(pub(crate) quark_core::HashRanges);

impl HashRanges {
    fn pairs(&self) -> Vec<(u32, u32)> {
        self.0.iter().map(|range| (range.first, range.last)).collect()
    }
}

#[pymethods]
impl HashRanges {
    /// Of pairs (first, last), in any order; one whose first is behind its last goes around the end of the ring.
    #[new]
    #[pyo3(signature = (ranges=None))]
    fn new(ranges: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(ranges) = ranges else { return Ok(Self(quark_core::HashRanges::new())) };
        let wrong = |_| args::wrong_type("ranges", ranges, "an iterable of pairs of int");
        let range = |pair: PyResult<Bound<'_, PyAny>>| {
            let (first, last) = pair?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().map_err(wrong)?;
            Ok(HashRange { first: args::number("first", &first)?, last: args::number("last", &last)? })
        };
        ranges.try_iter().map_err(wrong)?.map(range).collect::<PyResult<_>>().map(Self)
    }

    /// Whether an actor is in it.
    fn contains(&self, actor_type: &Bound<'_, PyAny>, actor_id: &Bound<'_, PyAny>) -> PyResult<bool> {
        let actor_type = args::borrowed_text("actor_type", actor_type)?;
        Ok(self.0.contains_actor(actor_type, args::borrowed_text("actor_id", actor_id)?))
    }

    /// The part of all keys that is in it, 0 to 1.
    #[getter]
    fn share(&self) -> f64 {
        self.0.share()
    }

    /// Whether a position is in it, or a key such as "Counter:42".
    fn __contains__(&self, position: &Bound<'_, PyAny>) -> PyResult<bool> {
        let position = match position.cast::<PyString>() {
            Ok(_) => quark_core::hash(args::borrowed_text("key", position)?),
            Err(_) => args::number("position", position)?,
        };
        Ok(self.0.contains(position))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyList::new(py, self.pairs())?.try_iter()?.into_any())
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __or__(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0))
    }

    fn __sub__(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0))
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> Reduced<'py> {
        (slf.get_type().into_any(), (slf.get().pairs(),))
    }

    fn __repr__(&self) -> String {
        format!("<quark.HashRanges {} of {:.4} of the ring>", self.0.len(), self.0.share())
    }
}
