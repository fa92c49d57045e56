/* Packed weights: of products, and of layers; in float32, and in integers. */
#include "module.h"

#include <stdlib.h>

const struct kernels *kernels_of(PyObject *name) {
  if (!name || name == Py_None) return find_kernels(NULL);
  const char *text = PyUnicode_AsUTF8(name);
  if (!text) return NULL;
  const struct kernels *found = find_kernels(text);
  if (!found)
    PyErr_Format(PyExc_ValueError, "instructions: this processor does not have %R", name);
  return found;
}

/* --- buffers --------------------------------------------------------------------------------- */

/* A contiguous buffer of `count` float32, or of any number where it is negative. */
static int get_floats(PyObject *object, Py_buffer *view, Py_ssize_t count, const char *name) {
  if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return -1;
  if (view->itemsize == 4 && view->format && !strcmp(view->format, "f") &&
      (count < 0 || view->len == count * 4))
    return 0;
  PyErr_Format(PyExc_ValueError, "%s: expected %zd float32, got %zd bytes of format %s", name,
               count, view->len, view->format ? view->format : "B");
  PyBuffer_Release(view);
  return -1;
}

/* --- weights --------------------------------------------------------------------------------- */

static int pack(struct matrix *matrix, const struct kernels *kernels, PyObject *rows,
                PyObject *bias, Py_ssize_t units, Py_ssize_t inputs, Py_ssize_t gates,
                const char *name) {
  Py_buffer view, other = {0};
  Py_ssize_t count, all;
  if (units < 1 || inputs < 1 || __builtin_mul_overflow(units, gates, &all) ||
      __builtin_mul_overflow(all, inputs, &count) || count > ((Py_ssize_t)1 << 40)) {
    PyErr_Format(PyExc_ValueError, "%s: expected sizes of 1 or more that fit in memory", name);
    return -1;
  }
  if (get_floats(rows, &view, count, name)) return -1;
  if (bias != Py_None && get_floats(bias, &other, all, "bias")) {
    PyBuffer_Release(&view);
    return -1;
  }
  const int done = pack_matrix(matrix, view.buf, other.buf, units, inputs, gates, kernels->width);
  PyBuffer_Release(&view);
  if (other.buf) PyBuffer_Release(&other);
  if (done) return 0;
  PyErr_NoMemory();
  return -1;
}

static PyObject *Matrix_new(PyTypeObject *type, PyObject *args, PyObject *named) {
  static char *names[] = {"weights", "bias", "units", "inputs", "instructions", NULL};
  PyObject *weights, *bias, *instructions = Py_None;
  Py_ssize_t units, inputs;
  if (!PyArg_ParseTupleAndKeywords(args, named, "OOnn|O", names, &weights, &bias, &units, &inputs,
                                   &instructions))
    return NULL;
  const struct kernels *kernels = kernels_of(instructions);
  if (!kernels) return NULL;
  Matrix *self = (Matrix *)type->tp_alloc(type, 0);
  if (!self) return NULL;
  self->kernels = kernels;
  if (pack(&self->matrix, kernels, weights, bias, units, inputs, 1, "weights")) {
    Py_DECREF(self);
    return NULL;
  }
  return (PyObject *)self;
}

static void Matrix_dealloc(Matrix *self) {
  free_matrix(&self->matrix);
  Py_TYPE(self)->tp_free((PyObject *)self);
}

PyTypeObject MatrixType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "rnnedge_native._engine.Matrix",
    .tp_basicsize = sizeof(Matrix),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = Matrix_new,
    .tp_dealloc = (destructor)Matrix_dealloc,
    .tp_doc = "Packed weights of a product: float32 [units, inputs] and a bias [units] or None.",
};

/* --- integers -------------------------------------------------------------------------------- */

#define MOST_INPUTS 32768 /* whose sums fit into 32 bits, whatever the values */

