/* What people write out of habit, from PyTorch and Python, and what it is called here. */
#include "frontend/elaborate.h"

typedef struct {
  const char *word, *here;
} habit;

static const char *find_habit(const habit *habits, const char *word) {
  for (; habits->word; habits++)
    if (!strcmp(habits->word, word)) return habits->here;
  return NULL;
}

/* Names, also of statements whose value stands on a line of its own. */
const char *word_help(const char *name) {
  static const habit words[] = {
      {"minimize", "minimize wants its value on the same line"},
      {"report", "report wants its value on the same line"},
      {"True", "it is written true"},
      {"False", "it is written false"},
      {"None", "it is written none"},
      {"float", "real(x) makes reals of integers"},
      {"print", "report name = value shows a number of each step"},
      {"torch", "functions stand without a module: exp(x), mean(x)"},
      {"np", "functions stand without a module: exp(x), mean(x)"},
      {"F", "functions stand without a module: x |> relu, cross_entropy(logits, label)"},
      {"nn", "layers stand without a module: conv(64, 3), linear(10)"},
      {NULL, NULL},
  };
  return find_habit(words, name);
}

/* Methods of tensors. */
const char *method_help(elaborator *e, const char *name) {
  static const habit methods[] = {
      {"view", "it is a function: reshape(x, [-1, 128])"},
      {"unsqueeze", "an index of none adds an axis: x[:, none]"},
      {"squeeze", "x[:, 0] or reshape(x, shape) drops an axis"},
      {"detach", "it is a function: stop_grad(x)"},
      {"backward", "minimize takes the derivatives and updates the weights: minimize loss"},
      {"item", "report name = value shows a number of each step"},
      {"float", "real(x) makes reals of integers"},
      {"add_", "values do not change; a name is given a new one: x = x + y"},
      {NULL, NULL},
  };
  const char *help = find_habit(methods, name);
  if (!help && scope_find(e->library, name)) help = arena_printf(e->arena, "functions stand in front or behind a pipe: %s(x), x |> %s", name, name);
  return help;
}

/* Another name for what one of the candidates is, or NULL. */
const char *habitual_name(const char *name, const char *const *candidates) {
  static const habit names[] = {
      {"dim", "axis"},          {"dims", "axes"},       {"keepdim", "keep"},         {"keepdims", "keep"},     {"kernel_size", "size"},
      {"padding", "pad"},       {"out_channels", "out"}, {"out_features", "out"},    {"learning_rate", "lr"},  {"weight_decay", "decay"},
      {"batch_size", "batch"},  {"num_heads", "heads"}, {"num_epochs", "epochs"},    {"max_steps", "steps"},   {"betas", "beta1"},
      {"tau", "temperature"},   {"ndim", "rank"},       {"t", "T"},                  {"n_neighbors", "k"},     {NULL, NULL},
  };
  const char *here = find_habit(names, name);
  for (; here && *candidates; candidates++)
    if (!strcmp(*candidates, here)) return *candidates;
  return NULL;
}
