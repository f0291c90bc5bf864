#include "ir/loops.h"
#include "ir/scan.h"

typedef struct {
  text_buffer out;
  const loops *loops;
} printer;

static void print_expr(printer *p, const loops_expr *e);

static void print_args(printer *p, const loops_expr *e) {
  for (uint32_t i = 0; i < e->n_args; i++) {
    if (i) text_add(&p->out, ", ");
    print_expr(p, e->args[i]);
  }
}

static void print_lanes(printer *p, const loops_expr *e) {
  text_add(&p->out, ":%s", dtype_name(e->type));
  if (e->lanes != 1) text_add(&p->out, "x%u", e->lanes);
  if (e->active && e->active != e->lanes) text_add(&p->out, "/%u", e->active);
  bool strided = (e->kind == LOOPS_LOAD || e->kind == LOOPS_RAMP) && e->lanes != 1;
  if (strided && e->stride != 1) text_add(&p->out, " by %lld", (long long)e->stride);
}

static void print_expr(printer *p, const loops_expr *e) {
  switch (e->kind) {
    case LOOPS_CONSTANT:
      text_add(&p->out, "%s", scalar_text(e->type, e->constant, p->out.arena));
      if (e->type != DTYPE_I64 || e->lanes != 1) print_lanes(p, e);
      break;
    case LOOPS_VARIABLE: text_add(&p->out, "r%u", e->number); break;
    case LOOPS_LOAD:
      text_add(&p->out, "%s[", p->loops->buffers[e->number].name);
      print_args(p, e);
      text_add(&p->out, "]");
      print_lanes(p, e);
      break;
    case LOOPS_PAIRS:
      text_add(&p->out, "pairs %s[", p->loops->buffers[e->number].name);
      print_args(p, e);
      text_add(&p->out, "]");
      print_lanes(p, e);
      break;
    case LOOPS_GATHER:
      text_add(&p->out, "gather %s[", p->loops->buffers[e->number].name);
      print_args(p, e);
      text_add(&p->out, "]");
      print_lanes(p, e);
      break;
    default: {
      static const char *const names[] = {[LOOPS_SPLAT] = "splat", [LOOPS_RAMP] = "ramp", [LOOPS_FMA] = "fma", [LOOPS_SCALE] = "scale", [LOOPS_DOT] = "dot", [LOOPS_INTERLEAVE] = "interleave"};
      const char *name = e->kind == LOOPS_APPLY || e->kind == LOOPS_CALL || e->kind == LOOPS_REDUCE ? op_table[e->op].name : names[e->kind];
      text_add(&p->out, "%s%s(", e->kind == LOOPS_CALL ? "call " : e->kind == LOOPS_REDUCE ? "reduce " : "", name);
      print_args(p, e);
      text_add(&p->out, ")");
      if (e->kind != LOOPS_FMA && e->kind != LOOPS_SCALE && e->kind != LOOPS_DOT) print_lanes(p, e);
    }
  }
}

static void print_tile(printer *p, const statement *s) {
  if (s->action == TILE_ZERO) text_add(&p->out, "t%u = 0\n", s->tile[0]);
  if (s->action == TILE_DOT) text_add(&p->out, "t%u = t%u * t%u + t%u\n", s->tile[0], s->tile[1], s->tile[2], s->tile[0]);
  if (s->action != TILE_LOAD && s->action != TILE_STORE) return;
  if (s->action == TILE_LOAD) text_add(&p->out, "t%u = ", s->tile[0]);
  text_add(&p->out, "%s[", p->loops->buffers[s->number].name);
  print_expr(p, s->offset);
  text_add(&p->out, "] rows by %lld%s", (long long)s->stride, s->across ? " across" : "");
  text_add(&p->out, s->action == TILE_STORE ? " = t%u\n" : "\n", s->tile[0]);
}

static void print_copy(printer *p, const statement *s) {
  text_add(&p->out, "copy %u to %s[", s->active, p->loops->buffers[s->number].name);
  print_expr(p, s->offset);
  text_add(&p->out, "] from %s[", p->loops->buffers[s->from].name);
  print_expr(p, s->source);
  text_add(&p->out, "]");
  if (s->value) {
    text_add(&p->out, " where ");
    print_expr(p, s->value);
  }
  text_add(&p->out, "\n");
}

static void print_product(printer *p, const statement *s) {
  text_add(&p->out, "t%u..%u += product %s[", s->tile[0], s->tile[0] + s->active - 1, p->loops->buffers[s->number].name);
  print_expr(p, s->offset);
  text_add(&p->out, "]%s %s[", s->across ? " across" : "", p->loops->buffers[s->from].name);
  print_expr(p, s->source);
  text_add(&p->out, "]%s\n", s->across_lanes ? " across" : "");
}

static void print_box(printer *p, const statement *s) {
  text_add(&p->out, "box %u at ", s->from);
  for (uint32_t i = 0; i < p->loops->boxes[s->from].rank; i++) {
    if (i) text_add(&p->out, ", ");
    print_expr(p, s->at[i]);
  }
  text_add(&p->out, " to %s[", p->loops->buffers[s->number].name);
  print_expr(p, s->offset);
  text_add(&p->out, "] for arrival ");
  print_expr(p, s->source);
  text_add(&p->out, "\n");
}

