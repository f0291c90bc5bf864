/* The meaning of lowered loops. Slow: it walks the trees once for every point. */
#include <math.h>
#include <string.h>

#include "ir/loops.h"

enum { MOST_LANES = 64 };

typedef struct {
  scalar lane[MOST_LANES];
} vector;

typedef uint32_t held_tile[TILE_LANES][TILE_LANES];

/* Registers and tiles of one warp. */
typedef struct {
  vector *registers;
  held_tile *tiles;
} bank;

/* Warps of a team go through every statement one after the other. */
typedef struct {
  const loops *loops;
  void **buffers;
  vector *registers;
  held_tile *tiles;
  bank *warps;
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
    case LOOPS_SCALE:
      for (uint32_t i = 0; i < e->lanes; i++) out->lane[i].real = (float)ldexp(args[0].lane[i].real, (int)args[1].lane[i].real);
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
    case LOOPS_INTERLEAVE:
      for (uint32_t i = 0; i < e->lanes; i++) out->lane[i] = args[i % e->n_args].lane[i / e->n_args];
      break;
    case LOOPS_REDUCE: out->lane[0] = reduce(e, args[0]); break;
  }
}

static void add_products(const machine *m, const uint32_t tile[3]) {
  for (uint32_t i = 0; i < m->loops->tile_rows; i++)
    for (uint32_t j = 0; j < TILE_LANES; j++) {
      scalar sum = element_load(DTYPE_F32, &m->tiles[tile[0]][i][j], 0);
      for (uint32_t k = 0; k < m->loops->tile_pairs; k++)
        sum = m->loops->tile_type == DTYPE_BF16 ? dot((scalar){.integer = m->tiles[tile[1]][i][k]}, (scalar){.integer = m->tiles[tile[2]][k][j]}, sum)
                                                : fused(DTYPE_F32, element_load(DTYPE_F32, &m->tiles[tile[1]][i][k], 0), element_load(DTYPE_F32, &m->tiles[tile[2]][k][j], 0), sum);
      element_store(DTYPE_F32, &m->tiles[tile[0]][i][j], 0, sum);
    }
}

/* Of a team: single bf16 lie in rows, and are put together in pairs; f32 are rounded. */
static uint32_t team_word(const machine *m, const statement *s, uint32_t i, uint32_t k) {
  const int64_t along = s->across ? s->stride : 1, offset = evaluate_index(m, s->offset) + (s->across ? i : i * s->stride);
  if (m->loops->tile_type == DTYPE_BF16) {
    const uint16_t *at = (const uint16_t *)m->buffers[s->number] + offset + 2 * k * along;
    return (uint32_t)at[0] | (uint32_t)at[along] << 16;
  }
  uint32_t bits;
  const scalar x = element_load(DTYPE_F32, m->buffers[s->number], offset + k * along);
  element_store(DTYPE_F32, &bits, 0, op_evaluate(OP_TF32, DTYPE_F32, DTYPE_F32, &x));
  return bits;
}

static void load_team_tile(const machine *m, const statement *s) {
  const bool of_lanes = s->tile[0] >= m->loops->sum_tiles + m->loops->row_tiles;
  for (uint32_t i = 0; i < TILE_LANES; i++)
    for (uint32_t k = 0; k < m->loops->tile_pairs; k++) {
      uint32_t *word = of_lanes ? &m->tiles[s->tile[0]][k][i] : &m->tiles[s->tile[0]][i][k];
      *word = team_word(m, s, i, k);
    }
}

