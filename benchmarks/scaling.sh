#!/bin/bash
# Prints how the cost of operations depends on the size of the disk, the number of bitmaps, the depth of the chain, the dirty part of the
# disk, and the granularity. Each table has the best wall time in seconds and the highest peak memory of the published tool's whole
# process, and of qemu-img's if it has the same operation. The last table is for `map`, over a disk whose clusters are all allocated, none
# next to its predecessor.
# Usage: benchmarks/scaling.sh [FOLDER [RUNS]]   needs qemu-img, qemu-io, GNU time, and about 4 GB in FOLDER.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
runs=${2:-3}
images=$folder/images
work=$folder/work
declare -A cells
rows=()

# Operations that change nothing, or only add a file, run on the original images; others get a fresh copy each time.
cell() { # ROW LINES
    [ -n "${cells[$1]:-}" ] || rows+=("$1")
    cells[$1]+=" $(best "$2" 1) s, $(peak "$2") |"
    rm "$2"
}
look() { # ROW COMMAND…
    local row=$1; shift
    for _ in $(seq "$runs"); do (cd "$images" && rm -f backups/new* && timed "$folder/lines" "$@"); done
    cell "$row" "$folder/lines"
}
change() { # ROW COMMAND…
    local row=$1; shift
    for _ in $(seq "$runs"); do
        rm -rf "$work"; cp -r --sparse=always "$images" "$work"
        if [ -n "${much:-}" ]; then warm_memory; fi
        (cd "$work" && timed "$folder/lines" "$@")
    done
    rm -rf "$work"
    cell "$row" "$folder/lines"
}
none() { cells[$1]+=" |"; } # ROW
table() { # AXIS VALUES
    echo; echo "| $1 |$(printf ' %s |' "${@:2}")"
    echo "|---|$(printf -- '---|%.0s' "${@:2}")"
    for row in "${rows[@]}"; do echo "| $row |${cells[$row]}"; done
    rows=(); cells=()
}
# A disk with a full backup, whose bitmap c recorded from there on, and an overlay with c on top of it.
disk() { # SIZE
    rm -rf "$images"; mkdir -p "$images/backups"
    qemu-img create -q -f qcow2 "$images/base.qcow2" "$1"
    "$tool" backup full "$images/base.qcow2" "$images/backups/full" --checkpoint c >/dev/null
}
overlay() { "$tool" chain snapshot "$images/base.qcow2" "$images/top.qcow2" >/dev/null; }
# Pieces spread evenly over the disk.
write() { # IMAGE DISK-MIB COUNT KIB
    awk -v n="$3" -v kib="$4" -v disk="$2" 'BEGIN { for (i = 0; i < n; i++) printf "write -q -P %d %dk %dk\n", 1 + i % 255, int(i * disk * 1024 / n / kib) * kib, kib }' |
        qemu-io -f qcow2 "$images/$1" >/dev/null
}
incremental() { look '`backup incremental`' "$tool" backup incremental "$1" backups/new --since c --mode never; }
looks() {
    look '`info`' "$tool" info top.qcow2
    look '`info`, qemu-img' qemu-img info top.qcow2
    look '`check`' "$tool" check top.qcow2
    look '`check`, qemu-img' qemu-img check top.qcow2
    look '`extents`' "$tool" extents top.qcow2 c
}
edits() {
    change '`bitmap --add`' "$tool" bitmap --add top.qcow2 new
    change '`bitmap --add`, qemu-img' qemu-img bitmap --add top.qcow2 new
    change '`bitmap --merge`' "$tool" bitmap --merge c top.qcow2 "$1"
    change '`bitmap --merge`, qemu-img' qemu-img bitmap --merge c top.qcow2 "$1"
}

by_size() {
    for gib in 1 64 1024 16384 65536; do
        disk "${gib}G"; overlay; write top.qcow2 $((gib * 1024)) 64 1024
        qemu-img bitmap --add "$images/top.qcow2" other
        looks
        edits other
        qemu-img bitmap --remove "$images/top.qcow2" other
        look '`chain check`' "$tool" chain check top.qcow2
        change '`chain commit`' "$tool" chain commit --keep top.qcow2 base.qcow2
        change '`commit`, qemu-img' qemu-img commit -q -d top.qcow2
        incremental top.qcow2
    done
    table "disk size, 64 MiB written in 64 pieces, a bitmap of 64 KiB in each of two images" "1 GiB" "64 GiB" "1 TiB" "16 TiB" "64 TiB"
}

