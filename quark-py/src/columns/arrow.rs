//! Columns of Arrow's C data interface, from who has `__arrow_c_array__` or `__arrow_c_stream__`.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull, with_exposed_provenance_mut};
use std::slice;

use pyo3::exceptions::{PyImportError, PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use super::{invalid, missing};

#[repr(C)]
struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

#[repr(C)]
struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *const *const u8,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

#[repr(C)]
struct ArrowArrayStream {
    get_schema: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut ArrowArrayStream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut ArrowArrayStream)>,
    private_data: *mut c_void,
}

/// What is written into a place of ours, and given back by its own function.
trait Released: Sized {
    fn release(&mut self);
}

macro_rules! released {
    ($($kind:ty),*) => { $(
        impl Released for $kind {
            fn release(&mut self) {
                if let Some(release) = self.release {
                    // SAFETY: its own function, which takes the function away, so that it is called once.
                    unsafe { release(self) };
                }
            }
        }
    )* };
}
released!(ArrowSchema, ArrowArray);

struct Given<T: Released>(T);

impl<T: Released> Drop for Given<T> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Gives a column's strings to `take`; says whether it is a column of Arrow's whose strings lie in it.
pub(super) fn each(name: &str, values: &Bound<'_, PyAny>, take: &mut impl FnMut(&[&str])) -> PyResult<bool> {
    let py = values.py();
    if let Some(export) = values.getattr_opt(intern!(py, "__arrow_c_array__"))? {
        let Some(exported) = exported(&export)? else { return Ok(false) };
        let (schema, array) = exported.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        // SAFETY: a capsule of this name has such a struct in it, which lives as long as the capsule.
        let (schema, array) = unsafe {
            (
                content::<ArrowSchema>(&schema, c"arrow_schema")?.as_ref(),
                content::<ArrowArray>(&array, c"arrow_array")?.as_ref(),
            )
        };
        if schema.release.is_none() || array.release.is_none() {
            return Err(taken(name));
        }
        let Some(layout) = Layout::of(name, schema)? else { return Ok(false) };
        layout.each(py, name, 0, array, take)?;
        return Ok(true);
    }
    if let Some(export) = values.getattr_opt(intern!(py, "__arrow_c_stream__"))? {
        let Some(capsule) = exported(&export)? else { return Ok(false) };
        return of_stream(py, name, content(&capsule, c"arrow_array_stream")?, take);
    }
    Ok(false)
}

/// What a column gives; nothing when it would need a library that is not there, as pandas's do.
fn exported<'py>(export: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match export.call0() {
        Err(problem) if problem.is_instance_of::<PyImportError>(export.py()) => Ok(None),
        given => given.map(Some),
    }
}

/// What a capsule of this name points to.
fn content<T>(capsule: &Bound<'_, PyAny>, name: &CStr) -> PyResult<NonNull<T>> {
    // SAFETY: the GIL is held and the object is alive; what is no such capsule is refused.
    let found = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), name.as_ptr()) };
    NonNull::new(found.cast()).ok_or_else(|| PyErr::fetch(capsule.py()))
}

/// Who reads such a struct to its end may move it out of its capsule, and leaves nothing in it.
fn taken(name: &str) -> PyErr {
    PyRuntimeError::new_err(format!("{name}: another has taken the column out of its capsule"))
}

/// Of many arrays that come one after the other; says whether their strings lie in them.
fn of_stream(
    py: Python<'_>,
    name: &str,
    stream: NonNull<ArrowArrayStream>,
    take: &mut impl FnMut(&[&str]),
) -> PyResult<bool> {
    // SAFETY: a stream that lives as long as its capsule, which the caller holds.
    let ArrowArrayStream { get_schema: Some(get_schema), get_next: Some(get_next), release: Some(_), .. } =
        (unsafe { stream.as_ref() })
    else {
        return Err(taken(name));
    };
    let schema: Given<ArrowSchema> = next(py, name, stream, *get_schema)?;
    let Some(layout) = Layout::of(name, &schema.0)? else { return Ok(false) };
    let mut count = 0;
    loop {
        let array: Given<ArrowArray> = next(py, name, stream, *get_next)?;
        if array.0.release.is_none() {
            return Ok(true);
        }
        count += layout.each(py, name, count, &array.0, take)?;
    }
}

/// What a stream writes, which may take long, and may need Python on another thread.
fn next<T: Released>(
    py: Python<'_>,
    name: &str,
    stream: NonNull<ArrowArrayStream>,
    get: unsafe extern "C" fn(*mut ArrowArrayStream, *mut T) -> c_int,
) -> PyResult<Given<T>> {
    let mut place = MaybeUninit::<T>::zeroed();
    // Numbers, because a closure that runs without the GIL takes no pointers.
    let (to, into) = (stream.as_ptr().expose_provenance(), place.as_mut_ptr().expose_provenance());
    // SAFETY: the stream's own function, with a place for what it writes.
    let code =
        py.detach(|| unsafe { get(with_exposed_provenance_mut(to), with_exposed_provenance_mut(into)) });
    if code == 0 {
        // SAFETY: written.
        return Ok(Given(unsafe { place.assume_init() }));
    }
    // SAFETY: the stream's own function; the text lives until the stream is asked for something again.
    let said = unsafe {
        let said = stream.as_ref().get_last_error.map_or(ptr::null(), |last| last(stream.as_ptr()));
        (!said.is_null()).then(|| CStr::from_ptr(said).to_string_lossy())
    };
    let said = said.unwrap_or_else(|| format!("error {code}").into());
    Err(PyRuntimeError::new_err(format!("{name}: the column cannot be read: {said}")))
}

