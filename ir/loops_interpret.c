/* The meaning of lowered loops. Slow: it walks the trees once for every point. */
#include <math.h>
#include <string.h>

#include "ir/loops.h"

enum { MOST_LANES = 64 };

typedef struct {
  scalar lane[MOST_LANES];
} vector;

typedef struct {
  const loops *loops;
  void **buffers;
  vector *registers;
  uint32_t (*tiles)[TILE_LANES][TILE_LANES];
} machine;

static void evaluate(const machine *m, const loops_expr *e, vector *out);

static int64_t evaluate_index(const machine *m, const loops_expr *e) {
  vector v;
  evaluate(m, e, &v);
  return v.lane[0].integer;
}

static scalar fused(dtype t, scalar x, scalar y, scalar z) {
  if (!dtype_is_real(t)) return scalar_round(t, (scalar){.integer = (int64_t)((uint64_t)x.integer * (uint64_t)y.integer + (uint64_t)z.integer)});
  if (t == DTYPE_F32) return (scalar){.real = (double)fmaf((float)x.real, (float)y.real, (float)z.real)};
  return scalar_round(t, (scalar){.real = fma(x.real, y.real, z.real)});
}

/* Two products of bf16, which are exact in f32, the odd one first. */
static scalar dot(scalar x, scalar y, scalar z) {
  for (int k = 1; k >= 0; k--) {
    uint16_t halves[2] = {(uint16_t)(x.integer >> 16 * k), (uint16_t)(y.integer >> 16 * k)};
    z = fused(DTYPE_F32, element_load(DTYPE_BF16, halves, 0), element_load(DTYPE_BF16, halves, 1), z);
  }
  return z;
}

/* The upper half of the active lanes is combined with the lower one until one lane is left; of an odd
 * number, the middle lane joins lane 0. */
static scalar reduce(const loops_expr *e, vector v) {
  for (uint32_t n = e->active ? e->active : e->args[0]->lanes; n > 1; n /= 2) {
    uint32_t half = n / 2, rest = n - half;
    for (uint32_t i = 0; i < half; i++) v.lane[i] = op_evaluate(e->op, e->type, e->type, (scalar[]){v.lane[i], v.lane[i + rest]});
    if (rest > half) v.lane[0] = op_evaluate(e->op, e->type, e->type, (scalar[]){v.lane[0], v.lane[half]});
  }
  return v.lane[0];
}

static void evaluate(const machine *m, const loops_expr *e, vector *out) {
  vector args[6];
  dtype stored = e->kind == LOOPS_LOAD || e->kind == LOOPS_GATHER ? m->loops->buffers[e->number].type : e->type;
  uint32_t active = e->active ? e->active : e->lanes;
  for (uint32_t i = 0; i < e->n_args; i++) evaluate(m, e->args[i], &args[i]);
  switch (e->kind) {
    case LOOPS_CONSTANT:
      for (uint32_t i = 0; i < e->lanes; i++) out->lane[i] = scalar_round(e->type, e->constant);
      break;
    case LOOPS_VARIABLE: *out = m->registers[e->number]; break;
    case LOOPS_LOAD:
      for (uint32_t i = 0; i < e->lanes; i++) {
        out->lane[i].integer = 0; /* all bits 0: also the real 0 */
        if (i < active) out->lane[i] = element_load(stored, m->buffers[e->number], args[0].lane[0].integer + (int64_t)i * e->stride);
      }
      break;
    case LOOPS_GATHER:
      for (uint32_t i = 0; i < e->lanes; i++) {
        out->lane[i].integer = 0;
        if (i < active) out->lane[i] = element_load(stored, m->buffers[e->number], args[0].lane[i].integer);
      }
      break;
    case LOOPS_SPLAT:
      for (uint32_t i = 0; i < e->lanes; i++) out->lane[i] = args[0].lane[0];
      break;
    case LOOPS_RAMP:
      for (uint32_t i = 0; i < e->lanes; i++) out->lane[i].integer = args[0].lane[0].integer + (int64_t)i * e->stride;
      break;
    case LOOPS_APPLY:
    case LOOPS_CALL:
      for (uint32_t i = 0; i < e->lanes; i++) {
        scalar one[6];
        for (uint32_t k = 0; k < e->n_args; k++) one[k] = args[k].lane[i];
        out->lane[i] = op_evaluate(e->op, e->args[e->op == OP_SELECT ? 1 : 0]->type, e->type, one);
      }
      break;
    case LOOPS_FMA:
      for (uint32_t i = 0; i < e->lanes; i++) out->lane[i] = fused(e->type, args[0].lane[i], args[1].lane[i], args[2].lane[i]);
      break;
    case LOOPS_PAIRS:
      for (uint32_t i = 0; i < e->lanes; i++) {
        const uint16_t *bits = (const uint16_t *)m->buffers[e->number] + args[0].lane[0].integer + 2 * (int64_t)i;
        out->lane[i].integer = i < active ? (int64_t)bits[0] | (int64_t)bits[1] << 16 : 0;
      }
      break;
    case LOOPS_DOT:
      for (uint32_t i = 0; i < e->lanes; i++) out->lane[i] = dot(args[0].lane[i], args[1].lane[i], args[2].lane[i]);
      break;
    case LOOPS_REDUCE: out->lane[0] = reduce(e, args[0]); break;
  }
}