by_bitmaps() {
    for count in 1 10 100 1000; do
        disk 100G; $bench add-bitmaps "$images/base.qcow2" "$count"; overlay; write top.qcow2 102400 64 64
        looks
        edits b1
        look '`chain check`' "$tool" chain check top.qcow2
        change '`chain commit`, with all bitmaps' "$tool" chain commit --keep top.qcow2 base.qcow2
        incremental top.qcow2
    done
    table "bitmaps in each of two images, 100 GiB, 4 MiB written in 64 pieces" 1 10 100 1000
}

by_depth() {
    for depth in 1 10 30 100; do
        disk 10G; write base.qcow2 10240 1 256; $bench grow-chain "$images/base.qcow2" "$depth"
        local top=base.qcow2
        if [ "$depth" -gt 1 ]; then top=$((depth - 1)).qcow2; fi
        look '`info --backing-chain`' "$tool" info --backing-chain "$top"
        look '`info --backing-chain`, qemu-img' qemu-img info --backing-chain "$top"
        look '`chain check`' "$tool" chain check "$top"
        look '`extents --chain`' "$tool" extents --chain "$top" c
        look '`map`' "$tool" map "$top"
        look '`map`, qemu-img' qemu-img map "$top"
        change '`chain snapshot`' "$tool" chain snapshot "$top" new.qcow2
        if [ "$depth" -gt 1 ]; then
            change '`chain commit`, all to the lowest' "$tool" chain commit --keep "$top" base.qcow2
            change '`commit`, qemu-img' qemu-img commit -q -d -b base.qcow2 "$top"
        else
            rows+=('`chain commit`, all to the lowest' '`commit`, qemu-img'); none '`chain commit`, all to the lowest'; none '`commit`, qemu-img'
        fi
        incremental "$top"
    done
    table "images in the chain, 10 GiB, 256 KiB and a bitmap in each" 1 10 30 100
}

by_fraction() {
    for clusters in 2 16 164 1638 16384; do
        disk 1G; overlay
        if [ "$clusters" = 16384 ]; then qemu-io -f qcow2 -c 'write -q -P 7 0 1G' "$images/top.qcow2" >/dev/null; else write top.qcow2 1024 "$clusters" 64; fi
        look '`extents --chain`' "$tool" extents --chain top.qcow2 c
        if [ "$clusters" -gt 1000 ]; then much=1; fi
        change '`chain commit`' "$tool" chain commit --keep top.qcow2 base.qcow2
        change '`commit`, qemu-img' qemu-img commit -q -d top.qcow2
        if [ -n "${much:-}" ]; then warm_memory; fi
        incremental top.qcow2
        much=
    done
    table "part of 1 GiB that is dirty, in pieces of 64 KiB" "0.01 %" "0.1 %" "1 %" "10 %" "100 %"
}

by_granularity() {
    for kib in 4 64 2048 65536; do
        # The bitmap is all clean, although much was written: the table is about 64 writes of 4 KiB after that.
        disk 256M; qemu-io -f qcow2 -c 'write -q -P 7 0 256M' "$images/base.qcow2" >/dev/null
        qemu-img bitmap --remove "$images/base.qcow2" c; qemu-img bitmap --add -g "${kib}K" "$images/base.qcow2" c
        write base.qcow2 256 64 4
        look '`backup incremental` after 64 writes of 4 KiB to 256 MiB' "$tool" backup incremental base.qcow2 backups/new --since c --mode never --backing backups/full.backup.json
        disk 1T; overlay
        qemu-img bitmap --remove "$images/top.qcow2" c
        for name in c other; do qemu-img bitmap --add -g "${kib}K" "$images/top.qcow2" "$name"; done
        $bench fill "$images/top.qcow2" c dense
        look '`info`' "$tool" info top.qcow2
        look '`info`, qemu-img' qemu-img info top.qcow2
        look '`extents`' "$tool" extents top.qcow2 c
        edits other
    done
    table "granularity, random bits over 1 TiB" "4 KiB" "64 KiB" "2 MiB" "64 MiB"
}

map() {
    rm -rf "$images"; mkdir "$images"
    # These runs are long enough to be insensitive to disturbances.
    local runs=1
    for size in 0.25 1; do
        $bench fragmented-image "$images/f.qcow2" "$size"
        look '`map --output=json`' "$tool" map --output=json f.qcow2
        look '`map --output=json`, qemu-img' qemu-img map --output=json f.qcow2
    done
    table "disk size, every cluster an extent of its own" "0.25 TiB" "1 TiB"
}

# The environment variable AXES selects the tables.
for axis in ${AXES:-by_size by_bitmaps by_depth by_fraction by_granularity map}; do $axis; done
