#!/usr/bin/env bash
# On a machine with one NVIDIA GPU and no network: what is correct, how fast, and what it learns.
#   benchmarks/gpu_suite.sh OUT_DIR [STAGE...]
#   correctness                           parity of the engines (the default)
#   mjx, warp, mjx-v4, warp-v4            physics over 512 to 32768 worlds; fast unless v4
#   mjx-loop, warp-loop, and with -v4     every part and the whole loop at three world counts
#   learner                               updates over batch sizes
#   compiler, compiler-mjx                updates and loop, or MJX's physics, under options of XLA
#   profile                               a trace of the whole loop
#   train                                 7 minutes of the preset gpu
#   train-batch                           the same with 4 updates of batch 1024 for 16 of 256
#   train-delay                           the same with one fit of the policy for two updates
# Every stage ends inside 9 minutes. A bench that is cut off leaves what it has measured: its JSON is
# rewritten after every round, and SIGINT lets it draw its plot.
# SIZE=toy rehearses it anywhere, in minutes: MuJoCo's C engine stands in for both, a few worlds, the
# preset smoke, and of the tests of correctness only that they are found.
set -uo pipefail
out=${1:?usage: benchmarks/gpu_suite.sh OUT_DIR [stage...]}; shift
stages=("${@:-correctness}")
python=${PYTHON:-python3}
mkdir -p "$out"
cd "$(dirname "$0")/.."
# A stage that is run again, or after another with the same programs, finds them compiled.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-${TMPDIR:-/tmp}/mjx_dm_compiled}
export PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >"$out/gpu.txt" 2>&1

preset=gpu sweep=(4096 512 32768 2048 16384 1024 8192) loop=(4096 1024 16384) minutes=7
batches=(256 512 1024 2048 4096 8192 16384 32768) rounds=5 engine= tests=()
if [ "${SIZE:-full}" = toy ]; then
  preset=smoke sweep=(8 16) loop=(8) minutes=0.05 batches=(16 32) rounds=2 engine=mujoco
  tests=(--collect-only)
fi

bench() {
  timeout -s INT -k 20 "${limit:-510}" "$python" -m mjx_dm.bench --preset "$preset" --rounds "$rounds" "$@"
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
    learner)
      bench --parts update --steps 50 --batch-size "${batches[@]}" "${files[@]}" ;;
    # Kernels that do not wait for each other beside each other in CUDA graphs, and loops in graphs.
    compiler | compiler-mjx)
      what=(--engines "${engine:-warp}" --parts update whole)
      [ "$stage" = compiler ] || what=(--engines "${engine:-mjx}" --parts physics)
      for mode in LHS CONCURRENT CONCURRENT_REGIONS CONCURRENT-WHILE; do
        flags=--xla_gpu_command_buffer_scheduling_mode=${mode%-*}
        [ "$mode" = "${mode%-*}" ] || flags="$flags --xla_gpu_enable_command_buffer=+WHILE"
        XLA_FLAGS=$flags limit=130 bench "${what[@]}" --num-envs "${loop[1]:-8}" --steps 10 \
          --json "$out/$stage-$mode.json" || { echo "== $stage $mode failed" >&2; status=1; }
      done ;;
    profile)
      bench --num-envs "${loop[0]}" --steps 3 --profile "$out/profile" ;;
    train | train-batch | train-delay)
      case $stage in
        train) settings=() ;;
        # Four times the batch: steps twice as long, averages and alpha four times as fast.
        train-batch) settings=(--updates-per-step 4 --batch-size 1024 --actor-batch-size 512
          --actor-lr 6e-4 --critic-lr 1.2e-3 --polyak 0.185
          --actor-average 2e-3 --alpha-step 1.2e-3) ;;
        train-delay) settings=(--updates-per-step 16 --policy-delay 2 --batch-size 256
          --actor-batch-size 256 --actor-average 1e-3 --alpha-step 6e-4) ;;
      esac
      timeout 560 "$python" train.py --preset "$preset" --minutes "$minutes" --no-save-replay \
        "${settings[@]}" --run-dir "$out/$stage" 2>&1 | tee "$out/$stage.txt" ;;
    *) echo "unknown stage $stage" >&2; exit 2 ;;
  esac || { echo "== $stage failed" >&2; status=1; }
done
exit "$status"
