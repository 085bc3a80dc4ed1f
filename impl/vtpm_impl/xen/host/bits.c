/* An event channel's two bits, each with what its owner does meanwhile, in a file that both processes map.
 *
 * Each end has a word. Whoever sets its bit learns in the same step whether the owner has to be woken, and how: one
 * that naps is woken by the word itself (a futex), one that watches its FIFO by a byte in there, and one that looks
 * at the word by nothing.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	BOUND = 1,    /* the end is there: what is sent to another is lost */
	PENDING = 2,  /* the bit */
	NAPPING = 4,  /* the owner sleeps until the word changes */
	WATCHING = 8, /* the owner's FIFO is to tell it */
	TOLD = 16,    /* there is a byte in the FIFO, or soon will be: never set while it is empty and nobody writes */
};

/* To look is worth its time once both ends do so. It has to last for the peer's being woken as well, or it never begins
 * to: tens of microseconds where the peer's processor sleeps. What is in vain is tried less and less. */
enum { SIZE = 4096, APART = 128, SPIN_NS = 60000, LOOKS = 64, LONGEST_REST = 1024 };

typedef struct {
	PyObject_HEAD
	uint8_t *memory;
	uint32_t *own, *peer;
	unsigned rest;     /* waits that are yet to be made without spinning first */
	unsigned setback;  /* how many such the last vain spin was worth */
	unsigned inside;   /* threads in `wait` */
} Bits;

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int bits_init(PyObject *object, PyObject *args, PyObject *keywords)
{
	static char *names[] = {"descriptor", "own", NULL};
	Bits *self = (Bits *)object;
	int descriptor, own;
	if (!PyArg_ParseTupleAndKeywords(args, keywords, "ii", names, &descriptor, &own))
		return -1;
	if ((own != 0 && own != 1) || self->memory != NULL) {
		PyErr_Format(PyExc_ValueError, "end %d; it is 0 or 1, and given once", own);
		return -1;
	}
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	if (memory == MAP_FAILED) {
		PyErr_SetFromErrno(PyExc_OSError);
		return -1;
	}
	self->memory = memory;
	self->own = (uint32_t *)(self->memory + APART * own);
	self->peer = (uint32_t *)(self->memory + APART * (1 - own));
	return 0;
}

static int is_open(Bits *self)
{
	if (self->memory == NULL)
		PyErr_SetString(PyExc_ValueError, "the port is closed");
	return self->memory != NULL;
}

static PyObject *bits_bind(PyObject *object, PyObject *pending)
{
	Bits *self = (Bits *)object;
	if (!is_open(self))
		return NULL;
	uint32_t word = BOUND | WATCHING | (PyObject_IsTrue(pending) ? PENDING | TOLD : 0);
	__atomic_store_n(self->own, word, __ATOMIC_SEQ_CST);
	Py_RETURN_NONE;
}

