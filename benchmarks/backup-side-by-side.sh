#!/bin/bash
# Takes an incremental backup of 1 % of 100 GiB and prints a table. It compares, alternately, the same QMP conversation with blockdev-backup
# (sync=bitmap), with qemu-storage-daemon and with this tool's QMP server, and the tool's offline backup of the same image, which also
# computes checksums. For a conversation, two times are measured: of the job, from its command to its end, and of the whole process, from
# its start to its exit. The table shows the best of all runs, and the highest peak memory.
# Usage: benchmarks/backup-side-by-side.sh [FOLDER [RUNS]]   needs qemu-storage-daemon, qemu-img, qemu-io, GNU time, python3, and about 5 GB in FOLDER.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
runs=${2:-5}
mkdir "$folder/b"
disk=$folder/disk.qcow2
python3 - >"$folder/commands" <<'P'
import random
random.seed(7)
# 16384 clusters of 64 KiB: 1 GiB of the 100, in runs of 1 MiB, each at a random place in its own 100 MiB.
for i in range(1024):
    print(f"write -P {1 + i % 255} {(i * 100 + random.randrange(84)) << 20} 1M")
P
qemu-img create -q -f qcow2 "$disk" 100G
$tool backup full "$disk" "$folder/b/full" --checkpoint c >/dev/null
qemu-io -f qcow2 "$disk" <"$folder/commands" >/dev/null

# Prints seconds of the job, seconds of the whole process, KiB.
converse() { # COMMAND…: a QMP server on standard input and output, with the disk as d and the target as t
    qemu-img create -q -f qcow2 -b "$folder/b/full" -F qcow2 "$folder/out"
    python3 - "$@" <<'P'
import json, subprocess, sys, time
begin = time.monotonic()
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def say(command, **arguments):
    server.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    server.stdin.flush()
    while True:
        answer = json.loads(server.stdout.readline())
        if "error" in answer: sys.exit(str(answer))
        if "return" in answer: return
server.stdout.readline()
say("qmp_capabilities")
start = time.monotonic()
say("blockdev-backup", **{"job-id": "j", "device": "d", "target": "t", "sync": "bitmap", "bitmap": "c", "bitmap-mode": "never"})
while True:
    event = json.loads(server.stdout.readline())
    if event.get("event") == "BLOCK_JOB_COMPLETED":
        break
end = time.monotonic()
if "error" in event["data"]: sys.exit(str(event))
peak = next(line for line in open(f"/proc/{server.pid}/status") if line.startswith("VmHWM")).split()[1]
server.stdin.write(json.dumps({"execute": "quit"}) + "\n")
server.stdin.flush()
server.stdout.read()
if server.wait() != 0: sys.exit("The server failed")
print(f"{end - start:.2f} {time.monotonic() - begin:.2f} {peak}")
P
    qemu-img compare -q "$folder/out" "$disk" >&2
    rm "$folder/out"
}

for _ in $(seq "$runs"); do
    warm_memory
    converse qemu-storage-daemon --chardev stdio,id=m --monitor chardev=m \
        --blockdev "qcow2,node-name=d,file.driver=file,file.filename=$disk" --blockdev "qcow2,node-name=t,file.driver=file,file.filename=$folder/out" >>"$folder/q"
    warm_memory
    converse "$tool" qmp --image "d=$disk" --image "t=$folder/out" >>"$folder/s"
    rm -f "$folder/b/inc"*; warm_memory
    timed "$folder/t" "$tool" backup incremental "$disk" "$folder/b/inc" --since c --mode never
    qemu-img compare -q "$folder/b/inc" "$disk"
done
row() { # COLUMN NAME: of both conversations
    local q s
    q=$(best "$folder/q" "$1"); s=$(best "$folder/s" "$1")
    echo "| $2 | $q s, $(peak "$folder/q") | $s s, $(peak "$folder/s"), **$(ratio "$q" "$s")×** |"
}
echo "| 1 GiB dirty of 100 GiB, 1024 runs of 1 MiB | qemu-storage-daemon $qemu_version | \`qcow2bitmaps\` |"
echo "|---|---|---|"
row 1 "\`blockdev-backup\` by QMP, the job"
row 2 "the same, the whole process"
q=$(best "$folder/q" 2); t=$(best "$folder/t" 1)
echo "| \`backup incremental\` with checksums, beside the whole process of QEMU | $q s, $(peak "$folder/q") | $t s, $(peak "$folder/t"), **$(ratio "$q" "$t")×** |"
