/* minimize: which weights an objective trains, their gradients, and the end of a round, at which all
 * objectives take their gradients at the weights of its start. */
#include "frontend/elaborate.h"

static bool is_trainable(const object *v) {
  if (v->kind == OBJECT_LIST || v->kind == OBJECT_TUPLE) {
    bool all = v->list.n > 0;
    for (uint32_t i = 0; i < v->list.n; i++) all &= is_trainable(&v->list.items[i]);
    return all;
  }
  return (v->kind == OBJECT_MODEL && !v->model->target && !v->model->frozen) || (v->kind == OBJECT_CELL && v->cell->kind == STATE_WEIGHT);
}

static void add_trainable(elaborator *e, objective *o, const object *v) {
  if (v->kind == OBJECT_MODEL) *ARENA_PUSH(e->arena, o->models, o->n_models, o->models_capacity) = v->model;
  else if (v->kind == OBJECT_CELL) *ARENA_PUSH(e->arena, o->weights, o->n_weights, o->weights_capacity) = v->cell;
  else
    for (uint32_t i = 0; i < v->list.n; i++) add_trainable(e, o, &v->list.items[i]);
}

static bool add_wrt(elaborator *e, scope *s, objective *o, const char *name, span where) {
  binding *b = scope_find(s, name);
  if (!b) {
    diagnostic *d = complain(e, DIAG_UNKNOWN_NAME, where, "nothing is called %s here", name);
    help_nearest(e, d, scope_nearest(s, name, e->arena));
    return false;
  }
  object v = binding_value(e, b, where);
  if (is_poison(&v)) return false;
  if (is_trainable(&v)) {
    add_trainable(e, o, &v);
    return true;
  }
  diagnostic *d = complain(e, DIAG_BAD_WRT, where, "wrt names models or weights; %s is %s", name, object_text(&v, e->arena));
  if (v.kind == OBJECT_MODEL && v.model->target) diagnostic_set_help(e->diagnostics, d, "a target is not trained: it follows %s", v.model->follows->name);
  else if (v.kind == OBJECT_MODEL) diagnostic_set_help(e->diagnostics, d, "a frozen model is not trained; model %s = ... from \"file\" is", v.model->name);
  return false;
}

void add_objective(elaborator *e, scope *s, const ast_statement *x) {
  training *t = e->training;
  objective made = {.where = x->value->where, .text = source_text(e, x->value->where)};
  made.loss = evaluate(e, s, x->value);
  for (uint32_t i = 0; i < x->pattern.n; i++)
    if (!add_wrt(e, s, &made, x->pattern.names[i], x->pattern.where[i])) t->failed = true;
  if (!is_poison(&made.loss)) made.loss = to_tensor(e, made.loss, e->real, "minimize", x->value->where);
  if (is_poison(&made.loss)) {
    t->failed = true;
    return;
  }
  tensor_type type = logical_type(&made.loss);
  if (type.rank != 0 || !dtype_is_real(type.dtype)) {
    diagnostic *d = complain(e, DIAG_LOSS_NOT_SCALAR, x->value->where, "minimize wants one real number, got %s", object_text(&made.loss, e->arena));
    note_object(e, d, &made.loss);
    diagnostic_set_help(e->diagnostics, d, "mean(...) makes one number of a tensor");
    t->failed = true;
    return;
  }
  *ARENA_PUSH(e->arena, t->round, t->n_round, t->round_capacity) = made;
  t->n_objectives++;
}

/* -- the end of a round ------------------------------------------------------------------------------------ */

/* The weights of one objective in the order of their declaration. */
typedef struct {
  cell **cells;
  value *at, *gradients;
  uint32_t n;
} trained;

static bool is_selected(const objective *o, const cell *c) {
  if (o->n_models + o->n_weights == 0) return true;
  for (uint32_t i = 0; i < o->n_models; i++)
    if (c->model == o->models[i]) return true;
  for (uint32_t i = 0; i < o->n_weights; i++)
    if (c == o->weights[i]) return true;
  return false;
}

static bool trains_model(const trained *t, const model *m) {
  for (uint32_t i = 0; i < t->n; i++)
    if (t->cells[i]->model == m) return true;
  return false;
}

