//! The native half of `quark.testing`: networks inside this process, found by the name in `memory://name`.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use pyo3::prelude::*;
use quark_core::{LoopbackNetwork, MembershipUrl, SiloConfig, host};

use crate::args;
use crate::errors::OrRaise as _;

/// What is there, and how soon its silos give a silent peer up.
static NETWORKS: LazyLock<Mutex<HashMap<String, (LoopbackNetwork, Duration)>>> =
    LazyLock::new(Mutex::default);

fn networks() -> MutexGuard<'static, HashMap<String, (LoopbackNetwork, Duration)>> {
    NETWORKS.lock().expect("no panic while locked")
}

/// The network that a silo with this membership speaks over, if it is not a real one; its probes follow that network's
/// patience.
pub(crate) fn network_of(config: &mut SiloConfig) -> Option<LoopbackNetwork> {
    let Some(MembershipUrl::Memory { name, .. }) = &config.membership else { return None };
    let (network, patience) = networks().get(name)?.clone();
    config.transport.probe_interval = patience / 2;
    config.transport.probe_timeout = patience / 2;
    Some(network)
}

/// A network of silos with the membership `memory://name`, until it is closed. Hosts are named by their silos' ids.
#[pyclass(frozen)]
pub(crate) struct Network {
    name: String,
    network: LoopbackNetwork,
}

#[pymethods]
impl Network {
    #[new]
    fn new(name: String, patience: &Bound<'_, PyAny>) -> PyResult<Self> {
        let patience = args::timeout("patience", patience)?.unwrap_or(Duration::from_secs(1));
        let network = LoopbackNetwork::new();
        networks().insert(name.clone(), (network.clone(), patience));
        Ok(Self { name, network })
    }

    /// Silos that start from now on speak over a real network.
    fn close(&self) {
        networks().remove(&self.name);
    }

    fn delay(&self, seconds: &Bound<'_, PyAny>, jitter: &Bound<'_, PyAny>) -> PyResult<()> {
        let (least, most) = bounds(seconds, jitter)?;
        self.network.delay(least, most);
        Ok(())
    }

    fn delay_way(
        &self,
        origin: &str,
        target: &str,
        seconds: &Bound<'_, PyAny>,
        jitter: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (least, most) = bounds(seconds, jitter)?;
        self.network.delay_way(origin, target, least, most);
        Ok(())
    }

    fn cut(&self, origin: &str, target: &str) {
        self.network.cut(origin, target);
    }

    fn heal(&self, origin: &str, target: &str) {
        self.network.heal(origin, target);
    }

    fn heal_all(&self) {
        self.network.heal_all();
    }

    fn reset(&self, one: &str, other: &str) {
        self.network.reset(one, other);
    }

    /// Returns when the runtime has done all that it was woken for before: then all see who is gone, for example.
    fn settle(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            host::run(async {
                tokio::task::yield_now().await;
                Ok(())
            })
        })
        .or_raise(py)
    }
}

/// How long a message takes, at least and at most.
fn bounds(seconds: &Bound<'_, PyAny>, jitter: &Bound<'_, PyAny>) -> PyResult<(Duration, Duration)> {
    let least = args::duration("seconds", seconds)?;
    Ok((least, least + args::duration("jitter", jitter)?))
}
