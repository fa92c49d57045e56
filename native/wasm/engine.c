/*
 * The engine as WebAssembly: what a page or Node calls. It is to wasm what module.c is to Python:
 * weights and programs come as plain numbers in memory, are checked here, and run.
 *
 * A pointer is an address in the module's memory. A function that fails returns 0 and changes
 * nothing; `failed_call` and `failed_value` say where a program failed.
 */
#include <stdlib.h>
#include <string.h>

#include "program.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

#define MOST_BYTES ((int64_t)1 << 30) /* of one piece of memory */
#define MOST_SIZE ((int64_t)1 << 20)  /* units, features, calls and buffers */

struct engine_program {
  struct program program;
  int64_t *extents;
  int32_t inputs, outputs, first; /* first: number of the first input among the buffers */
  char *owned; /* the arena, the inputs and the outputs, one after the other */
  float tiny;
  int32_t steps, flushed_every;
};

static int32_t failed_at;
static int64_t failed_with;

int32_t EXPORT(failed_call)(void) { return failed_at; }
double EXPORT(failed_value)(void) { return (double)failed_with; }

static void *allocate(int64_t bytes) {
  void *memory = NULL;
  if (bytes < 0 || bytes > MOST_BYTES) return NULL;
  if (posix_memalign(&memory, 64, (size_t)(bytes + 64))) return NULL;
  return memory;
}

void *EXPORT(take)(uint32_t bytes) { return allocate(bytes); }
void EXPORT(give_back)(void *memory) { free(memory); }

/* --- weights --------------------------------------------------------------------------------- */

static int sound(int32_t size) { return size >= 1 && size <= MOST_SIZE * 64; }

static int pack(struct matrix *matrix, const float *rows, const float *bias, int64_t units,
                int64_t inputs, int64_t gates) {
  const int64_t width = kernels_baseline.width, lanes = (units + width - 1) / width * width;
  if (units > MOST_BYTES || inputs > MOST_BYTES / 4 / (lanes * gates)) return 0;
  return pack_matrix(matrix, rows, bias, units, inputs, gates, width);
}

/* Weights [units, inputs], and a bias [units] or 0. */
struct matrix *EXPORT(make_matrix)(const float *weights, const float *bias, int32_t units,
                                   int32_t inputs) {
  if (!sound(units) || !sound(inputs)) return NULL;
  struct matrix *matrix = calloc(1, sizeof *matrix);
  if (matrix && pack(matrix, weights, bias, units, inputs, 1)) return matrix;
  free(matrix);
  return NULL;
}

void EXPORT(free_layer)(struct layer *layer) {
  free_matrix(&layer->input);
  free_matrix(&layer->recurrent);
  free_matrix(&layer->projection);
  free(layer->zeros);
  free(layer);
}

static int pack_layer(struct layer *layer, const float *weight_ih, const float *weight_hh,
                      const float *bias, const float *bias_n, const float *projection) {
  static const int64_t gates_of[] = {1, 4, 3, 1};
  const int64_t hidden = layer->hidden_size, size = layer->state_size;
  const int64_t gates = gates_of[layer->cell];
  layer->zeros = calloc((size_t)(hidden > size ? hidden : size) + 16, sizeof(float));
  if (!layer->zeros) return 0;
  if (layer->cell == CELL_GRU_RESET_BEFORE)
    return pack(&layer->input, weight_ih, bias, 3 * hidden, layer->input_size, 1) &&
           pack(&layer->recurrent, weight_hh, NULL, 2 * hidden, hidden, 1) &&
           pack(&layer->projection, weight_hh + 2 * hidden * hidden, NULL, hidden, hidden, 1);
  if (!pack(&layer->input, weight_ih, bias, hidden, layer->input_size, gates) ||
      !pack(&layer->recurrent, weight_hh, NULL, hidden, size, gates))
    return 0;
  if (layer->cell == CELL_GRU && bias_n)
    memcpy(layer->recurrent.bias, bias_n, (size_t)hidden * sizeof(float));
  return !projection || pack(&layer->projection, projection, NULL, size, hidden, 1);
}

