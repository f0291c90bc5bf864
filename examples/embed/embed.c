/* Training from C: a program as a string, data from this process's own memory, features back as numbers.
 *
 * Each sample is a noisy wave in 32 numbers; its frequency is what we would like a representation to tell. The program learns
 * without labels that two differently scaled, noisy versions of one wave are the same thing. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <sslc.h>

enum { SAMPLES = 512, TESTS = 128, LENGTH = 32, KINDS = 8 };

static const char program[] =
    "data waves = memory(\"waves\")\n"
    "augment view(x) = x * uniform(0.7, 1.3) + 0.2 * normal()\n"
    "encoder net(dim)(x: f32[N, L]) = x |> linear(64) |> relu |> linear(dim)\n"
    "model f = net(16)\n"
    "model g = mlp(32, 16)\n"
    "pretext simclr(x) {\n"
    "  let a = f(view(x)) |> g |> l2_normalize\n"
    "  let b = f(view(x)) |> g |> l2_normalize\n"
    "  minimize nt_xent(a, b, 0.2)\n"
    "}\n"
    "train simclr { data: waves.train, batch: 64, epochs: 20, optimizer: adam(lr: 3e-3) }\n"
    "eval f(x) { knn(k: 5, data: waves) }\n";

static float uniform(void) { return (float)rand() / (float)RAND_MAX; }

static void make_waves(float (*wave)[LENGTH], int32_t *kind, int n) {
  for (int i = 0; i < n; i++) {
    kind[i] = rand() % KINDS;
    float phase = 6.2832f * uniform();
    for (int t = 0; t < LENGTH; t++) wave[i][t] = sinf(phase + (0.3f + 0.07f * (float)kind[i]) * (float)t) + 1.2f * (uniform() - 0.5f);
  }
}

static int show(void *context, const sslc_progress *p) {
  (void)context;
  if (p->event == SSLC_AT_STEP && p->step % p->steps_per_epoch == 0) printf("epoch %2d  loss %.4f\n", (int)p->epoch + 1, p->loss);
  for (size_t i = 0; p->event == SSLC_AT_EVALUATION && i < p->n_scores; i++)
    printf("%s %s %.1f %%\n", p->scores[i].protocol, p->scores[i].measure, 100 * p->scores[i].value);
  return 0;
}

int main(void) {
  static float train[SAMPLES][LENGTH], test[TESTS][LENGTH], features[TESTS][16];
  static int32_t train_kind[SAMPLES], test_kind[TESTS];
  make_waves(train, train_kind, SAMPLES);
  make_waves(test, test_kind, TESTS);
  const sslc_array arrays[] = {
      {.data = "waves", .split = "train", .field = "x", .type = SSLC_F32, .rank = 1, .shape = {LENGTH}, .count = SAMPLES, .values = train},
      {.data = "waves", .split = "train", .field = "label", .type = SSLC_I32, .classes = KINDS, .count = SAMPLES, .values = train_kind},
      {.data = "waves", .split = "test", .field = "x", .type = SSLC_F32, .rank = 1, .shape = {LENGTH}, .count = TESTS, .values = test},
      {.data = "waves", .split = "test", .field = "label", .type = SSLC_I32, .classes = KINDS, .count = TESTS, .values = test_kind},
  };
  sslc_program *p;
  sslc_status failed = sslc_compile_text(program, "waves.ssl", &(sslc_options){.arrays = arrays, .n_arrays = 4}, &p);
  if (!failed) failed = sslc_train(p, &(sslc_training){.callback = show});
  if (!failed) failed = sslc_features(p, 0, test, TESTS, features[0]);
  if (failed) fprintf(stderr, "%s\n", sslc_message(p));
  else printf("features of the first test wave: %.3f %.3f %.3f ...\n", features[0][0], features[0][1], features[0][2]);
  sslc_free(p);
  return failed;
}
