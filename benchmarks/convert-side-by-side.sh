#!/bin/bash
# Runs conversions beside qemu-img on the same images, in turn, and prints a table: the medians of the wall time in seconds, of the processor
# time, the peak memory, and how many times faster than qemu-img. Sources are in the page cache; no target is there before, none is flushed.
# Usage: benchmarks/convert-side-by-side.sh [FOLDER [RUNS]]   needs qemu-img, GNU time, and about 5 GB in FOLDER.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d "${1:-/tmp}/convert-side-by-side.XXXXXX")
trap 'rm -rf "$folder"' EXIT
runs=${2:-5}
dotnet build -c Release -v q --nologo >/dev/null
dotnet publish src/Qcow2Bitmaps.Cli -r linux-x64 -o "$folder/tool" -v q --nologo >/dev/null
tool="$folder/tool/Qcow2Bitmaps.Cli"
bench="dotnet $PWD/benchmarks/Qcow2Bitmaps.Benchmarks/bin/Release/net10.0/Qcow2Bitmaps.Benchmarks.dll"
out=$folder/out

median() { sort -n | sed -n "$((runs / 2 + 1))p"; }
column() { cut -d' ' -f"$2" "$1" | median; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
run() { # FILE COMMAND…
    local times=$1; shift
    rm -f "$out"; /usr/bin/time -a -o "$times" -f '%e %U %S %M' "$@"
}

compare() { # TITLE SOURCE FORMAT
    : >"$folder/q"; : >"$folder/t"; : >"$folder/l"
    for _ in $(seq "$runs"); do
        cat "$2" >/dev/null
        run "$folder/q" qemu-img convert -O "$3" "$2" "$out"
        run "$folder/t" $tool convert -O "$3" "$2" "$out"
        rm -f "$out"; $bench time-convert "$folder/warm.qcow2" "$2" "$out" "$3" >>"$folder/l"
        qemu-img compare -q "$2" "$out" || { echo "$1: the target differs" >&2; exit 1; }
    done
    for f in q t; do awk '{ printf "%.2f %.2f %d\n", $1, $2 + $3, $4 / 1024 }' "$folder/$f" >"$folder/$f.sums"; done
    local q t l
    q=$(column "$folder/q.sums" 1); t=$(column "$folder/t.sums" 1); l=$(column "$folder/l" 1)
    echo "| $1 | $q s ($(column "$folder/q.sums" 2) s), $(column "$folder/q.sums" 3) MiB | $t s ($(column "$folder/t.sums" 2) s), $(column "$folder/t.sums" 3) MiB, **$(ratio "$q" "$t")×** | $l s, $(($(column "$folder/l" 2) / 1024)) MiB, **$(ratio "$q" "$l")×** |"
}

head -c 16M /dev/urandom >"$folder/warm.raw"
qemu-img convert -c -f raw -O qcow2 "$folder/warm.raw" "$folder/warm.qcow2"
head -c 1G /dev/urandom >"$folder/random.raw"
qemu-img convert -f raw -O qcow2 "$folder/random.raw" "$folder/plain.qcow2"
rm "$folder/random.raw"
# A system's files, which pack as such files do.
tar -c --exclude=/proc --exclude=/sys /usr 2>/dev/null | head -c 512M >"$folder/files.raw" || true
qemu-img convert -c -W -m 16 -f raw -O qcow2 "$folder/files.raw" "$folder/zlib.qcow2"
qemu-img convert -c -W -m 16 -f raw -O qcow2 -o compression_type=zstd "$folder/files.raw" "$folder/zstd.qcow2"
rm "$folder/files.raw"
echo "| wall time (processor time), peak memory | qemu-img $(qemu-img --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p') | \`qcow2bitmaps\`, the whole process | the library, in a running process |"
echo "|---|---|---|---|"
compare "1 GiB of random data, plain, to raw" "$folder/plain.qcow2" raw
compare "the same to qcow2" "$folder/plain.qcow2" qcow2
compare "512 MiB of files, zlib, to raw" "$folder/zlib.qcow2" raw
compare "the same to qcow2" "$folder/zlib.qcow2" qcow2
compare "512 MiB of files, zstd, to raw" "$folder/zstd.qcow2" raw
compare "the same to qcow2" "$folder/zstd.qcow2" qcow2
