//! The native half of `quark.Transport`.

use std::sync::{Arc, Mutex};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use quark_core::{
    Endpoint, Error, ErrorKind, SiloConfig, SiloId, SiloInfo, Transport as CoreTransport, host,
};

use crate::args;
use crate::bridge::Bridge;
use crate::envelope::Envelope;
use crate::errors::{OrRaise as _, raise};
use crate::handlers::{self, Slot};
use crate::message::{Current, handling};
use crate::options::configure;
use crate::outcome::{Outcome, run};
use crate::process;

/// A transport alone. It is made at its start, when the loop of its handler is known.
#[pyclass(frozen)]
pub(crate) struct Transport {
    id: SiloId,
    config: SiloConfig,
    listens: bool,
    handler: (Arc<Slot>, bool),
    started: Arc<Mutex<Option<Arc<CoreTransport>>>>,
}

impl Transport {
    fn started(&self, py: Python<'_>) -> PyResult<Arc<CoreTransport>> {
        process::check_fork().or_raise(py)?;
        let started = self.started.lock().expect("no panic while locked").clone();
        started.ok_or_else(|| raise(py, &Error::new(ErrorKind::NotRunning, "the transport was not started")))
    }
}

#[pymethods]
impl Transport {
    #[new]
    fn new(
        silo_id: &Bound<'_, PyAny>,
        options: &Bound<'_, PyDict>,
        call: Py<PyAny>,
        is_async: bool,
    ) -> PyResult<Self> {
        let id = SiloId::new(args::text("silo_id", silo_id)?).or_raise(silo_id.py())?;
        let mut config = SiloConfig::new(id.clone());
        let mut listens = false;
        for (name, value) in options.iter() {
            if !value.is_none() {
                let name = args::text("option", &name)?;
                listens |= name == "listen";
                configure(&mut config, &mut 1, &name, &value)?;
            }
        }
        Ok(Self { id, config, listens, handler: (Slot::new(call), is_async), started: Arc::default() })
    }

    fn start<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        process::check_fork().or_raise(py)?;
        let (slot, is_async) = &self.handler;
        let handler = handlers::make(slot, *is_async, bridge, 1)?;
        let listen = self.listens.then(|| self.config.listen.clone());
        let transport = CoreTransport::new(self.id.clone(), listen, self.config.transport.clone(), handler)
            .or_raise(py)?;
        let started = self.started.clone();
        run(py, bridge, async move {
            transport.start().await?;
            *started.lock().expect("no panic while locked") = Some(Arc::new(transport));
            Ok(Outcome::Nothing)
        })
    }

    fn stop<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        drain: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let drain = args::duration("drain", drain)?;
        let transport = self.started.lock().expect("no panic while locked").clone();
        run(py, bridge, async move {
            if let Some(transport) = transport {
                transport.stop(drain).await;
            }
            Ok(Outcome::Nothing)
        })
    }

    fn connect<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        silo_id: &Bound<'py, PyAny>,
        endpoint: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let transport = self.started(py)?;
        let id = SiloId::new(args::text("silo_id", silo_id)?).or_raise(py)?;
        let endpoint = Endpoint::parse("endpoint", &args::text("endpoint", endpoint)?).or_raise(py)?;
        let mut info = SiloInfo::new(id, endpoint);
        info.transports = transport.transports();
        run(py, bridge, async move { transport.connect(&info).await.map(|()| Outcome::Nothing) })
    }

    fn disconnect(&self, py: Python<'_>, silo_id: &Bound<'_, PyAny>) -> PyResult<()> {
        let silo_id = args::text("silo_id", silo_id)?;
        let transport = self.started(py)?;
        py.detach(|| transport.disconnect(&silo_id));
        Ok(())
    }

    fn send<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        target: &Bound<'py, PyAny>,
        envelope: &Bound<'py, PyAny>,
        timeout: &Bound<'py, PyAny>,
        current: Current<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let transport = self.started(py)?;
        let target = args::text("target", target)?;
        let timeout = args::timeout("timeout", timeout)?.unwrap_or(self.config.transport.default_timeout);
        let envelope = Envelope::of("envelope", envelope)?;
        let sent =
            async move { Ok(Outcome::Envelope(Box::new(transport.send(&target, envelope, timeout).await?))) };
        run(py, bridge, handling(current, || host::inheriting(sent)))
    }

    #[getter]
    fn local_silo_id(&self) -> &str {
        self.id.as_str()
    }

    #[getter]
    fn local_endpoint(&self) -> Option<String> {
        let started = self.started.lock().expect("no panic while locked").clone();
        started.and_then(|transport| transport.local_endpoint()).map(|endpoint| endpoint.to_string())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.handler.0.visit(&visit)
    }

    /// Nobody but its own handler knows of it any more.
    fn __clear__(&self) {
        self.handler.0.clear();
        if !process::is_forked() {
            drop(self.started.lock().expect("no panic while locked").take());
        }
    }
}
