/* `train` and its pretext: the settings, the step graph, and what a step gives back. */
#include "frontend/builtins.h"

/* -- settings ------------------------------------------------------------------------------------------------- */

static const char *const setting_names[] = {"data", "batch", "epochs", "steps", "optimizer", "clip_norm", "accumulate", "stop", "precision", NULL};

static const ast_statement *find_setting(const ast_declaration *train, const char *name) {
  for (uint32_t i = 0; i < train->block->n; i++) {
    const ast_statement *x = train->block->items[i];
    if (x->kind == AST_FIELD_STATEMENT && !strcmp(x->name, name)) return x;
  }
  return NULL;
}

static void check_settings(elaborator *e, const ast_declaration *train) {
  for (uint32_t i = 0; i < train->block->n; i++) {
    const ast_statement *x = train->block->items[i];
    if (x->kind != AST_FIELD_STATEMENT) continue;
    const char *const *name = setting_names;
    while (*name && strcmp(*name, x->name)) name++;
    if (!*name) {
      diagnostic *d = complain(e, DIAG_UNKNOWN_SETTING, x->name_where, "train has no setting %s; it has data, batch, epochs or steps, optimizer, clip_norm, accumulate, stop, precision and tune blocks",
                               x->name);
      if (!strcmp(x->name, "lr") || !strcmp(x->name, "decay") || !strcmp(x->name, "momentum"))
        diagnostic_set_help(e->diagnostics, d, "%s is an argument of the optimizer: optimizer: adamw(lr: 1e-3, decay: 0.05)", x->name);
      else help_nearest(e, d, nearest_text(x->name, setting_names));
    } else if (find_setting(train, x->name) != x) {
      complain(e, DIAG_BAD_SETTING, x->name_where, "%s is set twice", x->name);
    }
  }
}

static void miss_setting(elaborator *e, const ast_declaration *train, const char *name, const char *example) {
  diagnostic *d = complain(e, DIAG_MISSING_SETTING, train->name_where, "train %s does not say %s", train->name, name);
  diagnostic_set_help(e->diagnostics, d, "add %s", example);
}

/* A positive integer; 0 after an error, or when it is not set. */
static int64_t count_setting(elaborator *e, const ast_declaration *train, const char *name) {
  const ast_statement *x = find_setting(train, name);
  if (!x) return 0;
  object o = evaluate(e, e->program, x->value);
  int64_t n = 0;
  if (is_poison(&o) || !want_integer(e, &o, name, x->value->where, &n)) return 0;
  if (n > 0) return n;
  complain(e, DIAG_BAD_SETTING, x->value->where, "%s is at least 1, got %lld", name, (long long)n);
  return 0;
}

/* A pretext without parameters may do without data: its steps are all there is, and one epoch. */
static bool needs_data(const ast_declaration *train, const ast_declaration *pretext) {
  return pretext->inner.n || find_setting(train, "data") || find_setting(train, "batch") || find_setting(train, "epochs");
}

static bool read_feed(elaborator *e, const ast_declaration *train, data_feed *feed) {
  const ast_statement *x = find_setting(train, "data");
  if (!x) miss_setting(e, train, "its data", "data: cifar.train");
  feed->batch = count_setting(e, train, "batch");
  if (!find_setting(train, "batch")) miss_setting(e, train, "how many samples make a batch", "batch: 256");
  object o = x ? evaluate(e, e->program, x->value) : object_poison();
  if (is_poison(&o) || !feed->batch) return false;
  if (o.kind != OBJECT_DATA) {
    wrong_kind(e, x->value->where, "data", "a data set", &o);
    return false;
  }
  e->train_data = object_make(OBJECT_DATA, x->value->where);
  e->train_data.data.source = o.data.source;
  e->train_data.data.split = "";
  o = named_split(&o, true);
  feed->source = o.data.source;
  feed->use = data_use(e, &o);
  int64_t count = data_count(feed->source, o.data.split);
  e->experiment->steps_per_epoch = count / feed->batch;
  if (count >= feed->batch) return true;
  diagnostic *d = complain(e, DIAG_BATCH_TOO_LARGE, find_setting(train, "batch")->value->where, "a batch of %lld is larger than the %lld samples of %s",
                           (long long)feed->batch, (long long)count, source_text(e, x->value->where));
  diagnostic_add_note(e->diagnostics, d, feed->source->where, "the data set is declared here");
  return false;
}

