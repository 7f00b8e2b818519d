#!/usr/bin/env bash
# Collects the wheels that a GPU machine without a network lacks, in folders of at most 53 MiB.
#   benchmarks/pack_wheels.sh OUT_DIR        (Python 3.12, x86-64, versions from constraints.txt)
# The machine is expected to have jax with CUDA, flax, optax, orbax-checkpoint, scipy, matplotlib,
# imageio, pillow, rich, absl-py and etils. There, once every folder has been copied:
#   OUT_DIR/join.sh                          (puts split wheels together and unpacks Warp's)
#   python3 -m pip install --no-index --no-deps --target SITE OUT_DIR/*/*.whl
#   export PYTHONPATH=SITE
# Films are made elsewhere, from the checkpoints: imageio-ffmpeg is left out for its size, and so is
# the part of Warp that compiles kernels for a CPU. Packing takes minutes, for Warp's sake.
set -euo pipefail
out=${1:?usage: benchmarks/pack_wheels.sh OUT_DIR}
root=$(cd "$(dirname "$0")/.." && pwd)
limit=$((53 * 1024 * 1024))
python=${PYTHON:-python3}
packages=(mujoco mujoco-mjx brax gymnasium warp-lang tyro docstring-parser typeguard jaxtyping
  wadler-lindig glfw pyopengl farama-notifications trimesh tensorboardx cloudpickle jaxopt safetensors)

if [ -e "$out" ]; then echo "$out exists already; give a new folder" >&2; exit 2; fi
mkdir -p "$out/all"
pins=()
for package in "${packages[@]}"; do
  # The project's own pins stand in pyproject.toml, all others in the constraints file.
  pin=$(grep -ihoE "\"?${package//[-_]/[-_]}==[0-9][0-9A-Za-z.]*" \
    "$root/pyproject.toml" "$root/constraints.txt" | head -n 1 | tr -d '"')
  [ -n "$pin" ] || { echo "no pin for $package in pyproject.toml or constraints.txt" >&2; exit 1; }
  pins+=("$pin")
done
# For the suite's stage testspeed; nothing else needs it. Its versions are mujoco's.
pins+=("mujoco-warp${pins[0]#mujoco}")
platforms=()
for n in 17 24 27 28 31 34 35; do platforms+=(--platform "manylinux_2_${n}_x86_64"); done
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --python-version 3.12 --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 \
  -d "$out/all" "${pins[@]}"

# Warp's library is code for many cards, alike in parts: a deflated wheel of 142 MiB is 64 under xz,
# without what compiles for a CPU (5 minutes of a slow core, 3 GB of memory).
warp=$(ls "$out"/all/warp_lang-*.whl)
"$python" - "$warp" <<'PYTHON'
import sys
import zipfile

left_out = "warp/bin/warp-clang.so"
source = sys.argv[1]
with zipfile.ZipFile(source) as deflated, zipfile.ZipFile(source + ".stored", "w") as stored:
    for name in deflated.namelist():
        if name == left_out:
            continue
        content = deflated.read(name)
        if name.endswith(".dist-info/RECORD"):
            lines = content.decode().splitlines(keepends=True)
            content = "".join(x for x in lines if not x.startswith(left_out)).encode()
        stored.writestr(name, content)
PYTHON
mv "$warp.stored" "$warp"
xz --lzma2=preset=6,dict=256MiB "$warp"

cat >"$out/join.sh" <<'JOIN'
#!/usr/bin/env bash
# Puts split wheels together again, beside their first part, and unpacks what xz packed.
set -euo pipefail
cd "$(dirname "$0")"
for first in */*.part.00; do
  [ -e "$first" ] || continue
  whole=${first%.part.00}
  name=$(basename "$whole")
  for part in 00 01 02 03 04 05; do
    for file in */"$name.part.$part"; do [ ! -e "$file" ] || cat "$file"; done
  done >"$whole.unfinished"
  mv "$whole.unfinished" "$whole"
  rm -f */"$name".part.*
done
for packed in */*.whl.xz; do
  [ -e "$packed" ] || continue
  python3 -c 'import lzma, shutil, sys
with lzma.open(sys.argv[1]) as packed, open(sys.argv[1][:-3], "wb") as wheel:
    shutil.copyfileobj(packed, wheel)' "$packed"
  rm "$packed"
done
JOIN
chmod +x "$out/join.sh"

# First fit, largest first; what is larger than a folder is split.
folder=0 room=0
for wheel in $(ls -S "$out/all"); do
  size=$(stat -c %s "$out/all/$wheel")
  if [ "$size" -gt "$limit" ]; then
    split -b "$limit" -d "$out/all/$wheel" "$out/all/$wheel.part."
    rm "$out/all/$wheel"
  fi
done
for file in $(ls -S "$out/all"); do
  size=$(stat -c %s "$out/all/$file")
  placed=
  for dir in "$out"/[0-9]*/; do
    [ -d "$dir" ] || continue
    if [ $(($(du -cb "$dir"* | tail -n 1 | cut -f 1) + size)) -le "$limit" ]; then
      mv "$out/all/$file" "$dir"; placed=yes; break
    fi
  done
  if [ -z "$placed" ]; then mkdir "$out/$folder"; mv "$out/all/$file" "$out/$folder/"; folder=$((folder + 1)); fi
done
rmdir "$out/all"
du -sh "$out"/*/
