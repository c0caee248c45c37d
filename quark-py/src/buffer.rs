//! Bytes that Python and Quark share without a copy, in both directions, through the buffer protocol.
//!
//! PyO3 offers the protocol for a stable ABI of 3.11 and later. Its functions, its struct and its slots have been the same
//! since 3.9 and before, where they are exported as well; so they are declared here, and one wheel serves every version.

use std::ffi::{c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr;

use bytes::Bytes;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView, PyType};

/// From this size on bytes are shared; below it a copy costs less.
const SHARE: usize = 16 * 1024;

/// `Py_buffer`.
#[repr(C)]
struct RawBuffer {
    buf: *mut c_void,
    obj: *mut ffi::PyObject,
    len: isize,
    itemsize: isize,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut isize,
    strides: *mut isize,
    suboffsets: *mut isize,
    internal: *mut c_void,
}

/// `PyBUF_SIMPLE`: bytes in one piece.
const SIMPLE: c_int = 0;
/// `Py_bf_getbuffer`.
const GET_BUFFER_SLOT: c_int = 1;

unsafe extern "C" {
    fn PyObject_GetBuffer(object: *mut ffi::PyObject, view: *mut RawBuffer, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut RawBuffer);
    fn PyBuffer_FillInfo(
        view: *mut RawBuffer,
        object: *mut ffi::PyObject,
        bytes: *mut c_void,
        len: isize,
        readonly: c_int,
        flags: c_int,
    ) -> c_int;
}

/// The bytes beneath a memoryview, which is kept and keeps them. Given back wherever it is dropped: PyO3 puts the
/// reference by until somebody holds the GIL.
struct Beneath {
    _view: Py<PyMemoryView>,
    start: *const u8,
    len: usize,
}

// SAFETY: the bytes are only read, and stay where they are as long as the view, which is nobody else's.
unsafe impl Send for Beneath {}
// SAFETY: as above.
unsafe impl Sync for Beneath {}

impl AsRef<[u8]> for Beneath {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the view keeps so many bytes there. Read-only ones are kept, others copied at once with the GIL held.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

/// The bytes of a buffer: shared with it when it is large and read-only, else copied once. An object without the buffer
/// protocol, or whose items are not in one piece, raises what Python says of it.
pub(crate) fn bytes_of(value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = value.cast::<PyBytes>()
        && bytes.as_bytes().len() < SHARE
    {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    let view = PyMemoryView::from(value)?;
    let mut raw = RawBuffer {
        buf: ptr::null_mut(),
        obj: ptr::null_mut(),
        len: 0,
        itemsize: 0,
        readonly: 0,
        ndim: 0,
        format: ptr::null_mut(),
        shape: ptr::null_mut(),
        strides: ptr::null_mut(),
        suboffsets: ptr::null_mut(),
        internal: ptr::null_mut(),
    };
    // SAFETY: the GIL is held, the object is alive and the struct is as Python expects it.
    if unsafe { PyObject_GetBuffer(view.as_ptr(), &raw mut raw, SIMPLE) } != 0 {
        let problem = PyErr::fetch(value.py());
        // Not in one piece: Python gathers it.
        let gathered = view.call_method0("tobytes").map_err(|_| problem)?;
        return Ok(Bytes::copy_from_slice(gathered.cast::<PyBytes>()?.as_bytes()));
    }
    let (start, len, read_only) = (raw.buf.cast_const().cast::<u8>(), raw.len as usize, raw.readonly != 0);
    // SAFETY: it was got above. The bytes stay: the view itself holds them.
    unsafe { PyBuffer_Release(&raw mut raw) };
    if len == 0 {
        return Ok(Bytes::new());
    }
    let beneath = Beneath { _view: view.unbind(), start, len };
    Ok(if read_only && len >= SHARE {
        Bytes::from_owner(beneath)
    } else {
        Bytes::copy_from_slice(beneath.as_ref())
    })
}

/// A read-only memoryview of the bytes, without a copy; they live as long as it, and what is made of it.
pub(crate) fn view_of(py: Python<'_>, bytes: Bytes) -> PyResult<Bound<'_, PyMemoryView>> {
    let kind = exporter(py)?;
    // SAFETY: the type is alive and the GIL is held.
    let object = unsafe { ffi::PyType_GenericAlloc(kind.as_type_ptr(), 0) };
    if object.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: a new object of our type, whose bytes nobody has written yet; the reference is ours.
    let exporter = unsafe {
        (&raw mut (*object.cast::<Exporter>()).bytes).write(ManuallyDrop::new(bytes));
        Bound::from_owned_ptr(py, object)
    };
    PyMemoryView::from(&exporter)
}

/// The object behind a memoryview of ours.
#[repr(C)]
struct Exporter {
    head: ffi::PyObject,
    bytes: ManuallyDrop<Bytes>,
}

/// Its type, made when it is first needed.
fn exporter(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let made = TYPE.get_or_try_init(py, || {
        let mut slots = [
            ffi::PyType_Slot { slot: GET_BUFFER_SLOT, pfunc: get_buffer as *mut c_void },
            ffi::PyType_Slot { slot: ffi::Py_tp_new, pfunc: refuse_new as *mut c_void },
            ffi::PyType_Slot { slot: ffi::Py_tp_dealloc, pfunc: deallocate as *mut c_void },
            ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() },
        ];
        let mut spec = ffi::PyType_Spec {
            name: c"quark._quark.Payload".as_ptr(),
            basicsize: size_of::<Exporter>() as c_int,
            itemsize: 0,
            flags: ffi::Py_TPFLAGS_DEFAULT as u32,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: the slots are those of the spec and have the signatures that they must have. Python copies both.
        let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec)) }?;
        Ok::<_, PyErr>(made.cast_into::<PyType>()?.unbind())
    })?;
    Ok(made.bind(py))
}

unsafe extern "C" fn get_buffer(object: *mut ffi::PyObject, view: *mut RawBuffer, flags: c_int) -> c_int {
    // SAFETY: called by Python with an object of our type, which only `view_of` makes. The bytes do not move.
    unsafe {
        let bytes = &(*object.cast::<Exporter>()).bytes;
        let start = bytes.as_ptr().cast_mut().cast::<c_void>();
        PyBuffer_FillInfo(view, object, start, bytes.len() as isize, 1, flags)
    }
}

unsafe extern "C" fn refuse_new(
    _: *mut ffi::PyTypeObject,
    _: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the GIL is held.
    unsafe { ffi::PyErr_SetString(ffi::PyExc_TypeError, c"it cannot be made from Python".as_ptr()) };
    ptr::null_mut()
}

unsafe extern "C" fn deallocate(object: *mut ffi::PyObject) {
    // SAFETY: called once, when nobody has the object any more; a type made at run time is kept by its objects.
    unsafe {
        ManuallyDrop::drop(&mut (*object.cast::<Exporter>()).bytes);
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}
