#!/usr/bin/env bash
# On a machine with one NVIDIA GPU and no network: what is correct, how fast, and what it learns.
#   benchmarks/gpu_suite.sh OUT_DIR [STAGE...]
#   correctness                           parity of the engines (the default)
#   mjx, warp, mjx-v4, warp-v4            physics over 512 to 32768 worlds; fast unless v4
#   mjx-loop, warp-loop, and with -v4     every part and the whole loop at three world counts
#   testspeed                             mujoco-warp alone, where it is installed: its own benchmark, its humanoid
#   learner                               updates over batch sizes
#   compiler                              updates under XLA's default scheduling of CUDA graphs and ours
#   profile                               a trace of the whole loop
#   train                                 2.4 minutes of the preset gpu, from nothing compiled
#   seeds                                 5 seeds of the preset gpu in one program, 4.5 minutes
#   train-batch                           the same with 4 updates of batch 1024 for 16 of 256
# Every stage ends inside 10 minutes. A bench that is cut off leaves what it has measured: its JSON is
# rewritten after every round, and SIGINT lets it draw its plot. Of a training run OUT_DIR gets the
# small files: metrics, settings, the best policy, plots, and what it said, stamped in seconds.
# SIZE=toy rehearses it anywhere, in minutes: MuJoCo's C engine stands in for both, a few worlds, the
# preset smoke, and of the tests of correctness only that they are found.
set -uo pipefail
out=${1:?usage: benchmarks/gpu_suite.sh OUT_DIR [stage...]}; shift
stages=("${@:-correctness}")
python=${PYTHON:-python3}
mkdir -p "$out"
out=$(cd "$out" && pwd)
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
cd "$(dirname "$0")/.."
# A stage that is run again, or after another with the same programs, finds them compiled.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-${TMPDIR:-/tmp}/mjx_dm_compiled}
export PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >"$out/gpu.txt" 2>&1

preset=gpu sweep=(4096 512 32768 2048 16384 1024 8192) loop=(4096 1024 16384) minutes=2.4
seeds=5 seed_minutes=${SEED_MINUTES:-4.5}
batches=(256 512 1024 2048 4096 8192 16384 32768) rounds=5 engine= tests=()
modes=(LHS CONCURRENT)
if [ "${SIZE:-full}" = toy ]; then
  preset=smoke sweep=(8 16) loop=(8) minutes=0.05 batches=(16 32) rounds=2 engine=mujoco
  seeds=2 seed_minutes=0.01
  tests=(--collect-only) modes=(CONCURRENT)
fi

bench() {
  timeout -s INT -k 20 "${limit:-510}" "$python" -m mjx_dm.bench --preset "$preset" --rounds "$rounds" "$@"
}

stamped() {
  local line began=$SECONDS
  while IFS= read -r line; do printf '%5d %s\n' $((SECONDS - began)) "$line"; done
}

status=0
for stage in "${stages[@]}"; do
  echo "== $stage"
  case $stage in *-v4) physics=v4 ;; *) physics=fast ;; esac
  simulates=(--engines "${engine:-${stage%%-*}}" --physics "$physics")
  files=(--json "$out/$stage.json" --plot "$out/$stage.png")
  case $stage in
    correctness)
      timeout 500 "$python" -m pytest -p no:cacheprovider -q -m gpu "${tests[@]}" \
        tests/engines/test_engines.py 2>&1 | tee "$out/correctness.txt" ;;
    # Middle and ends of a sweep come first, so that one that is cut off still shows its shape.
    mjx | warp | mjx-v4 | warp-v4)
      bench "${simulates[@]}" --parts physics --num-envs "${sweep[@]}" --steps 5 "${files[@]}" ;;
    mjx-loop | warp-loop | mjx-loop-v4 | warp-loop-v4)
      bench "${simulates[@]}" --num-envs "${loop[@]}" --steps 10 "${files[@]}" ;;
    testspeed)
      where='import mujoco_warp; print(mujoco_warp.__path__[0] + "/test_data/humanoid/humanoid.xml")'
      if model=$("$python" -c "$where" 2>/dev/null); then
        timeout 300 "$python" -m mujoco_warp.testspeed "$model" --nworld 8192 --nconmax 24 \
          --njmax 64 --nstep 1000 2>&1 | sed "s#${model%/*}/##" | tee "$out/testspeed.txt"
      else
        echo "left out: mujoco_warp is not installed" | tee "$out/testspeed.txt"
      fi ;;
    learner)
      bench --parts update --steps 50 --batch-size "${batches[@]}" "${files[@]}" ;;
    # A minute each, most of it XLA's.
    compiler)
      for mode in "${modes[@]}"; do
        XLA_FLAGS=--xla_gpu_command_buffer_scheduling_mode=$mode limit=60 bench \
          --parts update --steps 100 --batch-size "${batches[0]}" --json "$out/$stage-$mode.json" \
          || { echo "== $stage $mode failed" >&2; status=1; }
      done ;;
    profile)
      bench --num-envs "${loop[0]}" --steps 3 --profile "$out/profile" ;;
    train | train-batch)
      case $stage in
        train) settings=() ;;
        # Four times the batch: steps twice as long, averages and alpha four times as fast.
        train-batch) settings=(--updates-per-step 4 --batch-size 1024 --actor-batch-size 512
          --actor-lr 6e-4 --critic-lr 1.2e-3 --polyak 0.185
          --actor-average 2e-3 --alpha-step 1.2e-3) ;;
      esac
      timeout 590 "$python" train.py --preset "$preset" --minutes "$minutes" --no-save-replay \
        --seed 1 --eval-every 1250000 "${settings[@]}" --run-dir "$runs/$stage" 2>&1 \
        | stamped | tee "$out/$stage.txt"
      ended=$?
      mkdir -p "$out/$stage"
      for part in metrics.jsonl config.json best plots; do
        [ ! -e "$runs/$stage/$part" ] || cp -r "$runs/$stage/$part" "$out/$stage/"
      done
      [ "$ended" = 0 ] ;;
    seeds)
      timeout -s INT -k 20 560 "$python" -m mjx_dm.population --preset "$preset" --seed 1 \
        --seeds "$seeds" --minutes "$seed_minutes" --round-env-steps 2500000 \
        --out "$out/seeds.json" --policies "$out/seeds" 2>&1 | stamped | tee "$out/seeds.txt" ;;
    *) echo "unknown stage $stage" >&2; exit 2 ;;
  esac || { echo "== $stage failed" >&2; status=1; }
done
exit "$status"
