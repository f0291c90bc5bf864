#include "codegen/cuda/source.h"

#include <stdarg.h>

#include "codegen/cuda/writer.h"

enum {
  WARPS = 4,               /* of a block, where their memory on the chip allows it */
  MOST_SHARED = 96 << 10,  /* bytes of a block; what every device from sm_80 on has */
  MOST_SHARED_OF_GROUPS = 227 << 10, /* what sm_90 has */
  MOST_OWN = 16 << 10,     /* bytes of arrays of a thread that works alone */
  LOCAL_ALIGNMENT = 16,
  PANEL_ALIGNMENT = 1024  /* of eight rows, as the swizzle counts them */
};

void write_error(writer *w, const char *message) {
  if (!w->error) w->error = arena_printf(w->arena, "%s: %s", w->loops->name, message);
}

void write_line(writer *w, const char *format, ...) {
  va_list args;
  va_start(args, format);
  text_add(&w->out, "%*s", 2 * w->depth, "");
  text_add_list(&w->out, format, args);
  text_add(&w->out, "\n");
  va_end(args);
}

/* -- barriers ------------------------------------------------------------------------------------------------- */

/* Lanes of a warp need not keep step. Where one reads what another has written, or writes what another still reads, they wait
 * for each other. */
static void synchronise(writer *w) {
  if (w->lanes > 1) {
    write_line(w, "__syncwarp();");
    w->synchronises = true;
  }
  w->read = w->written = false;
}

static void before_reading(writer *w, const loops_expr *const *values, uint32_t n) {
  bool reads = false;
  for (uint32_t i = 0; i < n && !reads; i++) reads = reads_exchanged(w, values[i]);
  if (reads && w->written) synchronise(w);
  w->read |= reads;
}

static void before_writing(writer *w, uint32_t buffer) {
  if (!w->exchanged[buffer]) return;
  if (w->read) synchronise(w);
  w->written = true;
}

/* At the ends of bodies, where control may come from elsewhere: everything written is there to be read, and all may have been read. */
static void at_border(writer *w) {
  if (w->written) synchronise(w);
  w->read = true;
}

/* -- statements ----------------------------------------------------------------------------------------------- */

static void write_block(writer *w, const block *b);

static void begin_statement(writer *w, const loops_expr *const *values, uint32_t n) {
  before_reading(w, values, n);
  begin_values(w, values, n);
}

static void write_body(writer *w, const block *b) {
  w->depth++;
  w->read = true;
  write_block(w, b);
  at_border(w);
  w->depth--;
  write_line(w, "}");
}

static void write_for(writer *w, const statement *s) {
  const loops_expr *bounds[] = {s->begin, s->end};
  at_border(w);
  begin_statement(w, bounds, 2);
  const char *begin = value_text(w, s->begin), *end = value_text(w, s->end);
  if (s->end->kind != LOOPS_CONSTANT && s->end->kind != LOOPS_VARIABLE) {
    const char *name = arena_printf(w->arena, "v%u", w->n_values++);
    write_line(w, "const %s %s = %s;", register_type(s->end->type, is_narrow(w, s->end)), name, end);
    end = name;
  }
  write_line(w, "for (r%u = %s; r%u < %s; r%u += %lld) {", s->number, begin, s->number, end, s->number, (long long)s->step);
  write_body(w, &s->body);
}

static void write_if(writer *w, const statement *s) {
  at_border(w);
  begin_statement(w, &s->value, 1);
  write_line(w, "if (%s) {", value_text(w, s->value));
  write_body(w, &s->body);
}

static void write_set(writer *w, const statement *s) {
  begin_statement(w, &s->value, 1);
  write_line(w, "r%u = %s;", s->number, value_text(w, s->value));
}

static void write_store(writer *w, const statement *s) {
  const loops_expr *values[] = {s->offset, s->value};
  const dtype t = w->loops->buffers[s->number].type;
  begin_statement(w, values, 2);
  const char *value = value_text(w, s->value), *offset = lane_offset(w, value_text(w, s->offset), s->value->lanes, s->stride);
  if (t == DTYPE_BF16) value = arena_printf(w->arena, "bf16_store(%s)", value);
  const char *stored = wide_store_text(w, s, value), *active = active_text(w, s->active);
  if (stored && !*stored) return;
  before_writing(w, s->number);
  if (!stored) stored = arena_printf(w->arena, "%s = %s", element_text(w, s->number, offset, 1, USE_WRITES), value);
  write_line(w, "%s%s%s%s;", active ? "if (" : "", active ? active : "", active ? ") " : "", stored);
}

