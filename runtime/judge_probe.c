/* The linear probe. A pass computes all logits, turns them into residuals (probabilities less targets),
 * and multiplies these with the features for the gradient; both products are cut by panels, never by
 * threads. Products are taken in single precision over short spans, sums over spans in double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/failure.h"
#include "runtime/judge_internal.h"
#include "runtime/lbfgs.h"
#include "runtime/product.h"

enum { SPAN = 512 }; /* rows whose part of the gradient is summed in single precision */

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* -- the problem ----------------------------------------------------------------------------------------- */

bool probe_problem_make(probe_problem *p, thread_pool *pool, const feature_set *set, int64_t dims, int64_t classes,
                        double decay, const double *mean, const double *scale) {
  *p = (probe_problem){.pool = pool, .n = set->n, .columns = dims + 1, .classes = classes, .decay = decay, .labels = set->labels};
  p->padded_n = round_up(p->n, TILE_LANES);
  p->padded_columns = round_up(p->columns, TILE_LANES);
  p->padded_classes = round_up(classes, TILE_ROWS);
  int64_t cells = p->padded_n * p->padded_columns;
  p->row_panels = product_memory(cells);
  p->column_panels = product_memory(cells);
  p->weights = calloc((size_t)(p->padded_classes * p->padded_columns), sizeof *p->weights);
  p->residuals = calloc((size_t)(p->padded_classes * p->padded_n), sizeof *p->residuals);
  p->losses = calloc((size_t)(p->padded_n / TILE_LANES), sizeof *p->losses);
  if (!p->row_panels || !p->column_panels || !p->weights || !p->residuals || !p->losses) return false;
  memset(p->row_panels, 0, (size_t)cells * sizeof *p->row_panels);
  memset(p->column_panels, 0, (size_t)cells * sizeof *p->column_panels);
  for (int64_t i = 0; i < p->n; i++)
    for (int64_t c = 0; c < p->columns; c++) {
      float v = c < dims ? (float)((set->features[i * dims + c] - mean[c]) * scale[c]) : 1;
      p->row_panels[(i / TILE_LANES * p->padded_columns + c) * TILE_LANES + i % TILE_LANES] = v;
      p->column_panels[(c / TILE_LANES * p->padded_n + i) * TILE_LANES + c % TILE_LANES] = v;
    }
  return true;
}

void probe_problem_free(probe_problem *p) {
  free(p->row_panels);
  free(p->column_panels);
  free(p->weights);
  free(p->residuals);
  free(p->losses);
}

/* Residuals of class c and row i. */
static float *residual(const probe_problem *p, int64_t c, int64_t i) { return p->residuals + (c / TILE_ROWS * p->padded_n + i) * TILE_ROWS + c % TILE_ROWS; }

static void panel_logits(const probe_problem *p, int64_t panel) {
  for (int64_t c = 0; c < p->padded_classes; c += TILE_ROWS) {
    float tile[TILE_ROWS * TILE_LANES], *out = residual(p, c, panel * TILE_LANES);
    product_tile(p->weights + c * p->padded_columns, p->row_panels + panel * p->padded_columns * TILE_LANES, p->padded_columns, tile, TILE_LANES);
    for (int64_t l = 0; l < TILE_LANES; l++)
      for (int64_t r = 0; r < TILE_ROWS; r++) *out++ = tile[r * TILE_LANES + l];
  }
}

/* Turns the logits of row i into residuals; their cross-entropy. */
static double row_residuals(const probe_problem *p, int64_t i) {
  float most = *residual(p, 0, i), target = *residual(p, p->labels[i], i);
  for (int64_t c = 1; c < p->classes; c++) most = fmaxf(most, *residual(p, c, i));
  double sum = 0;
  for (int64_t c = 0; c < p->classes; c++) sum += exp((double)*residual(p, c, i) - most);
  for (int64_t c = 0; c < p->classes; c++) {
    double probability = exp((double)*residual(p, c, i) - most) / sum;
    *residual(p, c, i) = (float)(probability - (c == p->labels[i]));
  }
  return log(sum) + most - target;
}

static void forward_panels(void *context, int64_t begin, int64_t end) {
  probe_problem *p = context;
  for (int64_t panel = begin; panel < end; panel++) {
    panel_logits(p, panel);
    p->losses[panel] = 0;
    for (int64_t l = 0; l < TILE_LANES && panel * TILE_LANES + l < p->n; l++)
      p->losses[panel] += row_residuals(p, panel * TILE_LANES + l);
  }
}

static void logit_panels(void *context, int64_t begin, int64_t end) {
  for (int64_t panel = begin; panel < end; panel++) panel_logits(context, panel);
}

/* Tile `t` of the gradient: four classes by eight columns, over all rows. Rows of padding hold zeros. */
static void gradient_tile(const probe_problem *p, int64_t t) {
  int64_t groups = p->padded_classes / TILE_ROWS, first_class = t % groups * TILE_ROWS, panel = t / groups;
  double sums[TILE_ROWS * TILE_LANES] = {0};
  for (int64_t i = 0; i < p->padded_n; i += SPAN) {
    float part[TILE_ROWS * TILE_LANES];
    product_tile(residual(p, first_class, i), p->column_panels + (panel * p->padded_n + i) * TILE_LANES,
                 p->padded_n - i < SPAN ? p->padded_n - i : SPAN, part, TILE_LANES);
    for (int e = 0; e < TILE_ROWS * TILE_LANES; e++) sums[e] += part[e];
  }
  for (int64_t r = 0; r < TILE_ROWS && first_class + r < p->classes; r++)
    for (int64_t l = 0; l < TILE_LANES && panel * TILE_LANES + l < p->columns; l++)
      p->gradient[(first_class + r) * p->columns + panel * TILE_LANES + l] = sums[r * TILE_LANES + l] / (double)p->n;
}

