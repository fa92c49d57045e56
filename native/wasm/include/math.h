/* Functions of one number that few models take: JavaScript computes them, in double precision. */
#ifndef RNNEDGE_MATH_H
#define RNNEDGE_MATH_H

#define FROM_JAVASCRIPT(name) __attribute__((import_module("math"), import_name(#name)))

FROM_JAVASCRIPT(exp) double rnnedge_exp(double);
FROM_JAVASCRIPT(expm1) double rnnedge_expm1(double);
FROM_JAVASCRIPT(log) double rnnedge_log(double);
FROM_JAVASCRIPT(log1p) double rnnedge_log1p(double);
FROM_JAVASCRIPT(erf) double rnnedge_erf(double);
FROM_JAVASCRIPT(pow) double rnnedge_pow(double, double);

static inline float expf(float x) { return (float)rnnedge_exp(x); }
static inline float expm1f(float x) { return (float)rnnedge_expm1(x); }
static inline float logf(float x) { return (float)rnnedge_log(x); }
static inline float log1pf(float x) { return (float)rnnedge_log1p(x); }
static inline float erff(float x) { return (float)rnnedge_erf(x); }
static inline float powf(float x, float y) { return (float)rnnedge_pow(x, y); }
static inline float sqrtf(float x) { return __builtin_sqrtf(x); }

#endif
