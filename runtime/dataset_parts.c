/* Parts of another data set: subset(d, fraction: 0.1, by: label) and split(d, 0.8, 0.1, 0.1). Samples are dealt out in the
 * order of a shuffle that depends on the seed alone, by label from each class on its own, and stand in each part in
 * the order of the whole. Nothing is copied. */
#include <math.h>
#include <stdlib.h>

#include "runtime/draws.h"
#include "runtime/dataset_source.h"

typedef struct {
  dataset *from;
  const char *split; /* of `from` */
  int64_t n;         /* samples of it */
  const int32_t *labels; /* of each of them; NULL: all are of one kind */
  int64_t classes;
  double fraction[MAX_SPLITS];
  uint32_t n_parts;
  int64_t seed;
  bool shuffled;
} division;

/* The `by:` of a call: labels of all samples, or none. */
static bool read_labels(dataset *d, const dataset_call *call, division *v) {
  const dataset_argument *by = dataset_find_argument(call, "by", UINT32_MAX);
  v->classes = 1;
  if (!by) return true;
  int32_t field = dataset_label_field(v->from);
  if (field < 0 || !by->text || strcmp(by->text, v->from->fields[field].name))
    return dataset_fail(call, "%s(by: ...) wants the field of labels%s%s", call->source, field < 0 ? ", and this data set has none" : ": by: ",
                        field < 0 ? "" : v->from->fields[field].name);
  int32_t *labels = dataset_own(d, call, (size_t)v->n * sizeof *labels);
  for (int64_t i = 0; labels && i < v->n; i++) dataset_read(v->from, v->split, (uint32_t)field, &i, 1, &labels[i]);
  v->labels = labels;
  v->classes = v->from->fields[field].classes;
  return labels;
}

/* How many of the `n` samples of a kind go to parts 0..part: one at least. */
static int64_t share(const division *v, uint32_t part, int64_t n) {
  double sum = 0;
  for (uint32_t i = 0; i <= part; i++) sum += v->fraction[i];
  int64_t whole = llround(sum * (double)n);
  return whole < 1 && n ? 1 : whole < n ? whole : n;
}

/* part[i]: which part sample i goes to, n_parts for none. */
static bool deal(dataset *d, const dataset_call *call, const division *v, uint8_t *part) {
  int64_t *order = dataset_own(d, call, (size_t)v->n * sizeof *order), *size = dataset_own(d, call, 2 * (size_t)v->classes * sizeof *size);
  if (!order || !size) return false;
  int64_t *dealt = size + v->classes;
  memset(size, 0, 2 * (size_t)v->classes * sizeof *size);
  for (int64_t i = 0; i < v->n; i++) {
    order[i] = i;
    size[v->labels ? v->labels[i] : 0]++;
  }
  draws shuffle = {(uint64_t)v->seed, DRAWS_OF_PARTS, 0, 0};
  for (int64_t i = 1; v->shuffled && i < v->n; i++) {
    int64_t other = draw_below(&shuffle, i + 1), moved = order[i];
    order[i] = order[other];
    order[other] = moved;
  }
  for (int64_t i = 0; i < v->n; i++) {
    int32_t kind = v->labels ? v->labels[order[i]] : 0;
    int64_t place = dealt[kind]++;
    uint8_t p = 0;
    while (p < v->n_parts && place >= share(v, p, size[kind])) p++;
    part[order[i]] = p;
  }
  return true;
}

static void take_fields(dataset *d, const division *v) {
  d->base = dataset_retain(v->from);
  memcpy(d->fields, v->from->fields, sizeof d->fields);
  d->n_fields = v->from->n_fields;
}