static void add_products(const machine *m, const uint32_t tile[3]) {
  for (uint32_t i = 0; i < m->loops->tile_rows; i++)
    for (uint32_t j = 0; j < TILE_LANES; j++) {
      scalar sum = element_load(DTYPE_F32, &m->tiles[tile[0]][i][j], 0);
      for (uint32_t k = 0; k < m->loops->tile_pairs; k++)
        sum = dot((scalar){.integer = m->tiles[tile[1]][i][k]}, (scalar){.integer = m->tiles[tile[2]][k][j]}, sum);
      element_store(DTYPE_F32, &m->tiles[tile[0]][i][j], 0, sum);
    }
}

static void run_tile(const machine *m, const statement *s) {
  uint32_t rows, columns, tile = s->tile[0];
  loops_tile_shape(m->loops, tile, &rows, &columns);
  if (s->action == TILE_ZERO) memset(m->tiles[tile], 0, sizeof m->tiles[tile]);
  if (s->action == TILE_DOT) add_products(m, s->tile);
  if (s->action != TILE_LOAD && s->action != TILE_STORE) return;
  size_t size = dtype_bytes(m->loops->buffers[s->number].type);
  char *at = (char *)m->buffers[s->number] + evaluate_index(m, s->offset) * (int64_t)size;
  for (uint32_t i = 0; i < rows; i++, at += s->stride * (int64_t)size) {
    if (s->action == TILE_LOAD) memcpy(m->tiles[tile][i], at, 4 * columns);
    else memcpy(at, m->tiles[tile][i], 4 * columns);
  }
}

static void run(const machine *m, const block *b) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    vector v;
    switch (s->kind) {
      case STATEMENT_FOR: {
        int64_t end = evaluate_index(m, s->end);
        for (int64_t at = evaluate_index(m, s->begin); at < end; at += s->step) {
          m->registers[s->number].lane[0].integer = at;
          run(m, &s->body);
        }
        break;
      }
      case STATEMENT_IF:
        evaluate(m, s->value, &v);
        if (v.lane[0].integer) run(m, &s->body);
        break;
      case STATEMENT_SET:
        evaluate(m, s->value, &v);
        m->registers[s->number] = v;
        break;
      case STATEMENT_TILE: run_tile(m, s); break;
      case STATEMENT_STORE: {
        int64_t at = evaluate_index(m, s->offset);
        evaluate(m, s->value, &v);
        for (uint32_t k = 0; k < s->active; k++)
          element_store(m->loops->buffers[s->number].type, m->buffers[s->number], at + (int64_t)k * s->stride, v.lane[k]);
        break;
      }
    }
  }
}

void loops_interpret(const loops *l, void *const *buffers, arena *scratch) {
  machine m = {l, ARENA_ARRAY(scratch, void *, l->n_buffers + 1), ARENA_ARRAY(scratch, vector, l->n_registers), arena_alloc(scratch, N_TILES * sizeof *m.tiles)};
  for (uint32_t i = 0; i < l->n_buffers; i++)
    m.buffers[i] = i < l->n_arguments ? buffers[i] : arena_alloc(scratch, (size_t)l->buffers[i].elements * dtype_bytes(l->buffers[i].type));
  for (int64_t i = 0; i < l->iterations; i++) {
    m.registers[0].lane[0].integer = i;
    run(&m, &l->body);
  }
}
