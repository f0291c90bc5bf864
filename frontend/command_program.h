/* What `check` and `run` share: options that say how a program is compiled, and what is said about it. */
#ifndef SSLC_FRONTEND_COMMAND_PROGRAM_H
#define SSLC_FRONTEND_COMMAND_PROGRAM_H

#include "frontend/command.h"
#include "frontend/sslc.h"

typedef struct {
  text_list set; /* name=value */
  const char *data_root, *precision;
  int64_t threads;
  const char *run; /* the checkpoint of a run that goes on, or NULL */
  uint64_t seed; /* or NO_SEED */
  const char *memory; /* a number of bytes with K, M or G behind it, or NULL */
  const char *device; /* NULL: auto */
  bool no_cache, checked, quiet;
} program_arguments;

#define NO_SEED UINT64_MAX
#define PROGRAM_DEFAULTS {.seed = NO_SEED}

/* Rows of a table of options. */
#define PROGRAM_OPTIONS(a)                                    \
  MEANING_OPTIONS(a),                                                                                                  \
  DEVICE_OPTION(a),                                                                                                        \
  {"--threads", OPTION_COUNT, &(a).threads, "N", "(as many as the machine has); results are the same bits for any number"}, \
  {"--memory", OPTION_TEXT, &(a).memory, "2G", "that tensors may take at most (K, M, G: powers of 1024); the step makes values again where it must"}, \
  {"--seed", OPTION_NUMBER, &(a).seed, "N", "of first weights, draws and the order of samples (0)"},                    \
  {"--no-cache", OPTION_FLAG, &(a).no_cache, NULL, "compiles all kernels anew"},                                       \
  {"--checked", OPTION_FLAG, &(a).checked, NULL, "tests every access against its array; slow"},                        \
  {"--quiet", OPTION_FLAG, &(a).quiet, NULL, "says nothing but results and errors"}
#define DEVICE_OPTION(a) {"--device", OPTION_TEXT, &(a).device, "DEVICE", "cpu, cuda (the first NVIDIA GPU) or cuda:N; auto: a GPU where one can be used (auto)"}
/* Those that change what a program means. */
#define MEANING_OPTIONS(a)                                                                                             \
  {"--set", OPTION_LIST, &(a).set, "NAME=VALUE", "an option of the program; may be given again for others"},           \
  {"--data-root", OPTION_TEXT, &(a).data_root, "DIR", "where relative paths of data start; (beside the program)"},       \
  {"--precision", OPTION_TEXT, &(a).precision, "f32|bf16|tf32|f64", "what reals are; bf16, tf32: in products, beside f32 (f32, or as train says)"}

/* What --precision gives; 0 without it. */
sslc_type program_precision(const program_arguments *a);
/* The options that --set gives, into an array as long as their list; false when one is not NAME=VALUE. */
bool program_overrides(const command *c, const program_arguments *a, sslc_override *out);
/* False after saying that it is none. */
bool program_device(const program_arguments *a, const char *form, int *number);
/* Compiles, shows what there is to say, and gives the program; else NULL and the exit code, after saying why. */
sslc_program *program_compile(const command *c, const program_arguments *a, const char *path, const char *form, int *status);

#endif
