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

# For a GPU, without one: text, and PTX by NVRTC; machine code wants a tool that may not be there, and then says so.
status 0 emit --stage cuda loop.ssl
says "KERNEL void LAUNCHED_BY("
says "blocks of"
status 0 emit --stage ptx --arch sm_90 loop.ssl
says ".target sm_90a"
status 0 emit --stage ptx loop.ssl
says ".target sm_80"
status 2 emit --stage cuda --arch znver4 loop.ssl
complains "sm_80 or sm_90, got znver4"
status 2 emit --stage asm --arch sm_90 loop.ssl
complains "takes no --arch"
SSLC_NVRTC=/nowhere/libnvrtc.so
export SSLC_NVRTC
status 1 emit --stage ptx loop.ssl
complains "Looked for: /nowhere/libnvrtc.so"
unset SSLC_NVRTC
if command -v nvdisasm >/dev/null; then
  status 0 emit --stage sass loop.ssl
  says "EXIT"
else
  status 1 emit --stage sass loop.ssl
  complains "nvdisasm of the CUDA toolkit is needed"
fi

# Data lie beside the program, wherever the command is called.
status 0 emit --stage graph "$2/examples/fashion.ssl"
says "graph"
