/* The extension module `rnnedge_native._engine`: programs, and steps. */
#include "module.h"

#include <stdlib.h>

/* --- programs -------------------------------------------------------------------------------- */

static int to_integers(PyObject *tuple, int64_t *to, Py_ssize_t most, const char *name) {
  if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) > most) {
    PyErr_Format(PyExc_ValueError, "%s: expected a tuple of up to %zd integers", name, most);
    return -1;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
    to[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, i));
    if (to[i] == -1 && PyErr_Occurred()) return -1;
  }
  return 0;
}

static int read_call(Program *self, struct call *call, PyObject *item) {
  int operation, kind;
  Py_ssize_t axes;
  PyObject *sizes, *places, *distances, *packed;
  int64_t flat[16];
  if (!PyTuple_Check(item) ||
      !PyArg_ParseTuple(item, "iiOnOOffO", &operation, &kind, &sizes, &axes, &places, &distances,
                        &call->numbers[0], &call->numbers[1], &packed))
    return -1;
  call->operation = (enum operation)operation;
  call->kind = kind;
  call->axes = axes;
  for (int i = 0; i < 8; i++) call->places[i].buffer = NOWHERE;
  if (to_integers(sizes, call->sizes, MOST_AXES, "sizes") ||
      to_integers(distances, call->distances, 3 * MOST_AXES, "distances") ||
      to_integers(places, flat, 16, "places"))
    return -1;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(places) / 2; i++)
    call->places[i] = (struct place){flat[2 * i], flat[2 * i + 1]};
  const struct kernels *kernels = self->program.kernels;
  if (Py_TYPE(packed) == &LayerType) {
    call->layer = &((Layer *)packed)->layer;
    kernels = ((Layer *)packed)->kernels;
  } else if (Py_TYPE(packed) == &MatrixType) {
    call->matrix = &((Matrix *)packed)->matrix;
    kernels = ((Matrix *)packed)->kernels;
  } else if (Py_TYPE(packed) == &IntegerMatrixType) {
    call->integers = &((IntegerMatrix *)packed)->matrix;
    kernels = ((IntegerMatrix *)packed)->kernels;
  }
  if (kernels != self->program.kernels || operation < 0 || operation >= OP_COUNT ||
      !call_fits(&self->program, call)) {
    PyErr_Format(PyExc_ValueError, "call %d does not fit its buffers: %R", operation, item);
    return -1;
  }
  if (self->team) call->members = members_for(call, ((Team *)self->team)->members);
  const size_t bytes = call->scratch_each = call_scratch_size(kernels, call);
  if (bytes) {
    const size_t members = call->members ? (size_t)call->members : 1;
    if (posix_memalign((void **)&call->scratch, 64, members * bytes)) {
      call->scratch = NULL;
      PyErr_NoMemory();
      return -1;
    }
  }
  return 0;
}

static int read_constants(Program *self, PyObject *constants) {
  const Py_ssize_t count = PyTuple_GET_SIZE(constants);
  self->constants = calloc((size_t)count + 1, sizeof *self->constants);
  if (!self->constants) {
    PyErr_NoMemory();
    return -1;
  }
  for (Py_ssize_t i = 0; i < count; i++) {
    if (PyObject_GetBuffer(PyTuple_GET_ITEM(constants, i), &self->constants[i],
                           PyBUF_C_CONTIGUOUS))
      return -1;
    self->constant_count++;
    self->program.bases[1 + i] = self->constants[i].buf;
    self->extents[1 + i] = self->constants[i].len;
  }
  return 0;
}

