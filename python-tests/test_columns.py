"""Keys as columns of Arrow's and arrays of NumPy's."""

import ctypes
import re

import numpy
import pyarrow
import pytest
import quark

TEXTS = ["", "Counter:1", "Zähler:ß", "Device:device-0001234", "🌍", "twelve bytes", "thirteen byte", *map(str, range(1000))]
TYPES = [pyarrow.string(), pyarrow.large_string()]
if hasattr(pyarrow, "string_view"):
    TYPES.append(pyarrow.string_view())


@pytest.fixture
def ring() -> quark.HashRing:
    ring = quark.HashRing()
    for name in ("a", "b", "c"):
        ring.add(name)
    return ring


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_a_column_has_the_owners_of_its_strings(ring, kind):
    owners = ring.owners(TEXTS)
    assert set(owners) == {"a", "b", "c"}
    column = pyarrow.array(TEXTS, kind)
    assert ring.owners(column) == owners
    # A part of one begins in the middle of its buffers, of bits too.
    with_null = pyarrow.array([*TEXTS, None], kind)
    assert ring.owners(with_null[3:500]) == owners[3:500]
    assert ring.owners(pyarrow.array([], kind)) == ring.owners(column[:0]) == ring.owners(column[len(column) :]) == []


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_a_column_may_come_in_pieces(ring, kind):
    column = pyarrow.chunked_array([TEXTS[:5], [], TEXTS[5:6], TEXTS[6:]], kind)
    assert column.num_chunks > 1 and not hasattr(column, "__arrow_c_array__")
    assert ring.owners(column) == ring.owners(TEXTS)
    assert ring.owners(column[4:7]) == ring.owners(TEXTS[4:7])
    assert ring.owners(pyarrow.chunked_array([], kind)) == []
    with pytest.raises(TypeError, match=re.escape("keys[10]=null: must be str, not null")):
        ring.owners(pyarrow.chunked_array([["a"] * 9, ["b", None]], kind))


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_strings_that_are_none_are_named(ring, kind):
    column = pyarrow.array([*TEXTS[:20], None, "x"], kind)
    with pytest.raises(TypeError, match=re.escape("keys[20]=null: must be str, not null")):
        ring.owners(column)
    with pytest.raises(TypeError, match=re.escape("keys[17]=null")):
        ring.owners(column[3:])
    assert ring.owners(column[:20]) == ring.owners(TEXTS[:20])


def test_what_makes_no_sense_in_a_column_is_named(ring):
    def column(offsets, data):
        numbers = pyarrow.py_buffer(numpy.array(offsets, numpy.int32))
        return pyarrow.StringArray.from_buffers(len(offsets) - 1, numbers, pyarrow.py_buffer(data))

    assert ring.owners(column([0, 1, 3], b"abc")) == ring.owners(["a", "bc"])
    with pytest.raises(quark.InvalidArgumentError, match=re.escape("keys[1]=") + ".*is not valid UTF-8"):
        ring.owners(column([0, 1, 3], b"a\xff\xfe"))
    for offsets, place in (([0, 2, 1, 3], 1), ([0, -1, 2, 3], 0)):
        told = re.escape(f"keys[{place}]=") + ".*its column does not say where it is"
        with pytest.raises(quark.InvalidArgumentError, match=told):
            ring.owners(column(offsets, b"abc"))


def test_columns_of_something_else_are_refused(ring):
    for column, told in (
        (pyarrow.array([1, 2]), 'not of format "l"'),
        (pyarrow.array([b"x"]), 'not of format "z"'),
        (pyarrow.chunked_array([[1.5]]), 'not of format "g"'),
        (pyarrow.array(["x"]).dictionary_encode(), "keys[0]="),
        (pyarrow.table({"keys": ["x"]}), 'not of format "+s"'),
    ):
        with pytest.raises(TypeError, match=re.escape(told)):
            ring.owners(column)


def test_a_column_without_a_type_is_one_of_nulls(ring):
    assert ring.owners(pyarrow.nulls(0)) == ring.owners(pyarrow.chunked_array([pyarrow.nulls(0)])) == []
    with pytest.raises(TypeError, match=re.escape("keys[0]=null: must be str, not null")):
        ring.owners(pyarrow.nulls(2))


