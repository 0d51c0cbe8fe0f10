#!/bin/sh
# What a graphics card makes of milepost, beside PyTorch on the same card: training, a milestone, hooks in the background, losses. It takes the
# program as it was built and a Python with torch and transformers, and needs no Rust and no network.
#
#   benches/card.sh [MILEPOST]      DEVICE=tch:cuda:0 PYTHON=python3 SIZE=full STEPS=100 OUT=card
#
# MILEPOST is the program (target/release/milepost). SIZE is full (gpt2 and distilgpt2), smollm2-135m or pythia-70m (with an assistant of its first
# layers), each in steps of 8 x 128, or small (two layers of 128, to try the script on a CPU). DEVICE=flex needs no card. Everything is made in the
# folder OUT; the table is in OUT/card.txt, the numbers in OUT/card.json.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
milepost=${1:-$here/../target/release/milepost}
DEVICE=${DEVICE:-tch:cuda:0}
PYTHON=${PYTHON:-python3}
SIZE=${SIZE:-full}
STEPS=${STEPS:-100}
OUT=${OUT:-card}

refuse() { echo "card.sh: $1" >&2; exit 2; }
test -x "$milepost" || refuse "no program at $milepost: build it with \`make device DEVICE=$DEVICE\` or name it: benches/card.sh FILE"
"$PYTHON" -c 'import torch, transformers' || refuse "$PYTHON has no torch and transformers: PYTHON=DIR/bin/python"
case $SIZE in full | small | smollm2-135m | pythia-70m) ;; *) refuse "SIZE=$SIZE: it is full, small, smollm2-135m or pythia-70m" ;; esac
case $STEPS in '' | *[!0-9]* | 0 | 1) refuse "STEPS=$STEPS: it is a number from 2" ;; esac

# A program with libtorch finds it in the torch of PYTHON, unless LIBTORCH names another.
case $DEVICE in tch*)
    libraries=${LIBTORCH:+$LIBTORCH/lib}
    test -n "$libraries" || libraries=$("$PYTHON" -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))')
    export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    ;;
esac

mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
milepost=$(cd "$(dirname "$milepost")" && pwd)/$(basename "$milepost")
export MILEPOST_OFFLINE=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Runs a command, and writes the seconds that it took as a whole and the most memory of the host that it had into a file: whole FILE COMMAND...
whole() {
    "$PYTHON" -c '
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[2:])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
json.dump({"seconds": time.perf_counter() - start, "peak": peak}, open(sys.argv[1], "w"))
sys.exit(code)' "$@"
}
python() { whole "$OUT/python.whole" "$PYTHON" "$here/card.py" "$@" --out "$OUT" --size "$SIZE" --device "$DEVICE" --steps "$STEPS"; }

echo "== the device"
"$milepost" device --device "$DEVICE" --quick --json "$OUT/device.json" || echo "milepost device ended with $?: read its lines" >&2

echo "== weights, text and experiment"
rm -rf "$OUT/runs" "$OUT"/*.whole "$OUT"/pytorch_*
python make

# The precisions of this build. flex only rehearses bf16.
precisions=f32
if test "$DEVICE" = flex; then
    :
elif "$milepost" plan "$OUT/card.toml" --device "$DEVICE" --set train.precision=bf16 >/dev/null 2>"$OUT/bf16.err"; then
    precisions="f32 bf16"
else
    echo "no bf16 training in this build: $(head -n 1 "$OUT/bf16.err")"
fi

cd "$OUT"
train() {
    name=$1
    shift
    whole "$name.whole" "$milepost" finetune card.toml --device "$DEVICE" --name "$name" "$@" >"$name.log" 2>&1 || {
        tail -n 20 "$name.log" >&2
        refuse "milepost finetune failed ($name); all it said is in $OUT/$name.log"
    }
}
for precision in $precisions; do
    set -- --no-hooks
    test "$precision" = f32 || set -- "$@" --set "train.precision=$precision"
    echo "== milepost trains, $precision"
    train "$precision" "$@"
    for kind in eager compile; do
        echo "== PyTorch trains, $precision, $kind"
        python train --precision "$precision" --kind "$kind" && mv python.whole "pytorch_${kind}_$precision.whole" || echo "PyTorch $kind failed in $precision: no such row in the table" >&2
    done
done
# A milestone takes longer than a few steps.
if test "$STEPS" -ge 20; then
    echo "== milepost trains, f32, with hooks in the background"
    train hooks
fi

echo "== a milestone"
"$milepost" measure --main main --assistant assistant --templates builtin --set templates.set=unique --device "$DEVICE" --json measured.json >measured.log 2>&1 || {
    cat measured.log >&2
    refuse 'milepost measure failed'
}
python generate

python table
