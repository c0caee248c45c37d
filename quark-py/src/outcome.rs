//! One way for everything that takes time: as a future of an event loop, or by blocking the calling thread.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use quark_core::host::{self, Done, Mailbox, Waiter};
use quark_core::{Error, ErrorKind, Result, SiloInfo, View};
use tokio::sync::watch;

use crate::bridge::{Begun, Bridge, Item};
use crate::buffer;
use crate::envelope::Envelope;
use crate::errors::{OrRaise as _, exception};

/// What an operation gives to Python.
pub(crate) enum Outcome {
    Nothing,
    Number(u64),
    Bytes(Bytes),
    /// The same bytes as a memoryview.
    View(Bytes),
    /// Of many calls: a list of `bytes` and exceptions.
    Many(Vec<Result<Bytes>>),
    Envelope(Box<quark_core::Envelope>),
    Silos(Arc<View>),
}

impl Outcome {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Nothing => py.None(),
            Self::Number(number) => number.into_pyobject(py)?.into_any().unbind(),
            Self::Bytes(bytes) => PyBytes::new(py, &bytes).into_any().unbind(),
            Self::View(bytes) => buffer::view_of(py, bytes)?.into_any().unbind(),
            Self::Many(endings) => {
                let list = PyList::empty(py);
                for ending in endings {
                    match ending {
                        Ok(bytes) => list.append(PyBytes::new(py, &bytes))?,
                        Err(error) => list.append(exception(py, &error)?)?,
                    }
                }
                list.into_any().unbind()
            }
            Self::Envelope(envelope) => Py::new(py, Envelope::from(*envelope))?.into_any(),
            Self::Silos(view) => view_parts(py, &view)?.unbind(),
        })
    }
}

/// Who is told of an ending, exactly once, from whatever thread.
pub(crate) enum Ending {
    Future(Arc<Mailbox<Item>>, Py<PyAny>),
    Thread(Done<Outcome>),
}

impl Ending {
    pub(crate) fn tell(self, ended: Result<Outcome>) {
        match self {
            Self::Future(mailbox, future) => mailbox.push(Item::Ended(future, ended)),
            Self::Thread(done) => done.tell(ended),
        }
    }
}

/// Begins something that can be given up. With a bridge, returns a future of its loop and what gives up; without one,
/// blocks, gives up at Ctrl-C, and returns the outcome.
pub(crate) fn begin<'py>(
    py: Python<'py>,
    bridge: Option<&Bound<'py, Bridge>>,
    begin: impl FnOnce(Ending) -> Begun,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(bridge) = bridge else {
        host::check_may_block().or_raise(py)?;
        let (done, waiter) = host::done_and_waiter();
        let begun = begin(Ending::Thread(done));
        return wait(py, waiter, || begun.cancel())?.into_python(py).map(|outcome| outcome.into_bound(py));
    };
    let future = bridge.get().create_future(py)?;
    let ending = Ending::Future(bridge.get().mailbox(), future.clone_ref(py));
    // Handlers of the own silo start without a wake-up. What has ended already is told by the loop: who calls again and again, and
    // fails each time, would not let it run.
    let (begun, ran) = Bridge::at_home(bridge, Item::is_start, || begin(ending));
    if let Err(raised) = ran {
        begun.cancel();
        future.call_method0(py, intern!(py, "cancel"))?;
        return Err(raised);
    }
    Ok((future, begun).into_pyobject(py)?.into_any())
}

/// The same for a future of the core's.
pub(crate) fn run<'py>(
    py: Python<'py>,
    bridge: Option<&Bound<'py, Bridge>>,
    work: impl Future<Output = Result<Outcome>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    let runtime = host::handle().or_raise(py)?;
    begin(py, bridge, |ending| runtime.spawn(async move { ending.tell(work.await) }).abort_handle().into())
}

