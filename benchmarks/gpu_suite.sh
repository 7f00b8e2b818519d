#!/usr/bin/env bash
# On a machine with one NVIDIA GPU and no network: what is correct, how fast, and what it learns.
#   benchmarks/gpu_suite.sh OUT_DIR [correctness] [mjx] [warp] [learner] [train]
# Every stage ends well inside 9 minutes on an H100 and leaves its files complete as it goes.
set -uo pipefail
out=${1:?usage: benchmarks/gpu_suite.sh OUT_DIR [stage...]}; shift
stages=("${@:-correctness}")
python=${PYTHON:-python3}
mkdir -p "$out"
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >"$out/gpu.txt" 2>&1

for stage in "${stages[@]}"; do
  echo "== $stage"
  case $stage in
    correctness)
      timeout 500 "$python" -m pytest -p no:cacheprovider -q -m gpu tests/test_engines.py 2>&1 |
        tee "$out/correctness.txt" ;;
    mjx | warp)
      timeout 500 "$python" -m mjx_dm.bench --parts physics --engines "$stage" --preset gpu \
        --num-envs 2048 8192 32768 --json "$out/${stage}_physics.json"
      timeout 300 "$python" -m mjx_dm.bench --parts rollout whole --engines "$stage" --preset gpu \
        --num-envs 1024 4096 --json "$out/${stage}_loop.json" ;;
    learner)
      timeout 300 "$python" -m mjx_dm.bench --parts update --preset gpu --steps 200 \
        --batch-size 256 1024 4096 16384 --json "$out/learner.json" ;;
    train)
      timeout 560 "$python" train.py --preset gpu --minutes 7 --run-dir "$out/run" 2>&1 |
        tee "$out/train.txt" ;;
    *) echo "unknown stage $stage" >&2; exit 2 ;;
  esac
done
