/* Programs of examples/ at sizes that an interpreter runs in seconds, with data that are made up. */
#ifndef SSLC_TESTS_UNIT_WHOLE_TINY_PROGRAM_H
#define SSLC_TESTS_UNIT_WHOLE_TINY_PROGRAM_H

#include "frontend/session.h"
#include "tests/invented_data.h"
#include "tests/random_graph.h"

/* In place of the library's, whose products would take the interpreter minutes. */
static const char tiny_parts[] =
    "\nencoder small_cnn(dim = none, norm = false)(x: f32[N, C, H, W]) {\n"
    "  let widths = [%d, %d, %d]\n"
    "  for i in 0..3 {\n"
    "    x = x |> conv(widths[i], 3)\n"
    "    if norm { x = x |> batch_norm() }\n"
    "    x = x |> relu\n"
    "    if i < 2 { x = x |> max_pool(2) }\n"
    "  }\n"
    "  let features = x |> global_avg_pool\n"
    "  if dim == none { features } else { features |> linear(%d) }\n"
    "}\n"
    "encoder mlp(hidden, out, norm = false, layers = 2, act = relu)(x) {\n"
    "  for i in 0..layers - 1 {\n"
    "    x = x |> linear(%d, bias: !norm)\n"
    "    if norm { x = x |> batch_norm() }\n"
    "    x = x |> act\n"
    "  }\n"
    "  x |> linear(out)\n"
    "}\n";

typedef struct {
  const option_override *options;
  uint32_t n_options;
  int channels[3], features, hidden; /* of the parts */
} tiny_sizes;

typedef struct {
  const char *path, *name;
  const char *text; /* NULL: the path's */
  const tiny_sizes *sizes;
  dtype real;
  const char *root; /* of its data; NULL: it is made up, and the program is made small */
  option_override *settings;
  uint32_t n_settings;
  arena *arena;
  diagnostics *diagnostics;
  open_data data;
  experiment *experiment;
  random_source random;
  const graph_run *init;
} tiny_program;

/* Those of the sizes that the text declares. */
static inline option_override *tiny_settings(const tiny_sizes *s, const char *text, uint32_t *n, arena *a) {
  option_override *found = ARENA_ARRAY(a, option_override, s->n_options + 1);
  *n = 0;
  for (uint32_t i = 0; i < s->n_options; i++)
    if (strstr(text, arena_printf(a, "option %s ", s->options[i].name))) found[(*n)++] = s->options[i];
  return found;
}

static inline void tiny_lower(tiny_program *t) {
  size_t length;
  const char *text = t->text ? t->text : session_read_text(NULL, t->path, &length, t->arena);
  if (!text) fail_msg("cannot read %s", t->path);
  t->data = (open_data){.root = t->root ? t->root : SOURCE_DIR "/examples", .arena = t->arena};
  invented_data made_up = {&t->data, 64, 16, true};
  data_catalog invented = {&made_up, describe_invented}, found = {&t->data, open_data_describe, open_data_read, open_data_weights};
  if (!t->root) {
    t->settings = tiny_settings(t->sizes, text, &t->n_settings, t->arena);
    const tiny_sizes *s = t->sizes;
    const char *parts = arena_printf(t->arena, tiny_parts, s->channels[0], s->channels[1], s->channels[2], s->features, s->hidden);
    text = arena_printf(t->arena, "%s%s", text, parts);
  }
  lower_options o = {.real = t->real, .overrides = t->settings, .n_overrides = t->n_settings, .catalog = t->root ? &found : &invented, .read_file = session_read_text};
  t->experiment = lower_program(sources_add(t->diagnostics->sources, t->path, text, (uint32_t)strlen(text)), &o, t->diagnostics, t->arena);
  open_data_release(&t->data);
  if (!t->experiment) fail_msg("%s", diagnostics_render(t->diagnostics, t->arena, false));
}

/* States are first ones, but optimizers' moments are around 1: by those that begin at 0 Adam would make much of the rounding of a
 * gradient that is 0. Images and texts are drawn. */
static inline const void *tiny_data(tiny_program *t, const char *role, const char *name, const tensor_type *type) {
  const experiment *x = t->experiment;
  bool is_state = !strcmp(role, "state"), is_moment = false;
  for (uint32_t i = 0; is_state && i < x->n_states; i++)
    if (!strcmp(x->states[i].name, name)) is_moment = x->states[i].kind == STATE_OPTIMIZER && dtype_is_real(type->dtype);
  for (uint32_t i = 0; is_state && !is_moment && i < x->init->n_results; i++)
    if (!strcmp(x->init->results[i].name, name)) return t->init->data[x->init->results[i].value];
  void *data = arena_alloc(t->arena, (size_t)type_bytes(type) + 8);
  for (int64_t e = 0; e < type_elements(type); e++) {
    scalar v = {.integer = random_below(&t->random, type->dtype == DTYPE_U8 ? 256 : 5)};
    if (dtype_is_real(type->dtype)) v.real = is_moment ? random_real(&t->random, 0.5, 1.5) : random_real(&t->random, -1, 1);
    element_store(type->dtype, data, e, v);
  }
  return data;
}

static inline graph_binding *tiny_bindings(tiny_program *t, const graph *g, uint32_t *n) {
  graph_binding *all = ARENA_ARRAY(t->arena, graph_binding, g->n_nodes + 1);
  *n = 0;
  for (uint32_t i = 0; i < g->n_nodes; i++) {
    const node *at = &g->nodes[i];
    if (at->op != OP_PARAMETER) continue;
    const char *role = node_attribute(at, ATTR_ROLE)->as.text, *name = node_attribute(at, ATTR_NAME)->as.text;
    all[(*n)++] = (graph_binding){role, name, tiny_data(t, role, name, graph_type(g, at->first_result))};
  }
  return all;
}

#endif