static int pack_values(IntegerMatrix *self, PyObject *values, PyObject *scales, PyObject *bias,
                       Py_ssize_t units, Py_ssize_t inputs, Py_ssize_t gates) {
  Py_buffer view, scale = {0}, other = {0};
  if (units < 1 || units > (Py_ssize_t)1 << 24 || inputs < 1 || inputs > MOST_INPUTS ||
      (gates != 1 && gates != 3 && gates != 4)) {
    PyErr_SetString(PyExc_ValueError, "integers: expected sizes of 1 or more that fit");
    return -1;
  }
  if (PyObject_GetBuffer(values, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return -1;
  int done = -1;
  if (view.itemsize != 1 || !view.format || strcmp(view.format, "b") ||
      view.len != units * gates * inputs)
    PyErr_Format(PyExc_ValueError, "integers: expected %zd int8", units * gates * inputs);
  else if (!get_floats(scales, &scale, units * gates, "scales") &&
           (bias == Py_None || !get_floats(bias, &other, units * gates, "bias")))
    done = pack_integers(&self->matrix, self->kernels, view.buf, scale.buf, other.buf, units,
                         inputs, gates);
  if (!done) PyErr_NoMemory();
  PyBuffer_Release(&view);
  if (scale.buf) PyBuffer_Release(&scale);
  if (other.buf) PyBuffer_Release(&other);
  return done > 0 ? 0 : -1;
}

static PyObject *IntegerMatrix_new(PyTypeObject *type, PyObject *args, PyObject *named) {
  static char *names[] = {"values", "scales", "bias", "units", "inputs", "gates", "instructions",
                          NULL};
  PyObject *values, *scales, *bias, *instructions = Py_None;
  Py_ssize_t units, inputs, gates;
  if (!PyArg_ParseTupleAndKeywords(args, named, "OOOnnn|O", names, &values, &scales, &bias, &units,
                                   &inputs, &gates, &instructions))
    return NULL;
  const struct kernels *kernels = kernels_of(instructions);
  if (!kernels) return NULL;
  IntegerMatrix *self = (IntegerMatrix *)type->tp_alloc(type, 0);
  if (!self) return NULL;
  self->kernels = kernels;
  if (pack_values(self, values, scales, bias, units, inputs, gates)) {
    Py_DECREF(self);
    return NULL;
  }
  return (PyObject *)self;
}

static void IntegerMatrix_dealloc(IntegerMatrix *self) {
  free_integers(&self->matrix);
  Py_TYPE(self)->tp_free((PyObject *)self);
}

PyTypeObject IntegerMatrixType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "rnnedge_native._engine.IntegerMatrix",
    .tp_basicsize = sizeof(IntegerMatrix),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = IntegerMatrix_new,
    .tp_dealloc = (destructor)IntegerMatrix_dealloc,
    .tp_doc = "Packed weights of a product of integers: int8 [gates*units, inputs], and float32 "
              "scales and biases [gates*units].",
};

/* --- layers ---------------------------------------------------------------------------------- */

static int find_name(const char *const *names, const char *name) {
  for (int i = 0; names[i]; i++)
    if (!strcmp(names[i], name)) return i;
  return -1;
}

static const char *const cells[] = {"rnn", "lstm", "gru", "gru_reset_before", NULL};

static int is_integers(PyObject *object) { return Py_TYPE(object) == &IntegerMatrixType; }

static const struct integer_matrix *integers_of(Layer *self, PyObject *object, Py_ssize_t units,
                                                Py_ssize_t inputs, Py_ssize_t gates) {
  const IntegerMatrix *packed = (IntegerMatrix *)object;
  if (is_integers(object) && packed->kernels == self->kernels && packed->matrix.units == units &&
      packed->matrix.inputs == inputs && packed->matrix.gates == gates)
    return &packed->matrix;
  PyErr_SetString(PyExc_ValueError, "Layer: expected integers of its sizes and instructions");
  return NULL;
}

/* Takes the matrices of a layer whose recurrent product is one of integers. */
static int take_integers(Layer *self, Py_ssize_t gates, PyObject *input, PyObject *recurrent,
                         PyObject *bias, PyObject *projection) {
  struct layer *layer = &self->layer;
  const Py_ssize_t hidden = layer->hidden_size, size = layer->state_size;
  self->kept = PyTuple_Pack(3, input, recurrent, projection);
  if (!self->kept) return -1;
  if (is_integers(input)) {
    layer->input_integers = integers_of(self, input, hidden, layer->input_size, gates);
    if (!layer->input_integers) return -1;
  } else if (pack(&layer->input, self->kernels, input, bias, hidden, layer->input_size, gates,
                  "input")) {
    return -1;
  }
  layer->recurrent_integers = integers_of(self, recurrent, hidden, size, gates);
  if (!layer->recurrent_integers) return -1;
  if (size == hidden && projection == Py_None) return 0;
  layer->projection_integers = integers_of(self, projection, size, hidden, 1);
  return layer->projection_integers ? 0 : -1;
}

static int pack_layer(Layer *self, PyObject *input, PyObject *recurrent, PyObject *bias,
                      PyObject *bias_n, PyObject *projection) {
  struct layer *layer = &self->layer;
  const struct kernels *kernels = self->kernels;
  const Py_ssize_t hidden = layer->hidden_size, size = layer->state_size;
  static const Py_ssize_t gates_of[] = {1, 4, 3, 1};
  const Py_ssize_t gates = gates_of[layer->cell];
  layer->zeros = calloc((size_t)(hidden > size ? hidden : size) + 16, sizeof(float));
  if (!layer->zeros) {
    PyErr_NoMemory();
    return -1;
  }
  if (layer->cell == CELL_GRU_RESET_BEFORE) {
    Py_buffer view;
    if (pack(&layer->input, kernels, input, bias, 3 * hidden, layer->input_size, 1, "input"))
      return -1;
    if (get_floats(recurrent, &view, 3 * hidden * hidden, "recurrent")) return -1;
    const float *rows = view.buf;
    const int done =
        pack_matrix(&layer->recurrent, rows, NULL, 2 * hidden, hidden, 1, kernels->width) &&
        pack_matrix(&layer->projection, rows + 2 * hidden * hidden, NULL, hidden, hidden, 1,
                    kernels->width);
    PyBuffer_Release(&view);
    if (!done) PyErr_NoMemory();
    return done ? 0 : -1;
  }
  if (is_integers(input) || is_integers(recurrent) || is_integers(projection))
    return take_integers(self, gates, input, recurrent, bias, projection);
  if (pack(&layer->input, kernels, input, bias, hidden, layer->input_size, gates, "input") ||
      pack(&layer->recurrent, kernels, recurrent, Py_None, hidden, size, gates, "recurrent"))
    return -1;
  if (layer->cell == CELL_GRU && bias_n != Py_None) {
    Py_buffer view;
    if (get_floats(bias_n, &view, hidden, "bias_n")) return -1;
    memcpy(layer->recurrent.bias, view.buf, (size_t)hidden * sizeof(float));
    PyBuffer_Release(&view);
  }
  if (size != hidden || projection != Py_None)
    return pack(&layer->projection, kernels, projection, Py_None, size, hidden, 1, "projection");
  return 0;
}

static PyObject *Layer_new(PyTypeObject *type, PyObject *args, PyObject *named) {
  static char *names[] = {"cell",       "nonlinearity", "input_size", "hidden_size",
                          "state_size", "input",        "recurrent",  "bias",
                          "bias_n",     "projection",   "instructions", NULL};
  const char *cell, *nonlinearity;
  Py_ssize_t input_size, hidden_size, state_size;
  PyObject *input, *recurrent, *bias, *bias_n, *projection, *instructions = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, named, "ssnnnOOOOO|O", names, &cell, &nonlinearity,
                                   &input_size, &hidden_size, &state_size, &input, &recurrent,
                                   &bias, &bias_n, &projection, &instructions))
    return NULL;
  const struct kernels *kernels = kernels_of(instructions);
  if (!kernels) return NULL;
  const int kind = find_name(cells, cell), relu = !strcmp(nonlinearity, "relu");
  const Py_ssize_t most = (Py_ssize_t)1 << 20;
  if (kind < 0 || (!relu && strcmp(nonlinearity, "tanh")) || input_size < 1 || hidden_size < 1 ||
      state_size < 1 || input_size > most * 64 || hidden_size > most || state_size > most ||
      (state_size != hidden_size && kind != CELL_LSTM)) {
    PyErr_SetString(PyExc_ValueError, "Layer: expected a cell, a nonlinearity and sizes that fit");
    return NULL;
  }
  Layer *self = (Layer *)type->tp_alloc(type, 0);
  if (!self) return NULL;
  self->kernels = kernels;
  self->layer.cell = (enum cell)kind;
  self->layer.nonlinearity = relu ? ACTIVATION_RELU : ACTIVATION_TANH;
  self->layer.input_size = input_size;
  self->layer.hidden_size = hidden_size;
  self->layer.state_size = state_size;
  if (pack_layer(self, input, recurrent, bias, bias_n, projection)) {
    Py_DECREF(self);
    return NULL;
  }
  return (PyObject *)self;
}

static void Layer_dealloc(Layer *self) {
  free_matrix(&self->layer.input);
  free_matrix(&self->layer.recurrent);
  free_matrix(&self->layer.projection);
  free(self->layer.zeros);
  Py_XDECREF(self->kept);
  Py_TYPE(self)->tp_free((PyObject *)self);
}

PyTypeObject LayerType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "rnnedge_native._engine.Layer",
    .tp_basicsize = sizeof(Layer),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = Layer_new,
    .tp_dealloc = (destructor)Layer_dealloc,
    .tp_doc = "One direction of one recurrent layer, packed; gates in PyTorch's order.",
};