/// Blocks without the GIL; Ctrl-C ends it with `KeyboardInterrupt` after `interrupted`.
fn wait(py: Python<'_>, mut waiter: Waiter<Outcome>, interrupted: impl FnOnce()) -> PyResult<Outcome> {
    const SLICE: Duration = Duration::from_millis(50);
    loop {
        if let Some(ended) = py.detach(|| waiter.wait_for(SLICE)) {
            if ended.is_err() {
                // Ctrl-C in a function of the program's that the call asked says more than what became of the call.
                py.check_signals()?;
            }
            return ended.or_raise(py);
        }
        if let Err(signal) = py.check_signals() {
            interrupted();
            return Err(signal);
        }
    }
}

/// What a future gets: its result, or its exception.
pub(crate) fn ended_in_python(py: Python<'_>, ended: Result<Outcome>) -> Result<Py<PyAny>, Py<PyAny>> {
    // No memory for one of them: the caller must hear of that too.
    let no_memory = |problem: PyErr| problem.into_value(py).into_any();
    match ended {
        Ok(outcome) => outcome.into_python(py).map_err(no_memory),
        Err(error) => Err(exception(py, &error).map_or_else(no_memory, Bound::unbind)),
    }
}

/// Counts the endings of many calls; the last one tells.
pub(crate) struct Gathering {
    endings: Vec<Option<Result<Bytes>>>,
    left: usize,
    ending: Option<Ending>,
}

impl Gathering {
    /// Of `count` calls, at least one.
    pub(crate) fn new(count: usize, ending: Ending) -> Self {
        Self {
            endings: std::iter::repeat_with(|| None).take(count).collect(),
            left: count,
            ending: Some(ending),
        }
    }

    /// One has ended.
    pub(crate) fn ended(&mut self, place: usize, ended: Result<Bytes>) {
        self.endings[place] = Some(ended);
        self.left -= 1;
        if self.left == 0
            && let Some(ending) = self.ending.take()
        {
            let missing = || Err(Error::new(ErrorKind::Internal, "a call has no ending"));
            let endings = std::mem::take(&mut self.endings);
            ending.tell(Ok(Outcome::Many(
                endings.into_iter().map(|ended| ended.unwrap_or_else(missing)).collect(),
            )));
        }
    }
}

/// A silo as the arguments of `quark.SiloInfo`.
pub(crate) fn silo_info(py: Python<'_>, info: &SiloInfo) -> PyResult<Py<PyAny>> {
    let arguments = (
        info.silo_id.as_str(),
        info.endpoint.to_string(),
        info.status as u8,
        info.incarnation,
        info.virtual_nodes,
        info.actor_types.clone(),
        info.zone.clone(),
        info.labels.clone(),
        info.protocol_version,
        info.is_draining(),
    );
    let make = py.import("quark._types")?.getattr("_silo_info")?;
    Ok(make.call1(arguments)?.unbind())
}

/// The silos of a view, as Python sees them.
pub(crate) fn silo_infos(py: Python<'_>, silos: &[Arc<SiloInfo>]) -> PyResult<Vec<Py<PyAny>>> {
    silos.iter().map(|info| silo_info(py, info)).collect()
}

/// Waits for a view with another version than this one.
pub(crate) fn next_view<'py>(
    py: Python<'py>,
    bridge: Option<&Bound<'py, Bridge>>,
    mut views: watch::Receiver<Arc<View>>,
    version: u64,
) -> PyResult<Bound<'py, PyAny>> {
    run(py, bridge, async move {
        let changed = views.wait_for(|view| view.version() != version).await;
        let view = changed.map_err(|_| Error::new(ErrorKind::NotRunning, "it was stopped"))?;
        Ok(Outcome::Silos(view.clone()))
    })
}

/// A view: its version, and its silos.
pub(crate) fn view_parts<'py>(py: Python<'py>, view: &View) -> PyResult<Bound<'py, PyAny>> {
    let silos = view.silos().map(|info| silo_info(py, info)).collect::<PyResult<Vec<_>>>()?;
    Ok((view.version(), silos).into_pyobject(py)?.into_any())
}