static PyObject *bits_notify(PyObject *object, PyObject *none)
{
	Bits *self = (Bits *)object;
	if (!is_open(self))
		return NULL;
	uint32_t seen = __atomic_load_n(self->peer, __ATOMIC_SEQ_CST), wanted;
	do {
		if (!(seen & BOUND) || (seen & PENDING))
			Py_RETURN_FALSE;
		wanted = seen | PENDING | (seen & WATCHING ? TOLD : 0);
	} while (!__atomic_compare_exchange_n(self->peer, &seen, wanted, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	if (seen & NAPPING)
		syscall(SYS_futex, self->peer, FUTEX_WAKE, 1, NULL, NULL, 0);
	return PyBool_FromLong(!(seen & TOLD) && (seen & WATCHING));
}

static PyObject *bits_is_told(PyObject *object, PyObject *none)
{
	Bits *self = (Bits *)object;
	if (!is_open(self))
		return NULL;
	uint32_t seen = __atomic_load_n(self->own, __ATOMIC_SEQ_CST);
	return PyBool_FromLong((seen & TOLD) || !(seen & PENDING));
}

static PyObject *bits_take(PyObject *object, PyObject *none)
{
	Bits *self = (Bits *)object;
	if (!is_open(self))
		return NULL;
	uint32_t seen = __atomic_fetch_and(self->own, ~(PENDING | TOLD), __ATOMIC_SEQ_CST);
	return PyBool_FromLong(seen & PENDING);
}

/* Clear the bit if it is set. */
static int taken(Bits *self)
{
	if (!(__atomic_load_n(self->own, __ATOMIC_ACQUIRE) & PENDING))
		return 0;
	__atomic_fetch_and(self->own, ~PENDING, __ATOMIC_SEQ_CST);
	return 1;
}

static int looked(Bits *self, int64_t until)
{
	do {
		for (int look = 0; look < LOOKS; look++) {
			if (taken(self))
				return 1;
#if defined(__x86_64__) || defined(__i386__)
			__builtin_ia32_pause();
#endif
		}
	} while (now_ns() < until);
	return 0;
}

/* Sleep until the bit is set, and clear it; 0 at the end of the time, -1 after a signal. */
static int napped(Bits *self, int64_t until)
{
	for (;;) {
		int64_t left = until - now_ns();
		if (left <= 0)
			return taken(self);
		uint32_t seen = __atomic_fetch_or(self->own, NAPPING, __ATOMIC_SEQ_CST) | NAPPING;
		long slept = 0;
		if (!(seen & PENDING)) {
			struct timespec time = {left / 1000000000, left % 1000000000};
			slept = syscall(SYS_futex, self->own, FUTEX_WAIT, seen, &time, NULL, 0);
		}
		int interrupted = slept < 0 && errno == EINTR;
		__atomic_fetch_and(self->own, ~NAPPING, __ATOMIC_SEQ_CST);
		if (taken(self))
			return 1;
		if (interrupted)
			return -1;
	}
}

static PyObject *bits_wait(PyObject *object, PyObject *seconds)
{
	Bits *self = (Bits *)object;
	double length = PyFloat_AsDouble(seconds);
	if ((length == -1 && PyErr_Occurred()) || !is_open(self))
		return NULL;
	int64_t until = now_ns() + (int64_t)(length * 1e9);
	for (;;) {
		int found;
		__atomic_fetch_and(self->own, ~WATCHING, __ATOMIC_SEQ_CST);
		self->inside++;
		Py_BEGIN_ALLOW_THREADS
		found = taken(self);
		if (!found && length > 0 && self->rest == 0) {
			found = looked(self, now_ns() + SPIN_NS);
			if (found) {
				self->setback /= 2;
			} else {
				self->setback = self->setback ? self->setback * 2 : 1;
				if (self->setback > LONGEST_REST)
					self->setback = LONGEST_REST;
				self->rest = self->setback;
			}
		} else if (!found && self->rest) {
			self->rest--;
		}
		if (!found && length > 0)
			found = napped(self, until);
		Py_END_ALLOW_THREADS
		self->inside--;
		if (found == 1)
			Py_RETURN_TRUE;
		if (found < 0 && PyErr_CheckSignals() < 0) {
			__atomic_fetch_or(self->own, WATCHING, __ATOMIC_SEQ_CST);
			return NULL;
		}
		if (found == 0 && !(__atomic_fetch_or(self->own, WATCHING, __ATOMIC_SEQ_CST) & PENDING))
			Py_RETURN_FALSE;
		/* it has come at the last moment, without a byte in the FIFO: it is taken in another round */
	}
}

static PyObject *bits_close(PyObject *object, PyObject *none)
{
	Bits *self = (Bits *)object;
	if (self->inside) {
		PyErr_SetString(PyExc_RuntimeError, "a thread still waits for this port");
		return NULL;
	}
	if (self->memory != NULL) {
		__atomic_store_n(self->own, 0, __ATOMIC_SEQ_CST);
		munmap(self->memory, SIZE);
		self->memory = NULL;
	}
	Py_RETURN_NONE;
}

static void bits_dealloc(PyObject *object)
{
	Bits *self = (Bits *)object;
	if (self->memory != NULL)
		munmap(self->memory, SIZE);
	Py_TYPE(object)->tp_free(object);
}

static PyMethodDef methods[] = {
	{"bind", bits_bind, METH_O, "Let the own end be there, its bit set or not."},
	{"notify", bits_notify, METH_NOARGS, "Set the other end's bit; whether its FIFO wants a byte."},
	{"is_told", bits_is_told, METH_NOARGS, "Whether the own FIFO may hold a byte."},
	{"take", bits_take, METH_NOARGS, "Clear the own bit, after the own FIFO was emptied; whether it was set."},
	{"wait", bits_wait, METH_O, "Sleep until the own bit is set and clear it; False after so many seconds."},
	{"close", bits_close, METH_NOARGS, "Let the own end be gone, and the memory with it."},
	{NULL},
};

static PyTypeObject bits_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "vtpm_impl.xen.host.bits.Bits",
	.tp_doc = "One end's view of the two bits. Bits(descriptor, own): the shared file, and which end is one's own.",
	.tp_basicsize = sizeof(Bits),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_new = PyType_GenericNew,
	.tp_init = bits_init,
	.tp_dealloc = bits_dealloc,
	.tp_methods = methods,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "bits", "The bits of event channels, in shared memory.", -1};

PyMODINIT_FUNC PyInit_bits(void)
{
	PyObject *made = PyModule_Create(&module);
	if (made == NULL || PyModule_AddIntConstant(made, "SIZE", SIZE) < 0 || PyModule_AddType(made, &bits_type) < 0) {
		Py_XDECREF(made);
		return NULL;
	}
	return made;
}