/* One direction of a layer, as `LayerWeights` of the runtime has it; what is left out is 0. */
struct layer *EXPORT(make_layer)(int32_t cell, int32_t relu, int32_t input_size,
                                 int32_t hidden_size, int32_t state_size, const float *weight_ih,
                                 const float *weight_hh, const float *bias, const float *bias_n,
                                 const float *projection) {
  if (cell < 0 || cell >= CELL_COUNT || !sound(input_size) || hidden_size < 1 ||
      hidden_size > MOST_SIZE || state_size < 1 || state_size > MOST_SIZE)
    return NULL;
  if (state_size != hidden_size && (cell != CELL_LSTM || !projection)) return NULL;
  struct layer *layer = calloc(1, sizeof *layer);
  if (!layer) return NULL;
  layer->cell = (enum cell)cell;
  layer->nonlinearity = relu ? ACTIVATION_RELU : ACTIVATION_TANH;
  layer->input_size = input_size;
  layer->hidden_size = hidden_size;
  layer->state_size = state_size;
  if (pack_layer(layer, weight_ih, weight_hh, bias, bias_n, projection)) return layer;
  free_layer(layer);
  return NULL;
}

void EXPORT(free_weights)(struct matrix *matrix) {
  free_matrix(matrix);
  free(matrix);
}

/* --- programs -------------------------------------------------------------------------------- */

enum { PACKED_NOTHING, PACKED_LAYER, PACKED_MATRIX };

/* How a call comes: these numbers, one after the other, and `numbers` as their bits. */
enum {
  AT_OPERATION,
  AT_KIND,
  AT_AXES,
  AT_PACKED_KIND,
  AT_PACKED,
  AT_NUMBERS,
  AT_SIZES,
  AT_PLACES = AT_SIZES + MOST_AXES,
  AT_DISTANCES = AT_PLACES + 16,
  CALL_LENGTH = AT_DISTANCES + 3 * MOST_AXES
};

/* Whether the scratch memory of a call fits in this memory at all; what it takes is a size_t. */
static int scratch_is_sound(const struct call *call) {
  if (call->operation != OP_LAYER) return 1;
  const double batch = (double)call->sizes[1], rows = batch + 32;
  const double lanes = (double)(call->layer->input.panels * kernels_baseline.width);
  const double ready = rows * lanes * 4, apart = batch * ((double)call->layer->hidden_size + 16) * 4;
  return ready + apart + 10 * rows < (double)(MOST_BYTES / 4);
}

static int read_call(const struct program *program, struct call *call, const int64_t *from) {
  call->operation = (enum operation)from[AT_OPERATION];
  call->kind = from[AT_KIND];
  call->axes = from[AT_AXES];
  memcpy(call->numbers, from + AT_NUMBERS, sizeof call->numbers);
  memcpy(call->sizes, from + AT_SIZES, sizeof call->sizes);
  memcpy(call->distances, from + AT_DISTANCES, sizeof call->distances);
  for (int i = 0; i < 8; i++)
    call->places[i] = (struct place){from[AT_PLACES + 2 * i], from[AT_PLACES + 2 * i + 1]};
  const void *packed = (const void *)(uintptr_t)from[AT_PACKED];
  if (from[AT_PACKED_KIND] == PACKED_LAYER) call->layer = packed;
  if (from[AT_PACKED_KIND] == PACKED_MATRIX) call->matrix = packed;
  if (!call_fits(program, call) || !scratch_is_sound(call)) return 0;
  const size_t bytes = call_scratch_size(program->kernels, call);
  if (bytes) call->scratch = allocate((int64_t)bytes);
  return !bytes || call->scratch;
}

void EXPORT(free_program)(struct engine_program *self) {
  if (self->program.calls)
    for (int64_t i = 0; i < self->program.count; i++) free(self->program.calls[i].scratch);
  free(self->program.calls);
  free(self->program.bases);
  free(self->extents);
  free(self->owned);
  free(self);
}

/* Places what the program owns: the arena, then the inputs and outputs. */
static int place_owned(struct engine_program *self) {
  const int64_t buffers = self->program.buffers;
  int64_t whole = 0;
  for (int64_t i = 0; i < buffers; i++) {
    if (self->extents[i] < 0 || self->extents[i] > MOST_BYTES) return 0;
    if (i && i < self->first) continue;
    whole += (self->extents[i] + 63) / 64 * 64;
    if (whole > MOST_BYTES) return 0;
  }
  self->owned = allocate(whole);
  if (!self->owned) return 0;
  memset(self->owned, 0, (size_t)whole);
  char *at = self->owned;
  for (int64_t i = 0; i < buffers; i++) {
    if (i && i < self->first) continue;
    self->program.bases[i] = at;
    at += (self->extents[i] + 63) / 64 * 64;
  }
  return 1;
}

