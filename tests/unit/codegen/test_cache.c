#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codegen/cache.h"

typedef struct {
  char directory[64], nested[96];
  content_hash key;
  char path[192];
} fixture;

static content_hash key_of(const char *text) {
  content_hash h = content_hash_start();
  content_hash_add(&h, text, strlen(text));
  return h;
}

static int make_fixture(void **state) {
  fixture *f = calloc(1, sizeof *f);
  char text[33];
  snprintf(f->directory, sizeof f->directory, "/tmp/test_cache_XXXXXX");
  if (!mkdtemp(f->directory)) return -1;
  snprintf(f->nested, sizeof f->nested, "%s/made/on/demand", f->directory);
  f->key = key_of("a kernel");
  content_hash_text(f->key, text);
  snprintf(f->path, sizeof f->path, "%s/%.2s/%s.o", f->nested, text, text);
  *state = f;
  return 0;
}

static int free_fixture(void **state) {
  fixture *f = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", f->directory);
  int failed = system(command);
  free(f);
  return failed;
}

static const char contents[] = "machine code";

static void assert_found(const fixture *f) {
  void *bytes = NULL;
  size_t n = 0;
  assert_int_equal(cache_read(f->nested, f->key, &bytes, &n), CACHE_FOUND);
  assert_int_equal(n, sizeof contents);
  assert_memory_equal(bytes, contents, n);
  free(bytes);
}

static cache_outcome outcome(const fixture *f) {
  void *bytes = NULL;
  size_t n = 0;
  cache_outcome found = cache_read(f->nested, f->key, &bytes, &n);
  if (found == CACHE_FOUND) free(bytes);
  return found;
}

static void what_is_written_is_found(void **state) {
  fixture *f = *state;
  assert_int_equal(outcome(f), CACHE_MISSING);
  assert_true(cache_write(f->nested, f->key, contents, sizeof contents));
  assert_found(f);
  assert_int_equal(access(f->path, F_OK), 0);
  f->key = key_of("another kernel");
  assert_int_equal(outcome(f), CACHE_MISSING);
}

/* Every byte of the file matters: whichever is changed, the entry is refused. */
static void any_changed_byte_is_noticed(void **state) {
  fixture *f = *state;
  assert_true(cache_write(f->nested, f->key, contents, sizeof contents));
  struct stat status;
  assert_int_equal(stat(f->path, &status), 0);
  for (long at = 0; at < status.st_size; at++) {
    FILE *file = fopen(f->path, "r+b");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
    assert_int_equal(outcome(f), CACHE_DAMAGED);
    file = fopen(f->path, "r+b");
    fseek(file, at, SEEK_SET);
    fputc(byte, file);
    fclose(file);
  }
  assert_found(f);
}

static void any_other_length_is_noticed(void **state) {
  fixture *f = *state;
  assert_true(cache_write(f->nested, f->key, contents, sizeof contents));
  struct stat status;
  assert_int_equal(stat(f->path, &status), 0);
  for (long length = status.st_size - 1; length >= 0; length--) {
    assert_int_equal(truncate(f->path, length), 0);
    assert_int_equal(outcome(f), CACHE_DAMAGED);
  }
  assert_true(cache_write(f->nested, f->key, contents, sizeof contents));
  assert_int_equal(truncate(f->path, status.st_size + 1), 0);
  assert_int_equal(outcome(f), CACHE_DAMAGED);
  assert_true(cache_write(f->nested, f->key, contents, sizeof contents));
  assert_found(f);
}

/* An entry copied under another key is somebody else's code. */
static void an_entry_under_a_wrong_name_is_noticed(void **state) {
  fixture *f = *state;
  char text[33], other[192], command[512];
  assert_true(cache_write(f->nested, f->key, contents, sizeof contents));
  f->key = key_of("another kernel");
  assert_true(cache_write(f->nested, f->key, contents, sizeof contents));
  content_hash_text(f->key, text);
  snprintf(other, sizeof other, "%s/%.2s/%s.o", f->nested, text, text);
  snprintf(command, sizeof command, "cp %s %s", f->path, other);
  assert_int_equal(system(command), 0);
  assert_int_equal(outcome(f), CACHE_DAMAGED);
}

/* A file stands where the folder should be: no user, root included, can write below it. */
static void a_place_that_cannot_be_written_is_no_error(void **state) {
  fixture *f = *state;
  snprintf(f->nested, sizeof f->nested, "%s/file", f->directory);
  FILE *file = fopen(f->nested, "w");
  fclose(file);
  assert_false(cache_write(f->nested, f->key, contents, sizeof contents));
  assert_int_equal(outcome(f), CACHE_MISSING);
}

static void *write_and_read(void *argument) {
  fixture *f = argument;
  intptr_t failures = 0;
  for (int i = 0; i < 200; i++) {
    failures += !cache_write(f->nested, f->key, contents, sizeof contents);
    failures += outcome(f) != CACHE_FOUND;
  }
  return (void *)failures;
}

static void writers_at_the_same_time_leave_whole_entries(void **state) {
  pthread_t other;
  void *failures = NULL;
  assert_int_equal(pthread_create(&other, NULL, write_and_read, *state), 0);
  assert_null(write_and_read(*state));
  pthread_join(other, &failures);
  assert_null(failures);
}

/* Published values of FNV-1a with 128 bits: of nothing, the offset basis. */
static void hashes_depend_on_content_and_grouping(void **state) {
  (void)state;
  char text[33];
  content_hash_text(content_hash_start(), text);
  assert_string_equal(text, "6c62272e07bb014262b821756295c58d");
  content_hash ab = content_hash_start(), a_b = ab, b_a = ab;
  content_hash_add(&ab, "ab", 2);
  content_hash_add(&a_b, "a", 1);
  content_hash_add(&a_b, "b", 1);
  content_hash_add(&b_a, "b", 1);
  content_hash_add(&b_a, "a", 1);
  assert_false(content_hash_equal(ab, a_b));
  assert_false(content_hash_equal(a_b, b_a));
}

#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void) {
  const struct CMUnitTest tests[] = {
      CACHE_TEST(what_is_written_is_found),
      CACHE_TEST(any_changed_byte_is_noticed),
      CACHE_TEST(any_other_length_is_noticed),
      CACHE_TEST(an_entry_under_a_wrong_name_is_noticed),
      CACHE_TEST(a_place_that_cannot_be_written_is_no_error),
      CACHE_TEST(writers_at_the_same_time_leave_whole_entries),
      cmocka_unit_test(hashes_depend_on_content_and_grouping),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
