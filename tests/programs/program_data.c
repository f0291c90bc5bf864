/* Writes the data that the programs of this folder are tried out on: a few samples of noise in each format.
 *   program_data FOLDER */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *folder;
static uint32_t state = 1;

static uint32_t draw(uint32_t below) {
  state = state * 1664525 + 1013904223;
  return (uint32_t)(((uint64_t)(state >> 8) * below) >> 24);
}

static FILE *create(const char *name) {
  char path[1024];
  snprintf(path, sizeof path, "%s/data/%s", folder, name);
  FILE *f = fopen(path, "wb");
  if (!f) {
    perror(path);
    exit(1);
  }
  return f;
}

static void make_folder(const char *name) {
  char path[1024];
  snprintf(path, sizeof path, "%s%s", folder, name);
  mkdir(path, 0777);
}

static void write_noise(FILE *f, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) fputc((int)draw(256), f);
}

/* CIFAR-10's binary records: a label and 3 x 32 x 32 bytes. */
static void write_cifar(const char *name, int samples) {
  FILE *f = create(name);
  for (int i = 0; i < samples; i++) {
    fputc(i % 10, f);
    write_noise(f, 3 * 32 * 32);
  }
  fclose(f);
}

/* MNIST's format: big-endian sizes, then bytes. */
static void write_idx(const char *name, int rank, const int *dim, int below) {
  FILE *f = create(name);
  int n = 1;
  fwrite((unsigned char[]){0, 0, 8, (unsigned char)rank}, 1, 4, f);
  for (int i = 0; i < rank; n *= dim[i++]) fwrite((unsigned char[]){0, 0, (unsigned char)(dim[i] >> 8), (unsigned char)dim[i]}, 1, 4, f);
  for (int i = 0; i < n; i++) fputc((int)draw((uint32_t)below), f);
  fclose(f);
}

static FILE *create_npy(const char *name, const char *descr, const char *shape) {
  FILE *f = create(name);
  char header[119];
  int n = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
  memset(header + n, ' ', sizeof header - (size_t)n);
  header[117] = '\n';
  fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f);
  fwrite(header, 1, 118, f);
  return f;
}

static void write_integers(const char *name, const char *shape, int n, uint32_t below) {
  FILE *f = create_npy(name, "<i4", shape);
  for (int i = 0; i < n; i++) fwrite(&(int32_t){(int32_t)draw(below)}, 4, 1, f);
  fclose(f);
}

/* Each class as often as the others. */
static void write_labels(const char *name, const char *shape, int n, int classes) {
  FILE *f = create_npy(name, "<i4", shape);
  for (int i = 0; i < n; i++) fwrite(&(int32_t){i % classes}, 4, 1, f);
  fclose(f);
}

static void write_reals(const char *name, const char *shape, int n) {
  FILE *f = create_npy(name, "<f4", shape);
  for (int i = 0; i < n; i++) fwrite(&(float){(float)draw(1 << 20) / (1 << 19) - 1}, 4, 1, f);
  fclose(f);
}

static void write_permutations(const char *name) {
  FILE *f = create_npy(name, "<i4", "10, 9");
  for (int i = 0; i < 10; i++)
    for (int k = 0; k < 9; k++) fwrite(&(int32_t){(k * (1 + i % 2) + i) % 9}, 4, 1, f);
  fclose(f);
}

int main(int argc, char **argv) {
  if (argc != 2) return 1;
  folder = argv[1];
  make_folder("");
  make_folder("/data");
  make_folder("/data/cifar10");
  make_folder("/data/mnist");
  write_cifar("cifar10/data_batch_1.bin", 32);
  write_cifar("cifar10/test_batch.bin", 16);
  write_idx("mnist/train-images-idx3-ubyte", 3, (int[]){32, 28, 28}, 256);
  write_idx("mnist/train-labels-idx1-ubyte", 1, (int[]){32}, 10);
  write_idx("mnist/t10k-images-idx3-ubyte", 3, (int[]){16, 28, 28}, 256);
  write_idx("mnist/t10k-labels-idx1-ubyte", 1, (int[]){16}, 10);
  FILE *text = create("input.txt");
  write_noise(text, 1024);
  fclose(text);
  write_permutations("permutations.npy");
  write_integers("wiki.npy", "32, 12", 32 * 12, 40);
  FILE *images = create_npy("pairs_img.npy", "|u1", "16, 3, 32, 32");
  write_noise(images, 16 * 3 * 32 * 32);
  fclose(images);
  write_integers("pairs_t.npy", "16, 8", 16 * 8, 20);
  write_reals("speech.npy", "16, 1, 1600", 16 * 1600);
  write_labels("speakers.npy", "16,", 16, 4);
  FILE *characters = create_npy("characters.npy", "|u1", "120, 1, 28, 28");
  write_noise(characters, 120 * 28 * 28);
  fclose(characters);
  write_labels("alphabet.npy", "120,", 120, 12);
  return 0;
}