static void read_length(elaborator *e, const ast_declaration *train) {
  experiment *x = e->experiment;
  x->epochs = count_setting(e, train, "epochs");
  x->steps = count_setting(e, train, "steps");
  if (find_setting(train, "epochs") && find_setting(train, "steps"))
    complain(e, DIAG_BAD_SETTING, find_setting(train, "steps")->where, "epochs and steps both say how long to train; keep one");
  else if (!find_setting(train, "epochs") && !find_setting(train, "steps")) miss_setting(e, train, "how long it lasts", "epochs: 10 or steps: 1000");
  if (x->train_data == NO_DATA) x->steps_per_epoch = x->steps;
  if (!x->steps_per_epoch) return; /* reported with the data */
  if (x->epochs) x->steps = x->epochs * x->steps_per_epoch;
  else if (x->steps) x->epochs = (x->steps + x->steps_per_epoch - 1) / x->steps_per_epoch;
  if (x->steps == 0) x->steps = x->epochs = 1; /* after an error: the pretext may have more of them */
}

static void set_clock(elaborator *e) {
  const struct {
    const char *name;
    int64_t n;
  } known[] = {{"steps", e->experiment->steps}, {"epochs", e->experiment->epochs}, {"steps_per_epoch", e->experiment->steps_per_epoch}};
  for (uint32_t i = 0; i < sizeof known / sizeof *known; i++) scope_bind(e->library, known[i].name, object_integer(known[i].n, (span){0}), e->arena);
}

static object read_optimizer(elaborator *e, const ast_declaration *train) {
  const ast_statement *x = find_setting(train, "optimizer");
  if (!x) return object_make(OBJECT_NONE, train->where);
  object o = evaluate(e, e->program, x->value);
  if (is_poison(&o)) return o;
  o.where = x->value->where;
  if (o.kind == OBJECT_FUNCTION && o.function->kind == FUNCTION_OPTIMIZER && o.function->configured && o.function->inner->n == 3) return o;
  diagnostic *d = complain(e, DIAG_NOT_AN_OPTIMIZER, x->value->where, "optimizer: takes a configured optimizer, got %s", object_text(&o, e->arena));
  diagnostic_set_help(e->diagnostics, d, "write optimizer: adam(lr: 1e-3); one of your own is optimizer name(lr)(w, g, t) { ... }");
  return object_poison();
}

static object read_clip(elaborator *e, const ast_declaration *train) {
  const ast_statement *x = find_setting(train, "clip_norm");
  return x ? evaluate(e, e->program, x->value) : object_make(OBJECT_NONE, train->where);
}

/* precision: "bf16". */
static product_precision read_precision(elaborator *e, const ast_declaration *train) {
  const ast_statement *x = find_setting(train, "precision");
  static const char *const names[] = {[PRODUCTS_EXACT] = "f32", [PRODUCTS_BF16] = "bf16", [PRODUCTS_TF32] = "tf32"};
  if (!x) return PRODUCTS_EXACT;
  object o = evaluate(e, e->program, x->value);
  if (is_poison(&o)) return PRODUCTS_EXACT;
  for (int i = 0; o.kind == OBJECT_STRING && i < (int)(sizeof names / sizeof *names); i++)
    if (!strcmp(o.text, names[i])) return (product_precision)i;
  complain(e, DIAG_BAD_SETTING, x->value->where, "precision is \"f32\", \"bf16\" or \"tf32\", got %s", object_text(&o, e->arena));
  return PRODUCTS_EXACT;
}

