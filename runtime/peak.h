/* The fastest that this machine can multiply and add in f32, and read memory, by measurement: what
 * every benchmark divides by. */
#ifndef SSLC_RUNTIME_PEAK_H
#define SSLC_RUNTIME_PEAK_H

/* Billions of f32 operations a second (an FMA is two) by `threads` threads together, best of several
 * runs; 0 when threads cannot be made. Compute once, it takes about a second. */
double fma_peak_gflops(unsigned threads);
/* Billions of bytes a second that `threads` threads together read from memory, each from a block that no
 * cache holds; 0 when threads or memory cannot be had. */
double memory_peak_gbs(unsigned threads);
/* Clock of one core in GHz, by a chain of integer additions of one cycle each. */
double fma_clock_ghz(void);
/* What one core can do at most in one cycle: lanes times 2 times the number of FMA units. */
double fma_flops_per_cycle(void);

#endif
