/* The elaborator: what the files that run a program over its syntax tree share. Each file has one subject;
 * the sections below are named after them. */
#ifndef SSLC_FRONTEND_ELABORATE_H
#define SSLC_FRONTEND_ELABORATE_H

#include "frontend/objects.h"

typedef struct elaborator elaborator;
typedef struct data_source data_source;

/* How often each name was used in a frame: the ordinals of paths. */
typedef struct {
  struct {
    const char *name;
    uint32_t count;
  } *items;
  uint32_t n, capacity;
} ordinals;

/* One call in progress. */
typedef struct frame {
  struct frame *caller;
  const char *name;    /* of the function */
  span user;           /* the innermost place of the program's own files on the way here */
  const char *site;    /* path of names and ordinals to here: where draws get their key from */
  const char *weights; /* the same within a model, naming weights; NULL outside of models */
  ordinals sites, layers;
  model *model;
  object input;        /* of an encoder: its first argument */
  const char *named;   /* the `let` at hand: what a weight made for it is called */
  int64_t batch;       /* samples, inside of an augmentation; else 0 */
  bool training;       /* batch norm uses and updates statistics of the batch */
  bool dropping;       /* dropout and drop-path are on */
  cell *updates;       /* of an optimizer: the weight that it updates */
  const weight_values *substitute; /* the model is called with these in place of its weights */
  bool pretext;
} frame;

/* Where the batches of the graph at hand come from, and the inputs that were asked for so far. */
typedef struct {
  data_source *source;
  uint32_t use; /* in experiment.data */
  int64_t batch;
  experiment_input *inputs;
  value *values; /* per input: what the program sees of it, the same each time, so that grad finds it in a loss */
  uint32_t n_inputs, capacity, values_capacity;
} data_feed;

typedef struct {
  object loss;
  span where;
  const char *text;
  model **models; /* of `wrt`, with `weights`; both empty for all that it reaches */
  cell **weights;
  uint32_t n_models, n_weights, models_capacity, weights_capacity;
} objective;

/* What a pretext has asked for so far. */
typedef struct {
  objective *round; /* of the round that is open */
  uint32_t n_round, round_capacity;
  uint32_t n_objectives;   /* in all rounds */
  value total;             /* sum of all losses */
  value squares;           /* sum of the squares of all gradients: finite while they are */
  object optimizer;        /* a configured one */
  const ast_declaration *train;
  value overflow;          /* how many things bounds have cut off; 0: nothing counts them */
  object clip_norm;        /* number, tensor, or none */
  int64_t accumulate;      /* batches whose gradients make one update */
  bool updates;            /* this step ends with one */
  struct tune *tunes;
  uint32_t n_tunes, tunes_capacity;
  struct metric *metrics;
  uint32_t n_metrics, metrics_capacity;
  bool judged;             /* losses are added up and nothing is updated */
  bool failed;             /* a round could not be finished; do not repeat its errors */
} training;

/* One call of a model: where an encoder ends and the loss begins. */
typedef struct {
  model *model;
  const graph *graph;
  span where;
  value *inputs, *outputs; /* the tensors among the arguments and in the result */
  uint32_t n_inputs, n_outputs;
  span input_where;               /* where the first input was made */
  uint32_t first_node, end_node;  /* the nodes that the call made */
} model_call;

/* An objective that was minimized, of any round of the phase at hand. */
typedef struct {
  value loss;
  span where;
  bool named; /* its weights, by wrt */
  cell **cells; /* what it trains, and their values in its round */
  value *at;
  uint32_t n;
} trained_loss;

struct metric {
  const char *name;
  value value;
  span where;
};

struct data_source {
  const char *name;
  span where;
  data_request request; /* split "" */
  data_description description;
};

/* What the clock was asked on the way through the pretext, and what it answered. */
typedef struct {
  clock_condition *decided;
  uint32_t n, at, decided_capacity; /* at: how many were asked so far, this time */
  bool *has_other; /* per decision: the other answer is still to be followed */
  uint32_t n_has_other, has_other_capacity;
  bool open; /* the clock may be asked here */
} phase_path;

/* State that the body of a loop reads or writes: a carry. */
typedef struct {
  cell *cell;
  value first, now; /* in the graph around; in the region */
} region_cell;

/* A loop whose body is being elaborated. */
typedef struct loop_region {
  struct loop_region *around; /* NULL: none */
  graph *graph, *outer;       /* of the body; of what is around */
  int64_t times;
  bool reverse;
  uint32_t n_carries, n_slices; /* of the program; those of cells come behind */
  struct {
    value outside, inside;
  } *captures; /* in the order of the invariants */
  uint32_t n_captures, captures_capacity;
  region_cell *cells;
  uint32_t n_cells, cells_capacity;
  value index; /* 0: nobody asked */
} loop_region;