/* -- teams ------------------------------------------------------------------------------------------------------ */

/* The address of an element of a local buffer, for instructions that want no pointer. */
static const char *chip_text(writer *w, uint32_t buffer, const loops_expr *offset) {
  const char *text = value_text(w, offset);
  if (w->options->checked) text = arena_printf(w->arena, "INSIDE(%s, %lld)", text, (long long)w->loops->buffers[buffer].elements);
  return arena_printf(w->arena, "a%u + %zuu * (u32)%s", buffer, dtype_bytes(w->loops->buffers[buffer].type), text);
}

static const char *tile_suffix(const loops *l) { return l->tile_type == DTYPE_BF16 ? "" : "_f32"; }

static void write_tile(writer *w, const statement *s) {
  const loops *l = w->loops;
  if (!l->team) write_error(w, "tiles of a matrix unit that is not a team's");
  if (s->action == TILE_ZERO) write_line(w, "tile_zero(t%u);", s->tile[0]);
  if (s->action == TILE_DOT) write_line(w, "tile_dot%s(t%u, t%u, t%u);", tile_suffix(l), s->tile[0], s->tile[1], s->tile[2]);
  if (s->action != TILE_LOAD && s->action != TILE_STORE) return;
  begin_statement(w, &s->offset, 1);
  const char *at = s->action == TILE_STORE ? arena_printf(w->arena, "&%s", element_text(w, s->number, value_text(w, s->offset), 1, USE_POINTS)) : chip_text(w, s->number, s->offset);
  if (s->action == TILE_STORE) before_writing(w, s->number);
  else if (w->exchanged[s->number] && w->written) synchronise(w);
  if (s->action == TILE_STORE) write_line(w, "tile_store(%s, %lld, t%u, lane);", at, (long long)s->stride, s->tile[0]);
  else
    write_line(w, "tile_%s%s%s(t%u, %s, %lld, lane);", s->tile[0] < l->sum_tiles + l->row_tiles ? "rows" : "lanes", s->across ? "_across" : "", tile_suffix(l), s->tile[0], at, (long long)s->stride);
  w->read |= s->action == TILE_LOAD;
}

/* A lane that has nothing to read is given the beginning of the buffer. */
static void write_copy(writer *w, const statement *s) {
  const loops_expr *values[] = {s->offset, s->source, s->value};
  enum { BYTES = 16 };
  if (s->active * dtype_bytes(w->loops->buffers[s->from].type) != BYTES) write_error(w, "copies of other than 16 bytes");
  begin_values(w, values, 3);
  const char *to = chip_text(w, s->number, s->offset), *from = element_text(w, s->from, value_text(w, s->source), 1, USE_READS);
  const char *inside = s->value ? value_text(w, s->value) : "true";
  if (s->value) write_line(w, "copy_16(%s, %s ? &%s : b%u, %s);", to, inside, from, s->from, inside);
  else write_line(w, "copy_16(%s, &%s, true);", to, from);
}

static void write_commit(writer *w, const statement *s) { (void)s, write_line(w, "COPIES_COMMIT();"); }
static void write_wait(writer *w, const statement *s) { write_line(w, "COPIES_WAIT(%u);", s->number); }

/* What the warps have written is there for products too, which read memory another way. */
static void write_barrier(writer *w, const statement *s) {
  (void)s;
  if (w->written_panels) write_line(w, "products_see();");
  write_line(w, "__syncthreads();");
  w->read = w->written = false;
}

static void write_product(writer *w, const statement *s) {
  const loops_expr *values[] = {s->offset, s->source};
  begin_values(w, values, 2);
  const char *rows = chip_text(w, s->number, s->offset), *lanes = chip_text(w, s->from, s->source);
  const int across[] = {s->across, s->across_lanes}, step[] = {across[0] ? PANEL : 1, across[1] ? PANEL : 1};
  write_line(w, "PRODUCT_BEGIN(%u, t%u);", s->active, s->tile[0]);
  for (int k = 0; k < PANEL; k += 2 * PANEL_CHUNK)
    write_line(w, "PRODUCT(%u, t%u, panels(%s + %zuu), panels(%s + %zuu), %d, %d);", s->active * TILE_LANES, s->tile[0], rows, (size_t)(k * step[0]) * sizeof(uint16_t), lanes,
               (size_t)(k * step[1]) * sizeof(uint16_t), across[0], across[1]);
  write_line(w, "PRODUCT_END();");
}

static const char *arrival_text(writer *w, const loops_expr *number) { return arena_printf(w->arena, "arrivals + %zuu * (u32)%s", sizeof(uint64_t), value_text(w, number)); }

