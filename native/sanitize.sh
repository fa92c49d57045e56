#!/usr/bin/env bash
# Builds the extension with AddressSanitizer and UndefinedBehaviorSanitizer, and runs the tests of
# the native engine on it, or plans of mutated model files. Usage: native/sanitize.sh [pytest
# arguments], or native/sanitize.sh fuzz [arguments of tests.fuzz]; needs gcc, and the packages of
# the toolkit's environment ($PYTHON, .venv/bin/python by default).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cp -r native/rnnedge_native "$folder"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
rm -f "$folder"/rnnedge_native/*.so
flags="-std=c11 -O1 -g -fPIC -fno-omit-frame-pointer -ffp-contract=fast -D_POSIX_C_SOURCE=200809L"
flags+=" -fsanitize=address,undefined -fno-sanitize-recover=undefined"
declare -A sets=([baseline]="") integer_sets=([baseline]="")
if [ "$(uname -m)" = x86_64 ]; then
    avx512="-mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma"
    sets+=([avx2]="-mavx2 -mfma" [avx512]="$avx512")
    integer_sets+=([avx2]="-mavx2 -mfma" [avxvnni]="-mavx2 -mfma -mavxvnni")
    integer_sets+=([avx512]="$avx512" [avx512vnni]="$avx512 -mavx512vnni")
elif [ "$(uname -m)" = aarch64 ]; then
    integer_sets+=([dotprod]="-march=armv8.2-a+dotprod")
fi
for name in "${!sets[@]}"; do
    gcc $flags ${sets[$name]} -DKERNELS="kernels_$name" -c native/src/kernels.c \
        -o "$folder/kernels_$name.o" &
done
for name in "${!integer_sets[@]}"; do
    gcc $flags ${integer_sets[$name]} -DINTEGERS="integers_$name" -c native/src/integers.c \
        -o "$folder/integers_$name.o" &
done
wait
gcc $flags -shared -I"$include" native/src/{dispatch,finals,module,program,rows,sequences,team,weights}.c \
    "$folder"/*.o -lm -pthread -Wl,-Bsymbolic -o "$folder/rnnedge_native/_engine$suffix"

# Python's own memory is freed at its end only, and its allocator would hide what is read too far.
export ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc PYTHONPATH="$folder:${PYTHONPATH:-}"
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
if [ "${1:-}" = fuzz ]; then
    "$python" -m tests.fuzz plan "${@:2}"
else
    "$python" -m pytest -q -p no:cacheprovider "${@:-tests/native}"
fi
