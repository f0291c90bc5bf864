/* What expressions of the language stand for while a program is elaborated: an interpreter runs over the
 * syntax tree, and what it computes with are objects. Tensors among them are values of the graph that is
 * being built, so running the program once writes down its graph. */
#ifndef SSLC_FRONTEND_OBJECTS_H
#define SSLC_FRONTEND_OBJECTS_H

#include "frontend/ast.h"
#include "frontend/experiment.h"

typedef enum {
  OBJECT_POISON, /* of an expression whose error was reported; whoever meets it stays silent */
  OBJECT_NONE,
  OBJECT_BOOL,
  OBJECT_NUMBER, /* known at compile time */
  OBJECT_STRING,
  OBJECT_TENSOR,
  OBJECT_TUPLE,
  OBJECT_LIST,
  OBJECT_RECORD, /* a list whose items have names: the batch with all its fields, or a row of it */
  OBJECT_FUNCTION,
  OBJECT_MODEL,
  OBJECT_WEIGHTS, /* weights of a model as a value */
  OBJECT_CELL,   /* declared state; reading it gives a tensor */
  OBJECT_CLOCK,  /* "step" or "epoch"; reading it gives a tensor */
  OBJECT_DATA,   /* a data set, or a split of one */
  OBJECT_FILE,   /* weights in a file, or a part of them */
  OBJECT_FIELD,  /* a field of the batch at hand, or all of it; reading it gives a tensor, or a record */
  OBJECT_AVERAGE, /* ema(model, decay), of which targets are made */
  OBJECT_PUSH    /* push(rows), to be written to a queue */
} object_kind;

typedef struct object object;
typedef struct function function;
typedef struct model model;
typedef struct cell cell;
typedef struct scope scope;
typedef struct data_source data_source;

struct object {
  object_kind kind;
  bool is_real; /* of a number */
  bool batched; /* of a tensor: its leading axis is the batch of an augmentation, which the program does not see */
  span where;   /* where it was made */
  union {
    bool truth;
    int64_t integer;
    double real;
    const char *text; /* STRING, CLOCK */
    struct {
      graph *graph;
      value value;
    } tensor;
    struct {
      object *items;
      uint32_t n;
      const char *const *names; /* of a RECORD */
    } list; /* TUPLE, LIST, RECORD; PUSH has one, AVERAGE two */
    function *function;
    model *model;
    cell *cell;
    struct {
      data_source *source;
      const char *split; /* "" for all of it */
    } data;
    const char *field; /* NULL: all of them */
    struct {
      struct weights_file *of;
      const char *part; /* NULL: all of it */
    } file;
    const struct weight_values *weights;
  };
};

/* One value for each weight of a model. */
typedef struct weight_values {
  model *model;
  cell **cells;
  object *items;
  uint32_t n;
} weight_values;

/* A file of weights that was read. */
typedef struct weights_file {
  const char *path;
  weights_description holds;
  scope *scope; /* of the definitions in it, once they are asked for */
} weights_file;

/* "f32[256,128]", "the number 3", "a list of 2", for messages. */
const char *object_text(const object *o, arena *a);
const char *object_kind_text(object_kind kind);

static inline object object_make(object_kind kind, span where) { return (object){.kind = kind, .where = where}; }
static inline object object_poison(void) { return (object){.kind = OBJECT_POISON}; }
static inline bool is_poison(const object *o) { return o->kind == OBJECT_POISON; }

static inline object object_bool(bool truth, span where) {
  object o = object_make(OBJECT_BOOL, where);
  o.truth = truth;
  return o;
}

static inline object object_integer(int64_t integer, span where) {
  object o = object_make(OBJECT_NUMBER, where);
  o.integer = integer;
  return o;
}

static inline object object_real(double real, span where) {
  object o = object_make(OBJECT_NUMBER, where);
  o.real = real;
  o.is_real = true;
  return o;
}

static inline object object_string(const char *text, span where) {
  object o = object_make(OBJECT_STRING, where);
  o.text = text;
  return o;
}

static inline object object_list(object_kind kind, object *items, uint32_t n, span where) {
  object o = object_make(kind, where);
  o.list.items = items;
  o.list.n = n;
  return o;
}

static inline double number_value(const object *o) { return o->is_real ? o->real : (double)o->integer; }

typedef enum { FUNCTION_PLAIN, FUNCTION_AUGMENT, FUNCTION_ENCODER, FUNCTION_OPTIMIZER, FUNCTION_BUILTIN } function_kind;

struct elaborator;
struct function;
/* `self` is the function called, so that one C function can stand behind several names. */
typedef object builtin_function(struct elaborator *e, const struct function *self, object *arguments, span where);

struct function {
  const char *name;
  function_kind kind;
  span where;
  const ast_parameters *outer, *inner; /* outer: NULL when there is one list */
  const ast_expr *value;               /* the body: this or `block` */
  const ast_block *block;
  scope *scope;        /* what the body sees; of a configured one with the outer arguments */
  bool configured;     /* the outer list was given */
  const char *weights; /* of an encoder configured inside a model: its path of weights */
  builtin_function *builtin;
};

/* A model, or a target that follows one. */
struct model {
  const char *name;
  span where;
  function *function; /* a configured encoder */
  model *follows;     /* of a target */
  object decay;       /* of a target: as written, evaluated once in the step */
  bool called, target, frozen;
  weights_file *file;     /* where its weights are from, or NULL */
  const char *part;       /* what it is called there */
  uint32_t taken, missing; /* weights that the file had, and had not */
  const char *missing_names;
  tensor_type input;      /* what it was called with first; rank 0 when that was no tensor */
  bool trained;       /* an optimizer updates a weight of it */
};

/* One state of the experiment and its value in the graph at hand. */
struct cell {
  const char *name;
  uint32_t hash;
  tensor_type type;
  state_kind kind;
  model *model;
  span where;
  object input;  /* what the layer of a weight was first called with; kind NONE when unknown */
  value initial; /* in the init graph */
  const graph *graph;
  value start, now, next; /* in `graph`: its parameter, its value by now, and what `<-` of a pretext put aside */
  span written;
  cell *position; /* of a queue: the row that is written next */
};

typedef struct {
  const char *name;
  uint32_t hash;
  span where;
  object value;
  const ast_declaration *declaration; /* what it is evaluated from when first asked for */
  scope *home;                        /* the scope that it is declared in */
  enum { BINDING_READY, BINDING_WAITING, BINDING_RUNNING } progress;
  const graph *graph; /* the one that it was evaluated for */
} binding;

struct scope {
  scope *parent;
  bool local; /* its names may be assigned to */
  binding **items;
  uint32_t n, capacity;
};

uint32_t text_hash(const char *text);
scope *scope_new(scope *parent, bool local, arena *a);
/* In this scope alone, or NULL. */
binding *scope_own(const scope *s, const char *name);
/* Here or in the nearest scope around, or NULL. */
binding *scope_find(const scope *s, const char *name);
/* Binds or, where the scope has that name, binds anew. */
binding *scope_bind(scope *s, const char *name, object v, arena *a);
/* The name in reach that is most like it, or NULL when none is. */
const char *scope_nearest(const scope *s, const char *name, arena *a);
/* How many edits (letters added, dropped, changed, or two swapped) lead from x to y. */
uint32_t edit_distance(const char *x, const char *y);
/* The candidate (NULL past the last) that other programs call `name`, or that is most like it, or NULL. */
const char *nearest_text(const char *name, const char *const *candidates);
const char *habitual_name(const char *name, const char *const *candidates);

#endif
