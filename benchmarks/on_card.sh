#!/usr/bin/env bash
# Ten minutes of a GPU machine without a network: installs what benchmarks/pack_wheels.sh collected, trains
# the preset gpu from nothing compiled, then five seeds of it in one program.
#   benchmarks/on_card.sh PACKS OUT_DIR [SECONDS]      (583 unless told; PACKS: the folders that were packed)
# OUT_DIR gets two archives: train.tgz and seeds.tgz, of benchmarks/gpu_suite.sh's stages of those names.
set -u
packs=$(cd "${1:?usage: benchmarks/on_card.sh PACKS OUT_DIR [SECONDS]}" && pwd)
mkdir -p "${2:?usage: benchmarks/on_card.sh PACKS OUT_DIR [SECONDS]}"
out=$(cd "$2" && pwd) limit=${3:-583}
cd "$(dirname "$0")/.."
work=$(mktemp -d) python=${PYTHON:-python3}
trap 'rm -rf "$work"' EXIT
export JAX_COMPILATION_CACHE_DIR=$work/compiled PYTHONUNBUFFERED=1
if [ -e "$packs/join.sh" ]; then
  bash "$packs/join.sh" && "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
    --target "$work/site" "$packs"/*/*.whl || exit 1
  export PYTHONPATH=$work/site
  echo "== installed after $SECONDS s"
fi

# XLA compiles the program of the five seeds while the first run compiles its own; it is not run. (A
# CPU's programs are not kept, since they call the host.)
if [ "${SIZE:-full}" != toy ]; then
  XLA_PYTHON_CLIENT_PREALLOCATE=false setsid "$python" -m mjx_dm.population --preset gpu --seed 1 --seeds 5 \
    --minutes 0.001 --out "$work/compiled.json" >"$work/compiling.txt" 2>&1 &
  compiling=$!
  (
    kept=$JAX_COMPILATION_CACHE_DIR
    while kill -0 "$compiling" 2>/dev/null && [ "$SECONDS" -lt 180 ]; do
      sleep 1
      ls "$kept"/jit_advance*-cache "$kept"/jit_init*-cache >/dev/null 2>&1 && break
    done
    echo "== the program of the seeds is compiled after $SECONDS s"
    kill -9 -- -"$compiling" 2>/dev/null
  ) &
fi
timeout -s INT -k 10 $((limit * 3 / 5)) bash benchmarks/gpu_suite.sh "$work/out" train
echo "== trained after $SECONDS s"
tar czf "$out/train.tgz" -C "$work/out" .
left=$((limit - SECONDS))
# What is neither training nor the last scores takes some 40 s.
SEED_MINUTES=$("$python" -c "print(max(0.01, ($left - 40) / 60))") \
  timeout -s INT -k 10 "$left" bash benchmarks/gpu_suite.sh "$work/out" seeds
ended=$?
tar czf "$out/seeds.tgz" -C "$work/out" seeds seeds.json seeds.txt
echo "== over after $SECONDS s"
exit "$ended"
