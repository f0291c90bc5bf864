/* What the verbs of the `sslc` command share: options, files, exit codes. The command alone prints and exits. */
#ifndef SSLC_FRONTEND_COMMAND_H
#define SSLC_FRONTEND_COMMAND_H

#include "ir/diagnostic.h"

enum { ANY_FILES = -1 };
enum { EXIT_GOOD = 0, EXIT_FAILED = 1 /* the program, the data or the machine is at fault */, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 /* as shells say it */ };

/* What every verb works with. All of it dies when the verb returns; running out of memory ends the verb. */
typedef struct {
  arena *arena;
  sources *sources;
  diagnostics *diagnostics;
  int n;
  char **args; /* behind the verb */
  int status;  /* the exit code when command_options says no */
} command;

/* One row a verb: a file command_NAME.c, a line here, a line in main.c. Each returns the exit code. */
typedef int command_verb(command *c);
command_verb command_check, command_emit, command_explain, command_fmt, command_info, command_kernel, command_pass, command_profile, command_run, command_tune, command_version;

/* -- options ---------------------------------------------------------------------------------------------- */

typedef enum {
  OPTION_FLAG,   /* bool: --quiet */
  OPTION_TEXT,   /* const char *: --out DIR */
  OPTION_COUNT,  /* int64_t, at least 1: --threads N */
  OPTION_NUMBER, /* uint64_t: --seed N */
  OPTION_LIST    /* text_list: may be given again and again */
} option_kind;

typedef struct {
  const char **items;
  uint32_t n, capacity;
} text_list;

typedef struct {
  const char *name; /* "--threads" */
  option_kind kind;
  void *value;       /* where it goes, of the type that the kind says; holds the default before */
  const char *takes; /* a word for what stands behind it, "DIR", or all that may: "f32|f64"; NULL for a flag */
  const char *doc;   /* half a line for --help */
} command_option;

/* Takes the options (a table that a NULL name ends) out of c->args, wherever they stand; `--name=value` is `--name value`,
 * and what follows `--` is no option. What is left must be `files` arguments (or ANY_FILES). False after saying what was expected, or
 * after --help, which shows the form and the table; c->status is the exit code then. */
bool command_options(command *c, const command_option *table, int files, const char *form);
bool command_wants_help(const char *text);
/* Says what is wrong and how the verb is used; EXIT_USAGE. */
int command_usage(const char *form, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Says what went wrong; EXIT_FAILED. */
int command_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* -- files ------------------------------------------------------------------------------------------------ */

/* A whole file in the arena, ended by a 0 beyond its length; NULL after saying why not. */
char *command_read(const command *c, const char *path, size_t *length);
/* The file's number among the sources; 0 after saying why not. */
uint32_t command_load(const command *c, const char *path);
/* Shows what was reported; the exit code that goes with it. */
int command_finish(const command *c);

#endif
