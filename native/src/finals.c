/* How every layer ends. */
#include <string.h>

#include "kernels.h"

void give_finals(const struct layer *layer, const struct sequences *s) {
  const int64_t batch = s->batch, hidden = layer->hidden_size, size = layer->state_size;
  for (int64_t b = 0; b < batch; b++) {
    const int64_t length = s->lengths ? s->lengths[b] : s->time;
    const int64_t last = s->backward ? 0 : length - 1;
    const float *from = s->y + last * s->y_time + b * s->y_batch;
    if (!length) from = s->h_0 ? s->h_0 + b * s->h_0_batch : layer->zeros;
    memcpy(s->h_n + b * s->h_n_batch, from, (size_t)size * sizeof(float));
    if (!length && layer->cell == CELL_LSTM)
      memcpy(s->c_n + b * s->c_n_batch, s->c_0 ? s->c_0 + b * s->c_0_batch : layer->zeros,
             (size_t)hidden * sizeof(float));
    for (int64_t t = length; t < s->time; t++)
      memset(s->y + t * s->y_time + b * s->y_batch, 0, (size_t)size * sizeof(float));
  }
}
