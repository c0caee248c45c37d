//! Calling Python code that may never return.
//!
//! When the interpreter ends, CPython before 3.14 ends every other thread that still runs Python code: it unwinds its
//! stack, whatever is on it. Destructors that run then would touch an interpreter that is no more. A thread of ours that
//! meets this stops for good instead, before any of them; the process ends without it.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

unsafe extern "C-unwind" {
    // As PyO3 declares it, but known to unwind.
    fn PyObject_CallObject(callable: *mut ffi::PyObject, arguments: *mut ffi::PyObject)
    -> *mut ffi::PyObject;
}

/// Dropped only when the stack is unwound.
struct Stop;

impl Drop for Stop {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// Calls a function.
pub(crate) fn call<'py, A>(callable: &Bound<'py, PyAny>, arguments: A) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    A::Error: Into<PyErr>,
{
    let py = callable.py();
    let arguments = arguments.into_pyobject(py).map_err(Into::into)?;
    // Not by its name: LLVM knows each by one declaration, which may be PyO3's, and then leaves out what stops the thread.
    let call: unsafe extern "C-unwind" fn(_, _) -> _ = std::hint::black_box(PyObject_CallObject);
    let stop = Stop;
    // SAFETY: the GIL is held, and both objects live until it returns.
    let result = unsafe { call(callable.as_ptr(), arguments.as_ptr()) };
    std::mem::forget(stop);
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}
