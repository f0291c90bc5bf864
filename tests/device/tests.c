/* The tests that a GPU can take part in, and the command, as one program, so that one copy of LLVM travels. Called as `sslc` it is that.
 *   tests NAME [FILTER [ARGUMENT...]]     tests of the name that match the filter ("*emulated*"); "-" for all */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define PROGRAMS(P) P(backends) P(boxes) P(cuda) P(teams) P(emulated) P(metamorphic) P(parity) P(squares) P(shapes)
#define DECLARE(name) int main_##name(int argc, char **argv);
PROGRAMS(DECLARE)
DECLARE(sslc)
#define ROW(name) {#name, main_##name},

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
  } programs[] = {PROGRAMS(ROW)};
  const char *behind = argc ? strrchr(argv[0], '/') : NULL;
  if (argc && !strcmp(behind ? behind + 1 : argv[0], "sslc")) return main_sslc(argc, argv);
  for (size_t i = 0; argc > 1 && i < sizeof programs / sizeof *programs; i++) {
    if (strcmp(argv[1], programs[i].name)) continue;
    const int taken = argc > 2 ? 2 : 1;
    if (argc > 2 && strcmp(argv[2], "-")) cmocka_set_test_filter(argv[2]);
    return programs[i].run(argc - taken, argv + taken);
  }
  return fprintf(stderr, "usage: tests NAME [FILTER [ARGUMENT...]]\n"), 2;
}
