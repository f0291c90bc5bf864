#include "ir/contraction.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* Of every number in an index. Sums of products of two stay far inside 64 bits. */
static const int64_t largest_number = 1 << 30;

static bool within_limit(int64_t v) { return -largest_number <= v && v <= largest_number; }

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
  if (!within_limit(*out)) return fail(r, "a number is too large");
  r->at = end;
  return true;
}

static bool add_term(index_form *f, uint32_t axis, int64_t coefficient) {
  for (uint32_t i = 0; i < f->n_terms; i++)
    if (f->term[i].axis == axis) {
      f->term[i].coefficient += coefficient;
      if (f->term[i].coefficient) return within_limit(f->term[i].coefficient);
      f->n_terms--;
      for (; i < f->n_terms; i++) f->term[i] = f->term[i + 1];
      return true;
    }
  if (coefficient == 0) return true;
  if (f->n_terms == MAX_INDEX_TERMS || !within_limit(coefficient)) return false;
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
      if (!add_term(f, axis, sign * number)) return fail(r, "too many axes in one index, or a number is too large");
    } else {
      f->offset += sign * number;
      if (!within_limit(f->offset)) return fail(r, "a number is too large");
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

/* Whether no partial sum of the index leaves 62 bits. */
static bool index_fits(const index_form *f, const int64_t *extent) {
  int64_t reach = f->offset < 0 ? -f->offset : f->offset;
  for (uint32_t i = 0; i < f->n_terms; i++) {
    int64_t k = f->term[i].coefficient, n = extent[f->term[i].axis], most;
    if (__builtin_mul_overflow(k < 0 ? -k : k, n, &most) || __builtin_add_overflow(reach, most, &reach)) return false;
  }
  return reach <= (int64_t)1 << 62;
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
  for (int o = 0; o < 2; o++)
    for (uint32_t d = 0; d < c->rank[o]; d++)
      if (!index_fits(&c->operand[o][d], extent)) {
        *error = arena_printf(a, "index %u of operand %d runs too far to be counted", d, o + 1);
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

static int64_t common_divisor(int64_t x, int64_t y) {
  while (y) {
    int64_t rest = x % y;
    x = y;
    y = rest;
  }
  return x < 0 ? -x : x;
}

/* into += factor * (the sum of `from`, without its term in `axis`). */
static bool add_multiple(index_form *into, int64_t factor, const index_form *from, uint32_t axis) {
  for (uint32_t i = 0; i < from->n_terms; i++)
    if (from->term[i].axis != axis && !add_term(into, from->term[i].axis, factor * from->term[i].coefficient)) return false;
  into->offset += factor * from->offset;
  return within_limit(into->offset);
}

/* Puts `with` = S / q in place of an axis. With f = (k axis + R) / D this is (k S + q R) / (D q): wherever
 * q divides S, the one divides exactly where the other does. That q divides S is asked at the place where
 * the axis stood plain, which reads S / q. */
static bool substitute(index_form *f, uint32_t axis, const index_form *with) {
  int64_t k = coefficient_of(f, axis);
  if (k == 0) return true;
  index_form r = {.divisor = f->divisor * with->divisor};
  if (!add_multiple(&r, k, with, axis) || !add_multiple(&r, with->divisor, f, axis)) return false;
  int64_t common = common_divisor(r.divisor, r.offset);
  for (uint32_t i = 0; i < r.n_terms; i++) common = common_divisor(common, r.term[i].coefficient);
  for (uint32_t i = 0; i < r.n_terms; i++) r.term[i].coefficient /= common;
  r.offset /= common;
  r.divisor /= common;
  /* Standing plain would say that the axis has the extent of this dimension, which nothing promises. */
  if (index_is_plain(&r)) r.divisor = r.term[0].coefficient = 2;
  *f = r;
  return within_limit(r.divisor);
}

/* A derivative in the making: the indices of the operand, of the cotangent and of the other operand, over
 * the axes of the contraction and a new one for each dimension of the operand that is no plain axis. */
typedef struct {
  contraction named; /* axes, and the result so far */
  uint32_t own_rank, g_rank, other_rank;
  index_form own[MAX_RANK], g[MAX_RANK], other[MAX_RANK];
  bool taken[MAX_CONTRACTION_AXES]; /* axes of the new result */
} derivation;

static bool stands_plain(const index_form *f, uint32_t n, uint32_t axis) {
  for (uint32_t d = 0; d < n; d++)
    if (index_is_plain(&f[d]) && f[d].term[0].axis == axis) return true;
  return false;
}

static bool occurs(const index_form *f, uint32_t n, uint32_t axis) {
  for (uint32_t d = 0; d < n; d++)
    if (coefficient_of(&f[d], axis)) return true;
  return false;
}

/* How well an axis of own[d] can be solved for; lower is better, negative is not at all. It must stand
 * plain in the cotangent or in the other operand, whose bounds then keep it inside its extent. */
static int rate_axis(const derivation *at, uint32_t d, uint32_t axis) {
  bool in_g = stands_plain(at->g, at->g_rank, axis);
  if (at->taken[axis] || (!in_g && !stands_plain(at->other, at->other_rank, axis))) return -1;
  int64_t k = coefficient_of(&at->own[d], axis);
  bool quotient = k != 1 && k != -1;
  return in_g && !occurs(at->other, at->other_rank, axis) ? quotient : 2 + quotient;
}

static void name_axis(contraction *c, uint32_t axis) {
  for (int i = 0; i <= 26 * MAX_CONTRACTION_AXES; i++) {
    snprintf(c->name[axis], sizeof c->name[axis], i < 26 ? "%c" : "%c%d", 'a' + (i + 7) % 26, i / 26);
    if (find_axis(c, c->name[axis], strlen(c->name[axis])) == (int32_t)axis) return;
  }
}

/* k axis + R + offset = D h  =>  axis = (D h - R - offset) / k, everywhere. */
static bool solve_for(derivation *at, uint32_t d, uint32_t axis) {
  if (at->named.n_axes == MAX_CONTRACTION_AXES) return false;
  uint32_t h = at->named.n_axes++;
  name_axis(&at->named, h);
  const index_form own = at->own[d];
  int64_t k = coefficient_of(&own, axis), sign = k < 0 ? -1 : 1;
  index_form solved = {.divisor = k * sign};
  if (!add_term(&solved, h, sign * own.divisor) || !add_multiple(&solved, -sign, &own, axis)) return false;
  for (uint32_t i = 0; i < at->own_rank; i++)
    if (i != d && !substitute(&at->own[i], axis, &solved)) return false;
  for (uint32_t i = 0; i < at->g_rank; i++)
    if (!substitute(&at->g[i], axis, &solved)) return false;
  for (uint32_t i = 0; i < at->other_rank; i++)
    if (!substitute(&at->other[i], axis, &solved)) return false;
  at->named.result[d] = h;
  at->taken[h] = true;
  return true;
}

/* Solves the dimensions from d on, trying axes from the best; false when none of the ways leads through. */
static bool solve_from(derivation *at, uint32_t d, const contraction *c, uint32_t which) {
  while (d < at->own_rank && index_is_plain(&c->operand[which][d])) d++;
  if (d == at->own_rank) return true;
  for (int wanted = 0; wanted < 4; wanted++)
    for (uint32_t i = 0; i < at->own[d].n_terms; i++) {
      uint32_t axis = at->own[d].term[i].axis;
      if (rate_axis(at, d, axis) != wanted) continue;
      derivation next = *at;
      if (!solve_for(&next, d, axis) || !solve_from(&next, d + 1, c, which)) continue;
      *at = next;
      return true;
    }
  return false;
}

const contraction *contraction_derivative(const contraction *c, uint32_t which, arena *a) {
  uint32_t other = 1 - which;
  derivation at = {.named = *c, .own_rank = c->rank[which], .g_rank = c->result_rank, .other_rank = c->rank[other]};
  memcpy(at.own, c->operand[which], sizeof at.own);
  memcpy(at.other, c->operand[other], sizeof at.other);
  for (uint32_t d = 0; d < c->result_rank; d++)
    at.g[d] = (index_form){.n_terms = 1, .term = {{c->result[d], 1}}, .divisor = 1};
  for (uint32_t d = 0; d < at.own_rank; d++)
    if (index_is_plain(&at.own[d])) at.taken[at.named.result[d] = at.own[d].term[0].axis] = true;
  if (!solve_from(&at, 0, c, which)) return NULL;

  contraction r = at.named;
  r.result_rank = at.own_rank;
  r.rank[0] = at.g_rank;
  memcpy(r.operand[0], at.g, sizeof at.g);
  r.rank[1] = at.other_rank;
  memcpy(r.operand[1], at.other, sizeof at.other);
  /* Through the text: axes that vanished leave the list. */
  const char *error;
  return contraction_parse(contraction_text(&r, false, a), a, &error);
}
