/* What `check` and `run` share: options that say how a program is compiled, and what is said about it. */
#ifndef SSLC_FRONTEND_COMMAND_PROGRAM_H
#define SSLC_FRONTEND_COMMAND_PROGRAM_H

#include "frontend/command.h"
#include "frontend/sslc.h"

typedef struct {
  text_list set; /* name=value */
  const char *data_root, *precision;
  int64_t threads;
  uint64_t seed; /* or NO_SEED */
  bool no_cache, checked, quiet;
} program_arguments;

#define NO_SEED UINT64_MAX
#define PROGRAM_DEFAULTS {.seed = NO_SEED}

/* Rows of a table of options. */
#define PROGRAM_OPTIONS(a)                                    \
  {"--set", OPTION_LIST, &(a).set},                           \
  {"--data-root", OPTION_TEXT, &(a).data_root},               \
  {"--precision", OPTION_TEXT, &(a).precision, "f32|f64"},    \
  {"--threads", OPTION_COUNT, &(a).threads},                  \
  {"--seed", OPTION_NUMBER, &(a).seed},                       \
  {"--no-cache", OPTION_FLAG, &(a).no_cache},                 \
  {"--checked", OPTION_FLAG, &(a).checked},                   \
  {"--quiet", OPTION_FLAG, &(a).quiet}
#define PROGRAM_FORM "[--set NAME=VALUE]... [--data-root DIR] [--precision f32|f64] [--threads N] [--seed N] [--no-cache] [--checked] [--quiet]"

/* The options that --set gives, into an array as long as their list; false when one is not NAME=VALUE. */
bool program_overrides(const command *c, const program_arguments *a, sslc_override *out);
/* Compiles, shows what there is to say, and gives the program; else NULL and the exit code, after saying why. */
sslc_program *program_compile(const command *c, const program_arguments *a, const char *path, const char *form, int *status);

#endif