/* Where the ways from the loss back to weights are cut: at most three places. */
static void note_cuts(elaborator *e, diagnostic *to, value loss) {
  enum { MOST = 3 };
  const graph *g = e->graph;
  bool *reached = ARENA_ARRAY(e->arena, bool, g->n_values + 1);
  uint32_t noted = 0;
  reached[loss] = true;
  for (uint32_t i = g->values[loss].node + 1; i-- > 0;) {
    const node *n = &g->nodes[i];
    if (!reached[n->first_result]) continue;
    for (uint32_t k = 0; n->op != OP_STOP_GRAD && k < n->n_operands; k++) reached[n->operands[k]] = true;
    if (n->op == OP_STOP_GRAD && noted++ < MOST) diagnostic_add_note(e->diagnostics, to, n->where, "stop_grad ends the way of the gradient here");
  }
}

static bool select_weights(elaborator *e, const objective *o, trained *out) {
  arena *scratch = arena_new();
  if (!scratch) return false;
  const bool *reached = graph_differentiable_to(e->graph, o->loss.tensor.value, scratch);
  *out = (trained){ARENA_ARRAY(e->arena, cell *, e->n_cells + 1), ARENA_ARRAY(e->arena, value, e->n_cells + 1), NULL, 0};
  for (uint32_t i = 0; i < e->n_cells; i++) {
    cell *c = e->cells[i];
    if (c->kind != STATE_WEIGHT || c->graph != e->graph || !reached[c->now] || !is_selected(o, c)) continue;
    out->cells[out->n] = c;
    out->at[out->n++] = c->now;
  }
  arena_free(scratch);
  for (uint32_t i = 0; i < o->n_models; i++)
    if (!trains_model(out, o->models[i])) {
      diagnostic *d = complain(e, DIAG_NO_GRADIENT, o->where, "the model %s gets no gradient from this objective", o->models[i]->name);
      note_cuts(e, d, o->loss.tensor.value);
      diagnostic_set_help(e->diagnostics, d, "leave it out of wrt, or use its output in the loss without stop_grad");
      return false;
    }
  if (out->n) return true;
  diagnostic *d = complain(e, DIAG_NO_GRADIENT, o->where, "no weight that can be trained reaches this loss");
  note_cuts(e, d, o->loss.tensor.value);
  diagnostic_set_help(e->diagnostics, d, "stop_grad, targets, comparisons and integers end the way of a gradient");
  return false;
}

/* Each weight belongs to one objective of the round. */
static bool check_owners(elaborator *e, const objective *o, const trained *all, uint32_t n) {
  for (uint32_t i = 1; i < n; i++)
    for (uint32_t k = 0; k < i; k++)
      for (uint32_t x = 0; x < all[i].n; x++)
        for (uint32_t y = 0; y < all[k].n; y++) {
          if (all[i].cells[x] != all[k].cells[y]) continue;
          diagnostic *d = complain(e, DIAG_TWO_OBJECTIVES, o[i].where, "the weight %s is trained by two objectives of one round", all[i].cells[x]->name);
          diagnostic_add_note(e->diagnostics, d, o[k].where, "the other objective");
          diagnostic_set_help(e->diagnostics, d, "add the two losses, or say with wrt which models each one trains");
          return false;
        }
  return true;
}

static value add_values(elaborator *e, value sum, value more, span where) {
  return sum ? graph_binary(e->graph, OP_ADD, sum, more, where) : more;
}

/* Sum of the squares of a round's gradients: its root is what clip_norm limits, and it is finite when all
 * of them are (a gradient beyond 1e19 in f32 counts as infinite). */
static value squares(elaborator *e, const trained *all, uint32_t n, span where) {
  value sum = 0;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < all[i].n; k++) {
      value g = all[i].gradients[k], square = graph_binary(e->graph, OP_MUL, g, g, where);
      int64_t axes[MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
      uint32_t rank = graph_type(e->graph, g)->rank;
      if (rank) square = graph_reduce(e->graph, OP_REDUCE_SUM, square, axes, rank, where);
      sum = add_values(e, sum, graph_cast(e->graph, square, e->real, where), where);
    }
  return sum;
}