static PyObject *Program_new(PyTypeObject *type, PyObject *args, PyObject *named) {
  static char *names[] = {"arena", "constants", "inputs", "outputs",
                          "calls", "heavy",     "instructions", "team", NULL};
  PyObject *constants, *inputs, *outputs, *calls, *instructions = Py_None, *team = Py_None;
  Py_ssize_t arena;
  int heavy;
  if (!PyArg_ParseTupleAndKeywords(args, named, "nO!O!O!O!p|OO", names, &arena, &PyTuple_Type,
                                   &constants, &PyTuple_Type, &inputs, &PyTuple_Type, &outputs,
                                   &PyTuple_Type, &calls, &heavy, &instructions, &team))
    return NULL;
  if (team != Py_None && !Py_IS_TYPE(team, &TeamType)) {
    PyErr_SetString(PyExc_TypeError, "team: expected a Team or None");
    return NULL;
  }
  const struct kernels *kernels = kernels_of(instructions);
  if (!kernels) return NULL;
  Program *self = (Program *)type->tp_alloc(type, 0);
  if (!self) return NULL;
  struct program *program = &self->program;
  program->kernels = kernels;
  self->heavy = (char)heavy;
  if (team != Py_None) {
    self->team = Py_NewRef(team);
    program->team = ((Team *)team)->team;
    program->share = share;
  }
  self->input_count = PyTuple_GET_SIZE(inputs);
  self->output_count = PyTuple_GET_SIZE(outputs);
  const Py_ssize_t bound = self->input_count + self->output_count;
  program->buffers = 1 + PyTuple_GET_SIZE(constants) + bound;
  program->bases = calloc((size_t)program->buffers, sizeof *program->bases);
  program->extents = self->extents = calloc((size_t)program->buffers, sizeof *self->extents);
  program->calls = calloc((size_t)PyTuple_GET_SIZE(calls) + 1, sizeof *program->calls);
  Py_INCREF(calls);
  self->kept = calls;
  if (!program->bases || !self->extents || !program->calls || arena < 0 ||
      posix_memalign((void **)&self->arena, 64, (size_t)arena + 64)) {
    self->arena = NULL;
    PyErr_NoMemory();
    goto failed;
  }
  memset(self->arena, 0, (size_t)arena);
  program->bases[0] = self->arena;
  self->extents[0] = arena;
  if (read_constants(self, constants)) goto failed;
  int64_t *at = self->extents + 1 + self->constant_count;
  for (Py_ssize_t i = 0; i < bound; i++) {
    PyObject *size = i < self->input_count ? PyTuple_GET_ITEM(inputs, i)
                                           : PyTuple_GET_ITEM(outputs, i - self->input_count);
    at[i] = PyLong_AsLongLong(size);
    if (at[i] == -1 && PyErr_Occurred()) goto failed;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(calls); i++) {
    program->count = i + 1;
    if (read_call(self, &program->calls[i], PyTuple_GET_ITEM(calls, i))) goto failed;
  }
  return (PyObject *)self;
failed:
  Py_DECREF(self);
  return NULL;
}

