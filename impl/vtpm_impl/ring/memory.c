/* The accesses of page.py to a page that is real memory: in the order that they stand in, on every machine.
 *
 * Each function does what its namesake in page.py does; tests hold the two against each other. The length, the state
 * and what follows it are one load of eight bytes; a state is loaded with acquire, and stored with release, meaning.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

enum { FRAME = 4096, HEADER = 8, GRANT_REFERENCE = 4, STATE = 4, LOCALITY = 5, EXTRA = 7 };

typedef struct {
	uint32_t length;
	uint8_t state, locality, pad, extra;
} Header;

/* Take the page that is the first of `wanted` arguments; the caller releases it. */
static uint8_t *page_of(PyObject *const *args, Py_ssize_t given, Py_ssize_t wanted, Py_buffer *view)
{
	if (given != wanted) {
		PyErr_Format(PyExc_TypeError, "%zd arguments; %zd are meant", given, wanted);
		return NULL;
	}
	if (PyObject_GetBuffer(args[0], view, PyBUF_WRITABLE) < 0)
		return NULL;
	if (view->len != FRAME || (uintptr_t)view->buf % sizeof(uint64_t)) {
		PyErr_Format(PyExc_ValueError, "a page of %zd bytes; it has %d, aligned", view->len, FRAME);
		PyBuffer_Release(view);
		return NULL;
	}
	return view->buf;
}

/* The number that an argument is; -1 with an error if it is not one from 0 to `most`. */
static long number_of(PyObject *argument, long most)
{
	long number = PyLong_AsLong(argument);
	if (number == -1 && PyErr_Occurred())
		return -1;
	if (number < 0 || number > most) {
		PyErr_Format(PyExc_ValueError, "%ld; 0 to %ld is meant", number, most);
		return -1;
	}
	return number;
}

static PyObject *no_fit(Py_ssize_t length, long extra)
{
	return PyErr_Format(PyExc_ValueError, "a packet of %zd bytes behind %ld extra pages; at most %ld fit", length,
			    extra, FRAME - HEADER - GRANT_REFERENCE * extra);
}

static PyObject *read_state(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
	Py_buffer view;
	uint8_t *page = page_of(args, given, 1, &view);
	if (page == NULL)
		return NULL;
	uint8_t state = __atomic_load_n(page + STATE, __ATOMIC_ACQUIRE);
	PyBuffer_Release(&view);
	return PyLong_FromLong(state);
}

static PyObject *write_state(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
	Py_buffer view;
	uint8_t *page = page_of(args, given, 2, &view);
	if (page == NULL)
		return NULL;
	long state = number_of(args[1], 255);
	if (state >= 0)
		__atomic_store_n(page + STATE, (uint8_t)state, __ATOMIC_RELEASE);
	PyBuffer_Release(&view);
	return state < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *read_header(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
	Py_buffer view;
	uint8_t *page = page_of(args, given, 1, &view);
	if (page == NULL)
		return NULL;
	uint64_t loaded = __atomic_load_n((uint64_t *)page, __ATOMIC_ACQUIRE);
	PyBuffer_Release(&view);
	Header seen;
	memcpy(&seen, &loaded, sizeof seen);
	PyObject *fields[] = {PyLong_FromUnsignedLong(seen.length), PyLong_FromLong(seen.state),
			      PyLong_FromLong(seen.locality), PyLong_FromLong(seen.pad), PyLong_FromLong(seen.extra)};
	PyObject *header = fields[0] != NULL ? PyTuple_New(5) : NULL; /* the others are small numbers, kept by Python */
	for (int i = 0; i < 5; i++) {
		if (header != NULL)
			PyTuple_SET_ITEM(header, i, fields[i]);
		else
			Py_XDECREF(fields[i]);
	}
	return header;
}

static PyObject *read_packet(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
	Py_buffer view;
	PyObject *packet = NULL;
	uint8_t *page = page_of(args, given, 3, &view);
	if (page == NULL)
		return NULL;
	long extra = number_of(args[1], 255);
	long length = extra < 0 ? -1 : PyLong_AsLong(args[2]);
	if (!PyErr_Occurred()) {
		long offset = HEADER + GRANT_REFERENCE * extra;
		if (length < 0 || length > FRAME - offset)
			no_fit(length, extra);
		else
			packet = PyBytes_FromStringAndSize((char *)page + offset, length);
	}
	PyBuffer_Release(&view);
	return packet;
}

/* Store a packet and its length, and what else belongs to a request if there is a locality. */
static PyObject *stored(PyObject *page_argument, PyObject *extra_argument, PyObject *locality_argument, PyObject *packet)
{
	Py_buffer view, from;
	PyObject *done = NULL;
	uint8_t *page = page_of(&page_argument, 1, 1, &view);
	if (page == NULL)
		return NULL;
	long extra = number_of(extra_argument, 255);
	long locality = extra < 0 ? -1 : locality_argument == NULL ? 0 : number_of(locality_argument, 255);
	if (locality >= 0 && PyObject_GetBuffer(packet, &from, PyBUF_SIMPLE) == 0) {
		long offset = HEADER + GRANT_REFERENCE * extra;
		if (from.len > FRAME - offset) {
			no_fit(from.len, extra);
		} else {
			memcpy(page + offset, from.buf, from.len);
			__atomic_store_n((uint32_t *)page, (uint32_t)from.len, __ATOMIC_RELAXED);
			if (locality_argument != NULL) {
				__atomic_store_n(page + LOCALITY, (uint8_t)locality, __ATOMIC_RELAXED);
				__atomic_store_n(page + EXTRA, (uint8_t)extra, __ATOMIC_RELAXED);
			}
			done = Py_NewRef(Py_None);
		}
		PyBuffer_Release(&from);
	}
	PyBuffer_Release(&view);
	return done;
}

static PyObject *write_packet(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
	if (given != 3)
		return PyErr_Format(PyExc_TypeError, "%zd arguments; 3 are meant", given);
	return stored(args[0], args[1], NULL, args[2]);
}

static PyObject *write_request(PyObject *self, PyObject *const *args, Py_ssize_t given)
{
	if (given != 4)
		return PyErr_Format(PyExc_TypeError, "%zd arguments; 4 are meant", given);
	return stored(args[0], args[1], args[2], args[3]);
}

#define ACCESS(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, "As its namesake in vtpm_impl.ring.page."}

static PyMethodDef functions[] = {ACCESS(read_state),  ACCESS(write_state),  ACCESS(read_header),
				  ACCESS(read_packet), ACCESS(write_packet), ACCESS(write_request),
				  {NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "memory",
				    "Accesses to a shared page that is real memory, in order.", -1, functions};

PyMODINIT_FUNC PyInit_memory(void)
{
	return PyModule_Create(&module);
}
