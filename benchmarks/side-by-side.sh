#!/bin/bash
# Runs edits of bitmaps beside qemu-img on the same images, in turn, and prints a table: the best wall time in seconds of all runs, the peak
# memory, and how many times faster than qemu-img. Each run has a fresh copy of the image, flushed to disk and in the page cache.
# The tool is the published one, compiled ahead of time; the library runs in a process that has made 40 such edits of a small image.
# Usage: benchmarks/side-by-side.sh [FOLDER [RUNS]]   needs qemu-img, GNU time, and about 7 GB in FOLDER.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
runs=${2:-5}

make_image() { # FILE SIZE BITMAPS HOW
    qemu-img create -q -f qcow2 "$1" "$2"
    for bitmap in $3; do
        qemu-img bitmap --add -g 4k "$1" "$bitmap"
        if [ "$4" != clean ]; then $bench fill "$1" "$bitmap" "$4"; fi
    done
}

fresh() { cp --sparse=always "$folder/$1.qcow2" "$folder/run.qcow2"; sync "$folder/run.qcow2"; cat "$folder/run.qcow2" >/dev/null; warm_memory; }
show() { echo "$(best "$1" 1) s, $(peak "$1")"; } # LINES
versus() { echo "$(show "$2"), **$(ratio "$(best "$1" 1)" "$(best "$2" 1)")×**"; } # LINES LINES

compare() { # TITLE IMAGE KIND QEMU-COMMAND [TOOL-COMMAND]
    rm -f "$folder"/[qtl]
    for _ in $(seq "$runs"); do
        fresh "$2"; timed "$folder/q" bash -c "$4"
        if [ -n "${5:-}" ]; then fresh "$2"; timed "$folder/t" bash -c "$5"; fi
        fresh "$2"; $bench time-edit "$folder/warm.qcow2" "$folder/run.qcow2" "$3" >>"$folder/l"
        qemu-img check -q "$folder/run.qcow2"
    done
    local tool_cell=
    if [ -n "${5:-}" ]; then tool_cell=$(versus "$folder/q" "$folder/t"); fi
    echo "| $1 | $(show "$folder/q") | $tool_cell | $(versus "$folder/q" "$folder/l") |"
}

make_image "$folder/warm.qcow2" 1G "a b" sparse
make_image "$folder/dense.qcow2" 16T "a b" dense
make_image "$folder/one-dense.qcow2" 16T "a" dense
make_image "$folder/all.qcow2" 16T "a" all
qemu-img bitmap --add -g 4k "$folder/all.qcow2" b
make_image "$folder/sparse.qcow2" 16T "a b" sparse
make_image "$folder/empty.qcow2" 100G "" clean
run=$folder/run.qcow2
echo "| 16 TiB, granularity 4 KiB | qemu-img $qemu_version | \`qcow2bitmaps\`, the whole process | the library, in a running process |"
echo "|---|---|---|---|"
compare "merge, random dense bits into random dense bits" dense merge "qemu-img bitmap --merge a $run b" "$tool bitmap --merge a $run b"
compare "merge, all dirty into clean" all merge "qemu-img bitmap --merge a $run b" "$tool bitmap --merge a $run b"
compare "merge, sparse into sparse" sparse merge "qemu-img bitmap --merge a $run b" "$tool bitmap --merge a $run b"
compare "remove a bitmap of 512 MiB; ours gives the space back" one-dense remove "qemu-img bitmap --remove $run a" "$tool bitmap --remove $run a"
compare "the same, the file keeps the space, as with qemu-img" one-dense remove-ignore "qemu-img bitmap --remove $run a" "$tool bitmap --remove --discard ignore $run a"
compare "add 100 bitmaps (100 GiB; 64 KiB): 100 runs of qemu-img, one edit" empty add100 "for i in \$(seq 100); do qemu-img bitmap --add $run added-\$i; done"
