/* The text form of plans: buffers by number, then kernels by number, then launches.
 *
 *   plan "step" arena 4096 {
 *   buffer 0 : f32[64,32] {1 0} state "state" "w"
 *   buffer 1 : f32[64] temporary bytes 256 at 128 lives 0 3
 *   buffer 2 : f32[] data bytes 4 splat 0.5
 *   kernel 0 is kernel scale { ... }
 *   launch 0 on 0 2 1
 *   launch 0 beside on 3 2 4
 *   repeat 5 reverse carries 1 slices 1 block 7 on 0 2 1 gives 3 4 of region "region" arena 64 { ... }
 *   }
 *
 * The second is of one bundle with the first. The last is a loop: the buffer that its arena lies in, operands, results, and the plan of an iteration. */
#include "ir/kernel_text.h"
#include "ir/plan.h"

static const char *const storage_words[] = {
    [STORAGE_STATE] = "state", [STORAGE_DATA] = "data", [STORAGE_RESULT] = "result", [STORAGE_TEMPORARY] = "temporary"};

/* -- printing ------------------------------------------------------------------------------------------ */

static void print_literal(text_buffer *t, const plan_buffer *b) {
  text_add(t, " literal");
  int64_t n = type_elements(&b->type);
  for (int64_t i = 0; i < n; i++)
    text_add(t, " %s", scalar_text(b->type.dtype, element_load(b->type.dtype, b->literal, i), t->arena));
}

/* What has its usual value is left out. */
static void print_buffer(text_buffer *t, const plan *p, uint32_t number) {
  const plan_buffer *b = &p->buffers[number];
  text_add(t, "buffer %u : %s", number, type_text(&b->type, t->arena));
  if (!layout_is_row_major(&b->layout, &b->type)) text_add(t, " {%s}", layout_text(&b->layout, &b->type, t->arena));
  text_add(t, " %s", storage_words[b->storage]);
  if (*b->role || *b->name) text_add(t, " %s", quoted_text(b->role, t->arena));
  if (*b->role || *b->name) text_add(t, " %s", quoted_text(b->name, t->arena));
  if (b->bytes) text_add(t, " bytes %lld", (long long)b->bytes);
  if (b->offset) text_add(t, " at %lld", (long long)b->offset);
  if (b->first || b->last) text_add(t, " lives %u %u", b->first, b->last);
  if (b->alias >= 0) text_add(t, " alias %d", b->alias);
  if (b->is_splat) text_add(t, " splat %s", scalar_text(b->type.dtype, b->splat, t->arena));
  if (b->literal) print_literal(t, b);
  text_add(t, "\n");
}

/* The first launch of the same kernel; its number among those that are first is the kernel's. */
static uint32_t first_launch(const plan *p, uint32_t launch) {
  uint32_t i = 0;
  while (p->launches[i].kernel != p->launches[launch].kernel) i++;
  return i;
}

static void print_plan(text_buffer *t, const plan *p);

static void print_repeat(text_buffer *t, const plan_launch *l) {
  const plan_repeat *r = l->repeat;
  const uint32_t n = r->n_operands + r->n_results;
  text_add(t, "repeat %lld%s carries %u slices %u", (long long)r->times, r->reverse ? " reverse" : "", r->n_carries, r->n_slices);
  if (l->kernel->n_buffers > n) text_add(t, " block %u", l->buffers[n]);
  text_add(t, " on");
  for (uint32_t i = 0; i < n; i++) text_add(t, "%s %u", i == r->n_operands ? " gives" : "", l->buffers[i]);
  text_add(t, " of ");
  print_plan(t, r->plan);
}

static void print_plan(text_buffer *t, const plan *p) {
  uint32_t *number = ARENA_ARRAY(t->arena, uint32_t, p->n_launches), n_kernels = 0;
  text_add(t, "%s %s arena %lld {\n", p->region ? "region" : "plan", quoted_text(p->name, t->arena), (long long)p->arena_bytes);
  for (uint32_t i = 0; i < p->n_buffers; i++) print_buffer(t, p, i);
  for (uint32_t i = 0; i < p->n_launches; i++) {
    uint32_t first = first_launch(p, i);
    number[i] = number[first];
    if (first != i || p->launches[i].repeat) continue;
    number[i] = n_kernels++;
    text_add(t, "kernel %u is ", number[i]);
    kernel_print_to(t, p->launches[i].kernel);
  }
  for (uint32_t i = 0; i < p->n_launches; i++) {
    if (p->launches[i].repeat) {
      print_repeat(t, &p->launches[i]);
      continue;
    }
    text_add(t, "launch %u%s on", number[i], p->launches[i].beside ? " beside" : "");
    for (uint32_t b = 0; b < p->launches[i].kernel->n_buffers; b++) text_add(t, " %u", p->launches[i].buffers[b]);
    text_add(t, "\n");
  }
  text_add(t, "}\n");
}