/* Which graph is being built. */
typedef struct {
  graph *graph;
  loop_region *region;
} place_in_graphs;

struct elaborator {
  arena *arena;
  diagnostics *diagnostics;
  const lower_options *options;
  experiment *experiment;
  dtype real;
  graph *graph; /* the one that is being built: `init`, `step`, that of an eval, or the body of a loop in one of these */
  loop_region *region; /* of that loop, or NULL */
  graph *init, *step; /* step: of the phase at hand */
  phase_path path;
  uint32_t phases_capacity, phase_inputs_capacity;
  frame *frame;
  scope *library, *program;
  uint32_t main_file, first_library_file, last_library_file;
  struct {
    const graph *graph;
    const char *name;
    value value;
  } *inputs; /* parameters that are no states: data, clock, seed */
  uint32_t n_inputs, inputs_capacity;
  cell **cells;
  uint32_t n_cells, cells_capacity;
  model **models;
  uint32_t n_models, models_capacity;
  data_source **data;
  uint32_t n_data, data_capacity;
  uint32_t data_uses_capacity;
  const ast_declaration *const *pretexts;
  uint32_t n_pretexts;
  uint32_t evals_capacity; /* of experiment.evals */
  weights_file **files;
  uint32_t n_files, files_capacity, loads_capacity; /* loads: of experiment.loads */
  object train_data;  /* what `train` names; or none */
  model_call *calls;
  uint32_t n_calls, calls_capacity;
  trained_loss *losses; /* in the end, with `step`: of the phase that has most of them, which warnings look at */
  uint32_t n_losses, losses_capacity;
  training *training; /* while a pretext runs */
  data_feed *feed;
  uint32_t depth;
  int64_t iterations;
  bool stopped; /* a limit was passed: everything is poison from here on */
};

enum { DEEPEST_CALL = 200, MOST_ITERATIONS = 1000000, MOST_NODES = 2000000 };

/* -- complain.c: errors with their places -------------------------------------------------------------------- */

