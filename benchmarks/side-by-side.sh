#!/bin/bash
# Runs edits of bitmaps beside qemu-img on the same images, in turn, and prints a table: the medians of five runs, in seconds, the peak
# memory, and how many times faster than qemu-img. Each run has a fresh copy of the image, flushed to disk and in the page cache.
# The tool is the published one, compiled ahead of time; the library runs in a process that has made 40 such edits of a small image.
# Usage: benchmarks/side-by-side.sh [FOLDER]   needs qemu-img, GNU time, and about 6 GB in FOLDER.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d "${1:-/tmp}/side-by-side.XXXXXX")
trap 'rm -rf "$folder"' EXIT
dotnet build -c Release -v q --nologo >/dev/null
dotnet publish src/Qcow2Bitmaps.Cli -r linux-x64 -o "$folder/tool" -v q --nologo >/dev/null
tool="$folder/tool/Qcow2Bitmaps.Cli"
bench="dotnet $PWD/benchmarks/Qcow2Bitmaps.Benchmarks/bin/Release/net10.0/Qcow2Bitmaps.Benchmarks.dll"
runs=5

make_image() { # FILE SIZE BITMAPS HOW
    qemu-img create -q -f qcow2 "$1" "$2"
    for bitmap in $3; do
        qemu-img bitmap --add -g 4k "$1" "$bitmap"
        if [ "$4" != clean ]; then $bench fill "$1" "$bitmap" "$4"; fi
    done
}

fresh() { cp --sparse=always "$folder/$1.qcow2" "$folder/run.qcow2"; sync "$folder/run.qcow2"; cat "$folder/run.qcow2" >/dev/null; }
median() { sort -n | sed -n "$((runs / 2 + 1))p"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a / b }'; }

compare() { # TITLE IMAGE KIND COMMAND…
    local title=$1 image=$2 kind=$3; shift 3
    : >"$folder/q"; : >"$folder/t"; : >"$folder/l"
    for _ in $(seq $runs); do
        fresh "$image"; /usr/bin/time -a -o "$folder/q" -f '%e %M' bash -c "$1"
        if [ -n "${2:-}" ]; then fresh "$image"; /usr/bin/time -a -o "$folder/t" -f '%e %M' bash -c "$2"; fi
        fresh "$image"
        $bench time-edit "$folder/warm.qcow2" "$folder/run.qcow2" "$kind" >>"$folder/l"
        qemu-img check -q "$folder/run.qcow2"
    done
    local q t l
    q=$(cut -d' ' -f1 "$folder/q" | median); l=$(cut -d' ' -f1 "$folder/l" | median)
    if [ -s "$folder/t" ]; then
        t=$(cut -d' ' -f1 "$folder/t" | median)
        tool_cell="$t s, $(($(cut -d' ' -f2 "$folder/t" | median) / 1024)) MiB, **$(ratio "$q" "$t")×**"
    else
        tool_cell=
    fi
    echo "| $title | $q s, $(($(cut -d' ' -f2 "$folder/q" | median) / 1024)) MiB | $tool_cell | $l s, $(($(cut -d' ' -f2 "$folder/l" | median) / 1024)) MiB, **$(ratio "$q" "$l")×** |"
}

make_image "$folder/warm.qcow2" 1G "a b" sparse
make_image "$folder/dense.qcow2" 16T "a b" dense
make_image "$folder/one-dense.qcow2" 16T "a" dense
make_image "$folder/all.qcow2" 16T "a" all
qemu-img bitmap --add -g 4k "$folder/all.qcow2" b
make_image "$folder/sparse.qcow2" 16T "a b" sparse
make_image "$folder/empty.qcow2" 100G "" clean
run=$folder/run.qcow2
echo "| 16 TiB, granularity 4 KiB | qemu-img $(qemu-img --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p') | \`qcow2bitmaps\`, the whole process | the library, in a running process |"
echo "|---|---|---|---|"
compare "merge, random dense bits into random dense bits" dense merge "qemu-img bitmap --merge a $run b" "$tool bitmap --merge a $run b"
compare "merge, all dirty into clean" all merge "qemu-img bitmap --merge a $run b" "$tool bitmap --merge a $run b"
compare "merge, sparse into sparse" sparse merge "qemu-img bitmap --merge a $run b" "$tool bitmap --merge a $run b"
compare "remove a bitmap of 512 MiB; ours gives the space back" one-dense remove "qemu-img bitmap --remove $run a" "$tool bitmap --remove $run a"
compare "the same, the file keeps the space, as with qemu-img" one-dense remove-ignore "qemu-img bitmap --remove $run a" "$tool bitmap --remove --discard ignore $run a"
compare "add 100 bitmaps (100 GiB; 64 KiB): 100 runs of qemu-img, one edit" empty add100 "for i in \$(seq 100); do qemu-img bitmap --add $run added-\$i; done"