/// How the strings of a column lie in its buffers. The first of these says which are there.
#[derive(Clone, Copy)]
enum Layout {
    /// Where each begins, in 32 bits, and their bytes.
    Offsets32,
    Offsets64,
    /// For each its length, and where it is or itself; then buffers of bytes.
    Views,
    /// There are none, as in an empty column that nobody gave a type.
    Nulls,
}

impl Layout {
    /// Nothing where strings stand in a dictionary.
    fn of(name: &str, schema: &ArrowSchema) -> PyResult<Option<Self>> {
        if !schema.dictionary.is_null() {
            return Ok(None);
        }
        // SAFETY: a text that lives as long as the schema.
        let format = unsafe { CStr::from_ptr(schema.format) }.to_string_lossy();
        match &*format {
            "u" => Ok(Some(Self::Offsets32)),
            "U" => Ok(Some(Self::Offsets64)),
            "vu" => Ok(Some(Self::Views)),
            "n" => Ok(Some(Self::Nulls)),
            other => Err(PyTypeError::new_err(format!(
                "{name}: must be a column of strings (Arrow's utf8, large_utf8 or string_view), not of format {other:?}"
            ))),
        }
    }

    /// Gives the strings of one array, before which so many came, and says how many they are.
    fn each(
        self,
        py: Python<'_>,
        name: &str,
        before: usize,
        array: &ArrowArray,
        take: &mut impl FnMut(&[&str]),
    ) -> PyResult<usize> {
        let (from, count) = (usize::try_from(array.offset)?, usize::try_from(array.length)?);
        let mut texts = Vec::with_capacity(count);
        for place in 0..count {
            if matches!(self, Self::Nulls) || !array.has(from + place) {
                return Err(missing(name, before + place));
            }
            // SAFETY: the array has so many strings, of this layout.
            let bytes = unsafe { self.bytes(array, from + place) };
            let place = before + place;
            let bytes =
                bytes.ok_or_else(|| invalid(py, name, place, "?", "its column does not say where it is"))?;
            let text = str::from_utf8(bytes).map_err(|_| {
                invalid(py, name, place, &String::from_utf8_lossy(bytes), "is not valid UTF-8")
            })?;
            texts.push(text);
        }
        take(&texts);
        Ok(count)
    }

    /// The bytes of a string; nothing when what says where they are makes no sense.
    ///
    /// # Safety
    /// The array is of this layout, and this is a place in it.
    unsafe fn bytes(self, array: &ArrowArray, place: usize) -> Option<&[u8]> {
        // SAFETY: as for this function; nothing in the buffers has to be aligned.
        unsafe {
            let (begin, end) = match self {
                Self::Offsets32 => {
                    (array.read::<i32>(1, place).into(), array.read::<i32>(1, place + 1).into())
                }
                Self::Offsets64 => (array.read::<i64>(1, place), array.read::<i64>(1, place + 1)),
                Self::Views => return array.viewed(place),
                Self::Nulls => return None,
            };
            let length = usize::try_from(end.checked_sub(begin)?).ok()?;
            let begin = usize::try_from(begin).ok()?;
            Some(piece(array.buffer(2), begin, length))
        }
    }
}

/// Bytes of a buffer, which need not exist when there are none.
///
/// # Safety
/// The buffer has so many bytes there for as long as `'a`.
unsafe fn piece<'a>(buffer: *const u8, begin: usize, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: as for this function.
    unsafe { slice::from_raw_parts(buffer.add(begin), length) }
}

impl ArrowArray {
    /// Whether there is a string at this place, and not null.
    fn has(&self, place: usize) -> bool {
        if self.null_count == 0 {
            return true;
        }
        // SAFETY: the first buffer has a bit for each, if there is one.
        unsafe {
            let valid = self.buffer(0);
            valid.is_null() || *valid.add(place / 8) >> (place % 8) & 1 == 1
        }
    }

    /// # Safety
    /// There are so many buffers.
    unsafe fn buffer(&self, number: usize) -> *const u8 {
        // SAFETY: as for this function.
        unsafe { *self.buffers.add(number) }
    }

    /// # Safety
    /// The buffer has such a number at this place.
    unsafe fn read<T: Copy>(&self, buffer: usize, place: usize) -> T {
        // SAFETY: as for this function.
        unsafe { self.buffer(buffer).cast::<T>().add(place).read_unaligned() }
    }

    /// The bytes that a view is or points to.
    ///
    /// # Safety
    /// The array is one of views, and this is a place in it.
    unsafe fn viewed(&self, place: usize) -> Option<&[u8]> {
        const INLINE: usize = 12;
        // SAFETY: a view has four numbers: the length, the first bytes, the buffer, and where in it. Short ones have all
        // bytes instead. Behind the buffers stands one with their lengths, which must have this piece.
        unsafe {
            let number = |part: usize| usize::try_from(self.read::<i32>(1, 4 * place + part)).ok();
            let length = number(0)?;
            if length <= INLINE {
                return Some(piece(self.buffer(1), 16 * place + 4, length));
            }
            let (buffer, begin) = (number(2)?, number(3)?);
            let lengths = usize::try_from(self.n_buffers).ok()?.checked_sub(1)?;
            let has = |of: i64| usize::try_from(of).is_ok_and(|of| begin + length <= of);
            let is_there = 2 + buffer < lengths && has(self.read::<i64>(lengths, buffer));
            is_there.then(|| piece(self.buffer(2 + buffer), begin, length))
        }
    }
}