/* Whether this step ends with an update: every step, or each n-th with accumulate: n. */
static bool is_updating(elaborator *e, int64_t accumulate, span where) {
  tensor_type type = scalar_type(DTYPE_I32);
  bool updates = true;
  if (accumulate < 2) return true;
  value next = graph_binary(e->graph, OP_ADD, graph_input(e, "clock", "step", type, where), graph_number(e->graph, type, 1, where), where);
  value rest = graph_binary(e->graph, OP_MOD, next, graph_number(e->graph, type, (double)accumulate, where), where);
  object due = tensor_object(e, graph_binary(e->graph, OP_EQ, rest, graph_number(e->graph, type, 0, where), where), false, where);
  return decide_by_clock(e, &due, &updates) && updates;
}

/* -- the pretext ------------------------------------------------------------------------------------------------ */

static object field_parameter(elaborator *e, const ast_parameter *p, const data_source *source) {
  bool all = !strcmp(p->name, source->name); /* the data set by its name: a batch with all fields */
  if (all || find_data_field(source, p->name)) {
    object o = object_make(OBJECT_FIELD, p->where);
    o.field = all ? NULL : p->name;
    return o;
  }
  const char *fields = "";
  for (uint32_t k = 0; k < source->description.n_fields; k++)
    fields = arena_printf(e->arena, "%s%s%s", fields, k ? ", " : "", source->description.fields[k].name);
  diagnostic *d = complain(e, DIAG_UNKNOWN_FIELD, p->where, "the data set %s has no field %s; it has %s", source->name, p->name, fields);
  diagnostic_add_note(e->diagnostics, d, source->where, "the data set is declared here");
  return object_poison();
}

/* Parameters bind to the fields of the data by name. */
static void bind_parameters(elaborator *e, scope *s, const ast_declaration *pretext, const data_source *source) {
  for (uint32_t i = 0; i < pretext->inner.n; i++)
    scope_bind(s, pretext->inner.items[i].name, field_parameter(e, &pretext->inner.items[i], source), e->arena);
}

object builtin_overflow(elaborator *e, const function *self, object *arguments, span where) {
  training *t = e->training;
  object none = object_make(OBJECT_NONE, where), o = to_tensor(e, arguments[0], e->real, self->name, where);
  if (is_poison(&o) || !t || e->graph != e->step) return none;
  span user = user_place(e, where);
  value count = graph_cast(e->graph, o.tensor.value, e->real, user);
  t->overflow = t->overflow ? graph_binary(e->graph, OP_ADD, t->overflow, count, user) : count;
  return none;
}

/* One number, or each of a list under its index: name[0], name[1]. */
static void report_object(elaborator *e, const char *name, object o, const ast_item *item) {
  static const char *const own[] = {"loss", "finite", "grad_norm", "stop", "overflow"};
  training *t = e->training;
  if (o.kind == OBJECT_LIST || o.kind == OBJECT_TUPLE) {
    for (uint32_t i = 0; i < o.list.n; i++) report_object(e, arena_printf(e->arena, "%s[%u]", name, i), o.list.items[i], item);
    return;
  }
  if (!is_poison(&o)) o = to_tensor(e, o, e->real, "report", item->value->where);
  if (is_poison(&o)) return;
  o = cast_tensor(e, o, e->real, item->value->where);
  if (logical_type(&o).rank) {
    diagnostic *d = complain(e, DIAG_LOSS_NOT_SCALAR, item->value->where, "report wants one number, or a list of them, got %s", object_text(&o, e->arena));
    diagnostic_set_help(e->diagnostics, d, "mean(...) makes one number of a tensor");
    return;
  }
  bool taken = false;
  for (uint32_t k = 0; k < sizeof own / sizeof *own; k++) taken |= !strcmp(own[k], name);
  for (uint32_t k = 0; k < t->n_metrics; k++) taken |= !strcmp(t->metrics[k].name, name);
  if (taken) complain(e, DIAG_DUPLICATE_NAME, item->where, "a metric %s is there already", name);
  else *ARENA_PUSH(e->arena, t->metrics, t->n_metrics, t->metrics_capacity) = (struct metric){name, o.tensor.value, user_place(e, item->where)};
}

