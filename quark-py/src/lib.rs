//! `quark._quark`: the native half of the Python package. What Python people see is in `python/quark`.
//!
//! The runtime's thread never takes the GIL. Results and requests for a loop wait in its `bridge::Bridge`, whose
//! descriptor wakes the loop, unless that drives the runtime; one crossing then completes and starts everything that is there. Blocking callers wait on
//! their own thread with the GIL released. Both go through the same functions here.

mod args;
mod bridge;
mod buffer;
mod certs;
mod columns;
mod envelope;
mod epoll;
mod errors;
mod foreign;
mod handlers;
mod log;
mod membership;
mod message;
mod node;
mod options;
mod outcome;
mod ownership;
mod placement;
mod process;
mod ranges;
mod request;
mod ring;
mod testing;
mod transport;

use pyo3::prelude::*;

#[pymodule]
fn _quark(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<bridge::Bridge>()?;
    module.add_class::<bridge::Begun>()?;
    module.add_class::<envelope::Envelope>()?;
    module.add_class::<membership::Membership>()?;
    module.add_class::<node::Node>()?;
    module.add_class::<request::Request>()?;
    module.add_class::<ownership::OwnershipWatch>()?;
    module.add_class::<ranges::HashRanges>()?;
    module.add_class::<ring::HashRing>()?;
    module.add_class::<testing::Network>()?;
    module.add_class::<transport::Transport>()?;
    module.add_function(wrap_pyfunction!(ring::hash, module)?)?;
    module.add_function(wrap_pyfunction!(certs::certs, module)?)?;
    module.add_function(wrap_pyfunction!(errors::error_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(log::set_log_level, module)?)?;
    module.add_function(wrap_pyfunction!(process::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(process::begin_to_end, module)?)?;
    module.add_function(wrap_pyfunction!(process::raise_if_forked, module)?)?;
    module.add_function(wrap_pyfunction!(process::check_interpreter, module)?)?;
    module.add_function(wrap_pyfunction!(process::is_ending, module)?)?;
    module.add_function(wrap_pyfunction!(process::is_forked, module)?)
}
