/* The sums over all rows of a gradient (what a bias gets) and its copy in panels (what the weights' gradient reads) both walk through it,
 * and wait for memory: one kernel does both. Behind splitting and layout, which make the two. */
#include "ir/expr.h"
#include "passes/passes.h"
#include "passes/transfer.h"

/* Whether an index walks through a dimension once as its axes do: an axis, or pieces of as many elements as the other axis has. */
static bool walks_through(const kernel *k, const expr *index, int64_t dim, axis_set *walked) {
  int64_t coefficient[MAX_AXES], offset, whole = 1;
  if (*walked & index->axes || !expr_affine(k, index, coefficient, &offset) || offset) return false;
  *walked |= index->axes;
  bool inner = false;
  for (uint32_t a = 0; a < k->n_axes; a++) {
    if (!(index->axes >> a & 1)) continue;
    whole *= k->axes[a].extent;
    inner |= coefficient[a] == 1;
  }
  for (uint32_t a = 0; a < k->n_axes; a++)
    if (index->axes >> a & 1 && coefficient[a] != 1 && coefficient[a] * k->axes[a].extent != dim) return false;
  return inner && whole == dim && __builtin_popcountll(index->axes) <= 2;
}

/* Sums in which each element of what is read is a term once, of neighbours those of neighbours. */
static bool is_column_sum(const kernel *k) {
  const stage *s = k->stages;
  if (k->n_stages != 1 || s->monoid != MONOID_SUM || s->output < 0 || s->body->kind != EXPR_READ || s->body->n_conditions || s->type != s->body->type || s->body->n_args < 2) return false;
  const tensor_type *t = &k->buffers[s->body->number].type;
  const expr *last = s->body->args[s->body->n_args - 1];
  axis_set walked = 0;
  for (uint32_t d = 0; d < s->body->n_args; d++)
    if (!walks_through(k, s->body->args[d], t->dim[d], &walked)) return false;
  return last->kind == EXPR_AXIS && last->axes & s->free && walked == (s->free | s->reduced);
}

static kernel *combined(const kernel *sums, const kernel *copy) {
  kernel *into = kernel_new(sums->arena, arena_printf(sums->arena, "%s_copy", sums->name), sums->where);
  transfer t = transfer_begin(sums, into);
  const stage sum = transfer_stage(&t, 0, true);
  transfer_add(&t, 0, sum);
  for (uint32_t b = 0; b < sums->n_buffers; b++) into->buffers[t.buffers[b] - 1].layout = sums->buffers[b].layout;
  const kernel_buffer *to = &copy->buffers[copy->stages->output];
  stage s = {.name = copy->stages->name, .type = copy->stages->type, .free = sum.free | sum.reduced, .index = sum.body->args, .body = sum.body, .where = copy->stages->where};
  s.output = (int32_t)kernel_add_buffer(into, to->name, to->type, ACCESS_OUT);
  into->buffers[s.output].layout = to->layout;
  kernel_add_stage(into, s);
  return into;
}

static bool reads_any(const plan_launch *l, const bool *late) {
  bool reads = false;
  for (uint32_t b = 0; b < l->kernel->n_buffers; b++) reads |= l->kernel->buffers[b].access == ACCESS_IN && late[l->buffers[b]];
  return reads;
}

/* Puts a launch in place of two, the second of which stays where it is: what waits for the first comes behind it. */
static void replace(plan *p, uint32_t first, uint32_t second, const plan_launch *both, arena *scratch) {
  bool *late = ARENA_ARRAY(scratch, bool, p->n_buffers);
  plan_launch *waiting = ARENA_ARRAY(scratch, plan_launch, second - first);
  uint32_t n = first, n_waiting = 0;
  for (uint32_t i = first; i < second; i++) {
    const plan_launch *l = &p->launches[i];
    const bool waits = i == first || reads_any(l, late);
    for (uint32_t b = 0; waits && b < l->kernel->n_buffers; b++) late[l->buffers[b]] |= l->kernel->buffers[b].access == ACCESS_OUT;
    if (i == first) continue;
    if (waits) waiting[n_waiting++] = *l;
    else p->launches[n++] = *l;
  }
  p->launches[n++] = *both;
  memcpy(p->launches + n, waiting, n_waiting * sizeof *waiting);
  n += n_waiting;
  memmove(p->launches + n, p->launches + second + 1, (p->n_launches - second - 1) * sizeof *p->launches);
  p->n_launches--;
}

/* The copy of what a launch sums; -1: there is none. */
static int32_t copy_of(const plan *p, uint32_t buffer) {
  for (uint32_t i = 0; i < p->n_launches; i++)
    if (kernel_is_copy(p->launches[i].kernel) && p->launches[i].buffers[p->launches[i].kernel->stages->body->number] == buffer) return (int32_t)i;
  return -1;
}

bool pass_sum_copied(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_sum_copied)) return false;
  made_kernels made = {0};
  for (uint32_t i = 0; i < p->n_launches && !c->target->warps; i++) {
    const plan_launch *sums = &p->launches[i];
    const stage *sum = is_column_sum(sums->kernel) ? sums->kernel->stages : NULL;
    const int32_t copy = sum ? copy_of(p, sums->buffers[sum->body->number]) : -1;
    if (copy < 0) continue;
    const plan_launch *copied = &p->launches[copy];
    kernel *both = made_once(&made, combined(sums->kernel, copied->kernel), c->arena);
    uint32_t *buffers = ARENA_ARRAY(p->arena, uint32_t, both->n_buffers);
    for (uint32_t b = 0; b < both->n_buffers; b++)
      buffers[b] = both->buffers[b].access == ACCESS_IN ? sums->buffers[sum->body->number] : (int32_t)b == both->stages[0].output ? sums->buffers[sum->output] : copied->buffers[copied->kernel->stages->output];
    const plan_launch launch = {.kernel = both, .buffers = buffers};
    if ((uint32_t)copy < i) p->launches[copy] = launch, memmove(&p->launches[i], &p->launches[i + 1], (--p->n_launches - i) * sizeof launch);
    else replace(p, i, (uint32_t)copy, &launch, c->arena);
    i--;
  }
  return true;
}