static void write_expect(writer *w, const statement *s) {
  begin_values(w, &s->offset, 1);
  write_line(w, "if (threadIdx.x == 0) arrival_expect(%s, %u);", arrival_text(w, s->offset), s->number);
}

static void write_box(writer *w, const statement *s) {
  const loops_expr *values[BOX_RANK + 2] = {s->offset, s->source};
  const uint32_t rank = w->loops->boxes[s->from].rank;
  for (uint32_t i = 0; i < rank; i++) values[i + 2] = s->at[i];
  begin_values(w, values, rank + 2);
  const char *to = chip_text(w, s->number, s->offset), *text = arena_printf(w->arena, "&boxes[%u]", s->from);
  for (uint32_t i = 0; i < rank; i++) text = arena_printf(w->arena, "%s, (i32)(%s)", text, value_text(w, s->at[i]));
  write_line(w, "if (threadIdx.x == 0) box_%u(%s, %s, %s);", rank, to, text, arrival_text(w, s->source));
}

static void write_arrived(writer *w, const statement *s) {
  const loops_expr *values[] = {s->offset, s->source};
  begin_values(w, values, 2);
  write_line(w, "arrival_wait(%s, (u32)%s & 1);", arrival_text(w, s->offset), value_text(w, s->source));
}

static void write_settle(writer *w, const statement *s) {
  write_line(w, "PRODUCTS_WAIT(%u);", s->number);
  if (s->number == 0) write_line(w, "SUMS_STAY(%u, t0);", w->loops->sum_tiles);
}

static void write_nothing(writer *w, const statement *s) { (void)w, (void)s; }

static void write_block(writer *w, const block *b) {
  static void (*const rules[])(writer *w, const statement *s) = {
      [STATEMENT_FOR] = write_for, [STATEMENT_IF] = write_if, [STATEMENT_SET] = write_set, [STATEMENT_STORE] = write_store, [STATEMENT_TILE] = write_tile, [STATEMENT_FETCH] = write_nothing,
      [STATEMENT_COPY] = write_copy, [STATEMENT_COMMIT] = write_commit, [STATEMENT_WAIT] = write_wait, [STATEMENT_BARRIER] = write_barrier,
      [STATEMENT_PRODUCT] = write_product, [STATEMENT_SETTLE] = write_settle, [STATEMENT_EXPECT] = write_expect, [STATEMENT_BOX] = write_box, [STATEMENT_ARRIVED] = write_arrived};
  begin_wide_accesses(w, b);
  for (uint32_t i = 0; i < b->n && !w->error; i++) rules[b->items[i]->kind](w, b->items[i]);
  end_wide_accesses(w);
}

/* -- what the loops use ------------------------------------------------------------------------------------------ */

typedef struct {
  uint32_t lanes;
  bool *read, *written; /* by buffer */
  bool *multiplied;     /* by groups of warps, which read it */
} usage;

static void note_expr(usage *u, const loops_expr *e) {
  if (e->lanes > u->lanes) u->lanes = e->lanes;
  if (e->kind == LOOPS_LOAD || e->kind == LOOPS_GATHER || e->kind == LOOPS_PAIRS) u->read[e->number] = true;
  for (uint32_t i = 0; i < e->n_args; i++) note_expr(u, e->args[i]);
}

static void note_block(usage *u, const block *b) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    if (s->kind == STATEMENT_FOR) note_expr(u, s->begin), note_expr(u, s->end);
    if (s->value) note_expr(u, s->value);
    if (s->offset) note_expr(u, s->offset);
    if (s->source) note_expr(u, s->source);
    for (uint32_t k = 0; k < BOX_RANK && s->at[k]; k++) note_expr(u, s->at[k]);
    if (s->kind == STATEMENT_STORE || (s->kind == STATEMENT_TILE && s->action == TILE_STORE)) u->written[s->number] = true;
    if (s->kind == STATEMENT_TILE && s->action == TILE_LOAD) u->read[s->number] = true;
    if (s->kind == STATEMENT_PRODUCT) u->read[s->number] = u->read[s->from] = u->multiplied[s->number] = u->multiplied[s->from] = true;
    if (s->kind == STATEMENT_COPY) u->written[s->number] = u->read[s->from] = true;
    if (s->kind == STATEMENT_FOR || s->kind == STATEMENT_IF) note_block(u, &s->body);
  }
}

uint32_t memory_of(const writer *w, uint32_t buffer) {
  return buffer < w->loops->n_arguments ? w->options->groups[buffer] : buffer;
}

