//! Placement by Python functions: asked on the thread that calls, with what they are shown made once for each view.

use std::sync::{Arc, Mutex, Weak};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use quark_core::host::Workers;
use quark_core::{Error, ErrorKind, Placement, PlacementPolicy, Result, SiloConfig, SiloId, View};

use crate::args;
use crate::errors::OrRaise as _;
use crate::foreign;
use crate::handlers::{Slot, surroundings};
use crate::outcome::silo_info;
use crate::process;

/// The option `placement`: a dict of the names of policies, and of functions, which are given back.
pub(crate) fn configure(config: &mut SiloConfig, value: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<Policy>>> {
    let name = "placement";
    let wanted = "a dict of str to str or a function";
    let dict = value.cast::<PyDict>().map_err(|_| args::wrong_type(name, value, wanted))?;
    let is_coroutine = value.py().import("inspect")?.getattr("iscoroutinefunction")?;
    let mut policies = Vec::new();
    for (actor_type, placement) in dict.iter() {
        let actor_type = args::text(name, &actor_type)?;
        let placement = if placement.is_instance_of::<PyString>() {
            args::text(name, &placement)?.parse().or_raise(value.py())?
        } else if placement.is_callable() && !is_coroutine.call1((&placement,))?.is_truthy()? {
            let policy = Arc::new(Policy {
                actor_type: actor_type.clone(),
                choose: Slot::new(placement.unbind()),
                serving: Mutex::default(),
                again: Workers::surrounded("quark-placement", 1, surroundings(), |ask: Ask| ask()),
            });
            policies.push(policy.clone());
            Placement::Custom(policy)
        } else {
            return Err(args::wrong_type(
                &format!("{name}[{actor_type:?}]"),
                &placement,
                "str or a plain function",
            ));
        };
        config.placement.insert(actor_type, placement);
    }
    Ok(policies)
}

type Ask = Box<dyn FnOnce() + Send>;

/// A function of Python's.
pub(crate) struct Policy {
    actor_type: String,
    choose: Arc<Slot>,
    serving: Mutex<Option<Serving>>,
    /// Where it is asked when nobody who calls is there.
    again: Workers<Ask>,
}

/// What the function is shown of a view.
struct Serving {
    view: Weak<View>,
    silos: Py<PyTuple>,
}

impl Policy {
    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        self.choose.visit(visit)
    }

    /// Nobody asks it any more. Called with the GIL.
    pub(crate) fn clear(&self) {
        self.choose.clear();
        let shown = self.serving.lock().expect("no panic while locked").take();
        drop(shown);
    }

    fn silos(&self, py: Python<'_>, view: &Arc<View>) -> PyResult<Py<PyTuple>> {
        if let Some(serving) = &*self.serving.lock().expect("no panic while locked")
            && std::ptr::eq(serving.view.as_ptr(), Arc::as_ptr(view))
        {
            return Ok(serving.silos.clone_ref(py));
        }
        let serving = view.ring(&self.actor_type).silos().filter_map(|id| view.silo(id.as_str()));
        let infos = serving.map(|info| silo_info(py, info)).collect::<PyResult<Vec<_>>>()?;
        let silos = PyTuple::new(py, infos)?.unbind();
        let shown = Serving { view: Arc::downgrade(view), silos: silos.clone_ref(py) };
        let before = self.serving.lock().expect("no panic while locked").replace(shown);
        drop(before);
        Ok(silos)
    }

    fn ask(
        &self,
        py: Python<'_>,
        actor_id: &str,
        view: &Arc<View>,
        local: &SiloId,
    ) -> Result<Option<SiloId>> {
        let Some(choose) = self.choose.get(py) else {
            return Err(Error::new(ErrorKind::NotRunning, "it was dropped"));
        };
        let chosen = self.silos(py, view).and_then(|silos| {
            foreign::call(choose.bind(py), (&self.actor_type, actor_id, silos, local.as_str()))
        });
        // It may have forked; what is left of the call is the parent's.
        process::check_fork()?;
        match chosen {
            Err(error) => Err(self.raised(py, &error)),
            Ok(chosen) if chosen.is_none() => Ok(None),
            Ok(chosen) => match args::text("chosen", &chosen).map(SiloId::new) {
                Ok(Ok(chosen)) => Ok(Some(chosen)),
                Ok(Err(problem)) => Err(self.problem(&format!("chose {}", problem.message()))),
                Err(_) => {
                    let shown = chosen.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string());
                    let shown: String = shown.chars().take(120).collect();
                    Err(self.problem(&format!("returned {shown}, which is neither a silo id nor None")))
                }
            },
        }
    }

    fn raised(&self, py: Python<'_>, error: &PyErr) -> Error {
        let problem = self.problem(&format!("raised {error}"));
        let module = |name| py.import(name);
        if error.is_instance_of::<PyKeyboardInterrupt>(py) {
            // Whoever waits for the call is interrupted instead; as the last thing, because whatever runs here next would be.
            let _ = module("_thread").and_then(|thread| thread.call_method0("interrupt_main"));
        } else if let Ok(told) = module("quark._placement").and_then(|module| module.getattr("raised")) {
            let _ = foreign::call(&told, (&self.actor_type, error.value(py)));
        }
        problem
    }

    fn problem(&self, what: &str) -> Error {
        let message = format!("placement: the function of {:?} {what}", self.actor_type);
        Error::new(ErrorKind::InvalidArgument, message)
    }
}

impl PlacementPolicy for Policy {
    fn place(
        &self,
        _actor_type: &str,
        actor_id: &str,
        view: &Arc<View>,
        local: &SiloId,
    ) -> Result<Option<SiloId>> {
        let ends = || Err(Error::new(ErrorKind::NotRunning, "the interpreter ends"));
        if process::is_ending() {
            return ends();
        }
        Python::try_attach(|py| self.ask(py, actor_id, view, local)).unwrap_or_else(ends)
    }

    fn ask_again(&self, ask: Ask) {
        self.again.push(ask);
    }
}
