/* Runs a fuzz target on every file of the folders given: a corpus as a test, without a fuzzer. */
#include <dirent.h>
#include <stdio.h>

#include "tests/fuzz/fuzz.h"

enum { LARGEST = 1 << 20 };

static bool replay_file(const char *path) {
  static uint8_t bytes[LARGEST];
  FILE *f = fopen(path, "rb");
  if (!f) return false;
  size_t n = fread(bytes, 1, LARGEST, f);
  fclose(f);
  uint8_t *exact = malloc(n + !n); /* so that reading behind the end is seen */
  if (!exact) return false;
  memcpy(exact, bytes, n);
  LLVMFuzzerTestOneInput(exact, n);
  free(exact);
  return true;
}

int main(int n, char **folders) {
  int files = 0;
  for (int i = 1; i < n; i++) {
    DIR *d = opendir(folders[i]);
    if (!d) {
      fprintf(stderr, "cannot open %s\n", folders[i]);
      return 1;
    }
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
      char path[4096];
      snprintf(path, sizeof path, "%s/%s", folders[i], e->d_name);
      if (e->d_name[0] == '.' || e->d_type == DT_DIR) continue;
      if (!replay_file(path)) {
        fprintf(stderr, "cannot read %s\n", path);
        return 1;
      }
      files++;
    }
    closedir(d);
  }
  printf("%d files\n", files);
  return files == 0;
}