char *plan_print(const plan *p, arena *into) {
  text_buffer t = {.arena = into};
  print_plan(&t, p);
  return text_done(&t);
}

/* -- parsing --------------------------------------------------------------------------------------------- */

static bool scan_number(scanner *s, uint32_t below, uint32_t *out) {
  int64_t v;
  if (!scan_integer(s, &v)) return false;
  if (v < 0 || v >= below) return scan_fail(s, "expected a number from 0 to below %u", below);
  *out = (uint32_t)v;
  return true;
}

static bool parse_storage(scanner *s, plan_buffer *b) {
  for (storage kind = STORAGE_STATE; kind <= STORAGE_TEMPORARY; kind++) {
    if (!scan_accept_word(s, storage_words[kind])) continue;
    b->storage = kind;
    return true;
  }
  return scan_fail(s, "expected state, data, result or temporary");
}

static bool parse_literal(scanner *s, arena *a, plan_buffer *b) {
  int64_t n = type_elements(&b->type);
  if (n > s->end - s->at) return scan_fail(s, "the text has fewer elements than the type");
  char *elements = arena_alloc(a, (size_t)type_bytes(&b->type) + 1);
  for (int64_t i = 0; i < n; i++) {
    scalar v;
    if (!scan_scalar(s, b->type.dtype, &v)) return false;
    element_store(b->type.dtype, elements, i, v);
  }
  b->literal = elements;
  return true;
}

static bool parse_places(scanner *s, plan_buffer *b) {
  int64_t alias;
  if (scan_accept_word(s, "bytes") && !scan_integer(s, &b->bytes)) return false;
  if (scan_accept_word(s, "at") && !scan_integer(s, &b->offset)) return false;
  if (scan_accept_word(s, "lives") && (!scan_number(s, UINT32_MAX, &b->first) || !scan_number(s, UINT32_MAX, &b->last)))
    return false;
  if (!scan_accept_word(s, "alias")) return true;
  if (!scan_integer(s, &alias)) return false;
  if (alias < 0 || alias > INT32_MAX) return scan_fail(s, "an alias is the number of a buffer");
  b->alias = (int32_t)alias;
  return true;
}

static bool parse_buffer(scanner *s, plan *p) {
  plan_buffer b = {.alias = -1, .where = scan_place(s)};
  int64_t number;
  if (!scan_integer(s, &number)) return false;
  if (number != p->n_buffers) return scan_fail(s, "buffers are numbered in order: expected %u", p->n_buffers);
  if (!scan_expect(s, ":") || !scan_type(s, &b.type)) return false;
  if (!scan_layout(s, &b.type, &b.layout) || !parse_storage(s, &b)) return false;
  scanner ahead = *s;
  if (scan_accept(&ahead, "\"") && (!scan_string(s, &b.role) || !scan_string(s, &b.name))) return false;
  if (!parse_places(s, &b)) return false;
  b.is_splat = scan_accept_word(s, "splat");
  if (b.is_splat && !scan_scalar(s, b.type.dtype, &b.splat)) return false;
  if (scan_accept_word(s, "literal") && !parse_literal(s, p->arena, &b)) return false;
  plan_add_buffer(p, b);
  return true;
}

static bool parse_launch(scanner *s, plan *p, kernel *const *kernels, uint32_t n_kernels) {
  uint32_t number = 0;
  if (!scan_number(s, n_kernels, &number)) return false;
  const bool beside = scan_accept_word(s, "beside");
  if (!scan_expect_word(s, "on")) return false;
  uint32_t *buffers = ARENA_ARRAY(p->arena, uint32_t, kernels[number]->n_buffers);
  for (uint32_t i = 0; i < kernels[number]->n_buffers; i++)
    if (!scan_number(s, p->n_buffers, &buffers[i])) return false;
  plan_add_launch(p, kernels[number], buffers);
  p->launches[p->n_launches - 1].beside = beside;
  return true;
}