static void gradient_tiles(void *context, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; t++) gradient_tile(context, t);
}

static void round_weights(probe_problem *p, const double *weights) {
  for (int64_t c = 0; c < p->classes; c++)
    for (int64_t j = 0; j < p->columns; j++) p->weights[(c / TILE_ROWS * p->padded_columns + j) * TILE_ROWS + c % TILE_ROWS] = (float)weights[c * p->columns + j];
}

static int64_t pieces(int64_t n) { return n < 64 ? n : 64; }

void probe_logits(probe_problem *p, const double *weights) {
  round_weights(p, weights);
  thread_pool_run(p->pool, logit_panels, p, p->padded_n / TILE_LANES, pieces(p->padded_n / TILE_LANES));
}

double probe_loss(void *problem, const double *weights, double *gradient) {
  probe_problem *p = problem;
  int64_t panels = p->padded_n / TILE_LANES, tiles = p->padded_classes / TILE_ROWS * (p->padded_columns / TILE_LANES);
  round_weights(p, weights);
  /* Columns of the padded rows get logits too (zeros, as their features) and keep no residual. */
  thread_pool_run(p->pool, forward_panels, p, panels, pieces(panels));
  p->gradient = gradient;
  if (gradient) thread_pool_run(p->pool, gradient_tiles, p, tiles, pieces(tiles));
  double loss = 0, squares = 0;
  for (int64_t i = 0; i < panels; i++) loss += p->losses[i];
  for (int64_t c = 0; c < p->classes; c++)
    for (int64_t j = 0; j + 1 < p->columns; j++) { /* biases do not decay */
      double w = weights[c * p->columns + j];
      squares += w * w;
      if (gradient) gradient[c * p->columns + j] += p->decay * w;
    }
  return loss / (double)p->n + p->decay / 2 * squares;
}

/* -- the probe ------------------------------------------------------------------------------------------- */

/* Means and inverse deviations. What varies by no more than rounding is no feature: its scale is 0. */
static void measure(const feature_set *set, int64_t dims, double *mean, double *scale) {
  for (int64_t d = 0; d < dims; d++) mean[d] = scale[d] = 0;
  for (int64_t i = 0; i < set->n; i++)
    for (int64_t d = 0; d < dims; d++) mean[d] += set->features[i * dims + d] / (double)set->n;
  for (int64_t i = 0; i < set->n; i++)
    for (int64_t d = 0; d < dims; d++) scale[d] += (set->features[i * dims + d] - mean[d]) * (set->features[i * dims + d] - mean[d]);
  for (int64_t d = 0; d < dims; d++) {
    double deviation = sqrt(scale[d] / (double)set->n);
    scale[d] = deviation > 1e-6 * fabs(mean[d]) ? 1 / deviation : 0;
  }
}

static judgement count_right(probe_problem *p, const double *weights, double *scores) {
  judge_tally tally = {0};
  probe_logits(p, weights);
  for (int64_t i = 0; i < p->n; i++) {
    for (int64_t c = 0; c < p->classes; c++) scores[c] = *residual(p, c, i);
    judge_count(&tally, judge_rank(scores, p->classes, p->labels[i]));
  }
  return judge_fractions(&tally, p->n);
}

bool judge_linear_probe(thread_pool *pool, const judge_task *task, const probe_options *options, probe_result *out, char **error) {
  *error = NULL;
  if (!judge_check(task, error)) return false;
  int64_t epochs = options && options->epochs ? options->epochs : 300;
  double decay = options && options->decay != 0 ? fmax(options->decay, 0) : 1e-4;
  if (epochs < 1) return failure(error, "%lld epochs are no training; give at least 1", (long long)epochs);
  probe_problem train = {0}, test = {0};
  lbfgs_result found;
  int64_t dims = task->dims, unknowns = (dims + 1) * task->classes;
  double *mean = calloc((size_t)(2 * dims), sizeof *mean), *weights = calloc((size_t)(unknowns + task->classes), sizeof *weights);
  if (mean) measure(task->train, dims, mean, mean + dims);
  bool good = mean && weights && probe_problem_make(&train, pool, task->train, dims, task->classes, decay, mean, mean + dims) &&
              probe_problem_make(&test, pool, task->test, dims, task->classes, decay, mean, mean + dims) &&
              lbfgs_minimise(probe_loss, &train, unknowns, weights, epochs, 1e-5, &found);
  if (good) {
    double *scores = weights + unknowns;
    *out = (probe_result){.test = count_right(&test, weights, scores), .train_top1 = count_right(&train, weights, scores).top1,
                          .loss = found.value, .gradient = found.gradient, .epochs = found.evaluations};
  }
  probe_problem_free(&train);
  probe_problem_free(&test);
  free(mean);
  free(weights);
  return good || failure(error, "no memory for a linear probe on %lld samples of %lld features; judge fewer", (long long)task->train->n,
                         (long long)dims);
}
