/*
 * Steps of a pool: a frame of each of some streams as one batch. Their states lie in blocks with a
 * place for each slot of the pool; the rows of a step are gathered from there and put back.
 */
#include "module.h"

#include <stdlib.h>

/* The states of all slots, [outer, capacity, row]. */
struct block {
  Py_buffer view;
  Py_ssize_t outer, row; /* row: in bytes */
  char *before, *after;  /* [outer, rows, row], of the rows of a step */
};

typedef struct {
  PyObject_HEAD
  Program *program;
  PyObject *slots; /* a dictionary: stream to slot */
  PyObject *make;  /* returns an array for the answers */
  Py_ssize_t rows, capacity, states; /* rows: of the program */
  Py_ssize_t count;                  /* of a step, which leaves the other rows unused */
  struct block *blocks; /* [states] */
  Py_buffer steps;      /* int64 [capacity]: how many each slot has made */
  int whole, axes;      /* of a frame: whether it is int64, and its axes */
  Py_ssize_t shape[MOST_AXES], frame; /* frame: in bytes */
  char *frames;
  Py_ssize_t *picked; /* [rows]: the slot of each */
  long long *seen;    /* [capacity]: the last turn that had the slot */
  long long turn, flushed_every;
  float tiny;
} RowStepper;

static int get_block(RowStepper *self, struct block *block, PyObject *array, PyObject *axis) {
  const long at = PyLong_AsLong(axis);
  if (at == -1 && PyErr_Occurred()) return -1;
  if (PyObject_GetBuffer(array, &block->view,
                         PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE | PyBUF_FORMAT)) {
    block->view.obj = NULL;
    return -1;
  }
  const Py_buffer *view = &block->view;
  if (!is_float(view) || at < 0 || at >= view->ndim || view->shape[at] != self->capacity) {
    PyErr_SetString(PyExc_ValueError, "expected float32 states of all slots");
    return -1;
  }
  block->outer = 1;
  block->row = 4;
  for (int i = 0; i < view->ndim; i++)
    if (i < at) block->outer *= view->shape[i];
    else if (i > at) block->row *= view->shape[i];
  const size_t bytes = (size_t)(block->outer * self->rows * block->row);
  block->before = calloc(bytes + 1, 1);
  block->after = malloc(bytes + 1);
  if (block->before && block->after) return 0;
  PyErr_NoMemory();
  return -1;
}

/* Whether the program takes the frames and the states, and gives an answer and the states. */
static int fits_program(const RowStepper *self) {
  const Program *program = self->program;
  const int64_t *inputs = program->extents + 1 + program->constant_count;
  const int64_t *outputs = inputs + program->input_count;
  if (program->input_count != 1 + self->states || program->output_count != 1 + self->states ||
      inputs[0] != self->rows * self->frame)
    return 0;
  for (Py_ssize_t i = 0; i < self->states; i++) {
    const struct block *block = &self->blocks[i];
    const int64_t bytes = block->outer * self->rows * block->row;
    if (inputs[1 + i] != bytes || outputs[1 + i] != bytes) return 0;
  }
  return 1;
}