enum { DEEPEST_REGION = 16 };
static plan *parse_plan(scanner *s, arena *a, uint32_t depth);

typedef struct {
  uint32_t *items;
  uint32_t n, capacity;
} number_list;

/* Numbers of buffers up to the word. */
static bool parse_numbers(scanner *s, const plan *p, const char *end, number_list *list) {
  while (!scan_accept_word(s, end)) {
    uint32_t number = 0;
    if (!scan_number(s, p->n_buffers, &number)) return false;
    *ARENA_PUSH(p->arena, list->items, list->n, list->capacity) = number;
  }
  return true;
}

static bool parse_repeat(scanner *s, plan *p, uint32_t depth) {
  plan_repeat r = {0};
  number_list buffers = {0};
  uint32_t place = 0;
  span where = scan_place(s);
  if (!scan_integer(s, &r.times)) return false;
  r.reverse = scan_accept_word(s, "reverse");
  if (!scan_expect_word(s, "carries") || !scan_number(s, UINT32_MAX, &r.n_carries)) return false;
  if (!scan_expect_word(s, "slices") || !scan_number(s, UINT32_MAX, &r.n_slices)) return false;
  bool placed = scan_accept_word(s, "block");
  if ((placed && !scan_number(s, p->n_buffers, &place)) || !scan_expect_word(s, "on")) return false;
  if (!parse_numbers(s, p, "gives", &buffers)) return false;
  r.n_operands = buffers.n;
  if (!parse_numbers(s, p, "of", &buffers)) return false;
  r.n_results = buffers.n - r.n_operands;
  if (depth == DEEPEST_REGION) return scan_fail(s, "loops within loops are at most %d deep", DEEPEST_REGION);
  if (!(r.plan = parse_plan(s, p->arena, depth + 1))) return false;
  plan_add_repeat(p, &r, buffers.items, where);
  if (placed) plan_place_region(p, &p->launches[p->n_launches - 1], place);
  return true;
}

static bool parse_parts(scanner *s, plan *p, uint32_t depth) {
  kernel **kernels = NULL, *k;
  uint32_t n_kernels = 0, capacity = 0, number = 0;
  while (scan_accept_word(s, "buffer"))
    if (!parse_buffer(s, p)) return false;
  while (scan_accept_word(s, "kernel")) {
    if (!scan_number(s, n_kernels + 1, &number) || !scan_expect_word(s, "is")) return false;
    if (number != n_kernels) return scan_fail(s, "kernels are numbered in order: expected %u", n_kernels);
    if (!(k = kernel_parse_from(s, p->arena))) return false;
    *ARENA_PUSH(p->arena, kernels, n_kernels, capacity) = k;
  }
  for (;;) {
    bool launched = scan_accept_word(s, "launch");
    if (!launched && !scan_accept_word(s, "repeat")) return scan_expect(s, "}");
    if (!(launched ? parse_launch(s, p, kernels, n_kernels) : parse_repeat(s, p, depth))) return false;
  }
}

static plan *parse_plan(scanner *s, arena *a, uint32_t depth) {
  const char *name;
  if (!scan_expect_word(s, depth ? "region" : "plan") || !scan_string(s, &name)) return NULL;
  plan *p = plan_new(a, name);
  p->region = depth > 0;
  if (!scan_expect_word(s, "arena") || !scan_integer(s, &p->arena_bytes) || !scan_expect(s, "{")) return NULL;
  return parse_parts(s, p, depth) ? p : NULL;
}

plan *plan_parse(arena *a, uint32_t file, diagnostics *d) {
  scanner s = scan_start(file, 0, d);
  span where = scan_place(&s);
  plan *p = parse_plan(&s, a, 0);
  if (!p) return NULL;
  if (!scan_at_end(&s)) {
    scan_fail(&s, "expected the end of the text");
    return NULL;
  }
  const char *wrong = plan_verify(p, a);
  if (!wrong) return p;
  diagnose(d, DIAG_IR_INVALID, where, "%s", wrong);
  return NULL;
}
