#!/bin/bash
# Takes an incremental backup of 1 % of 100 GiB beside qemu-storage-daemon's blockdev-backup (sync=bitmap) of the same image, in turn, and prints a table:
# the best wall time of all runs and the peak memory. The whole process counts on both sides; QEMU is timed once its daemon answers, until the job is done.
# Usage: benchmarks/backup-side-by-side.sh [FOLDER [RUNS]]   needs qemu-storage-daemon, qemu-img, qemu-io, GNU time, python3, and about 5 GB in FOLDER.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
runs=${2:-5}
mkdir "$folder/b"
disk=$folder/disk.qcow2
python3 - >"$folder/commands" <<'P'
import random
random.seed(7)
# 16384 clusters of 64 KiB, 1 GiB of 100, each somewhere in a 100th part of its own.
for i in range(1024):
    print(f"write -P {1 + i % 255} {(i * 100 + random.randrange(84)) << 20} 1M")
P
qemu-img create -q -f qcow2 "$disk" 100G
$tool backup full "$disk" "$folder/b/full" --checkpoint c >/dev/null
qemu-io -f qcow2 "$disk" <"$folder/commands" >/dev/null

qemu() {
    python3 - "$disk" "$folder/b/full" "$folder/out" <<'P'
import json, os, subprocess, sys, time
disk, below, out = sys.argv[1:]
subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", out], check=True)
daemon = subprocess.Popen(
    ["qemu-storage-daemon", "--chardev", "stdio,id=m", "--monitor", "chardev=m",
     "--blockdev", f"qcow2,node-name=d,file.driver=file,file.filename={disk}", "--blockdev", f"qcow2,node-name=t,file.driver=file,file.filename={out}"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def say(command, **arguments):
    daemon.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    daemon.stdin.flush()
    while True:
        answer = json.loads(daemon.stdout.readline())
        if "error" in answer: sys.exit(str(answer))
        if "return" in answer: return
daemon.stdout.readline()
say("qmp_capabilities")
start = time.monotonic()
say("blockdev-backup", **{"job-id": "j", "device": "d", "target": "t", "sync": "bitmap", "bitmap": "c", "bitmap-mode": "never"})
while True:
    event = json.loads(daemon.stdout.readline())
    if event.get("event") == "JOB_STATUS_CHANGE" and event["data"]["status"] == "concluded" or event.get("event") == "BLOCK_JOB_COMPLETED":
        break
end = time.monotonic()
peak = next(line for line in open(f"/proc/{daemon.pid}/status") if line.startswith("VmHWM")).split()[1]
daemon.stdin.write(json.dumps({"execute": "quit"}) + "\n")
daemon.stdin.flush()
daemon.stdout.read()
daemon.wait()
print(f"{end - start:.2f} 0 {peak}")
P
}

for _ in $(seq "$runs"); do
    rm -f "$folder/out"; warm_memory; qemu >>"$folder/q"
    qemu-img compare -q "$folder/out" "$disk"
    rm -f "$folder/b/inc"*; warm_memory
    timed "$folder/t" "$tool" backup incremental "$disk" "$folder/b/inc" --since c --mode never
    qemu-img compare -q "$folder/b/inc" "$disk"
done
q=$(best "$folder/q" 1); t=$(best "$folder/t" 1)
echo "| 1 GiB dirty of 100 GiB, 1024 runs of 1 MiB | qemu-storage-daemon $qemu_version, the job alone | \`qcow2bitmaps\`, the whole process, with checksums |"
echo "|---|---|---|"
echo "| incremental backup | $q s, $(peak "$folder/q") | $t s, $(peak "$folder/t"), **$(ratio "$q" "$t")×** |"