/*
 * A program of `count` calls. The buffers are the arena, the constants, the inputs and the outputs;
 * `extents` has the bytes of each, and `addresses` where each constant lies.
 */
struct engine_program *EXPORT(make_program)(int32_t constants, int32_t inputs, int32_t outputs,
                                            int32_t count, const int64_t *extents,
                                            const int32_t *addresses, const int64_t *calls) {
  failed_at = -1;
  if (constants < 0 || inputs < 1 || outputs < 1 || count < 0 || constants > MOST_SIZE ||
      inputs > 64 || outputs > 64 || count > MOST_SIZE)
    return NULL;
  struct engine_program *self = calloc(1, sizeof *self);
  if (!self) return NULL;
  struct program *program = &self->program;
  const size_t buffers = (size_t)(1 + constants + inputs + outputs);
  program->kernels = &kernels_baseline;
  program->buffers = (int64_t)buffers;
  self->inputs = inputs;
  self->outputs = outputs;
  self->first = 1 + constants;
  program->bases = calloc(buffers, sizeof *program->bases);
  program->extents = self->extents = calloc(buffers, sizeof *self->extents);
  program->calls = calloc((size_t)count + 1, sizeof *program->calls);
  if (!program->bases || !self->extents || !program->calls) goto failed;
  memcpy(self->extents, extents, buffers * sizeof *extents);
  if (!place_owned(self)) goto failed;
  for (int32_t i = 0; i < constants; i++)
    program->bases[1 + i] = (char *)(uintptr_t)addresses[i];
  for (int32_t i = 0; i < count; i++) {
    program->count = i + 1;
    failed_at = i;
    if (!read_call(program, &program->calls[i], calls + (int64_t)i * CALL_LENGTH)) goto failed;
  }
  failed_at = -1;
  return self;
failed:
  free_program(self);
  return NULL;
}

/* Where input `index` lies, or an output counted on from the inputs. */
void *EXPORT(buffer_of)(const struct engine_program *self, int32_t index) {
  return self->program.bases[self->first + index];
}

/* 0, or what failed: 1 an index of a table, 2 a length. */
int32_t EXPORT(run)(struct engine_program *self) {
  int64_t at = 0;
  const enum failure failure = run_program(&self->program, &at, &failed_with);
  failed_at = (int32_t)at;
  return (int32_t)failure;
}

/* --- steps ----------------------------------------------------------------------------------- */

/* After so many steps, numbers of the state smaller than `tiny` become zero. */
void EXPORT(flush_every)(struct engine_program *self, int32_t steps, float tiny) {
  self->flushed_every = steps;
  self->tiny = tiny;
  self->steps = 0;
}

static int is_tiny(float x, float tiny) { return x < tiny && x > -tiny; }

static void flush(float *state, int64_t count, float tiny) {
  for (int64_t i = 0; i < count; i++)
    if (is_tiny(state[i], tiny)) state[i] = 0;
}

/* Zeros in the place of a frame in which every number is tiny, and may be denormal. */
static void silence(float *frame, int64_t count, float tiny) {
  for (int64_t i = 0; i < count; i++)
    if (!is_tiny(frame[i], tiny)) return;
  memset(frame, 0, (size_t)count * sizeof(float));
}

/*
 * Runs a program of one float input and one output, each followed by the states, and lets the
 * states before and after change places. 0 where it ran; -1, and nothing changed, where the input
 * holds NaN or infinity; otherwise as `run`.
 */
int32_t EXPORT(step)(struct engine_program *self) {
  char **bases = self->program.bases + self->first;
  const int64_t *extents = self->extents + self->first;
  float *frame = (float *)bases[0];
  if (!kernels_baseline.is_finite(frame, extents[0] / 4)) return -1;
  silence(frame, extents[0] / 4, self->tiny);
  const int32_t failure = run(self);
  if (failure) return failure;
  const int flushed = self->flushed_every && ++self->steps % self->flushed_every == 0;
  for (int32_t i = 1; i < self->inputs; i++) {
    char *after = bases[self->inputs + i];
    if (flushed) flush((float *)after, extents[i] / 4, self->tiny);
    bases[self->inputs + i] = bases[i];
    bases[i] = after;
  }
  return 0;
}