static void Program_dealloc(Program *self) {
  for (int64_t i = 0; i < self->program.count; i++) free(self->program.calls[i].scratch);
  for (Py_ssize_t i = 0; i < self->constant_count; i++) PyBuffer_Release(&self->constants[i]);
  free(self->constants);
  free(self->program.calls);
  free(self->program.bases);
  free(self->extents);
  free(self->arena);
  Py_XDECREF(self->kept);
  Py_XDECREF(self->team);
  Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Runs what the bases point at. The caller has set `busy`. */
int run_taken(Program *self) {
  int64_t at = 0, value = 0;
  enum failure failure;
  if (self->heavy) {
    Py_BEGIN_ALLOW_THREADS
    failure = run_program(&self->program, &at, &value);
    Py_END_ALLOW_THREADS
  } else {
    failure = run_program(&self->program, &at, &value);
  }
  if (failure == INDEX_OUT_OF_RANGE)
    PyErr_Format(PyExc_IndexError, "an index is %lld, and the table has %lld rows",
                 (long long)value, (long long)self->program.calls[at].sizes[2]);
  else if (failure == LENGTH_OUT_OF_RANGE)
    PyErr_Format(PyExc_IndexError, "a length is %lld, expected 0 to %lld", (long long)value,
                 (long long)self->program.calls[at].sizes[0]);
  return failure ? -1 : 0;
}

int take_program(Program *self) {
  if (self->busy) {
    PyErr_SetString(PyExc_RuntimeError, "the program is in use by another thread");
    return -1;
  }
  self->busy = 1;
  return 0;
}

#define MOST_BOUND 64

static int overlap(const Py_buffer *a, const Py_buffer *b) {
  const char *x = a->buf, *y = b->buf;
  return x < y + b->len && y < x + a->len && a->len && b->len;
}

void release_buffers(Py_buffer *views, Py_ssize_t count) {
  for (Py_ssize_t i = 0; i < count; i++) PyBuffer_Release(&views[i]);
}

/* Gets all inputs and outputs of a program; nothing is held where it fails. */
static int get_arrays(Program *self, PyObject *const *args, Py_ssize_t count, Py_buffer *views) {
  const Py_ssize_t bound = self->input_count + self->output_count;
  if (count != bound || bound > MOST_BOUND) {
    PyErr_Format(PyExc_ValueError, "expected %zd inputs and %zd outputs, got %zd arrays",
                 self->input_count, self->output_count, count);
    return -1;
  }
  const int64_t *extents = self->extents + 1 + self->constant_count;
  for (Py_ssize_t i = 0; i < bound; i++) {
    const int flags = i < self->input_count ? PyBUF_C_CONTIGUOUS
                                            : PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE;
    if (PyObject_GetBuffer(args[i], &views[i], flags)) {
      release_buffers(views, i);
      return -1;
    }
    const uintptr_t item = views[i].itemsize > 8 ? 8 : (uintptr_t)views[i].itemsize;
    if (views[i].len != extents[i] || (item && (uintptr_t)views[i].buf % item)) {
      PyErr_Format(PyExc_ValueError, "array %zd: expected %lld bytes, aligned; got %zd", i,
                   (long long)extents[i], views[i].len);
      release_buffers(views, i + 1);
      return -1;
    }
  }
  for (Py_ssize_t i = self->input_count; i < bound; i++)
    for (Py_ssize_t j = 0; j < i; j++)
      if (overlap(&views[i], &views[j])) {
        PyErr_SetString(PyExc_ValueError, "an output shares memory with another array");
        release_buffers(views, bound);
        return -1;
      }
  return 0;
}

static PyObject *run_on(Program *self, const Py_buffer *views) {
  if (take_program(self)) return NULL;
  char **bases = self->program.bases + 1 + self->constant_count;
  for (Py_ssize_t i = 0; i < self->input_count + self->output_count; i++) bases[i] = views[i].buf;
  const int failed = run_taken(self);
  self->busy = 0;
  return failed ? NULL : Py_NewRef(Py_None);
}

static PyObject *Program_run(Program *self, PyObject *const *args, Py_ssize_t count) {
  Py_buffer views[MOST_BOUND];
  if (get_arrays(self, args, count, views)) return NULL;
  PyObject *result = run_on(self, views);
  release_buffers(views, count);
  return result;
}

static PyObject *Program_bind(Program *self, PyObject *const *args, Py_ssize_t count);

static PyMethodDef Program_methods[] = {
    {"run", (PyCFunction)(void (*)(void))Program_run, METH_FASTCALL,
     "run(*inputs, *outputs): contiguous arrays of the sizes that the program was built for."},
    {"bind", (PyCFunction)(void (*)(void))Program_bind, METH_FASTCALL,
     "bind(*inputs, *outputs): a `Bound` that runs on these arrays each time."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject ProgramType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "rnnedge_native._engine.Program",
    .tp_basicsize = sizeof(Program),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = Program_new,
    .tp_dealloc = (destructor)Program_dealloc,
    .tp_methods = Program_methods,
    .tp_doc = "Kernel calls over buffers whose sizes are fixed.",
};

/* --- bound programs -------------------------------------------------------------------------- */

typedef struct {
  PyObject_HEAD
  Program *program;
  Py_buffer views[MOST_BOUND];
  Py_ssize_t held;
} Bound;

static PyObject *Bound_run(Bound *self, PyObject *ignored) {
  (void)ignored;
  return run_on(self->program, self->views);
}

static void Bound_dealloc(Bound *self) {
  release_buffers(self->views, self->held);
  Py_XDECREF(self->program);
  PyObject_Free(self);
}

static PyMethodDef Bound_methods[] = {
    {"run", (PyCFunction)Bound_run, METH_NOARGS, "Run on the arrays that were bound."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject BoundType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "rnnedge_native._engine.Bound",
    .tp_basicsize = sizeof(Bound),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)Bound_dealloc,
    .tp_methods = Bound_methods,
    .tp_doc = "A program and the arrays that it runs on.",
};

static PyObject *Program_bind(Program *self, PyObject *const *args, Py_ssize_t count) {
  Bound *bound = PyObject_New(Bound, &BoundType);
  if (!bound) return NULL;
  bound->program = NULL;
  bound->held = 0;
  if (get_arrays(self, args, count, bound->views)) {
    Py_DECREF(bound);
    return NULL;
  }
  bound->held = count;
  bound->program = (Program *)Py_NewRef((PyObject *)self);
  return (PyObject *)bound;
}

/* --- steps ----------------------------------------------------------------------------------- */

/*
 * One frame in, one answer out, the state kept between. The buffers are arrays of the caller's,
 * held for good; the two halves of the state change places after each step.
 */
typedef struct {
  PyObject_HEAD
  Program *program;
  Py_buffer *held; /* frame, answer, then the states of both halves */
  Py_ssize_t held_count, states;
  PyObject *copy;     /* the bound method that copies the answer */
  PyObject *fallback; /* called with the same arguments where a step cannot be run here, or NULL */
  PyObject *idle;     /* a list, empty while another call is inside, or NULL */
  int axes, half;
  Py_ssize_t shape[MOST_AXES];
  long long steps, flushed_every; /* after so many steps, smaller numbers of the state than tiny */
  float tiny;                     /* become zero */
} Stepper;

int is_float(const Py_buffer *view) {
  return view->itemsize == 4 && view->format && !strcmp(view->format, "f");
}

int is_int64(const Py_buffer *view) {
  return view->itemsize == 8 && view->format &&
         (!strcmp(view->format, "l") || !strcmp(view->format, "q"));
}

static PyObject *Stepper_new(PyTypeObject *type, PyObject *args, PyObject *named) {
  static char *names[] = {"program", "frame", "answer", "copy", "states", "others",
                          "tiny",    "flushed_every", NULL};
  PyObject *program, *frame, *answer, *copy, *first, *second;
  float tiny;
  long long flushed_every;
  if (!PyArg_ParseTupleAndKeywords(args, named, "O!OOOO!O!fL", names, &ProgramType, &program,
                                   &frame, &answer, &copy, &PyTuple_Type, &first, &PyTuple_Type,
                                   &second, &tiny, &flushed_every))
    return NULL;
  if (flushed_every < 1) {
    PyErr_SetString(PyExc_ValueError, "flushed_every: expected 1 or more");
    return NULL;
  }
  Program *run_by = (Program *)program;
  const Py_ssize_t states = PyTuple_GET_SIZE(first);
  if (PyTuple_GET_SIZE(second) != states || run_by->input_count != 1 + states ||
      run_by->output_count != 1 + states) {
    PyErr_SetString(PyExc_ValueError, "expected a program of one input, one output and states");
    return NULL;
  }
  Stepper *self = (Stepper *)type->tp_alloc(type, 0);
  if (!self) return NULL;
  self->states = states;
  self->tiny = tiny;
  self->flushed_every = flushed_every;
  self->program = (Program *)Py_NewRef(program);
  self->copy = Py_NewRef(copy);
  self->held = calloc((size_t)(2 + 2 * states), sizeof *self->held);
  if (!self->held) {
    PyErr_NoMemory();
    goto failed;
  }
  for (Py_ssize_t i = 0; i < 2 + 2 * states; i++) {
    PyObject *array = i == 0           ? frame
                      : i == 1         ? answer
                      : i < 2 + states ? PyTuple_GET_ITEM(first, i - 2)
                                       : PyTuple_GET_ITEM(second, i - 2 - states);
    if (PyObject_GetBuffer(array, &self->held[i],
                           PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE | PyBUF_FORMAT))
      goto failed;
    self->held_count++;
    const int64_t *extents = run_by->extents + 1 + run_by->constant_count;
    const Py_ssize_t of = i == 0 ? 0 : i == 1 ? 1 + states : 1 + (i - 2) % states;
    const int known = is_float(&self->held[i]) || (i == 0 && is_int64(&self->held[i]));
    if (self->held[i].len != extents[of] || !known) {
      PyErr_SetString(PyExc_ValueError, "expected float32 arrays of the program's sizes");
      goto failed;
    }
  }
  self->axes = self->held[0].ndim;
  if (self->axes > MOST_AXES) {
    PyErr_SetString(PyExc_ValueError, "a frame has too many axes");
    goto failed;
  }
  for (int axis = 0; axis < self->axes; axis++) self->shape[axis] = self->held[0].shape[axis];
  return (PyObject *)self;
failed:
  Py_DECREF(self);
  return NULL;
}

static void Stepper_dealloc(Stepper *self) {
  PyObject_GC_UnTrack(self);
  release_buffers(self->held, self->held_count);
  free(self->held);
  Py_XDECREF(self->program);
  Py_XDECREF(self->copy);
  Py_XDECREF(self->fallback);
  Py_XDECREF(self->idle);
  Py_TYPE(self)->tp_free((PyObject *)self);
}

static int Stepper_traverse(Stepper *self, visitproc visit, void *arg) {
  Py_VISIT(self->copy);
  Py_VISIT(self->fallback);
  Py_VISIT(self->idle);
  return 0;
}

static int Stepper_clear(Stepper *self) {
  Py_CLEAR(self->fallback);
  Py_CLEAR(self->idle);
  return 0;
}

/* Whether a frame is what a step takes: of the dtype, shape and layout, and finite. */
static int is_frame(const Stepper *self, const Py_buffer *view) {
  const int whole = is_int64(&self->held[0]);
  if (view->ndim != self->axes || !(whole ? is_int64(view) : is_float(view)) ||
      (uintptr_t)view->buf % (whole ? 8 : 4))
    return 0;
  for (int axis = 0; axis < self->axes; axis++)
    if (view->shape[axis] != self->shape[axis]) return 0;
  return whole || self->program->program.kernels->is_finite(view->buf, view->len / 4);
}

static int step(Stepper *self, const void *frame) {
  Program *program = self->program;
  char **bases = program->program.bases + 1 + program->constant_count;
  const Py_ssize_t states = self->states;
  const Py_buffer *before = self->held + 2 + (self->half ? states : 0);
  const Py_buffer *after = self->held + 2 + (self->half ? 0 : states);
  bases[0] = (char *)frame;
  for (Py_ssize_t i = 0; i < states; i++) {
    bases[1 + i] = before[i].buf;
    bases[2 + states + i] = after[i].buf;
  }
  bases[1 + states] = self->held[1].buf;
  if (run_taken(program)) return -1;
  self->half = !self->half;
  if (++self->steps % self->flushed_every == 0)
    for (Py_ssize_t i = 0; i < states; i++) {
      float *state = after[i].buf;
      for (Py_ssize_t k = 0; k < after[i].len / 4; k++)
        if (state[k] < self->tiny && state[k] > -self->tiny) state[k] = 0;
    }
  return 0;
}

/* Runs a frame; NULL with no exception set where it, or `target`, does not fit. */
static PyObject *step_checked(Stepper *self, PyObject *frame, PyObject *target) {
  const Py_buffer *answer = &self->held[1];
  Py_buffer view, out = {0};
  PyObject *result = NULL;
  if (PyObject_GetBuffer(frame, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) {
    PyErr_Clear();
    return NULL;
  }
  if (!is_frame(self, &view)) goto done;
  if (target) {
    if (PyObject_GetBuffer(target, &out, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)) {
      PyErr_Clear();
      out.obj = NULL;
      goto done;
    }
    if (out.ndim != answer->ndim || !is_float(&out)) goto done;
    for (int axis = 0; axis < out.ndim; axis++)
      if (out.shape[axis] != answer->shape[axis]) goto done;
  }
  if (take_program(self->program)) goto done;
  const int failed = step(self, view.buf);
  if (!failed && target) memcpy(out.buf, answer->buf, (size_t)answer->len);
  self->program->busy = 0;
  if (failed) PyErr_Clear(); /* an index that the table does not have: the fallback says so */
  else result = target ? Py_NewRef(target) : PyObject_CallNoArgs(self->copy);
done:
  PyBuffer_Release(&view);
  if (out.obj) PyBuffer_Release(&out);
  return result;
}

static PyObject *Stepper_step(Stepper *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names) {
  const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  const int has_out = named == 1 && PyUnicode_CompareWithASCIIString(
                                        PyTuple_GET_ITEM(names, 0), "out") == 0;
  if (count == 1 && named == has_out && (!self->idle || PyList_GET_SIZE(self->idle))) {
    PyObject *out = has_out && args[1] != Py_None ? args[1] : NULL;
    PyObject *result = step_checked(self, args[0], out);
    if (result || PyErr_Occurred()) return result;
  }
  if (!self->fallback) return Py_NewRef(Py_False);
  return PyObject_Vectorcall(self->fallback, args, (size_t)count, names);
}

static PyObject *Stepper_guard(Stepper *self, PyObject *args) {
  PyObject *fallback, *idle;
  if (!PyArg_ParseTuple(args, "OO!", &fallback, &PyList_Type, &idle)) return NULL;
  Py_XSETREF(self->fallback, Py_NewRef(fallback));
  Py_XSETREF(self->idle, Py_NewRef(idle));
  return PyBool_FromLong(!self->program->heavy);
}

static PyObject *Stepper_half(Stepper *self, void *closure) {
  (void)closure;
  return PyLong_FromLong(self->half);
}

static int Stepper_set_half(Stepper *self, PyObject *value, void *closure) {
  (void)closure;
  const long half = value ? PyLong_AsLong(value) : -1;
  if (half != 0 && half != 1) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "half: expected 0 or 1");
    return -1;
  }
  self->half = (int)half;
  return 0;
}

static PyObject *Stepper_steps(Stepper *self, void *closure) {
  (void)closure;
  return PyLong_FromLongLong(self->steps);
}

static int Stepper_set_steps(Stepper *self, PyObject *value, void *closure) {
  (void)closure;
  const long long steps = value ? PyLong_AsLongLong(value) : -1;
  if (steps < 0) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "steps: expected 0 or more");
    return -1;
  }
  self->steps = steps;
  return 0;
}

