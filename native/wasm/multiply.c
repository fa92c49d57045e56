/* Products of 128 bits, which the checks for overflow take; compilers expect it of their library. */
#include <stdint.h>

typedef unsigned __int128 wide;

static wide product(uint64_t a, uint64_t b) {
  const uint64_t a_low = (uint32_t)a, a_high = a >> 32, b_low = (uint32_t)b, b_high = b >> 32;
  const uint64_t low = a_low * b_low, middle = a_high * b_low + (low >> 32);
  const uint64_t other = a_low * b_high + (uint32_t)middle;
  const uint64_t high = a_high * b_high + (middle >> 32) + (other >> 32);
  return (wide)high << 64 | (other << 32 | (uint32_t)low);
}

__int128 __multi3(__int128 a, __int128 b) {
  const uint64_t a_low = (uint64_t)a, b_low = (uint64_t)b;
  const uint64_t cross = (uint64_t)(a >> 64) * b_low + a_low * (uint64_t)(b >> 64);
  return (__int128)(product(a_low, b_low) + ((wide)cross << 64));
}
