# Sourced by the other scripts in this folder. Sets $folder, a new folder in their first argument, which is deleted at their end, $tool and
# $bench; and defines how runs become figures.
# The environment variables TOOL and BENCH name existing builds: a published tool, and Qcow2Bitmaps.Benchmarks.dll.
# Disturbances only add to a run's time, so the best of all runs is reported; of their peaks of memory, the highest.
set -euo pipefail
folder=$(realpath "$(mktemp -d "${1:-/tmp}/$(basename "$0" .sh).XXXXXX")")
trap 'rm -rf "$folder"' EXIT
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tool=${TOOL:-$folder/tool/Qcow2Bitmaps.Cli}
bench="dotnet ${BENCH:-$PWD/benchmarks/Qcow2Bitmaps.Benchmarks/bin/Release/net10.0/Qcow2Bitmaps.Benchmarks.dll}"
if [ -z "${TOOL:-}" ]; then
    dotnet publish src/Qcow2Bitmaps.Cli -r linux-x64 -o "$folder/tool" -v q --nologo >/dev/null
fi
if [ -z "${BENCH:-}" ]; then
    dotnet build benchmarks/Qcow2Bitmaps.Benchmarks -c Release -v q --nologo >/dev/null
fi
qemu_version=$(qemu-img --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p')

# If the host reclaims free memory, the first process to use it pays: so 1 GiB is used and freed before a run that writes much.
warm_memory() { head -c 1G /dev/zero >"$folder/warm-memory"; rm "$folder/warm-memory"; }

# Lines are: seconds, seconds of user and system, KiB.
timed() { # FILE COMMAND…: runs a command and adds a line to FILE
    local lines=$1; shift
    /usr/bin/time -o "$folder/timed" -f '%e %U %S %M' "$@" >/dev/null
    awk '{ printf "%.2f %.2f %d\n", $1, $2 + $3, $4 }' "$folder/timed" >>"$lines"
}
best() { cut -d' ' -f"$2" "$1" | sort -n | head -n 1; } # FILE COLUMN
peak() { echo "$(($(cut -d' ' -f3 "$1" | sort -n | tail -n 1) / 1024)) MiB"; } # FILE
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", (b + 0 == 0) ? 0 : a / b }'; }