static void print_arrival(printer *p, const statement *s) {
  text_add(&p->out, s->kind == STATEMENT_EXPECT ? "expect %u bytes for arrival " : "arrived ", s->number);
  print_expr(p, s->offset);
  if (s->kind == STATEMENT_ARRIVED) text_add(&p->out, " time "), print_expr(p, s->source);
  text_add(&p->out, "\n");
}

static void print_block(printer *p, const block *b, int depth) {
  for (uint32_t i = 0; i < b->n; i++) {
    const statement *s = b->items[i];
    text_add(&p->out, "%*s", 2 * depth, "");
    switch (s->kind) {
      case STATEMENT_FOR:
        text_add(&p->out, "for r%u = ", s->number);
        print_expr(p, s->begin);
        text_add(&p->out, " to ");
        print_expr(p, s->end);
        text_add(&p->out, " step %lld {\n", (long long)s->step);
        break;
      case STATEMENT_IF:
        text_add(&p->out, "if ");
        print_expr(p, s->value);
        text_add(&p->out, " {\n");
        break;
      case STATEMENT_SET:
        text_add(&p->out, "r%u = ", s->number);
        print_expr(p, s->value);
        text_add(&p->out, "\n");
        break;
      case STATEMENT_TILE: print_tile(p, s); break;
      case STATEMENT_COPY: print_copy(p, s); break;
      case STATEMENT_COMMIT: text_add(&p->out, "commit\n"); break;
      case STATEMENT_WAIT: text_add(&p->out, "wait %u\n", s->number); break;
      case STATEMENT_BARRIER: text_add(&p->out, "barrier\n"); break;
      case STATEMENT_PRODUCT: print_product(p, s); break;
      case STATEMENT_SETTLE: text_add(&p->out, "settle %u\n", s->number); break;
      case STATEMENT_BOX: print_box(p, s); break;
      case STATEMENT_EXPECT:
      case STATEMENT_ARRIVED: print_arrival(p, s); break;
      case STATEMENT_FETCH:
        text_add(&p->out, "fetch %s[", p->loops->buffers[s->number].name);
        print_expr(p, s->offset);
        text_add(&p->out, "]\n");
        break;
      case STATEMENT_STORE:
        text_add(&p->out, "%s[", p->loops->buffers[s->number].name);
        print_expr(p, s->offset);
        text_add(&p->out, "]");
        if (s->active != 1) text_add(&p->out, ":%u", s->active);
        if (s->active != 1 && s->stride != 1) text_add(&p->out, " by %lld", (long long)s->stride);
        text_add(&p->out, s->streams ? " = stream " : " = ");
        print_expr(p, s->value);
        text_add(&p->out, "\n");
        break;
    }
    if (s->kind != STATEMENT_FOR && s->kind != STATEMENT_IF) continue;
    print_block(p, &s->body, depth + 1);
    text_add(&p->out, "%*s}\n", 2 * depth, "");
  }
}

static void print_shape(printer *p, uint32_t number) {
  const loops_box *b = &p->loops->boxes[number];
  text_add(&p->out, "  box %u of %s :", number, p->loops->buffers[b->buffer].name);
  for (uint32_t i = 0; i < b->rank; i++) text_add(&p->out, " %lld of %lld by %lld", (long long)b->size[i], (long long)b->extent[i], (long long)b->stride[i]);
  text_add(&p->out, "\n");
}

char *loops_print(const loops *l, arena *into) {
  printer p = {.out.arena = into, .loops = l};
  text_add(&p.out, "loops %s %lld {\n", l->name, (long long)l->iterations);
  for (uint32_t i = 0; i < l->n_buffers; i++)
    text_add(&p.out, "  %s %s : %s[%lld]%s\n", l->buffers[i].place == PLACE_LOCAL ? "local" : "buffer", l->buffers[i].name,
             dtype_name(l->buffers[i].type), (long long)l->buffers[i].elements, l->buffers[i].written ? " written" : "");
  for (uint32_t i = 0; i < l->n_boxes; i++) print_shape(&p, i);
  if (l->arrivals) text_add(&p.out, "  %u arrivals\n", l->arrivals);
  text_add(&p.out, "  registers");
  for (uint32_t i = 0; i < l->n_registers; i++) {
    text_add(&p.out, " %s", dtype_name(l->registers[i].type));
    if (l->registers[i].lanes != 1) text_add(&p.out, "x%u", l->registers[i].lanes);
  }
  text_add(&p.out, "\n");
  if (l->tile_rows) text_add(&p.out, "  tiles of %u rows, %u pairs\n", l->tile_rows, l->tile_pairs);
  if (l->team) text_add(&p.out, "  team of %u in r%u with %u, %u, %u tiles of %s\n", l->team, l->team_register, l->sum_tiles, l->row_tiles, l->lane_tiles, dtype_name(l->tile_type));
  print_block(&p, &l->body, 1);
  text_add(&p.out, "}\n");
  return text_done(&p.out);
}
