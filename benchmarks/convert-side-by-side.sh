#!/bin/bash
# Runs conversions with this tool and with qemu-img on the same images, alternately, and prints a table: the best wall time in seconds and
# processor time (user and system) of all runs, the peak memory, and how many times faster than qemu-img. Sources are in the page cache;
# targets do not exist before, and are not flushed. A second table shows how long the kernel alone takes to write as much: a conversion
# without reading tables and detecting zeros.
# Usage: benchmarks/convert-side-by-side.sh [FOLDER [RUNS]]   needs qemu-img, GNU time, and about 5 GB in FOLDER.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
runs=${2:-5}
out=$folder/out

fresh() { rm -f "$out"; warm_memory; cat "$1" >/dev/null; } # SOURCE
show() { echo "$(best "$1" 1) s ($(best "$1" 2) s), $(peak "$1")"; } # LINES

compare() { # TITLE SOURCE FORMAT
    rm -f "$folder"/[qtl]
    for _ in $(seq "$runs"); do
        fresh "$2"; timed "$folder/q" qemu-img convert -O "$3" "$2" "$out"
        fresh "$2"; timed "$folder/t" "$tool" convert -O "$3" "$2" "$out"
        fresh "$2"; $bench time-convert "$folder/warm.qcow2" "$2" "$out" "$3" >>"$folder/l"
        qemu-img compare -q "$2" "$out" || { echo "$1: the target differs" >&2; exit 1; }
    done
    local q
    q=$(best "$folder/q" 1)
    echo "| $1 | $(show "$folder/q") | $(show "$folder/t"), **$(ratio "$q" "$(best "$folder/t" 1)")×** | $(show "$folder/l"), **$(ratio "$q" "$(best "$folder/l" 1)")×** |"
}

floor() { # TITLE COMMAND…
    local title=$1; shift
    rm -f "$folder/k"
    for _ in $(seq "$runs"); do fresh "$folder/plain.qcow2"; timed "$folder/k" "$@" 2>/dev/null; done
    echo "| $title | $(show "$folder/k") |"
}

head -c 16M /dev/urandom >"$folder/warm.raw"
qemu-img convert -c -f raw -O qcow2 "$folder/warm.raw" "$folder/warm.qcow2"
head -c 1G /dev/urandom >"$folder/random.raw"
qemu-img convert -f raw -O qcow2 "$folder/random.raw" "$folder/plain.qcow2"
rm "$folder/random.raw"
# System files, which compress as such files do.
tar -c --exclude=/proc --exclude=/sys /usr 2>/dev/null | head -c 512M >"$folder/files.raw" || true
qemu-img convert -c -W -m 16 -f raw -O qcow2 "$folder/files.raw" "$folder/zlib.qcow2"
qemu-img convert -c -W -m 16 -f raw -O qcow2 -o compression_type=zstd "$folder/files.raw" "$folder/zstd.qcow2"
rm "$folder/files.raw"
echo "| wall time (processor time), peak memory | qemu-img $qemu_version | the tool | the library |"
echo "|---|---|---|---|"
compare "1 GiB of random data, to raw" "$folder/plain.qcow2" raw
compare "the same to qcow2" "$folder/plain.qcow2" qcow2
compare "512 MiB of files, zlib, to raw" "$folder/zlib.qcow2" raw
compare "the same to qcow2" "$folder/zlib.qcow2" qcow2
compare "512 MiB of files, zstd, to raw" "$folder/zstd.qcow2" raw
compare "the same to qcow2" "$folder/zstd.qcow2" qcow2
echo
echo "| the kernel alone, the file of 1 GiB of random data | wall time (processor time), peak memory |"
echo "|---|---|"
floor "\`cp --reflink=never --sparse=never\`" cp --reflink=never --sparse=never "$folder/plain.qcow2" "$out"
floor "\`dd bs=1M\`: read and write, one after the other" dd bs=1M if="$folder/plain.qcow2" of="$out"
