#include "ir/contraction.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* -- reading --------------------------------------------------------------------------------------------- */

typedef struct {
  const char *at;
  contraction *out;
  arena *arena;
  const char *error;
} reader;

static bool fail(reader *r, const char *message) {
  if (!r->error) r->error = message;
  return false;
}

static bool accept(reader *r, const char *token) {
  while (*r->at == ' ') r->at++;
  size_t n = strlen(token);
  if (strncmp(r->at, token, n)) return false;
  r->at += n;
  return true;
}

static int32_t find_axis(const contraction *c, const char *name, size_t n) {
  for (uint32_t i = 0; i < c->n_axes; i++)
    if (strlen(c->name[i]) == n && !memcmp(c->name[i], name, n)) return (int32_t)i;
  return -1;
}

static bool read_name(reader *r, uint32_t *axis) {
  size_t n = 0;
  while (isalnum((unsigned char)r->at[n]) || r->at[n] == '_') n++;
  if (n == 0 || n >= sizeof r->out->name[0]) return fail(r, "an axis is a short name");
  int32_t known = find_axis(r->out, r->at, n);
  if (known < 0) {
    if (r->out->n_axes == MAX_CONTRACTION_AXES) return fail(r, "too many axes");
    known = (int32_t)r->out->n_axes++;
    memcpy(r->out->name[known], r->at, n);
  }
  r->at += n;
  *axis = (uint32_t)known;
  return true;
}

static bool read_number(reader *r, int64_t *out) {
  char *end;
  *out = strtoll(r->at, &end, 10);
  if (*out > 1 << 30) return fail(r, "a number is too large");
  r->at = end;
  return true;
}

static bool add_term(index_form *f, uint32_t axis, int64_t coefficient) {
  for (uint32_t i = 0; i < f->n_terms; i++)
    if (f->term[i].axis == axis) {
      f->term[i].coefficient += coefficient;
      if (f->term[i].coefficient) return true;
      f->n_terms--;
      for (; i < f->n_terms; i++) f->term[i] = f->term[i + 1];
      return true;
    }
  if (coefficient == 0) return true;
  if (f->n_terms == MAX_INDEX_TERMS) return false;
  f->term[f->n_terms].axis = axis;
  f->term[f->n_terms++].coefficient = coefficient;
  return true;
}

static bool read_sum(reader *r, index_form *f) {
  int64_t sign = accept(r, "-") ? -1 : 1;
  for (;;) {
    while (*r->at == ' ') r->at++;
    int64_t number = 1;
    bool has_number = isdigit((unsigned char)*r->at);
    if (has_number && !read_number(r, &number)) return false;
    if (!has_number || accept(r, "*")) {
      uint32_t axis;
      if (!read_name(r, &axis)) return false;
      if (!add_term(f, axis, sign * number)) return fail(r, "too many axes in one index");
    } else {
      f->offset += sign * number;
    }
    if (accept(r, "+")) sign = 1;
    else if (strncmp(r->at + strspn(r->at, " "), "->", 2) && accept(r, "-")) sign = -1;
    else return true;
  }
}

static bool read_index(reader *r, index_form *f) {
  *f = (index_form){.divisor = 1};
  if (!accept(r, "(")) return read_sum(r, f);
  if (!read_sum(r, f)) return false;
  if (!accept(r, ")") || !accept(r, "/")) return fail(r, "expected )/ and a number");
  while (*r->at == ' ') r->at++;
  if (!isdigit((unsigned char)*r->at) || !read_number(r, &f->divisor) || f->divisor < 1) return fail(r, "expected a divisor");
  return true;
}