bool in_library(const elaborator *e, span where);
/* The place that a user sees for something done at `where`: that of the call, for what the library does. */
span user_place(const elaborator *e, span where);
diagnostic *complain(elaborator *e, diagnostic_code code, span where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* complain, when there is nothing to add; gives poison. */
object refuse(elaborator *e, diagnostic_code code, span where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void note_object(elaborator *e, diagnostic *to, const object *o);
void help_nearest(elaborator *e, diagnostic *to, const char *nearest);
/* What an unknown name, or an unknown method of a tensor, is here; NULL when nothing is known of it. */
const char *word_help(const char *name);
const char *method_help(elaborator *e, const char *name);
/* "`what` wants `wanted`, got ...", with a note on where it was made. */
object wrong_kind(elaborator *e, span where, const char *what, const char *wanted, const object *got);
const char *source_text(elaborator *e, span where);

/* -- evaluate.c, statements.c --------------------------------------------------------------------------------- */

object evaluate(elaborator *e, scope *s, const ast_expr *x);
/* A block in a scope of its own; its value is that of its last statement. */
object run_block(elaborator *e, scope *s, const ast_block *block);
/* Binds the names of a pattern to the parts of a value; false after an error. */
bool bind_pattern(elaborator *e, scope *s, const ast_pattern *p, object value, span where);
/* The parts of a list, tuple or tensor axis that a loop runs over; false after an error. */
bool loop_items(elaborator *e, object over, span where, object **items, uint32_t *n);
bool count_iteration(elaborator *e, span where);
/* A truth that is known now; false after an error, with `known` false. */
bool static_condition(elaborator *e, const object *o, span where, bool *known);
/* What a name that stands for state or clock gives when it is read; other objects are themselves. */
object read_object(elaborator *e, object o, span where);
/* The object of a binding of the program, evaluating its declaration when it was not yet. */
object binding_value(elaborator *e, binding *b, span where);

/* -- operators.c ------------------------------------------------------------------------------------------------ */

object apply_unary(elaborator *e, ast_operator op, object x, span where);
object apply_binary(elaborator *e, ast_operator op, object x, object y, span where);

/* -- subscripts.c ----------------------------------------------------------------------------------------------- */

object evaluate_subscript(elaborator *e, scope *s, const ast_expr *x);
object evaluate_field(elaborator *e, scope *s, const ast_expr *x);
/* x[i] along the first axis. */
object tensor_part(elaborator *e, object x, int64_t i, span where);
/* An axis by an i32 tensor, whose axes stand in its place; run-time indices are clamped. */
object gather_axis(elaborator *e, object x, int64_t axis, object index, span where);

/* -- calls.c ----------------------------------------------------------------------------------------------------- */

typedef struct {
  object *values;
  const char **names; /* NULL for positional ones */
  span *where;
  uint32_t n;
} call_arguments;

object evaluate_call(elaborator *e, scope *s, const ast_expr *x);
/* `x |> f`, `x |> f(a)`. */
object evaluate_pipe(elaborator *e, scope *s, const ast_expr *x);
/* f(arguments): configures or applies. */
object call_object(elaborator *e, object f, const call_arguments *given, span where);
/* The same with positional arguments. */
object call_with(elaborator *e, object f, object *values, uint32_t n, span where);
/* A new scope in which the parameters have their arguments; NULL after errors. */
scope *bind_arguments(elaborator *e, const char *name, const ast_parameters *parameters, scope *around, const call_arguments *given, span where);
object run_body(elaborator *e, const function *f, scope *s);
/* The path one level deeper: "f/conv_2". */
const char *next_path(elaborator *e, const char *path, ordinals *counts, const char *name);
/* Enters a call; the caller leaves it with leave_frame. Fields that the callee inherits are filled. NULL
 * when calls are too deep. */
frame *enter_frame(elaborator *e, const char *name, span where);
void leave_frame(elaborator *e);

/* -- tensors.c ----------------------------------------------------------------------------------------------------- */

object tensor_object(elaborator *e, value v, bool batched, span where);
/* A tensor as it is, a number as a scalar, a list as what its parts stack to; else an error that `what`
 * wants a tensor. Numbers become `literal`, or integers for integer numbers when it is DTYPE_COUNT. */
object to_tensor(elaborator *e, object o, dtype literal, const char *what, span where);
/* Type without the hidden batch axis. */
tensor_type logical_type(const object *o);
/* Its type in the graph, when its logical type is `logical`. */
tensor_type graph_side_type(const elaborator *e, tensor_type logical, bool batched);
object cast_tensor(elaborator *e, object o, dtype to, span where);
/* Makes n operands tensors of one element type and one shape. False after an error. */
bool promote(elaborator *e, object *operands, uint32_t n, bool to_real, const char *what, span where);
bool broadcast(elaborator *e, object *operands, uint32_t n, const char *what, span where);
object stretch(elaborator *e, object o, tensor_type logical, bool batched, span where);
/* An elementwise op on promoted and broadcast operands. */
object elementwise(elaborator *e, op_id op, object *operands, uint32_t n, bool to_real, const char *what, span where);
/* The samples of the augmentation at hand. */
int64_t batch_size(const elaborator *e);
object reshape_tensor(elaborator *e, object o, uint32_t rank, const int64_t *dim, span where);
object stack_tensors(elaborator *e, object *items, uint32_t n, const char *what, span where);
object scalar_tensor(elaborator *e, double number, dtype type, span where);

/* -- arguments of builtins (convert.c): false after an error that says what was wanted and found --------------------- */

bool want_integer(elaborator *e, const object *o, const char *what, span where, int64_t *out);
bool want_real(elaborator *e, const object *o, const char *what, span where, double *out);
bool want_truth(elaborator *e, const object *o, const char *what, span where, bool *out);
/* A list or tuple of dimensions. */
bool want_shape(elaborator *e, const object *o, const char *what, span where, tensor_type *out);
/* An axis of `rank`, counted from the end when negative. */
bool want_axis(elaborator *e, const object *o, uint32_t rank, const char *what, span where, int64_t *out);
/* One axis, several, or none for all. */
bool want_axes(elaborator *e, const object *o, uint32_t rank, const char *what, span where, int64_t *axes, uint32_t *n);
object shape_object(elaborator *e, const tensor_type *t, span where);

/* -- builtins.c ------------------------------------------------------------------------------------------------------- */

void bind_builtins(elaborator *e, scope *into);

/* -- draws.c ------------------------------------------------------------------------------------------------------------ */

/* Reals in [0, 1), 24 bits each, so that f32 and f64 see the same draws. */
object draw_uniform(elaborator *e, const tensor_type *shape, span where);

/* -- cells.c --------------------------------------------------------------------------------------------------------------- */

value graph_input(elaborator *e, const char *role, const char *name, tensor_type type, span where);
cell *find_cell(const elaborator *e, const char *name);
cell *add_cell(elaborator *e, const char *name, tensor_type type, state_kind kind, value initial, span where);
object read_cell(elaborator *e, cell *c, span where);
/* The value of a cell in the graph at hand, by now. */
value cell_now(elaborator *e, cell *c);
void set_cell_now(elaborator *e, cell *c, value now);
/* What `<-` means here: at once in encoders and optimizers, put aside in a pretext. */
void write_cell(elaborator *e, cell *c, object v, span where);
/* A value of the init graph: `init` is a number, or a function of the shape; draws depend on `site` alone. */
value initial_value(elaborator *e, object init, const tensor_type *type, const char *site, span where);
/* The same of an expression, evaluated in the init graph. `type`: NULL when the expression decides. */
value initial_of_expression(elaborator *e, scope *s, const ast_expr *x, const char *site, const tensor_type *type, span where);
/* Between the two, the init graph is the one at hand, and draws depend on `site` alone. */
typedef struct {
  place_in_graphs place;
  frame *frame;
} elsewhere;
elsewhere enter_init(elaborator *e, const char *site);
void leave_init(elaborator *e, elsewhere before);
/* `state a = e` in an encoder or an optimizer. */
void run_state_statement(elaborator *e, scope *s, const ast_statement *x);

/* -- constants.c ------------------------------------------------------------------------------------------------------------ */

object declare_constant(elaborator *e, scope *s, const ast_declaration *d);

/* -- models.c ---------------------------------------------------------------------------------------------------------------- */

/* `model` and `frozen`; `s`: what the expression behind `from` sees. */
object declare_model(elaborator *e, scope *s, const ast_declaration *d, object made);
/* `before`: what it was in another graph, NULL the first time; the decay may be a value of the graph at hand. */
object declare_target(elaborator *e, const ast_declaration *d, object made, const object *before);
/* `substitute`: called with these in place of its weights, or NULL. */
object call_model(elaborator *e, model *m, const weight_values *substitute, const call_arguments *given, span where);
void move_targets(elaborator *e);

/* -- loading.c: weights from files ----------------------------------------------------------------------------------------------- */

/* load("file").name */
object file_part(elaborator *e, const object *file, const char *name, span where);
/* Which file a model has its weights from, none for none; a `made` that is a file turns into the encoder that the file says. False after
 * an error. */
bool model_source(elaborator *e, scope *s, const ast_declaration *d, const char *name, object *made, object *file);
/* In the graph of first values: what the file of the model has for the state of that path; 0 when it has none. `type`: NULL when the
 * file decides. False after an error. */
bool stored_value(elaborator *e, model *m, const char *path, const tensor_type *type, span where, value *out);
/* What was taken and what was not, as origins of the experiment, warnings and errors. */
void finish_loading(elaborator *e);

/* -- regions.c ----------------------------------------------------------------------------------------------------------------- */

enum { DEEPEST_LOOP = 8 };

/* The graph that the loops at hand are in. */
graph *root_graph(const elaborator *e);
/* Builds in the outermost graph until return_to. */
place_in_graphs leave_regions(elaborator *e);
void return_to(elaborator *e, place_in_graphs before);
/* A tensor of a graph around becomes an invariant of the loop; false when it comes from elsewhere. */
bool bring_here(elaborator *e, object *tensor, span where);
/* The same of a value of the outermost graph. */
value value_of_root(elaborator *e, value v, span where);
/* Where the value of a state stands while the body of a loop runs. */
value *carried_cell(elaborator *e, cell *c);
/* i32[]: counts the iterations of the loops around, all together, of which there are `times`; 0 outside of loops. */
value iteration_number(elaborator *e, int64_t *times, span where);
/* The caller adds parameters of its carries and slices, and results of its carries and outputs. False after an error. */
bool enter_region(elaborator *e, int64_t times, bool reverse, uint32_t n_carries, uint32_t n_slices, loop_region *r, span where);
void leave_failed_region(elaborator *e, const loop_region *r);
/* Back in the graph around: the loop, as the first of its results; 0 after an error. */
value finish_region(elaborator *e, loop_region *r, const value *carries, const value *slices, span where);

/* -- weights.c ----------------------------------------------------------------------------------------------------------------- */

/* A model, or weights as a value. */
bool is_weights(const object *o);
/* As values; NULL after an error. */
const weight_values *want_weights(elaborator *e, const object *o, const char *what, span where);
/* + - * / weight by weight; one side may be a number or a scalar. */
object weights_operation(elaborator *e, ast_operator op, object x, object y, span where);
typedef object weight_map(void *context, uint32_t i, object weight);
object map_weights(elaborator *e, const weight_values *w, weight_map *map, void *context, span where);
/* What stands for the weight in this call; NULL for the weight itself. */
const object *substituted_weight(const frame *f, const cell *c);

/* -- data.c --------------------------------------------------------------------------------------------------------------------- */

object declare_data(elaborator *e, scope *s, const ast_declaration *d);
object data_field_of(elaborator *e, const object *data, const char *name, span where);
/* The number of a use in experiment.data. */
uint32_t data_use(elaborator *e, const object *data);
int64_t data_count(const data_source *source, const char *split);
const data_field *find_data_field(const data_source *source, const char *name);
/* Binds the fields of a data set in a scope; reading one makes it an input of the graph at hand. */
void bind_fields(elaborator *e, scope *into, const data_source *source);
/* The field of the batch at hand (e->feed), as the program sees it: images scaled to 0..1, tokens as i32. */
object read_field(elaborator *e, const char *name, span where);

/* -- options.c --------------------------------------------------------------------------------------------------------------------- */

/* What --set says of an option, NULL for nothing. */
const char *option_override_text(const elaborator *e, const char *name);
object option_value(elaborator *e, const ast_declaration *d, object otherwise);
void check_overrides(elaborator *e, const ast_program *const *programs, uint32_t n);

/* -- training.c, objectives.c, tune.c ------------------------------------------------------------------------------------------------ */

void lower_training(elaborator *e, const ast_declaration *train, const ast_declaration *pretext);
/* The losses and reports of a pretext as metrics of the graph at hand, fed by e->feed: models use statistics of the batch, nothing is
 * dropped, updated or written. False after an error. */
bool lower_judged_pretext(elaborator *e, const ast_declaration *pretext);
void add_objective(elaborator *e, scope *s, const ast_statement *x);
void finish_round(elaborator *e, span where);
void add_report(elaborator *e, scope *s, const ast_statement *x);
/* New values of a weight under the optimizer and the tune rules that select it. */
void update_weight(elaborator *e, cell *weight, value gradient);
void collect_tunes(elaborator *e, scope *s, const ast_block *settings);
/* That each rule selects something, and sets something that the optimizer has. */
void check_tunes(elaborator *e);

/* -- phases.c ------------------------------------------------------------------------------------------------------------------------------ */

/* The answer of a condition over the clock alone in this phase; false when it is none, or stands where the clock may not be asked. */
bool decide_by_clock(elaborator *e, const object *condition, bool *holds);
void begin_phase(elaborator *e);
/* Takes the step as it is now for a phase; true when there is another one, to begin with begin_phase. */
bool next_phase(elaborator *e, span where);

/* -- warnings: unused.c, untrained.c, dataflow.c, same_inputs.c ----------------------------------------------------------------------------- */

void warn_unused(elaborator *e);
void warn_untrained(elaborator *e);
void warn_inputs(elaborator *e);
/* Warnings about losses, and figures of what they compare as metrics. */
void examine_objectives(elaborator *e);

/* -- side_graphs.c: graphs beside the step ---------------------------------------------------------------------------------------------------- */

enum { EVAL_BATCH = 256 };

typedef struct {
  scope *names; /* the program's, and the fields of the data */
  data_feed feed, *feed_before;
  place_in_graphs place_before;
  training *training_before;
  cell *cells; /* as they were */
  uint32_t n_cells;
} side_graph;

/* Begins a graph that sees batches of `data` (NULL or none: no data). False when calls are too deep. */
bool enter_side_graph(elaborator *e, const char *name, const object *data, int64_t batch, side_graph *out);
void leave_side_graph(elaborator *e, const side_graph *g);
/* Adds the graph at hand to the experiment: `made` says what it is for. */
experiment_eval *add_eval(elaborator *e, const side_graph *g, experiment_eval made);
/* A data set with a split: the one it names, else that of training or of testing where there is one. */
object named_split(const object *data, bool training);
/* features(value, data: d, count: n): a state. */
object evaluate_features(elaborator *e, scope *s, const ast_expr *x);

/* -- evaluation.c ---------------------------------------------------------------------------------------------------------------------- */

void lower_eval(elaborator *e, const ast_declaration *d, uint32_t number);

/* -- program.c --------------------------------------------------------------------------------------------------------------------------- */

/* A name of a scope, evaluated when it is first asked for. */
void declare_name(elaborator *e, scope *into, const ast_declaration *d);
object evaluate_declaration(elaborator *e, binding *b);
/* Evaluates what the program declares, in its order. */
void declare_all(elaborator *e);

#endif
