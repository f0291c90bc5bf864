/* `sslc run`: trains a program and judges it, before and after. */
#include <math.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "frontend/command_program.h"
#include "runtime/figures.h"
#include "runtime/progress.h"

/* Set by the first SIGINT or SIGTERM; the second one ends the process at once. */
static volatile sig_atomic_t interrupted;

static void interrupt(int number) {
  (void)number;
  interrupted = 1;
}

static void catch_signals(void) {
  struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESETHAND | SA_RESTART};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

/* -- what is shown ------------------------------------------------------------------------------------------- */

typedef struct {
  bool quiet, terminal;
  bool any_step;
  bool open_line; /* a bar stands on the terminal's last line */
  progress_pace pace;
} display;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int terminal_width(void) {
  struct winsize size;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void close_line(display *d) {
  if (d->open_line) fputs("\r\033[K", stderr);
  d->open_line = false;
}

static void show_step(display *d, const sslc_progress *p) {
  char text[512];
  d->any_step = true;
  if (d->quiet || (p->step < p->steps && !progress_due(&d->pace, now()))) return;
  int64_t within = p->step - p->epoch * p->steps_per_epoch, left = p->steps - p->epoch * p->steps_per_epoch;
  progress at = {.epoch = p->epoch, .epochs = p->epochs, .step = within, .steps = left < p->steps_per_epoch ? left : p->steps_per_epoch, .loss = p->loss,
                 .images_per_second = p->samples_per_second, .seconds_left = p->seconds_left};
  if (d->terminal) {
    progress_bar(&at, terminal_width() - 1, text, sizeof text);
    fprintf(stderr, "\r%s\033[K", text);
    d->open_line = true;
  } else {
    progress_line(&at, text, sizeof text);
    fprintf(stderr, "%s\n", text);
  }
  fflush(stderr);
}

/* Bytes of the character that the text begins with in UTF-8; 0 when it is none, or one that a terminal would obey. */
static size_t shown_bytes(const char *text) {
  const unsigned char *c = (const unsigned char *)text;
  size_t n = *c < 32 || *c == 127 ? 0 : *c < 128 ? 1 : *c < 0xC2 ? 0 : *c < 0xE0 ? 2 : *c < 0xF0 ? 3 : *c < 0xF5 ? 4 : 0;
  for (size_t i = 1; i < n; i++)
    if (c[i] >> 6 != 2) return 0;
  return n == 2 && *c == 0xC2 && c[1] < 0xA0 ? 0 : n;
}

/* A text stands below its line, set off from the others; what cannot be shown is a point. */
static void show_text(const char *text) {
  printf("    | ");
  while (*text) {
    size_t n = shown_bytes(text);
    if (*text == '\n') printf("\n    | ");
    else if (n) fwrite(text, 1, n, stdout);
    else putchar('.');
    text += n ? n : 1;
  }
  putchar('\n');
}

static void show_score(const sslc_score *s) {
  printf("  %-24s %-14s ", s->features, s->protocol);
  if (!s->text) printf(s->is_fraction ? "%-12s %6.2f %%\n" : "%-12s %8.4f\n", s->measure, s->is_fraction ? 100 * s->value : s->value);
  else if (!strcmp(s->measure, "file")) puts(s->text);
  else {
    putchar('\n');
    show_text(s->text);
  }
}

static void show_scores(display *d, const sslc_progress *p) {
  close_line(d);
  if (p->step == 0) printf("before training\n");
  else printf("after step %s\n", figure_grouped(p->step).text);
  for (size_t i = 0; i < p->n_scores; i++) show_score(&p->scores[i]);
  fflush(stdout);
}

static void show_warning(display *d, const sslc_progress *p) {
  close_line(d);
  fprintf(stderr, "warning: %s\n", p->warning);
  fflush(stderr);
}

static int on_progress(void *context, const sslc_progress *p) {
  display *d = context;
  if (p->event == SSLC_AT_STEP) show_step(d, p);
  if (p->event == SSLC_AT_EVALUATION) show_scores(d, p);
  if (p->event == SSLC_AT_WARNING) show_warning(d, p);
  return interrupted;
}

/* -- the run ------------------------------------------------------------------------------------------------- */

static int finish_run(sslc_program *p, sslc_status status, const char *directory, const display *d) {
  sslc_facts f = {0};
  sslc_get_facts(p, &f);
  if (status == SSLC_STOPPED) {
    command_fail("stopped after step %lld%s", (long long)f.step, directory ? "; go on with --resume" : "; without --out nothing was kept");
    return EXIT_INTERRUPTED;
  }
  if (status) return command_fail("%s", sslc_message(p));
  if (d->quiet) return EXIT_GOOD;
  double loss = sslc_metric(p, "loss");
  if (d->any_step && isnan(loss)) printf("done after step %s\n", figure_grouped(f.step).text); /* a program without objective */
  else if (d->any_step) printf("done after step %s, loss %.6g\n", figure_grouped(f.step).text, loss);
  else printf("the run is complete, step %s was its last\n", figure_grouped(f.step).text);
  return EXIT_GOOD;
}

int command_run(command *c) {
  const char *form = "run [options] FILE", *directory = NULL;
  bool resume = false, force = false;
  int64_t steps = 0;
  program_arguments a = PROGRAM_DEFAULTS;
  const command_option options[] = {PROGRAM_OPTIONS(a),
                                    {"--out", OPTION_TEXT, &directory, "DIR", "keeps metrics, evaluations and checkpoints there"},
                                    {"--resume", OPTION_FLAG, &resume, NULL, "goes on from the checkpoint in --out"},
                                    {"--force", OPTION_FLAG, &force, NULL, "replaces the run in --out"},
                                    {"--steps", OPTION_COUNT, &steps, "N", "stops when so many steps are done in all"},
                                    {NULL}};
  int status = EXIT_GOOD;
  if (!command_options(c, options, 1, form)) return c->status;
  if (resume && force) return command_usage(form, "--resume goes on with a run and --force replaces it; choose one");
  if ((resume || force) && !directory) return command_usage(form, "%s wants --out with the directory of the run", resume ? "--resume" : "--force");
  if (resume) a.run = arena_printf(c->arena, "%s/checkpoint.safetensors", directory);
  if (resume && access(a.run, F_OK)) a.run = NULL; /* stopped before its first */
  sslc_program *p = program_compile(c, &a, c->args[0], form, &status);
  if (!p) return status;
  if (!directory && !a.quiet) printf("nothing is kept; --out DIR keeps checkpoints and metrics\n");
  fflush(stdout);
  catch_signals();
  display d = {.quiet = a.quiet, .terminal = isatty(STDERR_FILENO)};
  d.pace.interval = d.terminal ? 0.1 : 30;
  sslc_training training = {.directory = directory, .resume = resume, .overwrite = force, .steps = steps, .callback = on_progress, .context = &d};
  sslc_status outcome = sslc_train(p, &training);
  close_line(&d);
  status = finish_run(p, outcome, directory, &d);
  sslc_free(p);
  return status;
}