static bool read_operand(reader *r, uint32_t which, const char *end) {
  contraction *c = r->out;
  if (accept(r, end)) return true;
  do {
    if (c->rank[which] == MAX_RANK) return fail(r, "too many dimensions");
    index_form *f = &c->operand[which][c->rank[which]++];
    if (!read_index(r, f)) return false;
    for (uint32_t d = 0; d + 1 < c->rank[which]; d++)
      if (index_is_plain(f) && index_is_plain(&c->operand[which][d]) && c->operand[which][d].term[0].axis == f->term[0].axis)
        return fail(r, "an axis stands plain twice in one operand");
  } while (accept(r, ","));
  return accept(r, end) || fail(r, "expected , or the end of the operand");
}

const contraction *contraction_parse(const char *text, arena *a, const char **error) {
  contraction *c = ARENA_NEW(a, contraction);
  reader r = {text, c, a, NULL};
  bool good = read_operand(&r, 0, ";") && read_operand(&r, 1, "->");
  while (*r.at == ' ') r.at++;
  while (good && *r.at) {
    if (c->result_rank == MAX_RANK) good = fail(&r, "too many dimensions");
    else if (!read_name(&r, &c->result[c->result_rank])) good = false;
    for (uint32_t d = 0; good && d < c->result_rank; d++)
      if (c->result[d] == c->result[c->result_rank]) good = fail(&r, "an axis stands twice in the result");
    if (!good) break;
    c->result_rank++;
    bool more = accept(&r, ",");
    while (*r.at == ' ') r.at++;
    if (more != (*r.at != 0)) good = fail(&r, "expected , between the result's axes");
  }
  if (good) return c;
  *error = arena_printf(a, "in \"%s\": %s", text, r.error ? r.error : "malformed");
  return NULL;
}

/* -- writing ---------------------------------------------------------------------------------------------- */

typedef struct {
  const contraction *from;
  bool rename;
  int32_t order[MAX_CONTRACTION_AXES]; /* of first appearance; -1 before */
  int32_t seen;
  char *text;
  size_t n;
  char letter[4];
} writer;

static const char *axis_name(writer *w, uint32_t axis) {
  if (!w->rename) return w->from->name[axis];
  if (w->order[axis] < 0) w->order[axis] = w->seen++;
  snprintf(w->letter, sizeof w->letter, "%c", 'a' + w->order[axis]);
  return w->letter;
}

static void write_index(writer *w, const index_form *f) {
  if (f->divisor != 1) w->n += (size_t)sprintf(w->text + w->n, "(");
  for (uint32_t i = 0; i < f->n_terms; i++) {
    int64_t k = f->term[i].coefficient;
    w->n += (size_t)sprintf(w->text + w->n, "%s", k < 0 ? "-" : i ? "+" : "");
    if (k != 1 && k != -1) w->n += (size_t)sprintf(w->text + w->n, "%lld*", (long long)(k < 0 ? -k : k));
    w->n += (size_t)sprintf(w->text + w->n, "%s", axis_name(w, f->term[i].axis));
  }
  if (f->offset || !f->n_terms)
    w->n += (size_t)sprintf(w->text + w->n, f->n_terms ? "%+lld" : "%lld", (long long)f->offset);
  if (f->divisor != 1) w->n += (size_t)sprintf(w->text + w->n, ")/%lld", (long long)f->divisor);
}

const char *contraction_text(const contraction *c, bool rename, arena *a) {
  /* Each index takes at most MAX_INDEX_TERMS terms of sign, number, name, and its offset and divisor. */
  writer w = {.from = c, .rename = rename, .text = arena_alloc(a, (3 * MAX_RANK + 1) * (MAX_INDEX_TERMS * 36 + 48))};
  for (int i = 0; i < MAX_CONTRACTION_AXES; i++) w.order[i] = -1;
  for (uint32_t o = 0; o < 2; o++) {
    for (uint32_t d = 0; d < c->rank[o]; d++) {
      if (d) w.n += (size_t)sprintf(w.text + w.n, ",");
      write_index(&w, &c->operand[o][d]);
    }
    w.n += (size_t)sprintf(w.text + w.n, o ? " ->" : "; ");
  }
  for (uint32_t d = 0; d < c->result_rank; d++)
    w.n += (size_t)sprintf(w.text + w.n, "%s%s", d ? "," : " ", axis_name(&w, c->result[d]));
  return w.text;
}