static int get_frame(RowStepper *self, PyObject *frame) {
  Py_buffer view;
  if (PyObject_GetBuffer(frame, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return -1;
  self->whole = is_int64(&view);
  self->axes = view.ndim;
  self->frame = view.len;
  const int known = (self->whole || is_float(&view)) && view.ndim < MOST_AXES;
  for (int axis = 0; known && axis < view.ndim; axis++) self->shape[axis] = view.shape[axis];
  PyBuffer_Release(&view);
  if (known) return 0;
  PyErr_SetString(PyExc_ValueError, "expected a frame of float32 or int64");
  return -1;
}

static int set_up(RowStepper *self, PyObject *frame, PyObject *blocks, PyObject *axes,
                  PyObject *steps) {
  if (PyObject_GetBuffer(steps, &self->steps,
                         PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE | PyBUF_FORMAT)) {
    self->steps.obj = NULL;
    return -1;
  }
  self->capacity = self->steps.len / 8;
  if (!is_int64(&self->steps) || self->rows < 1 || self->rows > self->capacity ||
      self->flushed_every < 1 || PyTuple_GET_SIZE(axes) != PyTuple_GET_SIZE(blocks)) {
    PyErr_SetString(PyExc_ValueError, "expected counts of steps, rows and axes that fit");
    return -1;
  }
  if (get_frame(self, frame)) return -1;
  self->frames = calloc((size_t)(self->rows * self->frame) + 1, 1);
  self->picked = calloc((size_t)self->rows, sizeof *self->picked);
  self->seen = calloc((size_t)self->capacity, sizeof *self->seen);
  self->blocks = calloc((size_t)PyTuple_GET_SIZE(blocks) + 1, sizeof *self->blocks);
  if (!self->frames || !self->picked || !self->seen || !self->blocks) {
    PyErr_NoMemory();
    return -1;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(blocks); i++) {
    self->states = i + 1;
    if (get_block(self, &self->blocks[i], PyTuple_GET_ITEM(blocks, i), PyTuple_GET_ITEM(axes, i)))
      return -1;
  }
  if (fits_program(self)) return 0;
  PyErr_SetString(PyExc_ValueError, "expected a program of these frames and states");
  return -1;
}

static PyObject *RowStepper_new(PyTypeObject *type, PyObject *args, PyObject *named) {
  static char *names[] = {"program", "rows",  "frame", "make",          "slots", "blocks",
                          "axes",    "steps", "tiny",  "flushed_every", NULL};
  PyObject *program, *frame, *make, *slots, *blocks, *axes, *steps;
  Py_ssize_t rows;
  float tiny;
  long long flushed_every;
  if (!PyArg_ParseTupleAndKeywords(args, named, "O!nOOO!O!O!OfL", names, &ProgramType, &program,
                                   &rows, &frame, &make, &PyDict_Type, &slots, &PyTuple_Type,
                                   &blocks, &PyTuple_Type, &axes, &steps, &tiny, &flushed_every))
    return NULL;
  RowStepper *self = (RowStepper *)type->tp_alloc(type, 0);
  if (!self) return NULL;
  self->program = (Program *)Py_NewRef(program);
  self->slots = Py_NewRef(slots);
  self->make = Py_NewRef(make);
  self->rows = rows;
  self->tiny = tiny;
  self->flushed_every = flushed_every;
  if (set_up(self, frame, blocks, axes, steps)) {
    Py_DECREF(self);
    return NULL;
  }
  return (PyObject *)self;
}

static void RowStepper_dealloc(RowStepper *self) {
  for (Py_ssize_t i = 0; i < self->states; i++) {
    if (self->blocks[i].view.obj) PyBuffer_Release(&self->blocks[i].view);
    free(self->blocks[i].before);
    free(self->blocks[i].after);
  }
  if (self->steps.obj) PyBuffer_Release(&self->steps);
  free(self->blocks);
  free(self->frames);
  free(self->picked);
  free(self->seen);
  Py_XDECREF(self->program);
  Py_XDECREF(self->slots);
  Py_XDECREF(self->make);
  Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Finds the slot of each stream; 0 where one is not open, comes twice, or is not an integer. */
static int pick(RowStepper *self, PyObject *streams) {
  const int listed = PyList_CheckExact(streams);
  if (!listed && !PyTuple_CheckExact(streams)) return 0;
  self->count = PySequence_Fast_GET_SIZE(streams);
  if (self->count < 1 || self->count > self->rows) return 0;
  self->turn++;
  for (Py_ssize_t i = 0; i < self->count; i++) {
    PyObject *stream = PySequence_Fast_GET_ITEM(streams, i);
    if (!PyLong_CheckExact(stream)) return 0;
    PyObject *found = PyDict_GetItemWithError(self->slots, stream);
    const Py_ssize_t slot = found ? PyLong_AsSsize_t(found) : -1;
    if (slot < 0 || slot >= self->capacity || self->seen[slot] == self->turn) return 0;
    self->seen[slot] = self->turn;
    self->picked[i] = slot;
  }
  return 1;
}

/* Whether an array is a frame, or with `stacked` one of each row. */
static int is_frame(const RowStepper *self, const Py_buffer *view, int stacked) {
  if (view->ndim != self->axes + stacked || (self->whole ? !is_int64(view) : !is_float(view)) ||
      (uintptr_t)view->buf % (self->whole ? 8 : 4))
    return 0;
  if (stacked && view->shape[0] != self->count) return 0;
  for (int axis = 0; axis < self->axes; axis++)
    if (view->shape[stacked + axis] != self->shape[axis]) return 0;
  return 1;
}

/* Copies a frame of each row side by side; 0 where one does not fit. */
static int collect(RowStepper *self, PyObject *frames) {
  if (PyList_GET_SIZE(frames) != self->count) return 0;
  for (Py_ssize_t i = 0; i < self->count; i++) {
    Py_buffer view;
    if (PyObject_GetBuffer(PyList_GET_ITEM(frames, i), &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT))
      return 0;
    const int fits = is_frame(self, &view, 0);
    if (fits) memcpy(self->frames + i * self->frame, view.buf, (size_t)self->frame);
    PyBuffer_Release(&view);
    if (!fits) return 0;
  }
  return 1;
}

/* Copies rows between a block and the places of a step; neighbours that stay neighbours at once. */
static void move_rows(const RowStepper *self, const struct block *block, char *rows, int back) {
  for (Py_ssize_t outer = 0; outer < block->outer; outer++) {
    char *all = (char *)block->view.buf + outer * self->capacity * block->row;
    char *some = rows + outer * self->rows * block->row;
    for (Py_ssize_t i = 0, next; i < self->count; i = next) {
      for (next = i + 1; next < self->count; next++)
        if (self->picked[next] != self->picked[next - 1] + 1) break;
      char *in_block = all + self->picked[i] * block->row, *here = some + i * block->row;
      const size_t bytes = (size_t)((next - i) * block->row);
      if (back) memcpy(in_block, here, bytes);
      else memcpy(here, in_block, bytes);
    }
  }
}

/* Where the states of the rows lie side by side in a block as a step takes them, or NULL. */
static char *lie_ready(const RowStepper *self, const struct block *block) {
  const Py_ssize_t first = self->picked[0];
  if (block->outer > 1 && self->rows != self->capacity) return NULL;
  if (first + self->rows > self->capacity) return NULL;
  for (Py_ssize_t i = 1; i < self->count; i++)
    if (self->picked[i] != first + i) return NULL;
  return (char *)block->view.buf + first * block->row;
}

/* Counts the steps; every few of a slot's, numbers of its state below `tiny` become zero. */
static void count_steps(RowStepper *self) {
  long long *steps = self->steps.buf;
  for (Py_ssize_t i = 0; i < self->count; i++) {
    if (++steps[self->picked[i]] % self->flushed_every) continue;
    for (Py_ssize_t state = 0; state < self->states; state++) {
      const struct block *block = &self->blocks[state];
      for (Py_ssize_t outer = 0; outer < block->outer; outer++) {
        float *row = (float *)(block->after + (outer * self->rows + i) * block->row);
        for (Py_ssize_t k = 0; k < block->row / 4; k++)
          if (row[k] < self->tiny && row[k] > -self->tiny) row[k] = 0;
      }
    }
  }
}

/* Runs the rows that were picked; -1, and no state changed, where the program fails. */
static int step(RowStepper *self, const void *frames, void *answers) {
  Program *program = self->program;
  char **bases = program->program.bases + 1 + program->constant_count;
  bases[0] = (char *)frames;
  bases[1 + self->states] = answers;
  for (Py_ssize_t i = 0; i < self->states; i++) {
    struct block *block = &self->blocks[i];
    char *ready = lie_ready(self, block);
    if (!ready) move_rows(self, block, block->before, 0);
    bases[1 + i] = ready ? ready : block->before;
    bases[2 + self->states + i] = block->after;
  }
  if (run_taken(program)) return -1;
  count_steps(self);
  for (Py_ssize_t i = 0; i < self->states; i++)
    move_rows(self, &self->blocks[i], self->blocks[i].after, 1);
  return 0;
}

/* Runs frames that lie side by side; NULL with no exception set where they do not fit. */
static PyObject *step_checked(RowStepper *self, const void *frames) {
  const Py_ssize_t count = self->count * self->frame / 4;
  if (!self->whole && !self->program->program.kernels->is_finite(frames, count)) return NULL;
  if (self->count < self->rows) /* what an earlier step left there may be no index of a table */
    memset(self->frames + self->count * self->frame, 0,
           (size_t)((self->rows - self->count) * self->frame));
  PyObject *answers = PyObject_CallNoArgs(self->make);
  if (!answers) return NULL;
  Py_buffer out;
  const int64_t bytes =
      self->program->extents[1 + self->program->constant_count + 1 + self->states];
  if (PyObject_GetBuffer(answers, &out, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)) {
    Py_DECREF(answers);
    return NULL;
  }
  int failed = 1;
  if (!is_float(&out) || out.len != bytes)
    PyErr_SetString(PyExc_ValueError, "expected a float32 array of the program's output");
  else if ((failed = step(self, frames, out.buf)))
    PyErr_Clear(); /* an index that the table does not have: who calls finds it again */
  PyBuffer_Release(&out);
  if (!failed && self->count == self->rows) return answers;
  PyObject *some = failed ? NULL : PySequence_GetSlice(answers, 0, self->count);
  Py_DECREF(answers);
  return some;
}

static PyObject *RowStepper_step(RowStepper *self, PyObject *const *args, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "step: expected streams and frames");
    return NULL;
  }
  if (take_program(self->program)) return NULL;
  PyObject *result = NULL;
  if (!pick(self, args[0])) goto done;
  if (PyList_CheckExact(args[1])) {
    if (collect(self, args[1])) result = step_checked(self, self->frames);
  } else {
    Py_buffer view;
    if (PyObject_GetBuffer(args[1], &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) goto done;
    if (is_frame(self, &view, 1)) {
      const int all = self->count == self->rows;
      if (!all) memcpy(self->frames, view.buf, (size_t)view.len);
      result = step_checked(self, all ? view.buf : self->frames);
    }
    PyBuffer_Release(&view);
  }
done:
  self->program->busy = 0;
  if (result) return result;
  PyErr_Clear();
  return Py_NewRef(Py_None);
}

static PyMethodDef RowStepper_methods[] = {
    {"step", (PyCFunction)(void (*)(void))RowStepper_step, METH_FASTCALL,
     "step(streams, frames): the answers of a frame of each of up to so many streams as the program "
     "has rows, in one array or a list of arrays; None, with nothing changed, where the streams or "
     "the frames do not fit."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject RowStepperType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "rnnedge_native._engine.RowStepper",
    .tp_basicsize = sizeof(RowStepper),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = RowStepper_new,
    .tp_dealloc = (destructor)RowStepper_dealloc,
    .tp_methods = RowStepper_methods,
    .tp_doc = "Runs frames of some streams of a pool.",
};