/* The samples of one part as a split. */
static bool add_part(dataset *d, const dataset_call *call, const division *v, const char *name, const uint8_t *part, uint8_t which) {
  const dataset_split_data *from = dataset_find_split(v->from, v->split);
  int64_t n = 0, *index;
  for (int64_t i = 0; i < v->n; i++) n += part[i] == which;
  if (!n) return dataset_fail(call, "%s leaves no sample for %s: there are %lld to divide", call->source, name, (long long)v->n);
  if (!(index = dataset_own(d, call, (size_t)n * sizeof *index))) return false;
  dataset_split_data *s = dataset_add_split(d, name, n);
  memcpy(s->column, from->column, sizeof s->column);
  s->index = index;
  for (int64_t i = 0; i < v->n; i++)
    if (part[i] == which) *index++ = from->index ? from->index[i] : i;
  return true;
}

/* What both calls say in the same way. */
static bool read_division(dataset *d, const dataset_call *call, division *v) {
  if (!dataset_data_argument(call, &v->from, &v->split)) return false;
  if (v->from->make) return dataset_fail(call, "%s divides samples; divide the data before tasks are made of it", call->source);
  v->n = dataset_count(v->from, v->split);
  return dataset_integer_argument(call, "seed", UINT32_MAX, 0, 0, INT32_MAX, &v->seed) && read_labels(d, call, v);
}

bool read_subset(dataset *d, const dataset_call *call) {
  division v = {.n_parts = 1, .shuffled = true};
  const dataset_argument *first = dataset_find_argument(call, "data", 0);
  if (!dataset_find_argument(call, "fraction", 1)) return dataset_fail(call, "subset wants a fraction: subset(cifar.train, fraction: 0.1)");
  if (!read_division(d, call, &v) || !dataset_real_argument(call, "fraction", 1, 1, 0, 1, &v.fraction[0])) return false;
  uint8_t *part = dataset_own(d, call, (size_t)v.n);
  if (!part || !deal(d, call, &v, part)) return false;
  take_fields(d, &v);
  if (!add_part(d, call, &v, v.from->splits[0].name, part, 0)) return false;
  for (uint32_t i = 1; !*first->split && i < v.from->n_splits; i++) d->splits[d->n_splits++] = v.from->splits[i]; /* of all, training alone gets smaller */
  return true;
}

bool read_parts(dataset *d, const dataset_call *call) {
  static const char *const names[][MAX_SPLITS] = {{"train"}, {"train", "test"}, {"train", "validation", "test"}};
  division v = {0};
  const dataset_argument *first = dataset_find_argument(call, "data", 0), *shuffle = dataset_find_argument(call, "shuffle", UINT32_MAX);
  double sum = 0;
  v.shuffled = !shuffle || shuffle->number != 0;
  for (; v.n_parts < MAX_SPLITS && dataset_find_argument(call, "...", v.n_parts + 1); v.n_parts++) {
    if (!dataset_real_argument(call, "...", v.n_parts + 1, 0, 0, 1, &v.fraction[v.n_parts])) return dataset_fail(call, "split wants fractions: split(d, 0.8, 0.1, 0.1)");
    sum += v.fraction[v.n_parts];
  }
  if (!v.n_parts || dataset_find_argument(call, "...", v.n_parts + 1)) return dataset_fail(call, "split wants one to %d fractions: split(d, 0.8, 0.1, 0.1)", MAX_SPLITS);
  if (sum > 1 + 1e-9) return dataset_fail(call, "the fractions of split add up to %g; they share 1", sum);
  if (!read_division(d, call, &v)) return false;
  if (!*first->split && v.from->n_splits > 1) return dataset_fail(call, "this data set has splits; say which one to divide, as in split(d.%s, 0.9, 0.1)", v.split);
  uint8_t *part = dataset_own(d, call, (size_t)v.n);
  if (!part || !deal(d, call, &v, part)) return false;
  take_fields(d, &v);
  for (uint32_t i = 0; i < v.n_parts; i++)
    if (!add_part(d, call, &v, names[v.n_parts - 1][i], part, (uint8_t)i)) return false;
  return true;
}