static PyMethodDef Stepper_methods[] = {
    {"step", (PyCFunction)(void (*)(void))Stepper_step, METH_FASTCALL | METH_KEYWORDS,
     "step(frame, *, out=None): the output; what does not fit goes to the fallback, and without "
     "one False is returned."},
    {"guard", (PyCFunction)Stepper_guard, METH_VARARGS,
     "guard(fallback, idle): whether `step` may stand for `fallback`, which is called with the "
     "same arguments where the step cannot be run, or while the list `idle` is empty."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Stepper_properties[] = {
    {"half", (getter)Stepper_half, (setter)Stepper_set_half, "Which half holds the state, 0 or 1.", NULL},
    {"steps", (getter)Stepper_steps, (setter)Stepper_set_steps, "How many steps were made.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject StepperType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "rnnedge_native._engine.Stepper",
    .tp_basicsize = sizeof(Stepper),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = Stepper_new,
    .tp_dealloc = (destructor)Stepper_dealloc,
    .tp_traverse = (traverseproc)Stepper_traverse,
    .tp_clear = (inquiry)Stepper_clear,
    .tp_methods = Stepper_methods,
    .tp_getset = Stepper_properties,
    .tp_doc = "Runs frames of one shape and keeps the state.",
};

/* --- teams ----------------------------------------------------------------------------------- */

static PyObject *Team_new(PyTypeObject *type, PyObject *args, PyObject *named) {
  static char *names[] = {"members", NULL};
  int members;
  if (!PyArg_ParseTupleAndKeywords(args, named, "i", names, &members)) return NULL;
  if (members < 1 || members > 1024) {
    PyErr_SetString(PyExc_ValueError, "members: expected 1 to 1024");
    return NULL;
  }
  Team *self = (Team *)type->tp_alloc(type, 0);
  if (!self) return NULL;
  self->members = members;
  self->team = make_team(members);
  if (self->team) return (PyObject *)self;
  Py_DECREF(self);
  return PyErr_NoMemory();
}

static void Team_dealloc(Team *self) {
  end_team(self->team);
  Py_TYPE(self)->tp_free((PyObject *)self);
}

PyTypeObject TeamType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "rnnedge_native._engine.Team",
    .tp_basicsize = sizeof(Team),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = Team_new,
    .tp_dealloc = (destructor)Team_dealloc,
    .tp_doc = "Threads that share the rows of calls with much to do; they start with the first.",
};

/* --- the module ------------------------------------------------------------------------------ */

static PyObject *instructions(PyObject *module, PyObject *ignored) {
  (void)module;
  (void)ignored;
  PyObject *list = PyList_New(0);
  for (int i = 0; list && set_name(i); i++) {
    if (!find_kernels(set_name(i))) continue;
    PyObject *name = PyUnicode_FromString(set_name(i));
    if (!name || PyList_Append(list, name)) Py_CLEAR(list);
    Py_XDECREF(name);
  }
  return list;
}

static PyMethodDef methods[] = {
    {"instructions", instructions, METH_NOARGS,
     "The sets of instructions that this processor has kernels for, the widest first."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "rnnedge_native._engine",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__engine(void) {
  PyTypeObject *const types[] = {&MatrixType, &IntegerMatrixType, &LayerType, &ProgramType,
                                 &BoundType,  &StepperType,  &RowStepperType, &TeamType};
  PyObject *module = PyModule_Create(&definition);
  for (int i = 0; module && i < 8; i++)
    if (PyModule_AddType(module, types[i])) Py_CLEAR(module);
  return module;
}