/* -- extents ------------------------------------------------------------------------------------------------ */

bool index_is_plain(const index_form *f) {
  return f->n_terms == 1 && f->term[0].coefficient == 1 && f->offset == 0 && f->divisor == 1;
}

static bool set_extent(const contraction *c, int64_t *extent, uint32_t axis, int64_t n, arena *a, const char **error) {
  if (extent[axis] < 0) extent[axis] = n;
  if (extent[axis] == n) return true;
  *error = arena_printf(a, "axis %s has %lld elements in one place and %lld in another", c->name[axis],
                        (long long)extent[axis], (long long)n);
  return false;
}

bool contraction_extents(const contraction *c, const tensor_type operand[2], const tensor_type *result,
                         int64_t extent[MAX_CONTRACTION_AXES], arena *a, const char **error) {
  for (int i = 0; i < MAX_CONTRACTION_AXES; i++) extent[i] = -1;
  for (int o = 0; o < 2; o++) {
    if (operand[o].rank != c->rank[o]) {
      *error = arena_printf(a, "the spec gives operand %d %u dimensions, it has %u", o + 1, c->rank[o], operand[o].rank);
      return false;
    }
    for (uint32_t d = 0; d < c->rank[o]; d++)
      if (index_is_plain(&c->operand[o][d]) &&
          !set_extent(c, extent, c->operand[o][d].term[0].axis, operand[o].dim[d], a, error))
        return false;
  }
  if (result && result->rank != c->result_rank) {
    *error = arena_printf(a, "the spec gives the result %u dimensions, it has %u", c->result_rank, result->rank);
    return false;
  }
  for (uint32_t d = 0; result && d < c->result_rank; d++)
    if (!set_extent(c, extent, c->result[d], result->dim[d], a, error)) return false;
  for (uint32_t i = 0; i < c->n_axes; i++)
    if (extent[i] < 0) {
      *error = arena_printf(a, "the extent of axis %s is unknown: it stands plain in no operand", c->name[i]);
      return false;
    }
  return true;
}

/* -- derivative --------------------------------------------------------------------------------------------- */

static int64_t coefficient_of(const index_form *f, uint32_t axis) {
  for (uint32_t i = 0; i < f->n_terms; i++)
    if (f->term[i].axis == axis) return f->term[i].coefficient;
  return 0;
}

/* Puts `with` = (sum)/divisor in place of `axis`: inside a sum only when the divisor is 1. */
static bool substitute(index_form *f, uint32_t axis, const index_form *with) {
  int64_t k = coefficient_of(f, axis);
  if (k == 0) return true;
  if (index_is_plain(f)) {
    *f = *with;
    return true;
  }
  if (with->divisor != 1) return false;
  if (!add_term(f, axis, -k)) return false;
  for (uint32_t i = 0; i < with->n_terms; i++)
    if (!add_term(f, with->term[i].axis, k * with->term[i].coefficient)) return false;
  f->offset += k * with->offset;
  return true;
}

/* Whether `axis` can be solved for: it stands plain in the cotangent or in the other operand, and
 * nowhere inside a sum that a quotient could not enter. Lower is better; negative is impossible. */
static int rate_axis(const contraction *c, uint32_t which, const index_form *f, uint32_t axis, const bool *taken) {
  if (taken[axis]) return -1;
  bool in_result = false, plain_in_other = false, in_other = false;
  for (uint32_t d = 0; d < c->result_rank; d++) in_result |= c->result[d] == axis;
  for (uint32_t d = 0; d < c->rank[1 - which]; d++) {
    const index_form *o = &c->operand[1 - which][d];
    if (!coefficient_of(o, axis)) continue;
    in_other = true;
    plain_in_other |= index_is_plain(o);
  }
  int64_t k = coefficient_of(f, axis);
  if (!in_result && !plain_in_other) return -1; /* nothing would bound it */
  if (in_result && !in_other) return k == 1 || k == -1 ? 0 : 1;
  if (k == 1 || k == -1) return 2;
  return 3;
}