static void run_tile(const machine *m, const statement *s) {
  uint32_t rows, columns, tile = s->tile[0];
  loops_tile_shape(m->loops, tile, &rows, &columns);
  if (s->action == TILE_ZERO) memset(m->tiles[tile], 0, sizeof m->tiles[tile]);
  if (s->action == TILE_DOT) add_products(m, s->tile);
  if (s->action != TILE_LOAD && s->action != TILE_STORE) return;
  if (m->loops->team && s->action == TILE_LOAD) {
    load_team_tile(m, s);
    return;
  }
  size_t size = dtype_bytes(m->loops->buffers[s->number].type);
  char *at = (char *)m->buffers[s->number] + evaluate_index(m, s->offset) * (int64_t)size;
  for (uint32_t i = 0; i < rows; i++, at += s->stride * (int64_t)size) {
    if (s->action == TILE_LOAD) memcpy(m->tiles[tile][i], at, 4 * columns);
    else memcpy(at, m->tiles[tile][i], 4 * columns);
  }
}

/* Two neighbours of the sum from 2 * pair on, of a result. */
static scalar panel_pair(const machine *m, uint32_t buffer, int64_t offset, bool across, int64_t result, int64_t pair) {
  const uint16_t *at = m->buffers[buffer];
  uint32_t half[2];
  for (int64_t k = 0; k < 2; k++) {
    const int64_t neighbour = 2 * pair + k, first = offset + result / PANEL * PANEL * PANEL;
    half[k] = at[across ? loops_panel_place(first, neighbour, result % PANEL) : loops_panel_place(first, result % PANEL, neighbour)];
  }
  return (scalar){.integer = (int64_t)(half[0] | half[1] << 16)};
}

/* Of one warp, whose rows lie behind those of the warps of its group before it. */
static void run_product(const machine *m, const statement *s) {
  const int64_t rows = evaluate_index(m, s->offset), lanes = evaluate_index(m, s->source), first = m->registers[m->loops->team_register].lane[0].integer % GROUP_WARPS * TILE_LANES;
  for (uint32_t i = 0; i < TILE_LANES; i++)
    for (uint32_t j = 0; j < s->active * TILE_LANES; j++) {
      uint32_t *const at = &m->tiles[s->tile[0] + j / TILE_LANES][i][j % TILE_LANES];
      scalar sum = element_load(DTYPE_F32, at, 0);
      for (int64_t k = 0; k < PANEL / 2; k++) sum = dot(panel_pair(m, s->number, rows, s->across, first + i, k), panel_pair(m, s->from, lanes, s->across_lanes, j, k), sum);
      element_store(DTYPE_F32, at, 0, sum);
    }
}

static void run_copy(const machine *m, const statement *s) {
  vector to, from, inside;
  const size_t size = dtype_bytes(m->loops->buffers[s->number].type);
  evaluate(m, s->offset, &to);
  evaluate(m, s->source, &from);
  if (s->value) evaluate(m, s->value, &inside);
  for (uint32_t i = 0; i < s->offset->lanes; i++) {
    char *at = (char *)m->buffers[s->number] + to.lane[i].integer * (int64_t)size;
    if (s->value && !inside.lane[i].integer) memset(at, 0, s->active * size);
    else memcpy(at, (const char *)m->buffers[s->from] + from.lane[i].integer * (int64_t)size, s->active * size);
  }
}

/* Row by row; `at` counts rows of a box, the fastest dimension first. */
static void run_box(const machine *m, const statement *s) {
  const loops_box *b = &m->loops->boxes[s->from];
  const uint16_t *from = m->buffers[b->buffer];
  uint16_t *to = m->buffers[s->number];
  const int64_t offset = evaluate_index(m, s->offset), rows = loops_box_elements(b) / PANEL;
  int64_t begin[BOX_RANK];
  if (m->registers[m->loops->team_register].lane[0].integer) return;
  for (uint32_t d = 0; d < b->rank; d++) begin[d] = evaluate_index(m, s->at[d]);
  for (int64_t row = 0; row < rows; row++)
    for (int64_t column = 0; column < PANEL; column++) {
      int64_t place = begin[0] + column, rest = row;
      bool inside = place >= 0 && place < b->extent[0];
      for (uint32_t d = 1; d < b->rank; rest /= b->size[d], d++) {
        const int64_t x = begin[d] + rest % b->size[d];
        inside &= x >= 0 && x < b->extent[d];
        place += x * b->stride[d];
      }
      to[loops_panel_place(offset, row, column)] = inside ? from[place] : 0;
    }
}