static void find_exchanged(writer *w, const usage *u) {
  const uint32_t n = w->loops->n_buffers;
  w->exchanged = ARENA_ARRAY(w->arena, bool, n + 1);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < n; j++)
      for (uint32_t k = 0; u->written[j] && k < n; k++)
        w->exchanged[i] |= u->read[k] && memory_of(w, i) == memory_of(w, j) && memory_of(w, i) == memory_of(w, k);
}

/* -- the function --------------------------------------------------------------------------------------------------- */

static bool is_alone(const writer *w, uint32_t buffer) {
  for (uint32_t i = 0; i < w->loops->n_arguments; i++)
    if (i != buffer && w->options->groups[i] == w->options->groups[buffer]) return false;
  return true;
}

static void write_head(writer *w, uint32_t threads) {
  const loops *l = w->loops;
  if (l->n_boxes) text_add(&w->out, "typedef struct {\n  box_map at[%u];\n} %s_boxes;\n", l->n_boxes, w->options->symbol);
  if (l->n_boxes && w->options->part) write_error(w, "boxes of a kernel in a bundle");
  if (w->options->part) text_add(&w->out, "FUNCTION void %s(u32 block", w->options->symbol);
  else text_add(&w->out, "KERNEL void LAUNCHED_BY(%u) %s(", threads, w->options->symbol);
  for (uint32_t i = 0; i < l->n_arguments; i++)
    text_add(&w->out, "%s\n    %s%s *%sb%u /* %s */", i || w->options->part ? "," : "", l->buffers[i].written ? "" : "const ", memory_type(l->buffers[i].type), is_alone(w, i) ? "__restrict__ " : "", i,
             l->buffers[i].name);
  if (l->n_boxes) text_add(&w->out, ",\n    PARAMETER %s_boxes all", w->options->symbol);
  text_add(&w->out, ") {\n");
}

/* Of a local buffer, as far as the next. */
static int64_t padded_bytes(const writer *w, uint32_t buffer) {
  const loops_buffer *b = &w->loops->buffers[buffer];
  const int64_t alignment = w->groups ? PANEL_ALIGNMENT : LOCAL_ALIGNMENT;
  return (b->elements * (int64_t)dtype_bytes(b->type) + alignment - 1) / alignment * alignment;
}

static uint32_t local_bytes(const writer *w) {
  int64_t bytes = 0;
  for (uint32_t i = w->loops->n_arguments; i < w->loops->n_buffers; i++) bytes += padded_bytes(w, i);
  bytes += w->loops->arrivals * (int64_t)sizeof(uint64_t);
  return bytes > INT32_MAX ? INT32_MAX : (uint32_t)bytes;
}

/* Behind local buffers. The thread that brings boxes begins them; others wait for none before the team's first barrier. */
static void write_arrivals(writer *w, uint32_t at) {
  write_line(w, "const u32 arrivals = on_chip(local + %u);", at);
  write_line(w, "if (threadIdx.x == 0) arrivals_begin(arrivals, %u);", w->loops->arrivals);
}

/* Local buffers of a warp, or of a team, lie in memory that its lanes share; those of a thread alone are arrays. */
static void write_locals(writer *w, uint32_t bytes) {
  const loops *l = w->loops;
  uint32_t at = 0;
  if (bytes && w->lanes > 1) {
    write_line(w, "extern __shared__ %su8 shared[];", w->groups ? "PANELS_ALIGNED " : "");
    if (l->team) write_line(w, "u8 *const local = shared;");
    else write_line(w, "u8 *const local = shared + threadIdx.x / %d * %u;", WARP, bytes);
  }
  for (uint32_t i = l->n_arguments; i < l->n_buffers; i++) {
    const char *type = memory_type(l->buffers[i].type);
    if (w->lanes == 1) write_line(w, "%s b%u[%lld];", type, i, (long long)l->buffers[i].elements);
    else write_line(w, "%s *const b%u = (%s *)(local + %u);", type, i, type, at);
    if (w->options->checked && w->lanes > 1) write_line(w, "CALLED(\"%s\", b%u, %lld);", l->buffers[i].name, i, (long long)l->buffers[i].elements);
    if (l->team) write_line(w, "const u32 a%u = on_chip(b%u);", i, i);
    at += (uint32_t)padded_bytes(w, i);
  }
  if (l->n_boxes) write_line(w, "const box_map *const boxes = all.at;");
  if (l->arrivals) write_arrivals(w, at);
}

