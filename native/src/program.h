/* A program: kernel calls over places that were fixed when it was built. */
#ifndef RNNEDGE_PROGRAM_H
#define RNNEDGE_PROGRAM_H

#include "kernels.h"

enum operation {
  OP_LAYER,
  OP_PRODUCT,
  OP_ACTIVATE,
  OP_ARITHMETIC,
  OP_COPY,
  OP_FILL,
  OP_GATHER,
  OP_SOFTMAX,
  OP_NORMALIZE,
  OP_REDUCE,
  OP_DEPTHWISE,
  OP_COMPARE,
  OP_WHERE,
  OP_CAST,
  OP_COUNT
};

#define MOST_AXES 8

/* Where a tensor lies: a buffer by its number, and bytes into it. */
struct place {
  int64_t buffer, offset;
};

#define NOWHERE (-1)

struct call {
  enum operation operation;
  int64_t kind;               /* of its operation: an activation, a reduction, a cast, … */
  int64_t sizes[MOST_AXES];   /* counts and shapes, as the operation has them */
  int64_t axes;               /* of an operation over a shape in `sizes` */
  struct place places[8];
  int64_t distances[3 * MOST_AXES]; /* in elements */
  float numbers[2];
  const struct layer *layer;
  const struct matrix *matrix;
  const struct integer_matrix *integers; /* of a product, in the place of `matrix` */
  char *scratch;       /* of each member of a team that shares the rows: [members][scratch_each] */
  size_t scratch_each; /* in bytes */
  int members;         /* 0 where rows are not shared */
};

struct team;

struct program {
  const struct kernels *kernels;
  int64_t count;
  struct call *calls;
  int64_t buffers;
  char **bases;           /* [buffers] */
  const int64_t *extents; /* [buffers], in bytes */
  struct team *team;      /* that shares rows, or NULL */
  void (*share)(struct team *, int count, void (*work)(void *context, int member), void *context);
};

enum failure { NO_FAILURE, INDEX_OUT_OF_RANGE, LENGTH_OUT_OF_RANGE };

/* Whether all that a call reads and writes lies within the buffers, and its sizes are sound. */
int call_fits(const struct program *, const struct call *);

/* Runs the calls, with denormal numbers taken as zero; *at is the call that failed. */
enum failure run_program(const struct program *, int64_t *at, int64_t *value);

int pack_matrix(struct matrix *, const float *rows, const float *bias, int64_t units,
                int64_t inputs, int64_t gates, int64_t width);
void free_matrix(struct matrix *);

/* values [gates * units, inputs], scales and bias [gates * units], or a bias of zeros for NULL. */
int pack_integers(struct integer_matrix *, const struct kernels *, const int8_t *values,
                  const float *scales, const float *bias, int64_t units, int64_t inputs,
                  int64_t gates);
void free_integers(struct integer_matrix *);

/* Bytes of scratch memory that a call takes, or each member of a team that shares its rows. */
size_t call_scratch_size(const struct kernels *, const struct call *);

/* How many of a team of so many share the rows of a call, so that each has enough of them. */
int members_for(const struct call *, int team);

#endif