/* min(1, limit / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ has it; 0 without a limit. */
static value clip_factor(elaborator *e, value sum, span where) {
  object limit = e->training->clip_norm;
  if (limit.kind == OBJECT_NONE || is_poison(&limit)) return 0;
  object norm = tensor_object(e, graph_unary(e->graph, OP_SQRT, sum, where), false, where);
  norm = apply_binary(e, AST_ADD, norm, object_real(1e-6, where), where);
  object ratio = apply_binary(e, AST_DIV, limit, norm, where);
  object one = object_real(1, where);
  object factor = elementwise(e, OP_MIN, (object[]){one, ratio}, 2, true, "clip_norm", where);
  return is_poison(&factor) ? 0 : factor.tensor.value;
}

/* accumulate: adds the round's gradients to those of the batches before; where the step ends with an update, their means take
 * the place of the gradients. */
static void accumulate(elaborator *e, const trained *all, uint32_t n, span where) {
  const training *t = e->training;
  if (t->accumulate < 2) return;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < all[i].n; k++) {
      const char *name = arena_printf(e->arena, "accumulated/%s", all[i].cells[k]->name);
      tensor_type type = all[i].cells[k]->type;
      cell *c = find_cell(e, name);
      if (!c) c = add_cell(e, name, type, STATE_OPTIMIZER, graph_number(e->init, type, 0, where), where);
      value sum = graph_binary(e->graph, OP_ADD, cell_now(e, c), all[i].gradients[k], where);
      c->now = t->updates ? graph_number(e->graph, type, 0, where) : sum;
      if (t->updates) all[i].gradients[k] = graph_binary(e->graph, OP_MUL, sum, graph_number(e->graph, type, 1.0 / (double)t->accumulate, where), where);
    }
}

static void finish_objectives(elaborator *e, const objective *o, uint32_t n, span where) {
  trained *all = ARENA_ARRAY(e->arena, trained, n);
  training *t = e->training;
  for (uint32_t i = 0; i < n; i++)
    if (!select_weights(e, &o[i], &all[i])) t->failed = true;
  if (t->failed || !check_owners(e, o, all, n)) {
    t->failed = true;
    return;
  }
  for (uint32_t i = 0; i < n; i++) {
    span user = user_place(e, o[i].where);
    value first = graph_grad(e->graph, o[i].loss.tensor.value, all[i].at, all[i].n, user);
    all[i].gradients = ARENA_ARRAY(e->arena, value, all[i].n);
    for (uint32_t k = 0; k < all[i].n; k++) all[i].gradients[k] = first + k;
    *ARENA_PUSH(e->arena, e->losses, e->n_losses, e->losses_capacity) =
        (trained_loss){o[i].loss.tensor.value, user, o[i].n_models + o[i].n_weights > 0, all[i].cells, all[i].at, all[i].n};
    t->total = add_values(e, t->total, graph_cast(e->graph, o[i].loss.tensor.value, e->real, user), user);
  }
  accumulate(e, all, n, where);
  value sum = squares(e, all, n, where), factor = clip_factor(e, sum, where);
  t->squares = add_values(e, t->squares, sum, where);
  if (!t->updates) return;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < all[i].n; k++) {
      value g = all[i].gradients[k];
      const tensor_type *type = graph_type(e->graph, g);
      if (factor) {
        value limited = graph_broadcast(e->graph, graph_cast(e->graph, factor, type->dtype, where), *type, NULL, where);
        g = graph_binary(e->graph, OP_MUL, g, limited, where);
      }
      update_weight(e, all[i].cells[k], g);
    }
}

void finish_round(elaborator *e, span where) {
  training *t = e->training;
  for (uint32_t i = 0; t->judged && i < t->n_round; i++) {
    span user = user_place(e, t->round[i].where);
    t->total = add_values(e, t->total, graph_cast(e->graph, t->round[i].loss.tensor.value, e->real, user), user);
  }
  if (t->n_round && !t->failed && !t->judged) {
    if (t->optimizer.kind == OBJECT_FUNCTION) finish_objectives(e, t->round, t->n_round, t->optimizer.where);
    else if (!is_poison(&t->optimizer)) {
      diagnostic *d = complain(e, DIAG_MISSING_SETTING, t->train->name_where, "train %s has no optimizer, and its pretext has a minimize", t->train->name);
      diagnostic_set_help(e->diagnostics, d, "add optimizer: adam(lr: 1e-3)");
      t->failed = true;
    }
  }
  (void)where;
  t->round = NULL;
  t->n_round = t->round_capacity = 0;
}