def test_what_cannot_give_a_column_here_is_gone_through(ring):
    class Series(list):
        def __arrow_c_stream__(self, requested_schema=None):
            raise ImportError("pyarrow is not there")

    class Other:
        __iter__ = Series(["a", "b"]).__iter__
        __arrow_c_array__ = __arrow_c_stream__ = Series.__arrow_c_stream__

        def __len__(self):
            return 2**62

    assert ring.owners(Series(["a", "b"])) == ring.owners(Other()) == ring.owners(["a", "b"])


class Exporter:
    """Something that says that it is a column."""

    def __init__(self, method, gives):
        setattr(self, method, lambda: gives)


def test_what_only_says_that_it_is_a_column_is_refused(ring):
    schema, array = pyarrow.array(["x"]).__arrow_c_array__()
    assert ring.owners(Exporter("__arrow_c_array__", (schema, array))) == ring.owners(["x"])
    for gives in (None, (schema,), (array, schema), ("x", "y")):
        with pytest.raises((TypeError, ValueError)):
            ring.owners(Exporter("__arrow_c_array__", gives))
    for gives in (None, schema, "x"):
        with pytest.raises((TypeError, ValueError)):
            ring.owners(Exporter("__arrow_c_stream__", gives))


def test_what_another_has_taken_is_not_there_any_more(ring):
    column = pyarrow.array(["x"])
    capsules = column.__arrow_c_array__()
    assert pyarrow.Array._import_from_c_capsule(*capsules) == column
    stream = pyarrow.chunked_array([column]).__arrow_c_stream__()
    assert pyarrow.ChunkedArray._import_from_c_capsule(stream) == pyarrow.chunked_array([column])
    for method, gives in (("__arrow_c_array__", capsules), ("__arrow_c_stream__", stream)):
        with pytest.raises(RuntimeError, match="keys: another has taken the column out of its capsule"):
            ring.owners(Exporter(method, gives))


def test_a_stream_that_fails_says_why(ring):
    """A stream whose functions are Python's."""
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    last_error = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)

    class Stream(ctypes.Structure):
        _fields_ = [
            ("get_schema", function),
            ("get_next", function),
            ("get_last_error", last_error),
            ("release", ctypes.c_void_p),
            ("private_data", ctypes.c_void_p),
        ]

    fail = function(lambda stream, out: 5)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    gone = ctypes.create_string_buffer(b"the disk is gone")
    for said, told in ((ctypes.addressof(gone), "the disk is gone"), (None, "error 5")):
        stream = Stream(fail, fail, last_error(lambda stream, said=said: said), 1)
        capsule = new(ctypes.addressof(stream), b"arrow_array_stream", None)
        with pytest.raises(RuntimeError, match=f"keys: the column cannot be read: {told}"):
            ring.owners(Exporter("__arrow_c_stream__", capsule))


def test_an_array_of_numpys_has_the_owners_of_its_strings(ring):
    owners = ring.owners(TEXTS)
    array = numpy.array(TEXTS)
    assert array.dtype.kind == "U"
    for form in (array, array.astype(array.dtype.newbyteorder()), numpy.array(TEXTS, object)):
        assert ring.owners(form) == owners
    assert ring.owners(array[::3]) == owners[::3] and ring.owners(array[::-1]) == owners[::-1]
    assert ring.owners(array[:0]) == [] and ring.owners(numpy.array(["", ""])) == ring.owners(["", ""])
    array.flags.writeable = False
    assert ring.owners(array) == owners
    # Zeros within a string are part of it.
    assert ring.owners(numpy.array(["a\0b"])) == ring.owners(["a\0b"])


def test_arrays_of_something_else_are_refused(ring):
    for array, told in (
        (numpy.array([1, 2]), "keys[0]="),
        (numpy.array([["a"], ["b"]]), "keys[0]="),
        (numpy.array("a"), "keys="),
        (numpy.array([b"x"]), "keys[0]="),
        (numpy.ma.array(["a", "b"], mask=[False, True]), "keys[1]="),
    ):
        with pytest.raises(TypeError, match=re.escape(told)):
            ring.owners(array)
    with pytest.raises(quark.InvalidArgumentError, match=re.escape('keys[1]="ab"')):
        ring.owners(numpy.array(["x", "ab\ud800"]))