static void run_store(const machine *m, const statement *s) {
  vector v;
  const int64_t at = evaluate_index(m, s->offset);
  evaluate(m, s->value, &v);
  for (uint32_t k = 0; k < s->active; k++)
    element_store(m->loops->buffers[s->number].type, m->buffers[s->number], at + (int64_t)k * s->stride, v.lane[k]);
}

static void run_set(const machine *m, const statement *s) {
  vector v;
  evaluate(m, s->value, &v);
  m->registers[s->number] = v;
}

static bool holds(const machine *m, const loops_expr *test) {
  vector v;
  evaluate(m, test, &v);
  return v.lane[0].integer;
}

static void choose_warp(machine *m, uint32_t warp) {
  m->registers = m->warps[warp].registers;
  m->tiles = m->warps[warp].tiles;
}

/* The rounds of a loop are the same for all warps. */
static void run(machine *m, const block *b, uint32_t warps);

static void run_for(machine *m, const statement *s, uint32_t warps) {
  choose_warp(m, (uint32_t)__builtin_ctz(warps));
  const int64_t begin = evaluate_index(m, s->begin), end = evaluate_index(m, s->end);
  for (int64_t at = begin; at < end; at += s->step) {
    for (uint32_t rest = warps; rest; rest &= rest - 1) m->warps[__builtin_ctz(rest)].registers[s->number].lane[0].integer = at;
    run(m, &s->body, warps);
  }
}

static void run_by_one(const machine *m, const statement *s) {
  switch (s->kind) {
    case STATEMENT_SET: run_set(m, s); break;
    case STATEMENT_TILE: run_tile(m, s); break;
    case STATEMENT_STORE: run_store(m, s); break;
    case STATEMENT_COPY: run_copy(m, s); break;
    case STATEMENT_PRODUCT: run_product(m, s); break;
    case STATEMENT_BOX: run_box(m, s); break;
    default: break; /* copies and products are complete at once, and warps keep step */
  }
}

static void run(machine *m, const block *b, uint32_t warps) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    uint32_t taken = 0;
    if (s->kind == STATEMENT_FOR) {
      run_for(m, s, warps);
      continue;
    }
    for (uint32_t rest = warps; rest; rest &= rest - 1) {
      choose_warp(m, (uint32_t)__builtin_ctz(rest));
      if (s->kind != STATEMENT_IF) run_by_one(m, s);
      else if (holds(m, s->value)) taken |= rest & -rest;
    }
    if (taken) run(m, &s->body, taken);
  }
}

void loops_interpret(const loops *l, void *const *buffers, arena *scratch) {
  const uint32_t warps = l->team ? l->team : 1, tiles = l->sum_tiles + l->row_tiles + l->lane_tiles;
  machine m = {.loops = l, .buffers = ARENA_ARRAY(scratch, void *, l->n_buffers + 1), .warps = ARENA_ARRAY(scratch, bank, warps)};
  for (uint32_t w = 0; w < warps; w++) m.warps[w] = (bank){ARENA_ARRAY(scratch, vector, l->n_registers), arena_alloc(scratch, tiles * sizeof(held_tile))};
  for (uint32_t i = 0; i < l->n_buffers; i++) {
    const size_t bytes = (size_t)l->buffers[i].elements * dtype_bytes(l->buffers[i].type);
    m.buffers[i] = i < l->n_arguments ? buffers[i] : memset(arena_alloc(scratch, bytes), 0xff, bytes); /* NaN, for who reads what nobody wrote */
  }
  for (int64_t i = 0; i < l->iterations; i++) {
    for (uint32_t w = 0; w < warps; w++) {
      m.warps[w].registers[0].lane[0].integer = i;
      if (l->team) m.warps[w].registers[l->team_register].lane[0].integer = w;
    }
    run(&m, &l->body, warps == 32 ? UINT32_MAX : (1u << warps) - 1);
  }
}