void add_report(elaborator *e, scope *s, const ast_statement *x) {
  for (uint32_t i = 0; i < x->fields.n; i++) {
    const ast_item *item = &x->fields.items[i];
    report_object(e, item->name ? item->name : source_text(e, item->value->where), evaluate(e, s, item->value), item);
  }
}

/* -- what a step gives back ---------------------------------------------------------------------------------------- */

static void add_metrics(elaborator *e, const training *t, span where) {
  if (t->total) graph_add_result(e->graph, "metric", "loss", t->total, where);
  if (t->overflow) graph_add_result(e->graph, "metric", "overflow", t->overflow, where);
  for (uint32_t i = 0; i < t->n_metrics; i++) graph_add_result(e->graph, "metric", t->metrics[i].name, t->metrics[i].value, t->metrics[i].where);
}

/* stop: a truth over what the step reports. */
static void add_stop(elaborator *e) {
  training *t = e->training;
  const ast_statement *x = find_setting(t->train, "stop");
  if (!x) return;
  scope *s = scope_new(e->program, true, e->arena);
  if (t->total) scope_bind(s, "loss", tensor_object(e, t->total, false, x->where), e->arena);
  for (uint32_t i = 0; i < t->n_metrics; i++) scope_bind(s, t->metrics[i].name, tensor_object(e, t->metrics[i].value, false, t->metrics[i].where), e->arena);
  object o = evaluate(e, s, x->value);
  if (is_poison(&o)) return;
  if (o.kind != OBJECT_TENSOR || logical_type(&o).rank || logical_type(&o).dtype != DTYPE_BOOL) {
    diagnostic *d = complain(e, DIAG_WRONG_KIND, x->value->where, "stop wants a condition over what the pretext reports, got %s", object_text(&o, e->arena));
    diagnostic_set_help(e->diagnostics, d, "write report shift = ... in the pretext, and stop: shift < 1e-5");
    return;
  }
  graph_add_result(e->graph, "metric", "stop", o.tensor.value, x->where);
}

/* New states, kept as they were when something was not finite, and the metrics. */
static void add_results(elaborator *e, span where) {
  training *t = e->training;
  graph *g = e->graph;
  value finite = 0;
  add_metrics(e, t, where);
  if (t->total) {
    finite = graph_binary(g, OP_AND, graph_unary(g, OP_IS_FINITE, t->total, where), graph_unary(g, OP_IS_FINITE, t->squares, where), where);
    graph_add_result(g, "metric", "finite", finite, where);
    graph_add_result(g, "metric", "grad_norm", graph_unary(g, OP_SQRT, t->squares, where), where);
  }
  for (uint32_t i = 0; i < e->n_cells; i++) {
    cell *c = e->cells[i];
    if (c->graph != g) continue;
    value next = c->next ? c->next : c->now;
    if (next == c->start) continue;
    if (finite) {
      tensor_type all = make_type(DTYPE_BOOL, c->type.rank, c->type.dim);
      next = graph_select(g, graph_broadcast(g, finite, all, NULL, where), next, c->start, where);
    }
    graph_add_result(g, "state", c->name, next, c->where);
  }
}

static void run_pretext(elaborator *e, const ast_declaration *pretext, const data_feed *feed) {
  training *t = e->training;
  scope *s = scope_new(e->program, true, e->arena);
  uint32_t errors = e->diagnostics->errors;
  if (feed->source) bind_parameters(e, s, pretext, feed->source);
  e->frame->pretext = true;
  run_block(e, s, pretext->block);
  if (e->diagnostics->errors > errors) return; /* rounds of half a pretext would only repeat it */
  finish_round(e, pretext->where);
  if (t->failed) return;
  bool writes = false;
  for (uint32_t i = 0; i < e->n_cells; i++) writes |= e->cells[i]->graph == e->graph && e->cells[i]->next;
  if (!t->n_objectives && !writes && !e->path.n) {
    diagnostic *d = complain(e, DIAG_NO_OBJECTIVE, pretext->name_where, "the pretext %s minimizes nothing and writes no state", pretext->name);
    diagnostic_set_help(e->diagnostics, d, "add minimize with a loss to its body");
    return;
  }
  if (t->updates) move_targets(e);
  add_results(e, pretext->name_where);
  add_stop(e);
}

