# What goes wrong is said, with what to do, and with the exit code that scripts look at: 1, or 2 for a wrong call.
. "$2/tests/command/command.sh"

status 0 help
says "sslc run"
for verb in run check profile fmt explain emit kernel pass info version; do
  status 0 $verb --help
  says "usage: sslc $verb"
done
status 0 run -h
says "--out DIR"
status 2
complains "give a verb"
status 2 run
complains "usage: sslc run"
status 2 rnu "$tiny"
complains "did you mean run?"
status 2 run --stesp 3 "$tiny"
complains "did you mean --steps?"
status 2 run --threads 0 "$tiny"
complains "--threads takes a whole number from 1, got 0"
status 2 run --threads -1 "$tiny"
complains "--threads takes"
status 2 run --steps 1e3 "$tiny"
complains "--steps takes"
status 2 run --seed 99999999999999999999 "$tiny"
complains "--seed takes"
status 2 run --precision f16 "$tiny"
complains "--precision takes f32|bf16|tf32|f64, got f16"
status 2 run --out
complains "--out wants a value"
status 2 run --resume "$tiny"
complains "--resume wants --out"
status 2 run --resume --force --out x "$tiny"
complains "choose one"
status 2 run --set batch "$tiny"
complains "name=value"
status 2 run --quiet=yes "$tiny"
complains "takes no value"

status 1 run missing.ssl
complains "cannot read missing.ssl: No such file"
status 1 run .
complains "cannot read ."
status 1 run --set bach=3 "$tiny"
complains "did you mean batch?"
status 1 run --set batch=1000 "$tiny"
complains "larger than the 80 samples"
status 1 run --set 'batch=)' "$tiny"
status 1 run --set batch=-3 "$tiny"
complains "at least 1"

sed 's/shapes(count: 80, size: 6, classes: 4)/cifar10("nowhere")/' "$tiny" >cifar.ssl
status 1 check cifar.ssl
complains "cifar.ssl:6:"
complains "nowhere"
status 1 check --data-root /elsewhere cifar.ssl
complains "/elsewhere/nowhere"

echo text >file
status 1 run --out file --quiet "$tiny"
complains "file is a file"
status 1 run --out file/below --quiet "$tiny"
complains "file/below"

status 0 run --out done --quiet "$tiny"
cp -r done kept
status 1 run --out done --quiet "$tiny"
complains "done already holds a run; go on with it (--resume), replace it (--force), or choose another directory"
same done/checkpoint.safetensors kept/checkpoint.safetensors
status 1 run --out done --resume --set epochs=4 --set batch=8 --quiet "$tiny"
complains "another program"
status 1 run --out done --resume --seed 7 --quiet "$tiny"
complains "with seed 0, this one has 7; resume with --seed 0"
same done/checkpoint.safetensors kept/checkpoint.safetensors
head -c 100 kept/checkpoint.safetensors >done/checkpoint.safetensors
status 1 run --out done --resume --quiet "$tiny"
complains "done/checkpoint.safetensors"
status 0 run --out done --force --quiet "$tiny"
same done/checkpoint.safetensors kept/checkpoint.safetensors

status 1 run --out nan --set bias=0.0 --quiet "$tiny"
complains "loss is infinite at step 0"
complains "tiny.ssl:16:"
complains "log(0)"

# A disk that is full: the run says so.
if [ -w /dev/full ]; then
  mkdir full && ln -s /dev/full full/metrics.jsonl
  status 1 run --out full --resume --quiet "$tiny"
  complains "full/metrics.jsonl"
fi
