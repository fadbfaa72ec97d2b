#!/bin/bash
# Runs chain operations beside qemu-img on copies of the same images, in turn, and prints tables: the best wall time in seconds and processor
# time (user and system) of all runs, and the peak memory. Images lie in FOLDER, are in the page cache before each run, and are compared afterwards.
# Usage: benchmarks/chain-side-by-side.sh [FOLDER [RUNS]]   needs qemu-img, qemu-io, GNU time, and about 6 GB in FOLDER.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
runs=${2:-5}
work=$folder/work

fresh() { rm -rf "$work"; cp -r --sparse=always "$folder/$1" "$work"; cat "$work"/* >/dev/null; warm_memory; } # IMAGES
run() { # LINES COMMAND
    (cd "$work" && timed "$1" sh -c "$2")
}
show() { echo "$(best "$1" 1) s ($(best "$1" 2) s), $(peak "$1")"; } # LINES
versus() { echo "$(show "$2"), **$(ratio "$(best "$1" 1)" "$(best "$2" 1)")×** (**$(ratio "$(best "$1" 2)" "$(best "$2" 2)")×**)"; } # LINES LINES

compare() { # TITLE IMAGES RESULT OURS-RESULT KIND LIBRARY-ARGUMENT QEMU-COMMAND TOOL-COMMAND
    rm -rf "$folder"/[qtl] "$folder/beside"
    for _ in $(seq "$runs"); do
        fresh "$2"; run "$folder/q" "$7"; mv "$work/$3" "$folder/expected"
        fresh "$2"; run "$folder/t" "$8"; mv "$work/$4" "$folder/actual"
        (cd "$folder" && qemu-img compare -q "$(link expected "$2")" "$(link actual "$2")") || { echo "$1: the tool's result differs" >&2; exit 1; }
        fresh "$2"; (cd "$work" && $bench time-chain "$5" top.qcow2 "$6" >>"$folder/l"); mv "$work/$4" "$folder/actual"
        (cd "$folder" && qemu-img compare -q "$(link expected "$2")" "$(link actual "$2")") || { echo "$1: the library's result differs" >&2; exit 1; }
    done
    echo "| $1 | $(show "$folder/q") | $(versus "$folder/q" "$folder/t") | $(versus "$folder/q" "$folder/l") |"
}
# A result is compared in the folder of the images that it may name.
link() { mkdir -p "$folder/beside"; ln -f "$folder/$2"/* "$folder/$1" "$folder/beside"; echo "$folder/beside/$1"; }

alone() { # TITLE IMAGES TOOL-COMMAND
    rm -f "$folder/t"
    for _ in $(seq "$runs"); do fresh "$2"; run "$folder/t" "$3"; done
    echo "| $1 | $(show "$folder/t") |"
}

img() { (cd "$folder/$set" && qemu-img create -q -f qcow2 "$@"); }
set=plain; mkdir -p "$folder/plain"
head -c 1G /dev/urandom >"$folder/random.raw"
qemu-img convert -f raw -O qcow2 "$folder/random.raw" "$folder/plain/data.qcow2"; rm "$folder/random.raw"
# An empty base, and all data in the overlay: for commit and flatten.
img base.qcow2 1G; mv "$folder/plain/data.qcow2" "$folder/plain/top.qcow2"
(cd "$folder/plain" && qemu-img rebase -u -b base.qcow2 -F qcow2 top.qcow2)
# All data in the base, and an empty overlay: for rebase.
set=below; mkdir -p "$folder/below"; cp "$folder/plain/top.qcow2" "$folder/below/base.qcow2"
(cd "$folder/below" && qemu-img rebase -u -b "" base.qcow2)
img -b base.qcow2 -F qcow2 top.qcow2
set=other; mkdir -p "$folder/other"; cp "$folder/below"/* "$folder/other"
cp "$folder/other/base.qcow2" "$folder/other/other.qcow2"
(cd "$folder/other" && qemu-io -f qcow2 -c 'write -P 5 0 64M' other.qcow2 >/dev/null)

echo "| wall time (processor time), peak memory | qemu-img $qemu_version | the tool | the library |"
echo "|---|---|---|---|"
compare "commit" plain base.qcow2 base.qcow2 commit base.qcow2 "qemu-img commit -d -q top.qcow2" "$tool chain commit --keep top.qcow2 base.qcow2"
compare "no backing" below top.qcow2 top.qcow2 rebase "" "qemu-img rebase -b '' top.qcow2" "$tool chain rebase -b '' top.qcow2"
compare "other base" other top.qcow2 top.qcow2 rebase other.qcow2 "qemu-img rebase -b other.qcow2 -F qcow2 top.qcow2" "$tool chain rebase -b other.qcow2 -F qcow2 top.qcow2"
compare "flatten" plain flat.qcow2 flat.qcow2 flatten flat.qcow2 "qemu-img convert -O qcow2 top.qcow2 flat.qcow2 && sync flat.qcow2" "$tool chain flatten top.qcow2 flat.qcow2"
rm -rf "$folder/below" "$folder/other"

echo
echo "| \`qcow2bitmaps chain commit\` | wall time (processor time), peak memory |"
echo "|---|---|"
dirty() { # SET SIZE COUNT: as many pieces of 1 MiB, spread over the disk
    set=$1; mkdir -p "$folder/$1"; img base.qcow2 "$2"; img -b base.qcow2 -F qcow2 top.qcow2
    awk -v n="$3" -v size="${2%G}" 'BEGIN { for (i = 0; i < n; i++) printf "write -q -P %d %dk 1M\n", 1 + i % 255, int(i * size * 1024 / n) * 1024 }' | qemu-io -f qcow2 "$folder/$1/top.qcow2" >/dev/null
}
dirty empty 10G 0; alone "10 GiB, nothing dirty" empty "$tool chain commit --keep top.qcow2 base.qcow2"
dirty one 10G 102; alone "10 GiB, 1 % dirty" one "$tool chain commit --keep top.qcow2 base.qcow2"
dirty ten 10G 1024; alone "10 GiB, 10 % dirty" ten "$tool chain commit --keep top.qcow2 base.qcow2"; rm -rf "$folder/ten"
dirty large 100G 1024; alone "100 GiB, 1 % dirty" large "$tool chain commit --keep top.qcow2 base.qcow2"; rm -rf "$folder/large"
for size in 1 4 16 1024; do
    dirty "sparse$size" "${size}G" 256; alone "256 MiB dirty in $size GiB" "sparse$size" "$tool chain commit --keep top.qcow2 base.qcow2"; rm -rf "$folder/sparse$size"
done
alone "measuring the commit of 1 GiB to the byte" plain "$tool chain measure --commit base.qcow2 top.qcow2"
alone "the same from tables" plain "$tool chain measure --tables --commit base.qcow2 top.qcow2"
