/* What the files of the extension module share. */
#ifndef RNNEDGE_MODULE_H
#define RNNEDGE_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "program.h"
#include "team.h"

typedef struct {
  PyObject_HEAD
  struct program program;
  int64_t *extents;
  PyObject *kept;       /* what the calls point into: layers and matrices */
  PyObject *team;       /* or NULL */
  Py_buffer *constants; /* [constant_count] */
  Py_ssize_t constant_count, input_count, output_count;
  char *arena;
  char busy, heavy; /* heavy: long enough to let other threads run meanwhile */
} Program;

typedef struct {
  PyObject_HEAD
  struct team *team;
  int members;
} Team;

typedef struct {
  PyObject_HEAD
  const struct kernels *kernels;
  struct matrix matrix;
} Matrix;

typedef struct {
  PyObject_HEAD
  const struct kernels *kernels;
  struct integer_matrix matrix;
} IntegerMatrix;

typedef struct {
  PyObject_HEAD
  const struct kernels *kernels;
  struct layer layer;
  PyObject *kept; /* the integers that it points into */
} Layer;

extern PyTypeObject MatrixType, IntegerMatrixType, LayerType, ProgramType, RowStepperType,
    TeamType;

/* The set of this name, or the best one for None; NULL and an exception where there is none. */
const struct kernels *kernels_of(PyObject *name);

/* Claims a program for one thread; -1 and an exception while another one has it. */
int take_program(Program *);

/* Runs what the bases point at; -1 and an exception where it fails. The caller has taken it. */
int run_taken(Program *);

void release_buffers(Py_buffer *views, Py_ssize_t count);
int is_float(const Py_buffer *);
int is_int64(const Py_buffer *);

#endif
