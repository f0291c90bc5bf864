/* few_shot: tasks as samples (Vinyals et al., 2016). A task draws `way` classes, and `shot` + `queries` samples of each:
 * xs, ys to learn from and xq, yq to be asked, with labels renumbered 0..way-1. Training and test tasks have no class in
 * common. A task is a pure function of the seed, its split and its number. */
#include <stdlib.h>

#include "runtime/draws.h"
#include "runtime/dataset_source.h"

enum { XS, YS, XQ, YQ, N_TASK_FIELDS };

/* The samples of each class of one split of the base. */
typedef struct {
  const char *split;
  int64_t n_classes;
  int64_t *first;   /* [n_classes + 1]: where the samples of a class begin in `samples` */
  int64_t *samples;
} task_source;

typedef struct {
  task_source source[2]; /* of training and of test tasks */
  int64_t way, shot, queries, seed;
  uint32_t image; /* the field of the base that xs and xq are made of */
  size_t bytes;   /* of one sample of it */
} task_recipe;

/* k of n numbers in random order: the front of a shuffle of which only what was moved is kept. */
static void choose(draws *d, int64_t n, int64_t k, int64_t *out, int64_t *moved) {
  for (int64_t i = 0; i < k; i++) {
    int64_t place = i + draw_below(d, n - i), here = i, there = place;
    for (int64_t m = 0; m < i; m++) {
      if (moved[2 * m] == place) there = moved[2 * m + 1];
      if (moved[2 * m] == i) here = moved[2 * m + 1];
    }
    out[i] = there;
    moved[2 * i] = place;
    moved[2 * i + 1] = here;
  }
}

static void make_labels(const task_recipe *r, int64_t each, int32_t *out) {
  for (int64_t c = 0; c < r->way; c++)
    for (int64_t i = 0; i < each; i++) *out++ = (int32_t)c;
}

/* Samples stand class by class. */
static void make_task(const dataset *d, uint32_t split, uint32_t field, int64_t number, void *out) {
  const task_recipe *r = d->recipe;
  const task_source *s = &r->source[split];
  int64_t each = r->shot + r->queries, n = r->way > each ? r->way : each;
  if (field == YS || field == YQ) return make_labels(r, field == YS ? r->shot : r->queries, out);
  int64_t classes[n], chosen[n], moved[2 * n];
  draws drawn = {(uint64_t)r->seed, DRAWS_OF_TASKS, 2 * number + split, 0};
  unsigned char *to = out;
  choose(&drawn, s->n_classes, r->way, classes, moved);
  for (int64_t c = 0; c < r->way; c++) {
    int64_t first = s->first[classes[c]], of_class = s->first[classes[c] + 1] - first;
    choose(&drawn, of_class, each, chosen, moved);
    for (int64_t i = field == XS ? 0 : r->shot; i < (field == XS ? r->shot : each); i++, to += r->bytes)
      dataset_read(d->base, s->split, r->image, &s->samples[first + chosen[i]], 1, to);
  }
}

/* Which classes are held out: a number of the last ones, or a list; half of them by default. */
static bool read_held_out(const dataset_call *call, int64_t n, uint8_t *held) {
  const dataset_argument *a = dataset_find_argument(call, "held_out", 4);
  int64_t last = n / 2;
  if (!a || !a->list) {
    if (!dataset_integer_argument(call, "held_out", 4, last, 1, n - 1, &last)) return false;
    for (int64_t c = n - last; c < n; c++) held[c] = 1;
    return true;
  }
  for (uint32_t i = 0; i < a->n_list; i++) {
    double c = a->list[i];
    if (!(c >= 0 && c < (double)n) || c != (double)(int64_t)c || held[(int64_t)c])
      return dataset_fail(call, "few_shot(held_out: ...) lists classes from 0 to %lld, each once; got %g", (long long)n - 1, c);
    held[(int64_t)c] = 1;
  }
  return true;
}