/* Sums of groups are one array, of which their instruction takes a part. */
static void write_tiles(writer *w) {
  const loops *l = w->loops;
  if (w->groups) {
    write_line(w, "f32 t0[%u];", 8 * l->sum_tiles);
    for (uint32_t i = 1; i < l->sum_tiles; i++) write_line(w, "f32 *const t%u = t0 + %u;", i, 8 * i);
    return;
  }
  for (uint32_t i = 0; l->team && i < l->sum_tiles + l->row_tiles + l->lane_tiles; i++) write_line(w, i < l->sum_tiles ? "f32 t%u[8];" : "u32 t%u[4];", i);
}

/* Which warps carry out what: each an iteration, some of them in a block, or all of a block one together. */
static void write_numbers(writer *w, uint32_t together) {
  const loops *l = w->loops;
  const char *index = is_narrow_register(w, 0) ? "i32" : "i64", *number = w->options->part ? "block" : "blockIdx.x";
  if (w->lanes > 1) write_line(w, "const i32 lane = (i32)(threadIdx.x %% %d);", WARP);
  if (l->team) {
    write_line(w, "const i32 r%u = (i32)(threadIdx.x / %d);", l->team_register, WARP);
    write_line(w, "const %s r0 = (%s)%s;", index, index, number);
    return;
  }
  write_line(w, "const %s r0 = (%s)%s * %u + (%s)%s;", index, index, number, together, index, w->lanes > 1 ? "(threadIdx.x / 32)" : "threadIdx.x");
  write_line(w, "if (r0 >= %lld) return;", (long long)l->iterations);
}

static bool is_declared_above(const loops *l, uint32_t number) { return number == 0 || (l->team && number == l->team_register); }

/* Neighbours of one type on a line. */
static void write_registers(writer *w) {
  enum { A_LINE = 16 };
  const loops *l = w->loops;
  for (uint32_t i = 1, next; i < l->n_registers; i = next) {
    next = i + 1;
    if (is_declared_above(l, i)) continue;
    const char *type = register_type(l->registers[i].type, is_narrow_register(w, i)), *names = arena_printf(w->arena, "r%u", i);
    for (; next < l->n_registers && next < i + A_LINE && !is_declared_above(l, next) && !strcmp(type, register_type(l->registers[next].type, is_narrow_register(w, next))); next++)
      names = arena_printf(w->arena, "%s, r%u", names, next);
    write_line(w, "%s %s;", type, names);
  }
}

bool cuda_source_of(const loops *l, const source_options *o, arena *into, cuda_source *out, const char **error) {
  writer w = {.loops = l, .options = o, .arena = into, .out.arena = into, .lanes = 1};
  usage u = {.lanes = 1, .read = ARENA_ARRAY(into, bool, l->n_buffers + 1), .written = ARENA_ARRAY(into, bool, l->n_buffers + 1), .multiplied = ARENA_ARRAY(into, bool, l->n_buffers + 1)};
  note_block(&u, &l->body);
  w.lanes = u.lanes;
  find_ranges(&w);
  find_exchanged(&w, &u);
  for (uint32_t i = 0; i < l->n_buffers; i++) {
    w.groups |= u.multiplied[i];
    w.written_panels |= u.multiplied[i] && u.written[i];
  }
  const uint32_t bytes = local_bytes(&w);
  uint32_t together = l->team ? 1 : w.lanes > 1 ? WARPS : WARP * WARPS; /* iterations of a block */
  while (w.lanes > 1 && together > 1 && together * bytes > MOST_SHARED) together /= 2;
  if (w.lanes > WARP) write_error(&w, arena_printf(into, "vectors of %u lanes", w.lanes));
  if (bytes > (w.groups ? MOST_SHARED_OF_GROUPS : w.lanes > 1 ? MOST_SHARED : MOST_OWN)) write_error(&w, arena_printf(into, "local buffers of %u bytes do not fit on the chip", bytes));
  *out = (cuda_source){.blocks = (l->iterations + together - 1) / together, .threads = l->team ? l->team * WARP : w.lanes > 1 ? together * WARP : together, .shared_bytes = w.lanes > 1 ? together * bytes : 0};
  write_head(&w, out->threads);
  w.depth = 1;
  write_numbers(&w, together);
  write_locals(&w, bytes);
  write_tiles(&w);
  write_registers(&w);
  write_block(&w, &l->body);
  text_add(&w.out, "}\n");
  out->text = text_done(&w.out);
  out->synchronises = w.synchronises || l->team;
  out->boxes = l->boxes;
  out->n_boxes = l->n_boxes;
  if (w.error) *error = w.error;
  return !w.error;
}
