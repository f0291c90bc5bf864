# Every stage of a program with loops, differentiated twice, has a text.
. "$2/tests/command/command.sh"

cat >loop.ssl <<'P'
data toys = shapes(count: 64, size: 6, classes: 4)
encoder seen(n)(x) = x |> gru(n) |> lstm(n)
model f = seen(3)
pretext p(img) {
  let x = mean(img, axis: 1)
  let slope = grad(mean(f(x) ** 2), x)
  minimize mean(slope ** 2)
}
train p { data: toys.train, batch: 4, steps: 1, optimizer: sgd(lr: 0.1) }
P

status 0 emit --stage ast loop.ssl
says "name gru"
status 0 emit --stage graph loop.ssl
says "= repeat("
says "{times=6, carries=1, slices=1}"
status 0 emit --stage dot loop.ssl
says "repeat 6 times"
status 0 emit --stage autodiff loop.ssl
says "reverse=1"
status 0 emit --stage fused loop.ssl
says "of region"
status 0 emit --stage kernels loop.ssl
says "# kernel"
status 0 emit --stage llvm loop.ssl
says "define"
status 0 emit --stage asm loop.ssl
says "kernel"