static bool fill_source(dataset *d, const dataset_call *call, const task_recipe *r, uint32_t label, const uint8_t *held, bool test, task_source *s) {
  int64_t n = dataset_count(d->base, s->split), all = d->base->fields[label].classes, each = r->shot + r->queries;
  int32_t *labels = dataset_own(d, call, (size_t)n * sizeof *labels);
  s->first = dataset_own(d, call, ((size_t)all + 1) * sizeof *s->first);
  s->samples = dataset_own(d, call, (size_t)n * sizeof *s->samples);
  if (!labels || !s->first || !s->samples) return false;
  for (int64_t i = 0; i < n; i++) dataset_read(d->base, s->split, label, &i, 1, &labels[i]);
  s->first[0] = 0;
  for (int64_t c = 0; c < all; c++) {
    int64_t at = s->first[s->n_classes];
    if (held[c] != test) continue;
    for (int64_t i = 0; i < n; i++)
      if (labels[i] == c) s->samples[at++] = i;
    if (at - s->first[s->n_classes] < each)
      return dataset_fail(call, "class %lld has %lld samples in split %s; a task takes %lld of a class: shot + queries", (long long)c,
                          (long long)(at - s->first[s->n_classes]), s->split, (long long)each);
    s->first[++s->n_classes] = at;
  }
  return s->n_classes >= r->way ||
         dataset_fail(call, "%s tasks have %lld of the %lld classes; way: %lld wants that many; change way or held_out", test ? "test" : "training",
                      (long long)s->n_classes, (long long)all, (long long)r->way);
}

/* f32[way * samples, ...] of a field of the base. */
static bool add_fields(dataset *d, const dataset_call *call, const task_recipe *r) {
  static const char *const names[] = {"xs", "ys", "xq", "yq"};
  dataset_field of = d->base->fields[r->image];
  for (uint32_t i = 0; i < N_TASK_FIELDS; i++) {
    int64_t dim[MAX_RANK] = {r->way * (i < XQ ? r->shot : r->queries)};
    if (of.type.rank + 2 > MAX_RANK) return dataset_fail(call, "few_shot makes tasks of samples of at most %d axes", MAX_RANK - 2);
    memcpy(dim + 1, of.type.dim, of.type.rank * sizeof *dim);
    bool label = i == YS || i == YQ;
    d->fields[i] = (dataset_field){names[i], label ? DATASET_NUMBERS : of.kind, make_type(label ? DTYPE_I32 : of.type.dtype, label ? 1 : of.type.rank + 1, dim),
                                   label ? r->way : 0};
  }
  d->n_fields = N_TASK_FIELDS;
  return true;
}

bool read_few_shot(dataset *d, const dataset_call *call) {
  enum { MOST = 1 << 10 };
  dataset *base;
  const char *train = NULL;
  int64_t n_tasks[2];
  if (!dataset_data_argument(call, &base, &train)) return false;
  int32_t label = dataset_label_field(base);
  if (label < 0) return dataset_fail(call, "few_shot makes tasks of classes, and this data set has no labels");
  d->base = dataset_retain(base);
  task_recipe *r = dataset_own(d, call, sizeof *r);
  uint8_t *held = dataset_own(d, call, (size_t)base->fields[label].classes);
  if (!r || !held) return false;
  memset(held, 0, (size_t)base->fields[label].classes);
  *r = (task_recipe){.image = label == 0};
  if (r->image >= base->n_fields) return dataset_fail(call, "few_shot wants a field beside the labels");
  r->bytes = (size_t)type_bytes(&base->fields[r->image].type);
  bool whole = !*dataset_find_argument(call, "data", 0)->split && dataset_count(base, "test") > 0;
  r->source[0].split = train;
  r->source[1].split = whole ? "test" : train;
  if (!dataset_integer_argument(call, "way", 1, 5, 1, MOST, &r->way) || !dataset_integer_argument(call, "shot", 2, 1, 1, MOST, &r->shot) ||
      !dataset_integer_argument(call, "queries", 3, 15, 1, MOST, &r->queries) || !dataset_integer_argument(call, "tasks", 5, 10000, 1, INT32_MAX, &n_tasks[0]) ||
      !dataset_integer_argument(call, "test_tasks", 6, 600, 1, INT32_MAX, &n_tasks[1]) ||
      !dataset_integer_argument(call, "seed", 7, 0, 0, INT32_MAX, &r->seed) || !read_held_out(call, base->fields[label].classes, held))
    return false;
  for (int test = 0; test < 2; test++) {
    if (!fill_source(d, call, r, (uint32_t)label, held, test, &r->source[test])) return false;
    dataset_add_split(d, test ? "test" : "train", n_tasks[test]);
  }
  d->recipe = r;
  d->make = make_task;
  return add_fields(d, call, r);
}