const contraction *contraction_derivative(const contraction *c, uint32_t which, arena *a) {
  /* Work on copies: `own` are the indices of the operand, `g` those of the cotangent, `other` the rest's. */
  index_form own[MAX_RANK], g[MAX_RANK], other[MAX_RANK];
  uint32_t other_which = 1 - which, rank = c->rank[which];
  contraction *r = ARENA_NEW(a, contraction);
  r->n_axes = c->n_axes;
  memcpy(r->name, c->name, sizeof r->name);
  memcpy(own, c->operand[which], sizeof own);
  memcpy(other, c->operand[other_which], sizeof other);
  for (uint32_t d = 0; d < c->result_rank; d++) {
    g[d] = (index_form){.n_terms = 1, .divisor = 1};
    g[d].term[0].axis = c->result[d];
    g[d].term[0].coefficient = 1;
  }
  bool taken[MAX_CONTRACTION_AXES] = {false}; /* axes of the new result */
  r->result_rank = rank;
  for (uint32_t d = 0; d < rank; d++)
    if (index_is_plain(&own[d])) {
      r->result[d] = own[d].term[0].axis;
      taken[r->result[d]] = true;
    }
  for (uint32_t d = 0; d < rank; d++) {
    if (index_is_plain(&c->operand[which][d])) continue;
    int best = -1, best_rate = 99;
    for (uint32_t i = 0; i < own[d].n_terms; i++) {
      int rate = rate_axis(c, which, &own[d], own[d].term[i].axis, taken);
      if (rate >= 0 && rate < best_rate) best_rate = rate, best = (int)own[d].term[i].axis;
    }
    if (best < 0 || r->n_axes == MAX_CONTRACTION_AXES) return NULL;
    uint32_t axis = (uint32_t)best, h = r->n_axes++;
    for (int i = 0; i < 26 * 10; i++) { /* a name of its own */
      snprintf(r->name[h], sizeof r->name[h], i < 26 ? "%c" : "%c%d", 'a' + (i + 7) % 26, i / 26);
      bool used = false;
      for (uint32_t other_axis = 0; other_axis < h; other_axis++) used |= !strcmp(r->name[other_axis], r->name[h]);
      if (!used) break;
    }
    /* k * axis + rest + offset = divisor * h  =>  axis = (divisor * h - rest - offset) / k */
    int64_t k = coefficient_of(&own[d], axis), sign = k < 0 ? -1 : 1;
    index_form solved = {.divisor = k * sign, .offset = -sign * own[d].offset};
    if (!add_term(&solved, h, sign * own[d].divisor)) return NULL;
    for (uint32_t i = 0; i < own[d].n_terms; i++)
      if (own[d].term[i].axis != axis && !add_term(&solved, own[d].term[i].axis, -sign * own[d].term[i].coefficient)) return NULL;
    for (uint32_t i = 0; i < c->result_rank; i++)
      if (!substitute(&g[i], axis, &solved)) return NULL;
    for (uint32_t i = 0; i < c->rank[other_which]; i++)
      if (!substitute(&other[i], axis, &solved)) return NULL;
    for (uint32_t i = 0; i < rank; i++)
      if (i != d && !substitute(&own[i], axis, &solved)) return NULL;
    r->result[d] = h;
    taken[h] = true;
  }
  r->rank[0] = c->result_rank;
  memcpy(r->operand[0], g, sizeof g);
  r->rank[1] = c->rank[other_which];
  memcpy(r->operand[1], other, sizeof other);
  /* Through the text: axes that vanished leave the list. */
  const char *error;
  return contraction_parse(contraction_text(r, false, a), a, &error);
}
