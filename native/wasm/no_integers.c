/* Nothing here makes a matrix of integers, so that what computes with them is never called. */
#include "kernels.h"

size_t integer_scratch_size(const struct kernels *kernels, const struct layer *layer, int64_t time,
                            int64_t batch) {
  (void)kernels, (void)layer, (void)time, (void)batch;
  __builtin_trap();
}

void run_integer_layer(const struct kernels *kernels, const struct layer *layer,
                       const struct sequences *sequences) {
  (void)kernels, (void)layer, (void)sequences;
  __builtin_trap();
}

size_t integer_product_scratch_size(const struct integer_matrix *matrix, int64_t rows) {
  (void)matrix, (void)rows;
  __builtin_trap();
}

void multiply_integers(const struct integer_matrix *matrix, const float *x, int64_t x_row,
                       int64_t rows, float *y, int64_t y_row, void *scratch) {
  (void)matrix, (void)x, (void)x_row, (void)rows, (void)y, (void)y_row, (void)scratch;
  __builtin_trap();
}