/* The inputs of all phases, each once. */
static void join_inputs(elaborator *e, const data_feed *feed) {
  experiment *x = e->experiment;
  for (uint32_t i = 0; i < feed->n_inputs; i++) {
    uint32_t k = 0;
    while (k < x->n_inputs && strcmp(x->inputs[k].name, feed->inputs[i].name)) k++;
    if (k == x->n_inputs) *ARENA_PUSH(e->arena, x->inputs, x->n_inputs, e->phase_inputs_capacity) = feed->inputs[i];
  }
}

/* One way through the pretext, with the clock answering as it does in the phase at hand. */
static bool lower_phase(elaborator *e, const ast_declaration *train, const ast_declaration *pretext, data_feed feed, int64_t accumulate) {
  training t = {.train = train, .accumulate = accumulate};
  frame *f = enter_frame(e, pretext->name, (span){0});
  if (!f) return false;
  f->site = pretext->name; /* draws do not depend on how many frames there were before */
  declare_all(e);
  e->path.open = true;
  t.optimizer = read_optimizer(e, train);
  t.clip_norm = read_clip(e, train);
  t.updates = is_updating(e, accumulate, train->where);
  e->training = &t;
  e->feed = feed.source ? &feed : NULL;
  collect_tunes(e, e->program, train->block);
  run_pretext(e, pretext, &feed);
  join_inputs(e, &feed);
  e->path.open = false;
  bool more = !e->diagnostics->errors && next_phase(e, pretext->name_where);
  if (!more && !t.failed && t.optimizer.kind == OBJECT_FUNCTION) check_tunes(e); /* by now every weight is known */
  e->training = NULL;
  e->feed = NULL;
  leave_frame(e);
  return more;
}

bool lower_judged_pretext(elaborator *e, const ast_declaration *pretext) {
  training t = {.judged = true};
  scope *s = scope_new(e->program, true, e->arena);
  uint32_t errors = e->diagnostics->errors;
  e->training = &t;
  if (e->feed) bind_parameters(e, s, pretext, e->feed->source);
  e->frame->pretext = true;
  run_block(e, s, pretext->block);
  if (e->diagnostics->errors == errors) finish_round(e, pretext->where);
  e->training = NULL;
  if (e->diagnostics->errors > errors || t.failed) return false;
  if (!t.total && !t.n_metrics) return complain(e, DIAG_NO_OBJECTIVE, pretext->name_where, "the pretext %s minimizes nothing and reports nothing", pretext->name), false;
  add_metrics(e, &t, pretext->name_where);
  return true;
}

void lower_training(elaborator *e, const ast_declaration *train, const ast_declaration *pretext) {
  experiment *x = e->experiment;
  data_feed feed = {.batch = 1};
  bool fed = needs_data(train, pretext);
  x->train_data = NO_DATA;
  begin_phase(e);
  check_settings(e, train);
  if (fed && !read_feed(e, train, &feed)) {
    x->train_data = 0;
    read_length(e, train);
    return;
  }
  if (fed) x->train_data = feed.use;
  read_length(e, train);
  set_clock(e);
  x->pretext = pretext->name;
  x->products = read_precision(e, train);
  x->batch = feed.batch;
  int64_t accumulate = count_setting(e, train, "accumulate");
  struct {
    graph *step;
    trained_loss *losses;
    uint32_t n;
  } fullest = {.step = NULL};
  bool more = true;
  while (more) {
    more = lower_phase(e, train, pretext, feed, accumulate);
    if (!fullest.step || e->n_losses > fullest.n) fullest.step = e->step, fullest.losses = e->losses, fullest.n = e->n_losses;
    if (more) begin_phase(e);
  }
  e->step = fullest.step;
  e->losses = fullest.losses;
  e->n_losses = fullest.n;
  x->step = x->n_phases ? x->phases[0].graph : e->step;
}
