# Tasks, pictures, text and weights of other runs, as a person meets them.
. "$2/tests/command/command.sh"

cat >tasks.ssl <<'END'
data shapes = shapes(count: 120, size: 6, classes: 4)
data half = subset(shapes, fraction: 0.5, by: label)
data tasks = few_shot(half, way: 2, queries: 3, tasks: 24, test_tasks: 8)
encoder learner()(x) = x |> conv(4, 3, stride: 2) |> relu |> flatten |> linear(2)
model f = learner()
fn adapted(task) {
  let fast = f
  fast = fast - 0.4 * grad(cross_entropy(fast(task.xs), task.ys), fast)
  cross_entropy(fast(task.xq), task.yq)
}
pretext maml(tasks) { minimize mean(map(adapted)(tasks)) }
train maml { data: tasks.train, batch: 4, epochs: 3, optimizer: adam(lr: 1e-2) }
eval maml { loss(data: tasks.test, every: 1) }
eval f(img) { images(1.0 - img, data: half, count: 5, every: 2), npy(f(img), data: half.test) }
END
status 1 run tasks.ssl
complains "tasks.ssl:14: images(1.0 - img) writes a file, and there is no directory for it; give one with --out DIR"
status 0 run --out whole tasks.ssl
says "maml                     loss"
says "whole/images-0002.png"
[ -s whole/images-0000.png ] && [ ! -e whole/images-0001.png ] || fail "pictures come before training and after each second epoch"
[ "$(wc -c <whole/npy.npy)" = 368 ] || fail "30 test images give 30 x 2 numbers behind a header"

# Tasks are drawn by their numbers: a run in two parts, and on another number of threads, is the same.
status 0 run --out parts --steps 7 --threads 1 tasks.ssl
status 0 run --out parts --resume --threads 2 tasks.ssl
same whole/checkpoint.safetensors parts/checkpoint.safetensors
same whole/metrics.jsonl parts/metrics.jsonl
grep -v "^{\"step\":7," parts/evaluation.jsonl >parts/whole.jsonl # the end of the first part
same whole/evaluation.jsonl parts/whole.jsonl
same whole/images-0002.png parts/images-0002.png

# The model of that run, in another program and from elsewhere.
mkdir below
cat >below/student.ssl <<'END'
data shapes = shapes(count: 120, size: 6, classes: 4)
frozen teacher = load("whole/checkpoint.safetensors").f
model f = load("whole/checkpoint.safetensors").f
pretext distill(img) { minimize mse(f(img), teacher(1.0 - img)) }
train distill { data: shapes.train, batch: 16, epochs: 1, optimizer: sgd(lr: 0.1) }
eval f(img) { images(img, data: shapes.train) }
END
status 1 check below/student.ssl
complains "below/student.ssl:2:"
complains "whole/checkpoint.safetensors: No such file"
status 0 run --data-root . --out student below/student.ssl
[ "$(od -An -tu1 -j19 -N1 student/images.png | tr -d ' ')" = 55 ] || fail "64 of 120 images stand in 8 columns"
says "teacher: 4 of 4 weights from whole/checkpoint.safetensors (f)"
head -c 300 whole/checkpoint.safetensors >below/cut
sed 's#whole/checkpoint.safetensors#cut#' below/student.ssl >below/cut.ssl
status 1 run below/cut.ssl
complains "cut is no complete safetensors file"
